//! Tools to JavaScript: one self-contained module per tool, with its source map, the same bytes wherever it is built.
//!
//! The entry of each tool is generated and kept in memory. Paths of the machine must not reach the output: `__dirname`
//! is asked for at run time, comments that name files are dropped, source maps name files as the sandbox sees them.

import { readFileSync } from "node:fs";
import { join, relative, resolve, sep } from "node:path";
import type { BunPlugin } from "bun";

import { byPathBytes, type TarEntry } from "../bundle/tar.ts";
import { ASSET_IMPORT, Assets, TEXTS } from "./asset.ts";
import { sdkDirectory } from "./assets.ts";
import { CompileError, type Diagnostic } from "./diagnostics.ts";

/** A module to be made. Its source imports files of the project as `aria:project/<path>`. */
export interface EntryPoint {
  /** Path in the bundle, for example `code/forecast.js`. */
  readonly path: string;
  readonly source: string;
}

/** A file that is itself the entry, absolute, and its path in the bundle. */
export interface EntryFile {
  readonly path: string;
  readonly file: string;
}

export interface Bundled {
  /** Modules, maps and assets, below `code/`. */
  readonly code: readonly TarEntry[];
  /** The author's own files that went in, below `src/`. */
  readonly sources: readonly TarEntry[];
  /** Absolute paths of the files that were read for it. */
  readonly inputs: readonly string[];
}

/** What `__dirname` and `__filename` become; one line that stays, empty, where nothing asks for them. */
const PLACES = "const __aria_dirname=import.meta.dirname,__aria_filename=import.meta.filename;";

/**
 * A macro is code of a project that the bundler would run on the machine that builds; arc runs none. The option is not in
 * the types of Bun: a test asserts that it is obeyed.
 */
const NO_MACROS: object = { macros: false };

/** Stands in an entry's source for whether the module's code names `stdout` or `stderr`. */
export const STREAMS = "__aria_streams";

/** Sources of a project that are not below its `src/`. */
export const BESIDE = "src/_/";

/**
 * Bundles every entry. `root` is the directory of the project; nothing below it is written. `texts` stands in for files of
 * the project, by their path relative to it.
 */
export async function bundle(root: string, entries: readonly EntryPoint[], texts: ReadonlyMap<string, string> = new Map()): Promise<Bundled> {
  const byName = new Map(entries.map((entry) => [nameOf(entry.path), entry.source]));
  return run({ root, entrypoints: [...byName.keys()].map((name) => `aria:entry/${name}`), naming: "[name].[ext]", entries: byName, texts, beside: BESIDE });
}

/** Bundles one file that is a program: nothing wraps it. */
export async function bundleFile(root: string, { path, file }: EntryFile): Promise<Bundled> {
  return run({ root, entrypoints: [file], naming: `${nameOf(path)}.[ext]`, entries: new Map(), texts: new Map(), beside: "src/" });
}

function nameOf(path: string): string {
  return path.replace(/^code\//, "").replace(/\.js$/, "");
}

interface Job {
  readonly root: string;
  readonly entrypoints: string[];
  readonly naming: string;
  /** Sources of generated entries by name. */
  readonly entries: ReadonlyMap<string, string>;
  readonly texts: ReadonlyMap<string, string>;
  /** Where sources lie in the bundle that are not below `src/` of the root. */
  readonly beside: string;
}

async function run(job: Job): Promise<Bundled> {
  const { root, entrypoints, naming } = job;
  const assets = new Assets();
  const inputs = new Set<string>();
  const result = await Bun.build({
    entrypoints,
    root,
    target: "bun",
    format: "esm",
    sourcemap: "external",
    // White space only: names stay for stack traces, and the comments that name files by their place on this machine go.
    minify: { whitespace: true, syntax: false, identifiers: false },
    throw: false,
    banner: PLACES,
    // What runs on the device is decided by the sources, never by the environment of whoever builds.
    define: { __dirname: "__aria_dirname", __filename: "__aria_filename", "process.env.NODE_ENV": '"production"' },
    env: "disable",
    ...NO_MACROS,
    naming: { entry: naming },
    loader: Object.fromEntries(TEXTS.map((ending) => [`.${ending}`, "text"])),
    plugins: [plugin(job, assets, inputs)],
  });
  const errors = result.logs.filter((log) => log.level === "error").map((log) => diagnosticOf(root, log));
  errors.push(...assets.missing.map((missing): Diagnostic => ({ id: "ARC1092", message: `${relative(root, missing.file)}: ${JSON.stringify(missing.name)} ${missing.why}` })));
  if (errors.length > 0 || !result.success) throw new CompileError(errors);
  return collect(job, result.outputs, assets, inputs);
}

async function collect(job: Job, outputs: readonly Bun.BuildArtifact[], assets: Assets, inputs: ReadonlySet<string>): Promise<Bundled> {
  const code: TarEntry[] = [];
  const sources = new Map<string, TarEntry>();
  for (const output of outputs) {
    const path = `code/${output.path.replace(/^\.?\//, "")}`;
    if (output.kind === "sourcemap") {
      const { map, own } = cleanMap(await output.text(), job);
      code.push({ path, bytes: utf8(map) });
      for (const file of own) sources.set(file.path, file);
    } else if (output.kind === "entry-point") code.push({ path, bytes: utf8(cleanCode(await output.text(), path)) });
    else code.push({ path, bytes: new Uint8Array(await output.arrayBuffer()) });
  }
  for (const [name, bytes] of assets.files) code.push({ path: `code/${name}`, bytes });
  return { code: code.sort(byPathBytes), sources: [...sources.values()].sort(byPathBytes), inputs: [...inputs, ...assets.read] };
}

function plugin({ root, entries, texts }: Job, assets: Assets, inputs: Set<string>): BunPlugin {
  const own = (path: string): boolean => path.startsWith(root + sep) && !path.includes("/node_modules/");
  return {
    name: "aria",
    setup(build) {
      build.onLoad({ filter: /./ }, ({ path }) => void inputs.add(path));
      build.onResolve({ filter: /^aria:entry\// }, ({ path }) => ({ path: path.slice("aria:entry/".length), namespace: "aria" }));
      build.onLoad({ filter: /.*/, namespace: "aria" }, ({ path }) => ({ contents: entries.get(path) ?? "", loader: "js" }));
      build.onResolve({ filter: /^aria:project\// }, ({ path }) => ({ path: resolve(root, path.slice("aria:project/".length)) }));
      build.onResolve({ filter: /^@aria\/sdk$/ }, () => ({ path: "index.ts", namespace: "aria-sdk" }));
      build.onResolve({ filter: /^aria-sdk:/ }, ({ path }) => ({ path: path.slice("aria-sdk:".length), namespace: "aria-sdk" }));
      build.onLoad({ filter: /.*/, namespace: "aria-sdk" }, ({ path }) => ({ contents: sdkSource(path), loader: "ts" }));
      build.onLoad({ filter: /\.node$/ }, ({ path }) => {
        throw new Error(`native addon ${relative(root, path)}`);
      });
      build.onLoad({ filter: ASSET_IMPORT }, ({ path }) => ({ contents: assets.module(path), loader: "js" }));
      build.onLoad({ filter: /\.[cm]?[jt]sx?$/ }, ({ path }) => {
        const text = texts.get(relative(root, path).split(sep).join("/"));
        const source = text ?? readFileSync(path, "utf8");
        const file = own(path) ? textOfAsset(source) : undefined;
        if (file !== undefined) throw new Error(`${JSON.stringify(file)} is imported for its path, so its text is read at run time: import it without \`type: "text"\` and read the file`);
        const contents = assets.rewrite(path, source, own(path)) ?? text;
        return contents === undefined ? undefined : { contents, loader: loaderOf(path) };
      });
    },
  };
}

/** A file whose text is asked for although its import gives a path; a plugin is not told of the attribute. */
function textOfAsset(source: string): string | undefined {
  const asked = source.matchAll(/^\s*import\s[^;"'`]*?from\s*["'](\.[^"'\n]+)["']\s*with\s*\{\s*["']?type["']?\s*:\s*["']text["']/gm);
  return [...asked].map(([, name = ""]) => name).find((name) => ASSET_IMPORT.test(name));
}

function loaderOf(path: string): "ts" | "tsx" | "jsx" {
  if (path.endsWith(".tsx")) return "tsx";
  return /\.[cm]?ts$/.test(path) ? "ts" : "jsx";
}

/**
 * A file of the SDK, whose imports stay in its namespace. The bundler keeps comments that begin with `!`, and these are
 * not for the sandbox.
 */
function sdkSource(name: string): string {
  return readFileSync(join(sdkDirectory, name), "utf8")
    .replace(/^\/\/!/gm, "//")
    .replace(/(from\s+")\.\//g, "$1aria-sdk:");
}

/** The map is linked by name so that the runtime maps stack traces by itself; the debug id would be noise. */
function cleanCode(code: string, path: string): string {
  const linked = code.replace(/\n\/\/# (?:debugId|sourceMappingURL)=.*(?=\n|$)/g, "").trimEnd();
  // The entry is last, so a longer or shorter word there moves nothing that a map names.
  const body = linked.replace(`"${STREAMS}"`, String(/\bstd(?:out|err)\b/.test(linked)));
  const used = body.replace(PLACES, "").includes("__aria_") ? body : body.replace(PLACES, "");
  return `${used}\n//# sourceMappingURL=${path.split("/").at(-1)}.map\n`;
}

interface SourceMap {
  sources: string[];
  sourcesContent?: (string | null)[];
  debugId?: string;
}

/** Sources named relative to `/app/code/`, and the text of those that are the author's. */
function cleanMap(text: string, job: Job): { map: string; own: TarEntry[] } {
  const map = JSON.parse(text) as SourceMap;
  const own: TarEntry[] = [];
  delete map.debugId;
  map.sources = map.sources.map((source, i) => {
    const name = sourceName(source, job);
    const content = map.sourcesContent?.[i];
    if (name.startsWith("src/") && /\.([cm]?[jt]sx?|json)$/.test(name) && typeof content === "string") own.push({ path: name, bytes: utf8(content) });
    return `../${name}`;
  });
  return { map: JSON.stringify(map), own };
}

/** Where a source lies in the bundle. */
function sourceName(source: string, { root, beside }: Job): string {
  const virtual = /^(aria|aria-sdk):(.*)$/.exec(source);
  if (virtual) return `${virtual[1]}/${virtual[2]}`;
  // The bundler names sources relative to the directory arc was started in.
  return placeOf(relative(root, resolve(process.cwd(), source)).split(sep).join("/"), beside);
}

/** Where a file of the project lies in the bundle, given its path relative to the project. */
export function placeOf(path: string, beside: string): string {
  const at = `/${path}`.lastIndexOf("/node_modules/");
  if (at !== -1) return `/${path}`.slice(at + 1);
  return path.startsWith("src/") ? path : `${beside}${path.replaceAll("../", "up/")}`;
}

function diagnosticOf(root: string, log: BuildMessage | ResolveMessage): Diagnostic {
  const { position } = log;
  const native = /native addon (.*)/.exec(log.message)?.[1];
  const macro = /^(?:Macros are disabled|For security reasons, macros |export from cannot be used with "type": "macro")/.test(log.message);
  const message = native !== undefined ? `${native} is a native addon, it cannot run in the sandbox` : macro ? "a macro would run on the machine that builds; arc runs no code of a project" : log.message.replaceAll(`${root}/`, "");
  const file = position && position.file !== "" ? relative(root, resolve(root, position.file)).split(sep).join("/") : undefined;
  const id = native !== undefined ? "ARC1091" : macro ? "ARC1094" : log.name === "ResolveMessage" ? "ARC1003" : "ARC1090";
  // No package manager brings a file of the project.
  const fix = id === "ARC1003" && /"[./]/.test(log.message) ? { fix: [] } : {};
  if (!position || file === undefined || file.startsWith("aria:")) return { id, message, ...fix };
  const { line, column, length } = position;
  return { id, message, ...fix, span: { file, line, column, endLine: line, endColumn: column + Math.max(1, length) } };
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
