//! Tools to JavaScript: one self-contained module per tool, with its source map, the same bytes wherever it is built.
//!
//! The entry of each tool is generated and kept in memory. Paths of the machine must not reach the output: `__dirname`
//! becomes the place in the sandbox, source maps name files relative to the project.

import { readFileSync } from "node:fs";
import { join, relative, resolve, sep } from "node:path";
import type { BunPlugin } from "bun";

import { sdkDirectory } from "./assets.ts";
import { CompileError, type Diagnostic } from "./diagnostics.ts";
import type { TarEntry } from "../bundle/tar.ts";

/** Where the code layer is mounted. */
const APP = "/app";

export interface EntryPoint {
  /** Path in the bundle, for example `code/forecast.js`. */
  readonly path: string;
  /** Source of the entry module. It imports the project's files as `aria:project/<path>`. */
  readonly source: string;
}

/** Bundles every entry. The result holds the modules, their maps and the assets they refer to. */
export async function bundle(root: string, entries: readonly EntryPoint[]): Promise<TarEntry[]> {
  const byName = new Map(entries.map((entry) => [entry.path.replace(/^code\//, "").replace(/\.js$/, ""), entry]));
  const assets = new Map<string, Uint8Array>();
  const result = await Bun.build({
    entrypoints: [...byName.keys()].map((name) => `aria:entry/${name}`),
    root,
    target: "bun",
    format: "esm",
    sourcemap: "external",
    // White space only: names stay for stack traces, and the comments that name files by their place on this machine go.
    minify: { whitespace: true, syntax: false, identifiers: false },
    throw: false,
    define: { __dirname: JSON.stringify(`${APP}/code`), __filename: JSON.stringify(`${APP}/code/module.js`) },
    naming: { entry: "[name].[ext]", asset: "assets/[name]-[hash].[ext]" },
    plugins: [plugin(root, byName, assets)],
  });
  if (!result.success) throw new CompileError(result.logs.filter((log) => log.level === "error").map((log) => diagnosticOf(root, log)));
  const files: TarEntry[] = [];
  for (const output of result.outputs) {
    const path = `code/${output.path.replace(/^\.?\//, "")}`;
    if (output.kind === "entry-point") files.push({ path, bytes: utf8(cleanCode(await output.text(), path)) });
    else if (output.kind === "sourcemap") files.push({ path, bytes: utf8(cleanMap(await output.text(), root)) });
    else files.push({ path, bytes: new Uint8Array(await output.arrayBuffer()) });
  }
  for (const [name, bytes] of assets) files.push({ path: `code/assets/${name}`, bytes });
  refuseMachinePaths(root, files);
  return files;
}

function plugin(root: string, entries: ReadonlyMap<string, EntryPoint>, assets: Map<string, Uint8Array>): BunPlugin {
  return {
    name: "aria",
    setup(build) {
      build.onResolve({ filter: /^aria:entry\// }, ({ path }) => ({ path: path.slice("aria:entry/".length), namespace: "aria" }));
      build.onLoad({ filter: /.*/, namespace: "aria" }, ({ path }) => ({ contents: entries.get(path)?.source ?? "", loader: "js" }));
      build.onResolve({ filter: /^aria:project\// }, ({ path }) => ({ path: join(root, path.slice("aria:project/".length)) }));
      build.onResolve({ filter: /^@aria\/sdk$/ }, () => ({ path: "index.ts", namespace: "aria-sdk" }));
      build.onResolve({ filter: /^\.\//, namespace: "aria-sdk" }, ({ path }) => ({ path: path.slice(2), namespace: "aria-sdk" }));
      build.onLoad({ filter: /.*/, namespace: "aria-sdk" }, ({ path }) => ({ contents: sdkSource(path), loader: "ts" }));
      build.onLoad({ filter: /\.node$/ }, ({ path }) => {
        throw new Error(`native addon ${relative(root, path)}`);
      });
    },
  };
}

/** A file of the SDK. The bundler keeps comments that begin with `!`, and these are not for the sandbox. */
function sdkSource(name: string): string {
  return readFileSync(join(sdkDirectory, name), "utf8").replace(/^\/\/!/gm, "//");
}

/** The map is linked by name so that the runtime maps stack traces by itself; the debug id would be noise. */
function cleanCode(code: string, path: string): string {
  const body = code.replace(/\n\/\/# (?:debugId|sourceMappingURL)=.*(?=\n|$)/g, "").trimEnd();
  return `${body}\n\n//# sourceMappingURL=${path.split("/").at(-1)}.map\n`;
}

interface SourceMap {
  sources: string[];
  sourcesContent?: (string | null)[];
  debugId?: string;
}

/** Sources as the sandbox sees them: `../src/x.ts` from `/app/code/`. The SDK and dependencies get names of their own. */
function cleanMap(text: string, root: string): string {
  const map = JSON.parse(text) as SourceMap;
  delete map.debugId;
  map.sources = map.sources.map((source) => sourceName(source, root));
  return JSON.stringify(map);
}

function sourceName(source: string, root: string): string {
  const virtual = /^(aria|aria-sdk):(.*)$/.exec(source);
  if (virtual) return `../${virtual[1]}/${virtual[2]}`;
  const path = resolve(root, source);
  const at = path.lastIndexOf("/node_modules/");
  if (at !== -1) return `..${path.slice(at)}`;
  return `../${relative(root, path).replaceAll("../", "")}`;
}

function refuseMachinePaths(root: string, files: readonly TarEntry[]): void {
  const needle = Buffer.from(root);
  for (const file of files) {
    if (root.length > 1 && Buffer.from(file.bytes).includes(needle)) throw new CompileError([{ id: "ARC1090", message: `${file.path} would hold the path of this machine (${root})` }]);
  }
}

function diagnosticOf(root: string, log: BuildMessage | ResolveMessage): Diagnostic {
  const { position } = log;
  const native = /native addon (.*)/.exec(log.message)?.[1];
  const message = native === undefined ? log.message : `${native} is a native addon, it cannot run in the sandbox`;
  const file = position && position.file !== "" ? relative(root, resolve(root, position.file)).split(sep).join("/") : undefined;
  const span = position && file !== undefined && !file.startsWith("..") ? { span: { file, line: position.line, column: position.column + 1, endLine: position.line, endColumn: position.column + 1 + Math.max(1, position.length) } } : {};
  return { id: native === undefined ? "ARC1090" : "ARC1091", message, ...span };
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

