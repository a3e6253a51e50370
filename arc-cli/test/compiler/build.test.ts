//! A project becomes the same bytes wherever it lies, and what comes out runs.

import { afterAll, describe, expect, test, setDefaultTimeout } from "bun:test";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { sha256Hex } from "../../src/bundle/digest.ts";
import { openBundle } from "../../src/bundle/layout.ts";
import { buildProgram } from "../../src/bundle/program.ts";
import { build } from "../../src/compiler/build.ts";
import { CompileError } from "../../src/compiler/diagnostics.ts";
import { UserError } from "../../src/errors.ts";
import type { TarEntry } from "../../src/bundle/tar.ts";
import { call, cleanUp } from "../sdk/host.ts";

// A type check takes half a second alone, and tests run beside other work.
setDefaultTimeout(120_000);

const scratch = mkdtempSync(join(tmpdir(), "arc-build-"));
afterAll(() => {
  cleanUp();
  rmSync(scratch, { recursive: true });
});

function project(name: string, files: Record<string, string | Uint8Array>): string {
  const root = join(scratch, name);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

/** Lays the files of a bundle out as the sandbox does, below a directory of the test. */
function unpack(name: string, files: readonly TarEntry[]): string {
  return project(name, Object.fromEntries(files.map(({ path, bytes }) => [path, bytes])));
}

const sources = {
  "arc.toml": '[bundle]\nname = "sample"\nversion = "1.0.0"\n',
  "node_modules/cjs-dep/package.json": '{"name":"cjs-dep","main":"index.js"}',
  "node_modules/cjs-dep/index.js": 'exports.where = () => [__dirname, __filename];\nexports.data = () => require("fs").readFileSync(require("path").join(__dirname, "data.bin"), "utf8");\n',
  "node_modules/cjs-dep/index.d.ts": "export function where(): string[];\nexport function data(): string;\n",
  "node_modules/cjs-dep/data.bin": "from the dependency",
  "src/part.json": '{"answer":42}',
  "src/note.txt": "a note",
  "src/page.md": "# page",
  "src/query.sql": "select 1",
  "src/blob.dat": new Uint8Array([1, 2, 3]),
  "src/lib/deep.ts": "export function fail(): never {\n  throw new RangeError('deep');\n}\n",
  "src/types.ts": "/** Only types: no code of it is in the bundle. */\nexport interface Later { at: Date; days: number }\n",
  "src/sample.ts": [
    'import type { Later } from "./types.ts";',
    'import { readFileSync } from "node:fs";',
    'import { defineTool, log, progress, tool } from "@aria/sdk";',
    'import { data, where } from "cjs-dep";',
    'import note from "./note.txt";',
    'import page from "./page.md" with { type: "text" };',
    'import query from "./query.sql" with { type: "text" };',
    'import part from "./part.json";',
    'import { fail } from "./lib/deep.ts";',
    "export class Sample {",
    "  #calls = 0;",
    "  @tool()",
    "  count(): number { this.#calls += 1; return this.#calls; }",
    "  @tool()",
    "  static later(input: Later): { at: Date } { return { at: new Date(input.at.getTime() + input.days * 86_400_000) }; }",
    "}",
    "export const assets = defineTool({ run: () => ({ note, page, query, answer: part.answer, blob: [...readFileSync(new URL(\"./blob.dat\", import.meta.url))], dep: data(), where: where() }) });",
    'export const talk = defineTool({ run: () => { log.info("hello", { n: 1 }); progress(0.5); return "ok"; } });',
    "export const crash = defineTool({ run: (): string => fail() });",
    "",
  ].join("\n"),
};

const root = project("one", sources);
const built = await build(root);
const app = unpack("app", built.bundle.files);
const run = (name: string, input = "{}") => call(join(app, `code/${name}.js`), input);

test("two directories give the same bytes, wherever arc was started", async () => {
  cpSync(root, join(scratch, "quite/another/place"), { recursive: true });
  const before = process.cwd();
  process.chdir(join(scratch, "quite"));
  const other = await build("another/place/src").finally(() => process.chdir(before));
  expect(sha256Hex(other.bytes)).toBe(sha256Hex(built.bytes));
});

test("no path of the machine is in the bundle", () => {
  for (const { path, bytes } of built.bundle.files) {
    for (const needle of [scratch, join(import.meta.dir, "../..")]) expect(`${path} ${Buffer.from(bytes).includes(needle)}`).toBe(`${path} false`);
  }
});

test("the bundle holds the code, its maps and the author's sources", () => {
  const paths = built.bundle.files.map(({ path }) => path);
  expect(paths.filter((path) => path.startsWith("src/"))).toEqual(["src/lib/deep.ts", "src/part.json", "src/sample.ts", "src/types.ts"]);
  for (const name of ["assets", "count", "crash", "later", "talk"]) expect(paths).toContain(`code/${name}.js.map`);
});

describe("what comes out runs:", () => {
  test("each call has an instance of its own", async () => expect((await run("count")).frames).toEqual([{ result: { outputJson: "1" } }]));
  test("a static method with Dates", async () => expect((await run("later", '{"at":"2026-11-20T00:00:00Z","days":1}')).frames).toEqual([{ result: { outputJson: '{"at":"2026-11-21T00:00:00.000Z"}' } }]));
  test("assets of the project and of a dependency", async () => {
    const answer = JSON.parse(String((await run("assets")).frames[0]?.["result"]?.["outputJson"])) as Record<string, unknown>;
    expect(answer).toEqual({ note: "a note", page: "# page", query: "select 1", answer: 42, blob: [1, 2, 3], dep: "from the dependency", where: [join(app, "code"), join(app, "code/assets.js")] });
  });
  test("logs and progress", async () => {
    expect((await run("talk")).frames.slice(0, 2)).toEqual([{ log: { level: "info", message: "hello", fieldsJson: '{"n":1}' } }, { progress: { fraction: 0.5, message: "" } }]);
  });
  test("a stack names the author's files and lines", async () => {
    const { frames } = await run("crash");
    expect(frames[0]?.["failure"]).toMatchObject({ kind: "threw", name: "RangeError", message: "deep" });
    expect(String(frames[0]?.["failure"]?.["stack"])).toContain("src/lib/deep.ts:2:");
  });
});

const simple = 'import { defineTool } from "@aria/sdk";\n';
const refused: readonly (readonly [string, Record<string, string>, string])[] = [
  ["a native addon", { "src/a.ts": `${simple}import { createRequire } from "node:module";\nconst addon: unknown = require("./x.node");\nexport const a = defineTool({ run: () => String(addon) + typeof createRequire });\n`, "src/x.node": "\u007fELF" }, "ARC1091"],
  ["the text of a file that is imported for its path", { "src/a.ts": `${simple}import table from "./t.csv" with { type: "text" };\nexport const a = defineTool({ run: () => table });\n`, "src/t.csv": "a,b" }, "ARC1090"],
  ["an asset that is not there", { "src/a.ts": `${simple}export const a = defineTool({ run: () => new URL("./nope.wasm", import.meta.url).pathname });\n` }, "ARC1092"],
  ["code as an asset", { "src/a.ts": `${simple}export const a = defineTool({ run: () => new URL("./worker.ts", import.meta.url).pathname });\n`, "src/worker.ts": "export const b = 1;\n" }, "ARC1092"],
];

for (const [what, files, id] of refused) {
  test(`${what} is refused with ${id}`, async () => {
    const at = project(`refused-${id}-${what.length}`, { "arc.toml": '[bundle]\nname = "x"\n', ...files });
    const error = await build(at).then(() => undefined, (reason: unknown) => reason);
    expect(error).toBeInstanceOf(CompileError);
    expect((error as CompileError).diagnostics.map((diagnostic) => diagnostic.id as string)).toEqual([id]);
  });
}

/** A module that leaves a mark wherever it runs. */
const marking = (mark: string): string => `import { writeFileSync } from "node:fs";\nwriteFileSync(${JSON.stringify(mark)}, "ran");\nexport function x(): number { writeFileSync(${JSON.stringify(mark)}, "called"); return 5; }\n`;
const macros: readonly (readonly [string, string])[] = [
  ["an attribute", 'import { x } from "./m.ts" with { type: "macro" };'],
  ["an attribute in disguise", 'import * as m from "./m.ts" with { "type": "m\\u0061cro" };\nconst { x } = m;\nvoid m.x();'],
  ["a specifier", '// @ts-ignore\nimport { x } from "macro:./m.ts";'],
  ["a specifier in disguise", '// @ts-ignore\nimport { x } from "m\\u0061cro:./m.ts";'],
  ["an export", 'import { x } from "./again.ts";'],
  ["a remap in package.json", 'import { x } from "dep";\nimport { x as y } from "./m.ts" with { type: "macro" };\nvoid y();'],
  ["a dependency", 'import { x } from "dep-with-macro";'],
];

describe("no code of a project runs while it is built:", () => {
  for (const [i, [what, line]] of macros.entries()) {
    const mark = join(scratch, `mark-${i}`);
    const at = project(`macro-${i}`, {
      "arc.toml": '[bundle]\nname = "x"\n',
      "package.json": '{"bun":{"macros":{"dep":{"x":"./src/m.ts"}}}}',
      "bunfig.toml": 'preload = ["./src/m.ts"]\n[macros]\ndep = { x = "./src/m.ts" }\n',
      "node_modules/dep/package.json": '{"name":"dep","main":"index.ts"}',
      "node_modules/dep/index.ts": "export function x(): number { return 1; }\n",
      "node_modules/dep-with-macro/package.json": '{"name":"dep-with-macro","main":"index.ts"}',
      "node_modules/dep-with-macro/index.ts": 'import { x as made } from "./m.ts" with { type: "macro" };\nexport function x(): number { return made(); }\n',
      "node_modules/dep-with-macro/m.ts": marking(mark),
      "src/m.ts": marking(mark),
      "src/again.ts": 'export { x } from "./m.ts" with { type: "macro" };\n',
      "src/a.ts": `${simple}${line}\nexport const a = defineTool({ run: (): number => x() });\n`,
      "probe.ts": `${line.replaceAll('"./', '"./src/').replaceAll(":./", ":./src/")}\nconsole.log(x());\n`,
    });
    test(`${what}, by build`, async () => {
      const error = await build(at).then(() => undefined, (reason: unknown) => reason);
      expect(error).toBeInstanceOf(CompileError);
      expect((error as CompileError).diagnostics.map(({ id }) => id as string)).toContain("ARC1094");
      expect(existsSync(mark)).toBe(false);
    });
    test(`${what}, by exec`, async () => {
      expect(await buildProgram("probe.ts", { cwd: at }).then(() => undefined, (reason: unknown) => reason)).toMatchObject({ code: "ARC1094", exit: 3 });
      expect(existsSync(mark)).toBe(false);
    });
  }
});

test("Dates and bytes are restored and made plain wherever a type may hold them", async () => {
  const at = project("codecs", {
    "arc.toml": '[bundle]\nname = "x"\n',
    "src/a.ts": [
      simple,
      "interface All {",
      "  rest: [string, ...Date[]];",
      "  only: [...Uint8Array[]];",
      "  open: { when: Date; n: number; [k: string]: Date | number };",
      "  templates: { name: string } & { [k: `at-${string}`]: Date; [k: `raw.${string}`]: Uint8Array; [k: `n_${number}`]: number };",
      "  numbers: { [k: number]: Date };",
      "  deep: { [k: string]: [number, ...{ [k: `d${string}`]: Date }[]] };",
      "}",
      "export const echo = defineTool({ run: (input: All): All => input });",
      "const kind = (value: unknown): unknown => value instanceof Date ? `D${value.getTime()}` : value instanceof Uint8Array ? `B${value.length}` : Array.isArray(value) ? value.map(kind) : typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, kind(v)])) : value;",
      "export const kinds = defineTool({ run: (input: All): string => JSON.stringify(kind(input)) });",
      "",
    ].join("\n"),
  });
  const bundle = await build(at);
  const app = unpack("codecs-app", bundle.bundle.files);
  const day = "1970-01-01T00:00:01.000Z";
  const input = { rest: [day, day, day], only: ["AAEC"], open: { when: day, n: 1, more: day, five: 5, constructor: day }, templates: { name: day, "at-x": day, "raw.x": "AAEC", n_1: 1 }, numbers: { 1: day }, deep: { a: [1, { dx: day }, { dy: day }] } };
  const kinds = (await call(join(app, "code/kinds.js"), JSON.stringify(input))).frames[0]?.["result"]?.["outputJson"];
  expect(JSON.parse(JSON.parse(String(kinds)) as string)).toEqual({
    ...{ rest: [day, "D1000", "D1000"], only: ["B3"], open: { when: "D1000", n: 1, more: "D1000", five: 5, constructor: "D1000" } },
    ...{ templates: { name: day, "at-x": "D1000", "raw.x": "B3", n_1: 1 }, numbers: { 1: "D1000" }, deep: { a: [1, { dx: "D1000" }, { dy: "D1000" }] } },
  });
  expect(JSON.parse(String((await call(join(app, "code/echo.js"), JSON.stringify(input))).frames[0]?.["result"]?.["outputJson"]))).toEqual(input);
});

test("an inherited tool runs on the class that inherits it, a recursive tuple is decoded to its end", async () => {
  const at = project("inherited", {
    "arc.toml": '[bundle]\nname = "x"\n',
    "src/base.ts": 'import { tool } from "@aria/sdk";\nexport type Days = [at: Date, next: Days | null];\nexport abstract class Base {\n  protected abstract word(): string;\n  @tool()\n  go(input: { days: Days }): string { return `${this.word()} ${String(input.days[1]?.[0].getTime())}`; }\n}\n',
    "src/real.ts": 'import { Base } from "./base.ts";\nexport class Real extends Base {\n  protected word(): string { return "real"; }\n}\n',
  });
  const { bundle } = await build(at);
  expect(bundle.manifest.tools[0]?.input).toMatchObject({ properties: { days: { $ref: "#/$defs/Days" } }, $defs: { Days: { type: "array", items: false } } });
  const app = unpack("inherited-app", bundle.files);
  const { frames } = await call(join(app, "code/go.js"), '{"days":["1970-01-01T00:00:00Z",["1970-01-01T00:00:01Z",null]]}');
  expect(frames).toEqual([{ result: { outputJson: '"real 1000"' } }]);
});

test("the environment of the builder is not in the bundle", async () => {
  const at = project("environment", {
    "arc.toml": '[bundle]\nname = "x"\n',
    "node_modules/env-dep/package.json": '{"name":"env-dep","main":"index.js"}',
    "node_modules/env-dep/index.js": 'exports.mode = process.env.NODE_ENV === "production" ? "prod" : "dev";\n',
    "node_modules/env-dep/index.d.ts": "export const mode: string;\n",
    "src/a.ts": `${simple}import { mode } from "env-dep";\nexport const a = defineTool({ run: () => mode });\n`,
    "../environment.ts": `import { build } from ${JSON.stringify(join(import.meta.dir, "../../src/compiler/build.ts"))};\nconsole.log((await build(${JSON.stringify(join(scratch, "environment"))})).bundle.digest);\n`,
  });
  expect(at).toBe(join(scratch, "environment"));
  const digests = new Set<string>();
  for (const mode of ["development", "production", undefined]) {
    const child = Bun.spawn([process.execPath, join(scratch, "environment.ts")], { env: { ...process.env, NODE_ENV: mode, BUN_ENV: mode }, stdout: "pipe" });
    digests.add(await new Response(child.stdout).text());
  }
  expect([...digests]).toEqual([expect.stringMatching(/^sha256:[0-9a-f]{64}\n$/)]);
});

describe("a program", () => {
  test("is one file and what it imports, without any project", async () => {
    const at = project("program", { "probe.ts": 'import { word } from "./shared/_word.ts";\nconst x: number = await Promise.resolve(2);\nconsole.log(word, x, import.meta.main, process.argv.slice(2).join());\nprocess.exit(7);\n', "shared/_word.ts": 'export const word = "hi";\n', "package.json": '{"sideEffects":false}' });
    const program = await buildProgram("probe.ts", { cwd: at });
    const bundle = openBundle(program.bytes);
    expect([bundle.manifest.name, bundle.manifest.program, bundle.manifest.tools]).toEqual(["probe", { entry: "code/main.js" }, []]);
    const unpacked = unpack("program-app", bundle.files);
    const child = Bun.spawn([process.execPath, join(unpacked, "code/main.js"), "a", "b"], { stdout: "pipe" });
    expect([await new Response(child.stdout).text(), await child.exited]).toEqual(["hi 2 true a,b\n", 7]);
  });
  test("needs no sound types and no arc rules", async () => {
    const at = project("hostile", { "bad-types.ts": 'const n: number = "text"; export class A { @((..._: unknown[]) => undefined) private x(a: any): any { return eval(a); } } console.log(n, A);\n' });
    expect((await buildProgram("bad-types.ts", { cwd: at })).bytes.length).toBeGreaterThan(0);
  });
  const broken: readonly (readonly [string, string])[] = [["const a = ;\n", "ARC1090"], ['import "./missing.ts";\n', "ARC1003"]];
  for (const [text, code] of broken) {
    test(`that does not parse or resolve says where: ${code}`, async () => {
      const at = project(`broken-${code}`, { "b.ts": text });
      const error = await buildProgram("b.ts", { cwd: at }).then(() => undefined, (reason: unknown) => reason);
      expect(error).toBeInstanceOf(UserError);
      expect(error).toMatchObject({ code, exit: 3, span: { file: "b.ts", line: 1 } });
    });
  }
  test("that is not there is not found", async () => {
    expect(buildProgram("none.ts", { cwd: scratch })).rejects.toMatchObject({ code: "ARC1103", exit: 5 });
    expect(buildProgram(".", { cwd: scratch })).rejects.toMatchObject({ code: "ARC1103" });
  });
});
