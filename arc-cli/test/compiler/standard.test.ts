//! Standard Schema values (zod, ArkType, valibot) as a tool's input and output: arc reads their types and runs none of them,
//! the bundle carries them, and in the cage they check each call.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { call, cleanUp } from "../sdk/host.ts";
import { SchemaError } from "../../sdk/src/standard.ts";
import { defineTool } from "../../sdk/src/tool.ts";
import { buildCompiled } from "../../src/compiler/build.ts";
import { compile } from "../../src/compiler/compile.ts";
import { describe as describeDiagnostic } from "../../src/compiler/frame.ts";

// A type check takes half a second alone, and tests run beside other work.
setDefaultTimeout(120_000);

const fixture = join(import.meta.dir, "../fixtures/standard");
const scratch = mkdtempSync(join(tmpdir(), "arc-standard-"));
afterAll(() => {
  cleanUp();
  rmSync(scratch, { recursive: true });
});

const compiled = compile(fixture);
const { bundle } = await buildCompiled(compiled);
for (const { path, bytes } of bundle.files) {
  mkdirSync(dirname(join(scratch, path)), { recursive: true });
  writeFileSync(join(scratch, path), bytes);
}

test("the project has no findings", () => {
  expect(compiled.diagnostics.map((diagnostic) => describeDiagnostic(diagnostic, compiled.read))).toEqual([]);
});

for (const { name, input, output, inputCodec, outputCodec } of compiled.tools) {
  test(`${name} has the schemas of its types`, () => expect({ input, output, inputCodec, outputCodec }).toMatchSnapshot());
}

async function answer(tool: string, input: unknown): Promise<unknown> {
  const [frame] = (await call(join(scratch, `code/${tool}.js`), JSON.stringify(input), 60_000)).frames;
  const failure = frame?.["failure"];
  return failure ? `${String(failure["kind"])} ${String(failure["name"])}: ${String(failure["message"])}` : JSON.parse(String(frame?.["result"]?.["outputJson"]));
}

describe("in the cage", () => {
  const city = { city: "Oslo", where: null };
  const cases: readonly (readonly [tool: string, input: unknown, answer: unknown])[] = [
    ["forecast", city, { summary: "Oslo in metric", at: "1970-01-01T00:00:00.000Z", by: { rain: 0 } }],
    ["forecast", { ...city, since: "2026-11-20T10:00:00Z", unit: "imperial", days: 2 }, { summary: "Oslo in imperial", at: "2026-11-20T10:00:00.000Z", by: { rain: 2 } }],
    ["forecast", { ...city, city: "O" }, expect.stringMatching(/^threw InputInvalid: input\.city: /)],
    ["forecast", { ...city, days: 1.5 }, expect.stringMatching(/^threw InputInvalid: input\.days: /)],
    ["greet", { name: "Ada", role: "admin", tags: [] }, { greeting: "Ada (admin)" }],
    ["greet", { name: "Ada Lovelace", role: "admin", tags: [] }, expect.stringMatching(/^threw InputInvalid: input\.name: /)],
    ["order", { id: "o-1", lines: [{ sku: "a", count: 2 }] }, { total: 2, note: "none" }],
    ["order", { id: "1", lines: [{ sku: "a", count: 0 }] }, expect.stringMatching(/^threw InputInvalid: input\.id: .*input\.lines\[0\]\.count: /)],
    ["short", { text: "abc" }, { text: "abc" }],
    ["short", { text: "abcd" }, expect.stringMatching(/^result ResultInvalid: result\.text: /)],
    ["rename", { name: "Ada", role: "user", tags: [] }, { name: "ADA" }],
    ["rename", { name: "", role: "user", tags: [] }, expect.stringMatching(/^threw InputInvalid: input\.name: /)],
  ];
  test.each(cases)("%s of %j", async (tool, input, expected) => expect(await answer(tool, input)).toEqual(expected));
});

test("the code of a schema is not run to read it", () => {
  const found = findings('import { z } from "zod";\nexport const bad: () => boolean = (() => { throw new Error("this ran"); })();\nexport const schema = z.object({ a: z.string().refine(bad) });\n', "schema");
  expect(found).toEqual([]);
});

const refusals: readonly (readonly [string, readonly string[]])[] = [
  ["z.object({ a: z.any() })", ["ARC1010 5"]],
  ["z.object({ a: z.coerce.number() })", ["ARC1011 5"]],
  ["z.object({ a: z.map(z.string(), z.number()) })", ["ARC1015 5"]],
  ["z.object({ a: z.bigint() })", ["ARC1014 5"]],
  ["z.string()", ["ARC1031 5"]],
  ["z.object({ a: z.string().brand<\"id\">(), b: z.object({ c: z.number() }).brand<\"b\">() })", []],
];
test.each(refusals)("%s gives %j", (schema, expected) => {
  expect(findings('import { z } from "zod";\n', schema)).toEqual([...expected]);
});

test("what is no schema is refused", () => {
  expect(findings("", "{ a: 1 }")).toEqual(["ARC1001 5"]);
});

/** Findings of a project with one tool whose input is an expression on line 5. */
function findings(head: string, schema: string): string[] {
  const root = mkdtempSync(join(fixture, "tmp-"));
  try {
    cpSync(join(fixture, "arc.toml"), join(root, "arc.toml"));
    mkdirSync(join(root, "src"));
    const lines = head.split("\n").slice(0, -1);
    const filler = Array.from({ length: 3 - lines.length }, () => "");
    writeFileSync(join(root, "src/a.ts"), [...lines, ...filler, 'import { defineTool } from "@aria/sdk";', `export const it = defineTool({ input: ${schema}, run: (): string => "x" });`, ""].join("\n"));
    return compile(root).diagnostics.map(({ id, span }) => `${id} ${span?.line}`);
  } finally {
    rmSync(root, { recursive: true });
  }
}

describe("a tool called in a test", () => {
  const upper = { "~standard": { version: 1, vendor: "test", validate: (value: unknown) => (typeof value === "string" ? { value: value.toUpperCase() } : { issues: [{ message: "no text", path: ["a", { key: 0 }] }] }) } } as const;
  test("answers at once where nothing waits", () => {
    expect(defineTool({ input: upper, run: (text: unknown) => `${String(text)}!` }).run("a" as never)).toBe("A!");
  });
  test("throws what is wrong with its input", () => {
    expect(() => defineTool({ input: upper, run: (text: unknown) => text }).run(1 as never)).toThrow(new SchemaError("input", [{ message: "no text", path: ["a", 0] }]));
    expect(new SchemaError("input", [{ message: "no text", path: ["a", 0] }]).message).toBe("input.a[0]: no text");
  });
});
