//! From nodes of the syntax tree to places people can find, and which files are the author's own.

import { relative, sep } from "node:path";
import ts from "typescript";

import { sdkDirectory } from "../assets.ts";
import type { Diagnostic, DiagnosticId, Span } from "../diagnostics.ts";

/** Collects findings about one project, each once. */
export class Reporter {
  readonly root: string;
  readonly #found = new Map<string, Diagnostic>();

  constructor(root: string) {
    this.root = root;
  }

  get diagnostics(): Diagnostic[] {
    return [...this.#found.values()];
  }

  report(id: DiagnosticId, node: ts.Node, message: string, hint?: string): void {
    this.add({ id, message, span: spanOf(this.root, node), ...(hint === undefined ? {} : { hint }) });
  }

  add(diagnostic: Diagnostic): void {
    const { span } = diagnostic;
    const key = `${diagnostic.id} ${span?.file}:${span?.line}:${span?.column} ${diagnostic.message}`;
    if (!this.#found.has(key)) this.#found.set(key, diagnostic);
  }
}

export function projectPath(root: string, file: string): string {
  return relative(root, file).split(sep).join("/");
}

export function spanOf(root: string, node: ts.Node): Span {
  const source = node.getSourceFile();
  return spanBetween(root, source, node.getStart(source), node.getEnd());
}

export function spanBetween(root: string, source: ts.SourceFile, start: number, end: number): Span {
  const from = source.getLineAndCharacterOfPosition(start);
  const to = source.getLineAndCharacterOfPosition(end);
  return { file: projectPath(root, source.fileName), line: from.line + 1, column: from.character + 1, endLine: to.line + 1, endColumn: to.character + 1 };
}

/** Whether a file was written by the author of the project: below its root, no dependency, no declaration. */
export function isOwn(root: string, source: ts.SourceFile): boolean {
  if (source.isDeclarationFile || isSdk(source)) return false;
  const path = projectPath(root, source.fileName);
  return !path.startsWith("../") && !path.split("/").includes("node_modules");
}

export function isSdk(source: ts.SourceFile): boolean {
  return source.fileName.startsWith(`${sdkDirectory}/`);
}

/** Whether a symbol is the one of this name that `@aria/sdk` exports, whatever it is called at the place of use. */
export function isSdkSymbol(checker: ts.TypeChecker, symbol: ts.Symbol | undefined, name: string): boolean {
  if (!symbol) return false;
  const real = (symbol.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(symbol) : symbol;
  return real.name === name && (real.declarations ?? []).some((declaration) => isSdk(declaration.getSourceFile()));
}
