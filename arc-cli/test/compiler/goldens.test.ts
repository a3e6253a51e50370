//! The errors that are about a project or a file as a whole, as a person sees them; and that no id of the compiler is without a
//! golden text and an explanation. Errors inside one source file are in `diagnostics.test.ts`.

import { afterAll, expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { explanations } from "../../src/compiler/diagnostics.ts";
import { arc } from "../cli/drive.ts";

// A type check takes half a second alone, and tests run beside other work.
setDefaultTimeout(300_000);

const scratch = mkdtempSync(join(tmpdir(), "arc-goldens-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const toml = '[bundle]\nname = "x"\n';
const sdk = 'import { aria, defineTool } from "@aria/sdk";\n';
const good = `${sdk}export const a = defineTool({ run: (input: { a: string }) => input.a });\n`;

type Files = Readonly<Record<string, string | Uint8Array>>;

/** Files of a project, and what is done in it; `DIR` stands for its directory. */
const cases: Readonly<Record<string, readonly [files: Files, words?: readonly string[]]>> = {
  ARC1002: [{ "arc.toml": toml, "src/a.ts": "export const a = ;\n" }],
  ARC1003: [{ "arc.toml": toml, "src/a.ts": `${good}import type { C } from "./c.ts";\nexport type D = C;\n` }],
  ARC1004: [{ "arc.toml": toml, "package.json": '{"dependencies":{"left-pad":"1.0.0"}}', "src/a.ts": `${good}import pad from "left-pad";\nconsole.log(pad);\n` }],
  ARC1051: [{ "arc.toml": toml, "src/a.ts": "export const a = 1;\n" }],
  ARC1054: [{ "arc.toml": toml, "tsconfig.json": '{"compilerOptions":{"experimentalDecorators":true}}', "src/a.ts": good }],
  ARC1056: [{ "arc.toml": toml, "src/a.ts": `${good}@aria({ name: "y" })\nexport class B {}\n` }],
  ARC1080: [{ "src/a.ts": good }],
  ARC1081: [{ "arc.toml": "[bundle\nname = ", "src/a.ts": good }],
  ARC1082: [{ "arc.toml": '[bundle]\nnmae = "x"\n[dependncies]\n', "src/a.ts": good }],
  ARC1083: [{ "arc.toml": `${toml}version = "one"\n[dependencies]\norders = "newest"\n`, "src/a.ts": good }],
  ARC1084: [{ "arc.toml": toml }],
  ARC1090: [{ "arc.toml": toml, "src/a.ts": `${sdk}import table from "./t.csv" with { type: "text" };\nexport const a = defineTool({ run: () => table });\n`, "src/t.csv": "a,b" }, ["build", "DIR"]],
  ARC1091: [{ "arc.toml": toml, "src/a.ts": `${sdk}const addon: unknown = require("./x.node");\nexport const a = defineTool({ run: () => String(addon) });\n`, "src/x.node": "\u007fELF" }, ["build", "DIR"]],
  ARC1092: [{ "arc.toml": toml, "src/a.ts": `${sdk}export const a = defineTool({ run: () => new URL("./nope.wasm", import.meta.url).pathname });\n` }, ["build", "DIR"]],
  ARC1093: [{ "arc.toml": toml, "src/a.ts": `${sdk}export const a = defineTool({ run: () => new URL("./zeros.bin", import.meta.url).pathname });\n`, "src/zeros.bin": new Uint8Array(4 << 20) }, ["build", "DIR"]],
  ARC1094: [{ "arc.toml": toml, "src/a.ts": `${sdk}import { x } from "./m.ts" with { type: "macro" };\nexport const a = defineTool({ run: () => x() });\n`, "src/m.ts": "export const x = (): number => 1;\n" }, ["build", "DIR"]],
  ARC1100: [{ "mine.txt": "mine" }, ["new", "DIR"]],
  ARC1102: [{ "arc.toml": toml, "src/a.ts": good, "there/file": "x" }, ["build", "DIR", "--out", "DIR/there"]],
  ARC1103: [{}, ["inspect", "DIR/none.aria"]],
  ARC1105: [{ "arc.toml": toml, "src/a.ts": `${sdk}import { x } from "../../beside.ts";\nexport const a = defineTool({ run: () => x });\n`, "../beside.ts": "export const x = 1;\n" }, ["build", "DIR", "--reproducible"]],
  ARC1104: [{ "no.aria": "hello" }, ["inspect", "DIR/no.aria"]],
};

for (const [id, [files, words = ["check", "DIR"]]] of Object.entries(cases)) {
  test(`${id} as a person sees it`, async () => {
    const root = join(scratch, id);
    mkdirSync(root);
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), content);
    }
    const { code, stdout, stderr } = await arc(words.map((word) => word.replace("DIR", root)));
    expect([code === 0, stdout]).toEqual([false, ""]);
    expect(stderr).toContain(id);
    // Sizes of what is built change with the code around it.
    expect(`exit ${code}\n${stderr.replaceAll(root, "DIR").replace(/\b\d{4,}\b/g, "N")}`).toMatchSnapshot();
  });
}

test("every id of the compiler has a golden text and an explanation", () => {
  const fixtures = join(import.meta.dir, "../fixtures/errors/src");
  const bare = explanations.filter(({ code }) => !Object.hasOwn(cases, code) && !existsSync(join(fixtures, `${code}.ts`))).map(({ code }) => code);
  expect(bare).toEqual([]);
  const golden = ["goldens", "diagnostics"].map((name) => readFileSync(join(import.meta.dir, `__snapshots__/${name}.test.ts.snap`), "utf8")).join("\n");
  expect(explanations.filter(({ code }) => !golden.includes(`exports[\`${code}`)).map(({ code }) => code)).toEqual([]);
  expect(explanations.filter(({ title, text }) => title.length <= 3 || text.length <= 40)).toEqual([]);
});
