//! The TypeOracle over TypeScript's classic compiler API.

import { existsSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import ts from "typescript";

import type { Diagnostic, DiagnosticId } from "../diagnostics.ts";
import type { Findings, TypeOracle } from "../oracle.ts";
import { createFlows } from "./flows.ts";
import { isOwn, isSdk, projectPath, Reporter, spanBetween } from "./place.ts";
import { createProgram, isCarried, type Memory } from "./program.ts";
import { ToolFinder } from "./tools.ts";

const CANNOT_FIND_MODULE = new Set([2307, 2792, 2732, 7016]);

export interface OracleOptions {
  readonly root: string;
  /** Absolute paths. */
  readonly files: readonly string[];
  readonly onlyExported: boolean;
  /** Names in `package.json` that are not installed. */
  readonly missing: ReadonlySet<string>;
  /** Of the compile before this one. */
  readonly memory?: Memory | undefined;
}

export function createOracle(options: OracleOptions): TypeOracle {
  const { program, diagnostics, configs } = createProgram(options.root, options.files, options.memory);
  const files = program.getSourceFiles();
  return {
    check: () => [...diagnostics, ...check(program, options)],
    find: () => findIn(program, options),
    flows: createFlows(program),
    sources: () =>
      files
        .filter((source) => isOwn(options.root, source))
        .map((source) => ({ file: projectPath(options.root, source.fileName), text: source.text })),
    dependencies: () => [...configs, ...files.filter((source) => !isOwn(options.root, source) && !isCarried(source.fileName) && !isSdk(source)).map((source) => source.fileName)],
    read: (file) => program.getSourceFile(join(options.root, file))?.text,
  };
}

function check(program: ts.Program, options: OracleOptions): Diagnostic[] {
  const found: Diagnostic[] = program.getConfigFileParsingDiagnostics().concat(program.getOptionsDiagnostics(), program.getGlobalDiagnostics()).map((error) => translate(error, options));
  for (const source of program.getSourceFiles()) {
    if (!isOwn(options.root, source)) continue;
    const syntax = program.getSyntacticDiagnostics(source);
    found.push(...syntax.map((error) => translate(error, options, "ARC1002")));
    // Types of a file that is no TypeScript are noise.
    if (syntax.length === 0) found.push(...program.getSemanticDiagnostics(source).map((error) => translate(error, options)));
  }
  return found;
}

function translate(error: ts.Diagnostic, options: OracleOptions, id: DiagnosticId = "ARC1001"): Diagnostic {
  const message = ts.flattenDiagnosticMessageText(error.messageText, "\n  ");
  const span = error.file && error.start !== undefined ? spanBetween(options.root, error.file, error.start, error.start + (error.length ?? 0)) : undefined;
  const place = span === undefined ? {} : { span };
  if (CANNOT_FIND_MODULE.has(error.code)) return { ...unresolved(error, message, options), ...place };
  return { id, ts: error.code, message, ...place };
}

function unresolved(error: ts.Diagnostic, message: string, options: OracleOptions): Diagnostic {
  const specifier = /'([^']+)'/.exec(message)?.[1] ?? "";
  const name = specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1).join("/");
  if (options.missing.has(name)) {
    return { id: "ARC1004", message: `dependency ${name} is not installed, so its types are not known`, hint: "run `bun install` in the project" };
  }
  if (error.code === 7016) {
    return { id: "ARC1003", ts: error.code, message: `${name} has no types, everything from it would be \`any\``, hint: `add its types (bun add --dev @types/${name.replace(/^@/, "").replace("/", "__")}) or declare the module in a .d.ts file` };
  }
  const relative = specifier.startsWith(".") || specifier.startsWith("/");
  const ending = extname(specifier);
  if (relative && ending !== "" && error.file && existsSync(resolve(dirname(error.file.fileName), specifier))) {
    const hint = `read it from new URL(${JSON.stringify(specifier)}, import.meta.url), or name it .txt to import its text`;
    return { id: "ARC1003", ts: error.code, message: `${JSON.stringify(specifier)} is there, but a ${ending} file has no types to import`, hint, fix: [] };
  }
  return {
    id: "ARC1003",
    ts: error.code,
    message: `cannot find ${JSON.stringify(specifier)}`,
    // No package manager brings a file of the project.
    ...(relative ? { fix: [] } : {}),
    hint: relative ? "check the path; it is relative to this file" : `add it to the project: bun add ${name}`,
  };
}

/** What the oracle finds, in a program that is already made. */
export function findIn(program: ts.Program, options: OracleOptions): Findings {
  const reporter = new Reporter(options.root);
  const finder = new ToolFinder(program, reporter, options.files, options.onlyExported);
  finder.run();
  const order = new Map(options.files.map((file, i) => [projectPath(options.root, file), i]));
  const tools = [...finder.tools].sort((a, b) => (order.get(a.access.file) ?? 0) - (order.get(b.access.file) ?? 0));
  return { tools, composites: finder.composites.found, aria: finder.aria, marks: finder.marks, diagnostics: reporter.diagnostics };
}
