//! A TypeScript program over a project: which files, which options, where types come from.
//!
//! The project's tsconfig.json is honoured except where arc must know better: strictness, the module system, and that
//! `@aria/sdk` and Bun's types are those arc carries, so a project type-checks without a network or `node_modules`.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import ts from "typescript";

import { sdkEntry, typeRoot } from "../assets.ts";
import type { Diagnostic } from "../diagnostics.ts";
import { offlineTsconfig } from "../offline.ts";

/** Options that arc decides. A project cannot weaken them. */
function forced(user: ts.CompilerOptions, root: string): ts.CompilerOptions {
  const types = typeRoot();
  const userTypes = (user.types ?? []).filter((name) => name !== "bun" && name !== "bun-types" && name !== "@types/bun" && name !== "*");
  return {
    ...user,
    strict: true,
    strictNullChecks: true,
    noImplicitAny: true,
    strictPropertyInitialization: user.strictPropertyInitialization ?? true,
    target: ts.ScriptTarget.ESNext,
    module: ts.ModuleKind.Preserve,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    moduleDetection: ts.ModuleDetectionKind.Force,
    lib: user.lib ?? ["lib.esnext.d.ts"],
    resolveJsonModule: true,
    allowImportingTsExtensions: true,
    allowArbitraryExtensions: true,
    esModuleInterop: true,
    isolatedModules: true,
    skipLibCheck: true,
    noEmit: true,
    composite: false,
    incremental: false,
    declaration: false,
    noErrorTruncation: false,
    typeRoots: [types, join(types, "@types"), join(root, "node_modules/@types")],
    types: ["bun-types", ...userTypes],
    paths: { ...user.paths, "@aria/sdk": [sdkEntry] },
  };
}

export interface ProjectProgram {
  readonly program: ts.Program;
  readonly diagnostics: readonly Diagnostic[];
  /** Files that `tsconfig.json` is made of. */
  readonly configs: readonly string[];
}

/** What one compile leaves to the next of the same project: files that did not change are neither parsed nor bound again. */
export class Memory {
  program: ts.Program | undefined;
  readonly files = new Map<string, { readonly text: string; readonly source: ts.SourceFile }>();
}

/** `files` are absolute paths. Nothing is written. */
export function createProgram(root: string, files: readonly string[], memory?: Memory): ProjectProgram {
  const { options, diagnostics, configs } = readOptions(root);
  const forcedOptions = forced(options, root);
  const host = createHost(forcedOptions);
  if (memory !== undefined) remember(host, memory, root);
  const program = ts.createProgram({ rootNames: [...files], options: forcedOptions, host, ...(memory?.program === undefined ? {} : { oldProgram: memory.program }) });
  if (memory !== undefined) memory.program = program;
  return { program, diagnostics, configs };
}

/** A file with the same text is the same `SourceFile`, which is what lets TypeScript keep what it knows of it. */
function remember(host: ts.CompilerHost, memory: Memory, root: string): void {
  const parse = host.getSourceFile.bind(host);
  host.getSourceFile = (name, version, onError, fresh) => {
    if (isCarried(name)) return parse(name, version, onError, fresh);
    const text = host.readFile(name);
    const known = memory.files.get(name);
    if (known !== undefined && known.text === text) return known.source;
    const source = parse(name, version, onError, fresh);
    if (source === undefined) memory.files.delete(name);
    else memory.files.set(name, { text: source.text, source });
    return source;
  };
  // An import that led nowhere may lead somewhere now, and the other way round.
  host.hasInvalidatedResolutions = (path) => path.startsWith(root);
}

/** Files that come with arc: the same in every project, and never edited. */
export function isCarried(name: string): boolean {
  return name.startsWith(`${typeRoot()}/`) || name.startsWith(`${libraryDirectory}/`);
}

const libraryDirectory = dirname(ts.getDefaultLibFilePath({}));

/** Parsed files of TypeScript and Bun: most of what is parsed, and the same for every project of one process. */
const library = new Map<string, ts.SourceFile>();

/** Doc comments of the library are never asked for; not parsing them halves the time to the first finding. */
function createHost(options: ts.CompilerOptions): ts.CompilerHost {
  const host = ts.createCompilerHost(options, false);
  const read = host.getSourceFile.bind(host);
  host.getSourceFile = (name, version, onError, fresh) => {
    if (!isCarried(name)) return read(name, version, onError, fresh);
    const settings = typeof version === "object" ? version : { languageVersion: version };
    const key = `${settings.impliedNodeFormat ?? ""} ${name}`;
    const source = library.get(key) ?? read(name, { ...settings, jsDocParsingMode: ts.JSDocParsingMode.ParseNone }, onError, fresh);
    if (source) library.set(key, source);
    return source;
  };
  return host;
}

function readOptions(root: string): { options: ts.CompilerOptions; diagnostics: Diagnostic[]; configs: string[] } {
  const path = join(root, "tsconfig.json");
  if (!existsSync(path)) return { options: {}, diagnostics: [], configs: [] };
  const configs: string[] = [];
  const offline = join(root, ".arc/tsconfig.json");
  // The base that editors read may not be written yet; its text is known.
  const readFile = (file: string): string | undefined => {
    if (file === offline) return offlineTsconfig();
    configs.push(file);
    return ts.sys.readFile(file);
  };
  const fileExists = (file: string): boolean => file === offline || ts.sys.fileExists(file);
  const parsed = ts.readConfigFile(path, readFile);
  if (parsed.error) return { options: {}, diagnostics: [configDiagnostic(parsed.error)], configs };
  const host: ts.ParseConfigHost = { useCaseSensitiveFileNames: true, readDirectory: () => [], fileExists, readFile };
  const config = ts.parseJsonConfigFileContent(parsed.config, host, root, {}, path);
  // "No inputs were found": arc finds the sources itself.
  const errors = config.errors.filter((error) => error.code !== 18003 && error.code !== 18002);
  return { options: config.options, diagnostics: [...errors.map(configDiagnostic), ...legacy(config.options)], configs };
}

function legacy(options: ts.CompilerOptions): Diagnostic[] {
  const on = (["experimentalDecorators", "emitDecoratorMetadata"] as const).filter((name) => options[name] === true);
  return on.map((name) => ({ id: "ARC1054", message: `tsconfig.json turns on ${name}`, hint: "remove it, standard decorators need no option" }));
}

function configDiagnostic(error: ts.Diagnostic): Diagnostic {
  return { id: "ARC1001", ts: error.code, message: `tsconfig.json: ${ts.flattenDiagnosticMessageText(error.messageText, " ")}` };
}
