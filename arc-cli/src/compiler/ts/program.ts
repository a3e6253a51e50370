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
}

/** `files` are absolute paths. Nothing is written. */
export function createProgram(root: string, files: readonly string[]): ProjectProgram {
  const { options, diagnostics } = readOptions(root);
  const forcedOptions = forced(options, root);
  const program = ts.createProgram({ rootNames: [...files], options: forcedOptions, host: createHost(forcedOptions) });
  return { program, diagnostics };
}

/** Parsed files of TypeScript and Bun: most of what is parsed, and the same for every project of one process. */
const library = new Map<string, ts.SourceFile>();

/** Doc comments of the library are never asked for; not parsing them halves the time to the first finding. */
function createHost(options: ts.CompilerOptions): ts.CompilerHost {
  const host = ts.createCompilerHost(options, false);
  const types = typeRoot();
  const base = dirname(host.getDefaultLibFileName(options));
  const read = host.getSourceFile.bind(host);
  host.getSourceFile = (name, version, onError, fresh) => {
    if (!name.startsWith(`${types}/`) && !name.startsWith(`${base}/`)) return read(name, version, onError, fresh);
    const settings = typeof version === "object" ? version : { languageVersion: version };
    const key = `${settings.impliedNodeFormat ?? ""} ${name}`;
    const source = library.get(key) ?? read(name, { ...settings, jsDocParsingMode: ts.JSDocParsingMode.ParseNone }, onError, fresh);
    if (source) library.set(key, source);
    return source;
  };
  return host;
}

function readOptions(root: string): { options: ts.CompilerOptions; diagnostics: Diagnostic[] } {
  const path = join(root, "tsconfig.json");
  if (!existsSync(path)) return { options: {}, diagnostics: [] };
  const offline = join(root, ".arc/tsconfig.json");
  // The base that editors read may not be written yet; its text is known.
  const readFile = (file: string): string | undefined => (file === offline ? offlineTsconfig() : ts.sys.readFile(file));
  const fileExists = (file: string): boolean => file === offline || ts.sys.fileExists(file);
  const parsed = ts.readConfigFile(path, readFile);
  if (parsed.error) return { options: {}, diagnostics: [configDiagnostic(parsed.error)] };
  const host: ts.ParseConfigHost = { useCaseSensitiveFileNames: true, readDirectory: () => [], fileExists, readFile };
  const config = ts.parseJsonConfigFileContent(parsed.config, host, root, {}, path);
  // "No inputs were found": arc finds the sources itself.
  const errors = config.errors.filter((error) => error.code !== 18003 && error.code !== 18002);
  return { options: config.options, diagnostics: [...errors.map(configDiagnostic), ...legacy(config.options)] };
}

function legacy(options: ts.CompilerOptions): Diagnostic[] {
  const on = (["experimentalDecorators", "emitDecoratorMetadata"] as const).filter((name) => options[name] === true);
  return on.map((name) => ({ id: "ARC1054", message: `tsconfig.json turns on ${name}`, hint: "remove it, standard decorators need no option" }));
}

function configDiagnostic(error: ts.Diagnostic): Diagnostic {
  return { id: "ARC1001", ts: error.code, message: `tsconfig.json: ${ts.flattenDiagnosticMessageText(error.messageText, " ")}` };
}
