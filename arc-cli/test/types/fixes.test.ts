//! The fix in a refusal can be pasted: put in place of the type at fault, the tool builds.

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { readCorpus } from "./corpus.ts";
import { Corpus, mapper } from "./judge.ts";
import { compile } from "../../src/compiler/compile.ts";
import type { Diagnostic } from "../../src/compiler/diagnostics.ts";

// Two programs over the refused cases, and tests run beside other work.
setDefaultTimeout(120_000);

const refused = readCorpus().filter((item) => item.refused.length > 0);
const root = mkdtempSync(join(tmpdir(), "arc-fixes-"));

/** The code that a hint offers, if it offers any. */
function fixIn({ hint = "" }: Diagnostic): string | undefined {
  return /^(?:write|await it inside the tool and write|put the rest last:)[^`]*`([^`]+)`/.exec(hint)?.[1];
}

function pasted(text: string, { span }: Diagnostic, fix: string): string {
  const lines = text.split("\n");
  const at = (line: number, column: number): number => lines.slice(0, line - 1).reduce((sum, { length }) => sum + length + 1, 0) + column - 1;
  return span ? text.slice(0, at(span.line, span.column)) + fix + text.slice(at(span.endLine, span.endColumn)) : text;
}

test("every refusal says what to do, and what can be pasted builds", () => {
  using corpus = new Corpus(refused);
  const { diagnostics, read } = corpus.map(mapper);
  expect(diagnostics.filter(({ id, hint }) => id !== "ARC1070" && id !== "ARC1071" && id !== "ARC1020" && !hint)).toEqual([]);
  mkdirSync(join(root, "src"));
  writeFileSync(join(root, "arc.toml"), '[bundle]\nname = "fixes"\n');
  writeFileSync(join(root, "src/shared.ts"), read("src/shared.ts") ?? "");
  const tried = refused.flatMap(({ id, name }) => {
    const [finding] = diagnostics.filter(({ span }) => span?.file === `src/${id}.ts`);
    const fix = finding && fixIn(finding);
    if (!finding || fix === undefined) return [];
    const imports = /\bJson(Value|Object)\b/.exec(fix) ? `import type { ${fix} } from "@aria/sdk";\n` : "";
    writeFileSync(join(root, `src/${id}.ts`), imports + pasted(read(`src/${id}.ts`) ?? "", finding, fix));
    return [{ file: `src/${id}.ts`, name, fix }];
  });
  const left = compile(root).diagnostics.map(({ id, span, message }) => `${tried.find(({ file }) => file === span?.file)?.name}: ${id} ${message}`);
  rmSync(root, { recursive: true });
  expect(left).toEqual([]);
  expect(tried.length).toBeGreaterThan(40);
});
