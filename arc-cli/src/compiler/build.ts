//! A project to a bundle: compile, bundle, write, and read it back with the strict reader before anybody gets it.

import { join } from "node:path";

import { BESIDE, bundle, placeOf, STREAMS, type EntryPoint } from "./bundler.ts";
import type { Compiled, CompiledTool } from "./compile.ts";
import { CompileError } from "./diagnostics.ts";
import { BundleError } from "../bundle/error.ts";
import { authorityDigest, digestOf, interfaceDigest } from "../bundle/digest.ts";
import { openBundle, writeBundle, type Bundle } from "../bundle/layout.ts";
import type { Manifest, ToolManifest } from "../bundle/manifest.ts";
import { byPathBytes, type TarEntry } from "../bundle/tar.ts";
import { ARC_VERSION } from "../version.ts";

export interface Built {
  readonly bytes: Uint8Array;
  readonly bundle: Bundle;
  /** Absolute paths of every file that decided the bytes, except those arc carries. */
  readonly inputs: readonly string[];
  readonly interfaceDigest: string;
  readonly authorityDigest: string;
}

/** Long work, said step by step. */
export type Progress = (step: string) => void;

interface Declaration {
  readonly name: string;
  readonly title: string;
  readonly description: string;
}

/** What a check tells without building: the tools and the digests they will have. */
export interface Summary {
  readonly name: string;
  readonly version: string;
  readonly tools: readonly Declaration[];
  readonly agents: readonly Declaration[];
  readonly teams: readonly Declaration[];
  readonly pipelines: readonly Declaration[];
  readonly interfaceDigest: string;
  readonly authorityDigest: string;
}

/** What the manifest will say; which files there are is known when it is built. */
export function declaredBy(compiled: Compiled): Manifest {
  return { ...manifestOf(compiled, []), files: [] };
}

export function summarize(compiled: Compiled): Summary {
  const manifest = declaredBy(compiled);
  return {
    name: manifest.name,
    version: manifest.version,
    tools: manifest.tools.map(declaration),
    agents: manifest.agents.map(declaration),
    teams: manifest.teams.map(declaration),
    pipelines: manifest.pipelines.map(declaration),
    interfaceDigest: interfaceDigest(manifest),
    authorityDigest: authorityDigest(manifest),
  };
}

function declaration({ name, title, description }: Declaration): Declaration {
  return { name, title, description };
}

/** Builds the project at or above a directory. Throws `CompileError` with every finding. */
export async function build(from: string, progress: Progress = () => undefined): Promise<Built> {
  progress("reading types");
  // Loaded here alone: TypeScript is large, and a program of `arc exec` is built without it.
  const { compile } = await import("./compile.ts");
  return buildCompiled(compile(from), progress);
}

/** The second half of `build`, for a project that is already compiled. */
export async function buildCompiled(compiled: Compiled, progress: Progress = () => undefined): Promise<Built> {
  if (compiled.diagnostics.length > 0) throw new CompileError(compiled.diagnostics);
  const { root } = compiled.project;
  progress(`bundling ${compiled.tools.length} ${compiled.tools.length === 1 ? "tool" : "tools"}`);
  const bundled = await bundle(root, compiled.tools.map(entryOf), unmarked(compiled));
  const sources = allSources(compiled, bundled.sources);
  const manifest = manifestOf(compiled, sources);
  progress("compressing");
  const own = compiled.sources().map(({ file }) => join(root, file));
  return seal(manifest, [...bundled.code, ...sources], [...new Set([...own, ...compiled.dependencies(), ...bundled.inputs])]);
}

/** Writes the bundle and opens it again: what this arc made, every reader takes. */
export function seal(manifest: Omit<Manifest, "files">, files: readonly TarEntry[], inputs: readonly string[] = []): Built {
  try {
    const { bytes } = writeBundle(manifest, files);
    const opened = openBundle(bytes);
    return { bytes, bundle: opened, inputs, interfaceDigest: interfaceDigest(opened.manifest), authorityDigest: authorityDigest(opened.manifest) };
  } catch (error) {
    if (!(error instanceof BundleError)) throw error;
    throw new CompileError([{ id: "ARC1093", message: `the bundle would be refused: ${error.message} (${error.reason})` }]);
  }
}

/** What the bundle says about itself, but for the list of its files. */
export function manifestOf(compiled: Compiled, sources: readonly TarEntry[]): Omit<Manifest, "files"> {
  return {
    format: 1,
    name: compiled.facts.name,
    version: compiled.facts.version,
    description: compiled.facts.description,
    authors: compiled.facts.authors,
    license: compiled.facts.license,
    engine: ">=0.1.0",
    tools: compiled.tools.map(toolManifest),
    agents: compiled.composites.agents,
    teams: compiled.composites.teams,
    pipelines: compiled.composites.pipelines,
    dependencies: Object.entries(compiled.project.config.dependencies).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, version]) => ({ name, version })),
    source: { digest: sourceDigest(sources) },
    builder: { name: "arc", version: ARC_VERSION },
  };
}

function toolManifest(tool: CompiledTool): ToolManifest {
  const { settings } = tool;
  return {
    name: tool.name,
    title: tool.title,
    description: tool.description,
    input: tool.input,
    output: tool.output,
    annotations: settings.annotations,
    tokens: settings.tokens,
    egress: settings.egress,
    secrets: settings.secrets,
    limits: settings.limits,
    timeoutMs: settings.timeoutMs,
    approval: settings.approval,
    spawn: settings.spawn,
    ...(settings.jit ? {} : { jit: false }),
    runtime: "bun",
    entry: entryPath(tool),
  };
}

function entryPath(tool: CompiledTool): string {
  return `code/${tool.name}.js`;
}

/** The module the harness imports: name, codecs, and a function that makes an instance where one is needed. */
function entryOf(tool: CompiledTool): EntryPoint {
  const { access, inputCodec, outputCodec } = tool;
  const target = { instance: "new target()", static: "target", definition: "target" }[access.kind];
  const method = access.kind === "definition" ? "run" : access.member;
  const source = [
    `import { ${access.exportName === "default" ? "default" : JSON.stringify(access.exportName)} as target } from ${JSON.stringify(`aria:project/${access.file}`)};`,
    inputCodec.declarations,
    outputCodec.declarations,
    "export const tool = {",
    `  name: ${JSON.stringify(tool.name)},`,
    `  run: (input) => ${target}[${JSON.stringify(method)}](input),`,
    `  input: ${inputCodec.expression},`,
    `  output: ${outputCodec.expression},`,
    `  streams: ${JSON.stringify(STREAMS)},`,
    "};",
    "",
  ].join("\n");
  return { path: entryPath(tool), source };
}

/**
 * The sources that hold decorators of the SDK, with these blanked out: they do nothing at run time, and the code that
 * standard decorators need would be a tenth of a cold call. Blanks keep every line and column where it was.
 */
function unmarked(compiled: Compiled): Map<string, string> {
  const out = new Map<string, string>();
  for (const { file, start, end } of compiled.marks) {
    const text = out.get(file) ?? compiled.read(file) ?? "";
    out.set(file, text.slice(0, start) + text.slice(start, end).replace(/[^\r\n]/g, " ") + text.slice(end));
  }
  return out;
}

/** What the type checker saw (also files that hold nothing but types) and what only the bundler saw, each once. */
function allSources(compiled: Compiled, bundled: readonly TarEntry[]): TarEntry[] {
  const checked = compiled.sources().map(({ file, text }) => ({ path: placeOf(file, BESIDE), bytes: new TextEncoder().encode(text) }));
  return [...new Map([...bundled, ...checked].map((file) => [file.path, file])).values()].sort(byPathBytes);
}

/** Digest over names and contents of the sources, in path order. */
export function sourceDigest(sources: readonly TarEntry[]): string {
  return digestOf(sources.map((file) => `${file.path}\0${digestOf(file.bytes)}\n`).join(""));
}

