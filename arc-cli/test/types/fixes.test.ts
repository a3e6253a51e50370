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
function fixIn({ id, hint = "" }: Diagnostic): string | undefined {
  // The place of a finding about a doc tag is the member, not the tag.
  if (id === "ARC1070" || id === "ARC1071") return undefined;
  return /^(?:write|await it inside the tool and write|put the rest last:)[^`]*`([^`]+)`/.exec(hint)?.[1];
}

function pasted(text: string, { span }: Diagnostic, fix: string): string {
  const lines = text.split("\n");
  const at = (line: number, column: number): number => lines.slice(0, line - 1).reduce((sum, { length }) => sum + length + 1, 0) + column - 1;
  return span ? text.slice(0, at(span.line, span.column)) + fix + text.slice(at(span.endLine, span.endColumn)) : text;
}

function offset({ span }: Diagnostic): number {
  return (span?.line ?? 0) * 10_000 + (span?.column ?? 0);
}

test("every refusal says what to do, and what can be pasted builds", () => {
  using corpus = new Corpus(refused);
  const { diagnostics, read } = corpus.map(mapper);
  expect(diagnostics.filter(({ hint }) => !hint)).toEqual([]);
  mkdirSync(join(root, "src"));
  writeFileSync(join(root, "arc.toml"), '[bundle]\nname = "fixes"\n');
  writeFileSync(join(root, "src/shared.ts"), read("src/shared.ts") ?? "");
  const tried = refused.flatMap(({ id, name }) => {
    const found = diagnostics.filter(({ span }) => span?.file === `src/${id}.ts`);
    const fixes = found.map((finding) => ({ finding, fix: fixIn(finding) ?? "" })).sort((a, b) => offset(b.finding) - offset(a.finding));
    if (fixes.length === 0 || fixes.some(({ fix }) => fix === "")) return [];
    const names = fixes.flatMap(({ fix }) => /\bJson(?:Value|Object)\b/.exec(fix)?.[0] ?? []);
    const imports = [...new Set(names)].map((imported) => `import type { ${imported} } from "@aria/sdk";\n`).join("");
    writeFileSync(join(root, `src/${id}.ts`), imports + fixes.reduce((text, { finding, fix }) => pasted(text, finding, fix), read(`src/${id}.ts`) ?? ""));
    return [{ file: `src/${id}.ts`, name }];
  });
  const left = compile(root).diagnostics.map(({ id, span, message }) => `${tried.find(({ file }) => file === span?.file)?.name}: ${id} ${message}`);
  rmSync(root, { recursive: true });
  expect(left).toEqual([]);
  expect(tried.length).toBeGreaterThan(40);
});
