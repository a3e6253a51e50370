//! Every error has a fixture that produces it, a golden text, and a page for `arc explain`.

import { expect, test, setDefaultTimeout } from "bun:test";
import { mkdtempSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { compile } from "../../src/compiler/compile.ts";
import { CompileError, type Diagnostic } from "../../src/compiler/diagnostics.ts";
import { describe as describeDiagnostic } from "../../src/compiler/frame.ts";

// A type check takes half a second alone, and tests run beside other work.
setDefaultTimeout(120_000);

const fixtures = join(import.meta.dir, "../fixtures/errors");
// The bundle that the fixtures' arc.lock pins, as the cache would have it.
const orders = { tool: ["count-open", "list-open"], agent: ["clerk"], team: [], pipeline: [] };
const compiled = compile(fixtures, (digest) => (digest.startsWith("sha256:1") ? orders : undefined));

for (const file of readdirSync(join(fixtures, "src")).sort()) {
  test(`${file} is refused for its reason and no other`, () => {
    const found = [...compiled.diagnostics, ...compiled.warnings].filter((diagnostic) => diagnostic.span?.file === `src/${file}`);
    const ids = [...new Set(found.map(({ id }) => id as string))];
    expect(ids).toEqual(file === "none.ts" ? [] : [file.replace(".ts", "")]);
    expect(found.map((diagnostic) => describeDiagnostic(diagnostic, compiled.read)).join("\n\n")).toMatchSnapshot();
  });
}

test("what a function in another file does is found there", () => {
  const found = compiled.diagnostics.filter((diagnostic) => diagnostic.span?.file === "lib/uses.ts");
  expect(found.map((diagnostic) => describeDiagnostic(diagnostic, compiled.read)).join("\n\n")).toMatchSnapshot();
});

/** Compiles a project given as files and returns what is wrong with it. */
function findings(files: Record<string, string>): Diagnostic[] {
  const root = mkdtempSync(join(tmpdir(), "arc-diagnostics-"));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    return [...compile(root).diagnostics];
  } catch (error) {
    if (error instanceof CompileError) return [...error.diagnostics];
    throw error;
  } finally {
    rmSync(root, { recursive: true });
  }
}

const toml = '[bundle]\nname = "x"\n';
const good = 'import { defineTool } from "@aria/sdk";\nexport const a = defineTool({ run: (input: { a: string }) => input.a });\n';

const projects: readonly (readonly [string, Record<string, string>, readonly string[]])[] = [
  ["a syntax error", { "arc.toml": toml, "src/a.ts": "export const a = ;\n" }, ["ARC1002"]],
  ["an import that leads nowhere", { "arc.toml": toml, "src/a.ts": 'import { b } from "./b.ts";\nimport type { C } from "nowhere";\nimport { defineTool } from "@aria/sdk";\nexport const a = defineTool({ run: (input: { b: C }) => b(input) });\n' }, ["ARC1003", "ARC1003"]],
  ["a dependency that is not installed", { "arc.toml": toml, "package.json": '{"dependencies":{"left-pad":"1.0.0"}}', "src/a.ts": 'import pad from "left-pad";\nimport { defineTool } from "@aria/sdk";\nexport const a = defineTool({ run: () => pad("x") });\n' }, ["ARC1004"]],
  ["no tool at all", { "arc.toml": toml, "src/a.ts": "export const a = 1;\n" }, ["ARC1051"]],
  ["legacy decorators", { "arc.toml": toml, "tsconfig.json": '{"compilerOptions":{"experimentalDecorators":true}}', "src/a.ts": good }, ["ARC1054"]],
  ["@aria against arc.toml", { "arc.toml": toml, "src/a.ts": `${good.replace("{ defineTool", "{ aria, defineTool")}@aria({ name: "y" })\nexport class B {}\n` }, ["ARC1056"]],
  ["no arc.toml", { "src/a.ts": good }, ["ARC1080"]],
  ["arc.toml that is not TOML", { "arc.toml": "[bundle\nname = ", "src/a.ts": good }, ["ARC1081"]],
  ["unknown keys in arc.toml", { "arc.toml": `${toml}nmae = "y"\n[buidl]\ninclude = []\n`, "src/a.ts": good }, ["ARC1082", "ARC1082"]],
  ["wrong values in arc.toml", { "arc.toml": '[bundle]\nname = "x"\nversion = "one"\nauthors = "me"\nlicense = 1\n', "src/a.ts": good }, ["ARC1083", "ARC1083", "ARC1083"]],
  ["a name that is none", { "arc.toml": '[bundle]\nname = "Not A Name"\n', "src/a.ts": good }, ["ARC1048"]],
  ["no name", { "arc.toml": "", "src/a.ts": good }, ["ARC1048"]],
  ["no sources", { "arc.toml": toml }, ["ARC1084"]],
  ["an entry that is not there", { "arc.toml": `${toml}entry = "src/b.ts"\n`, "src/a.ts": good }, ["ARC1084"]],
  ["a syntax error in a file with a tool", { "arc.toml": toml, "src/a.ts": 'import { tool } from "@aria/sdk";\nexport class A {\n  @tool()\n  go(): number { return ; 1 + ; }\n  @tool() x = 1;\n}\n' }, ["ARC1002"]],
  ["a syntax error after other findings", { "arc.toml": toml, "src/a.ts": 'import { defineTool } from "@aria/sdk";\nexport const a = defineTool({ run: (input: { s: symbol }) => String(input.s) });\n', "src/b.ts": "export const b = ;\n" }, ["ARC1002", "ARC1013"]],
  ["a method that declares its this", { "arc.toml": toml, "src/a.ts": 'import { tool } from "@aria/sdk";\nexport class A {\n  n = 1;\n  @tool()\n  go(this: A, input: { b: string }): string { return input.b + this.n; }\n  @tool\n  bare(this: A): number { return this.n; }\n  @tool({ title: "S" })\n  static fixed(this: typeof A): string { return this.name; }\n}\n' }, []],
  ["empty objects and lists", { "arc.toml": toml, "src/a.ts": 'import { defineTool } from "@aria/sdk";\nexport const a = defineTool({ run: (_input: { none: Record<string, never>; list: never[] }): Record<string, never> => ({}) });\n' }, []],
  ["a file of a kind without types", { "arc.toml": toml, "src/a.ts": 'import x from "./a.odd" with { type: "text" };\nimport { defineTool } from "@aria/sdk";\nexport const a = defineTool({ run: (): string => x });\n', "src/a.odd": "odd" }, ["ARC1003"]],
  ["a recursive tuple", { "arc.toml": toml, "src/a.ts": 'import { defineTool } from "@aria/sdk";\ntype L = [head: number, tail: L | null];\nexport const a = defineTool({ run: (input: { list: L }): L => input.list });\n' }, []],
  ["a tool that an exported class inherits", { "arc.toml": toml, "src/a.ts": 'import { tool } from "@aria/sdk";\nabstract class Base {\n  @tool()\n  go(): string { return "x"; }\n}\nexport class Real extends Base {}\n' }, []],
  ["a sound project", { "arc.toml": toml, "src/a.ts": good }, []],
];

for (const [what, files, ids] of projects) {
  test(`${what} gives ${ids.join(" ") || "nothing"}`, () => expect(findings(files).map(({ id }) => id as string)).toEqual([...ids]));
}

test("what follows from a missing import is not reported beside it", () => {
  const found = findings({ "arc.toml": toml, "src/a.ts": 'import type { C } from "./c.ts";\nimport { defineTool } from "@aria/sdk";\nexport const a = defineTool({ run: (input: { c: C }): C => input.c });\n' });
  expect(found.map(({ id }) => id as string)).toEqual(["ARC1003"]);
});

test("a file that is there is not called missing", () => {
  const [found] = findings({ "arc.toml": toml, "src/a.ts": 'import x from "./a.odd" with { type: "text" };\nconsole.log(x);\n', "src/a.odd": "odd" });
  expect(found).toMatchObject({ id: "ARC1003", message: expect.stringContaining("has no types"), hint: expect.stringContaining("new URL"), fix: [] });
});

const wrongTags: readonly (readonly [tags: string, type: string])[] = [
  ["@multipleOf 0", "number"],
  ["@minLength 9 @maxLength 3", "string"],
  ["@minimum 5 @maximum 1", "number"],
  ["@exclusiveMinimum 5 @maximum 5", "number"],
  ["@minItems 2 @maxItems 1", "string[]"],
  ["@maximum 10 @default 20", "number"],
  ["@integer @default 0.5", "number"],
  ["@default {\"b\":1}", "{ a: number }"],
  ["@default [1]", "string[]"],
  ["@default yesterday", "Date"],
  ["@default [\"x\"]", "[string, number]"],
  ["@pattern ^a$ @default b", "string"],
  ["@default {\"b\":1}", "Named"],
];
const member = (tags: string, type: string): string =>
  `import { defineTool } from "@aria/sdk";\ninterface Named { a: number }\nexport const a = defineTool({ run: (input: {\n/**\n${tags.split(/ (?=@)/).map((tag) => ` * ${tag}\n`).join("")} */\np?: ${type} }): string => String(input.p) });\nexport type Used = Named;\n`;
test("tags that cannot hold are refused", () => {
  const files = Object.fromEntries(wrongTags.map(([tags, type], i) => [`src/f${String(i).padStart(2, "0")}.ts`, member(tags, type).replace("const a =", `const a${i} =`)]));
  const found = findings({ "arc.toml": toml, ...files });
  expect(found.map(({ id, span }) => `${id} ${span?.file}`)).toEqual(Object.keys(files).map((file) => `ARC1070 ${file}`));
});
const soundTags: typeof wrongTags = [["@multipleOf 0.05 @default 0.15", "number"], ["@minLength 3 @maxLength 3 @default abc", "string"], ['@default {"a":1}', "Named"], ['@default {"a":1}', "{ a: number; b?: string }"], ["@default 2026-11-20T10:00:00Z", "Date"], ['@default ["x",1]', "[string, number]"], ["@default AAEC", "Uint8Array"]];
test("tags that can hold are taken", () => {
  const files = Object.fromEntries(soundTags.map(([tags, type], i) => [`src/f${i}.ts`, member(tags, type).replace("const a =", `const a${i} =`)]));
  expect(findings({ "arc.toml": toml, ...files })).toEqual([]);
});

const named = 'import { defineTool } from "@aria/sdk";\n/** @minimum 3 */ type Num = number;\n/** @maximum 9 */ type Small = Num;\n';
test("constraints on a named plain type hold for its members", () => {
  const root = mkdtempSync(join(tmpdir(), "arc-alias-"));
  mkdirSync(join(root, "src"));
  writeFileSync(join(root, "arc.toml"), toml);
  writeFileSync(join(root, "src/a.ts"), `${named}export const a = defineTool({ run: (input: { n: Num; s?: Small; z: Num | null;\n/** @minimum 5 */\nown: Num; free: number }): Promise<Small> => Promise.resolve(input.n) });\n`);
  const { diagnostics, tools } = compile(root);
  rmSync(root, { recursive: true });
  expect(diagnostics).toEqual([]);
  expect(tools[0]?.input["properties"]).toEqual({ n: { type: "number", minimum: 3 }, s: { type: "number", minimum: 3, maximum: 9 }, z: { type: ["number", "null"], minimum: 3 }, own: { type: "number", minimum: 5 }, free: { type: "number" } });
  expect(tools[0]?.output).toEqual({ $schema: "https://json-schema.org/draft/2020-12/schema", type: "number", minimum: 3, maximum: 9 });
});
test("where they cannot hold they are not lost in silence", () => {
  const found = findings({ "arc.toml": toml, "src/a.ts": `${named}interface Box<T> { it: T }\nexport const a = defineTool({ run: (input: {\nbox: Box<Num>;\nboth: Num | Other;\nlist: Box<Num[]>[];\nopen: { [k: string]: Box<Num> };\n}): Box<Num> => input.box });\n/** @minimum 7 */ type Other = number;\n` });
  expect(found.map(({ id, span }) => `${id} ${span?.line}`)).toEqual(["ARC1071 6", "ARC1071 7", "ARC1071 7", "ARC1071 8", "ARC1071 9", "ARC1071 10"]);
});
