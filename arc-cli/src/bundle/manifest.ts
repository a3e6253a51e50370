//! The manifest: what a bundle says about itself. Types, the order of its keys, and the strict check of one that came from outside.

import { parseToken } from "../compiler/token.ts";
import { readAgent, readPipeline, readTeam, type AgentManifest, type PipelineManifest, type TeamManifest } from "./composites.ts";
import { BundleError } from "./error.ts";
import type { Json, JsonObject } from "./json.ts";
import { invalid, LIST_MAX, NAME, Reader, SEMVER, TIMEOUT_MS_MAX } from "./reader.ts";

export interface Annotations {
  readonly readOnly?: boolean;
  readonly destructive?: boolean;
  readonly idempotent?: boolean;
  readonly openWorld?: boolean;
}

export interface Limits {
  readonly memoryBytes?: number;
  readonly pids?: number;
  readonly cpuMillis?: number;
  readonly diskBytes?: number;
  readonly outputBytes?: number;
}

export type Approval = "never" | "always" | "policy";

export interface ToolManifest {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly input: JsonObject;
  readonly output: JsonObject;
  readonly annotations: Annotations;
  readonly tokens: readonly string[];
  readonly egress: readonly string[];
  readonly secrets: readonly string[];
  readonly limits: Limits;
  readonly timeoutMs: number;
  readonly approval: Approval;
  readonly spawn: boolean;
  /** Absent: true. */
  readonly jit?: false;
  readonly runtime: "bun";
  readonly entry: string;
}

export interface FileEntry {
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}

/** Another bundle that must be there. */
export interface Dependency {
  readonly name: string;
  /** A range of versions: `^`, `~`, `=` or `>=` and a whole version. */
  readonly version: string;
}

export interface Manifest {
  readonly format: 1;
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly authors: readonly string[];
  readonly license: string;
  readonly engine: string;
  readonly tools: readonly ToolManifest[];
  readonly agents: readonly AgentManifest[];
  readonly teams: readonly TeamManifest[];
  readonly pipelines: readonly PipelineManifest[];
  readonly program?: { readonly entry: string };
  readonly dependencies: readonly Dependency[];
  readonly source: { readonly digest: string };
  readonly builder: { readonly name: string; readonly version: string };
  readonly files: readonly FileEntry[];
}

export const HOST = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*(?::(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5]))?$/;
export const SECRET = /^[a-z0-9][a-z0-9._-]{0,62}$/;
/** The part of the usual range grammars on which all of them agree. */
export const RANGE = new RegExp(`^(?:\\^|~|>=|=)(?=.{1,126}$)${SEMVER.source.slice(1).replace(/\(\?:\\\+.*$/, "$")}`);
const VERSION_BYTES_MAX = 128;
const TOOLS_MAX = 1000;
const TIB = 1024 ** 4;

/** What each limit of a tool may be. */
export const LIMIT_RANGES: { readonly [key in keyof Required<Limits>]: readonly [number, number] } = {
  memoryBytes: [1024 ** 2, TIB],
  pids: [1, 1024 ** 2],
  cpuMillis: [1, 1_000_000],
  diskBytes: [1, TIB],
  outputBytes: [1, TIB],
};

/** Reads a manifest that came from outside: every key known, every value of its type. */
export function readManifest(json: Json): Manifest {
  const at = new Reader(json, "manifest");
  if (at.value("format") !== 1) throw new BundleError("FORMAT_UNSUPPORTED", `manifest format ${JSON.stringify(at.value("format"))} is not 1`);
  at.only(["format", "name", "version", "description", "authors", "license", "engine", "tools", "agents", "teams", "pipelines", "program", "dependencies", "source", "builder", "files"]);
  const program = at.has("program") ? { program: readProgram(at.object("program")) } : {};
  const manifest: Manifest = {
    format: 1,
    name: at.matching("name", NAME),
    version: at.matching("version", SEMVER),
    description: at.text("description"),
    authors: at.texts("authors"),
    license: at.text("license"),
    engine: at.text("engine"),
    tools: readList(at, "tools", readTool),
    agents: readList(at, "agents", readAgent),
    teams: readList(at, "teams", readTeam),
    pipelines: readList(at, "pipelines", readPipeline),
    ...program,
    dependencies: readList(at, "dependencies", readDependency),
    source: readSource(at.object("source")),
    builder: readBuilder(at.object("builder")),
    files: readList(at, "files", readFile),
  };
  checkWhole(manifest);
  return manifest;
}

function readList<T>(at: Reader, key: string, read: (item: Json, where: string) => T): T[] {
  return at.list(key).map((item, index) => read(item, `manifest.${key}[${index}]`));
}

function checkWhole(manifest: Manifest): void {
  if (manifest.version.length > VERSION_BYTES_MAX) throw invalid(`manifest.version is longer than ${VERSION_BYTES_MAX} bytes`);
  const { tools, agents, teams, pipelines, dependencies } = manifest;
  for (const [key, list] of Object.entries({ tools, agents, teams, pipelines })) {
    if (list.length > TOOLS_MAX) throw invalid(`manifest has more than ${TOOLS_MAX} ${key}`);
  }
  if (dependencies.length > LIST_MAX) throw invalid(`manifest has more than ${LIST_MAX} dependencies`);
  // One namespace: a caller names them all alike.
  unique([...tools, ...agents, ...teams, ...pipelines]);
  unique(dependencies);
  const files = new Set(manifest.files.map((file) => file.path));
  if (files.size !== manifest.files.length) throw invalid("manifest lists a file twice");
  for (const entry of [...manifest.tools.map((tool) => tool.entry), ...(manifest.program ? [manifest.program.entry] : [])]) {
    if (!/^code\/.*\.js$/.test(entry)) throw invalid(`entry ${JSON.stringify(entry)} is not a .js file below code/`);
    if (!files.has(entry)) throw new BundleError("FILES_MISMATCH", `entry ${JSON.stringify(entry)} is not among the manifest's files`);
  }
  if (manifest.program && tools.length + agents.length + teams.length + pipelines.length > 0) throw invalid("a program bundle has no tools");
}

function unique(items: readonly { readonly name: string }[]): void {
  const names = new Set<string>();
  for (const { name } of items) {
    if (names.has(name)) throw invalid(`manifest has the name ${name} twice`);
    names.add(name);
  }
}

function readDependency(json: Json, where: string): Dependency {
  const at = new Reader(json, where);
  at.only(["name", "version"]);
  return { name: at.matching("name", NAME), version: at.matching("version", RANGE) };
}

function readTool(json: Json, where: string): ToolManifest {
  const at = new Reader(json, where);
  at.only(["name", "title", "description", "input", "output", "annotations", "tokens", "egress", "secrets", "limits", "timeoutMs", "approval", "spawn", "jit", "runtime", "entry"]);
  const tokens = at.texts("tokens", /^/);
  for (const token of tokens) {
    const parsed = parseToken(token);
    if ("error" in parsed) throw invalid(`${where}.tokens: ${JSON.stringify(token)}: ${parsed.error}`);
  }
  return {
    name: at.matching("name", NAME),
    title: at.text("title"),
    description: at.text("description"),
    input: at.object("input"),
    output: at.object("output"),
    annotations: readAnnotations(at.object("annotations"), `${where}.annotations`),
    tokens,
    egress: at.texts("egress", HOST),
    secrets: at.texts("secrets", SECRET),
    limits: readLimits(at.object("limits"), `${where}.limits`),
    timeoutMs: at.within("timeoutMs", [1, TIMEOUT_MS_MAX]),
    approval: at.oneOf("approval", ["never", "always", "policy"]),
    spawn: at.flag("spawn"),
    ...(at.has("jit") && !at.flag("jit") ? { jit: false } : {}),
    runtime: at.oneOf("runtime", ["bun"]),
    entry: at.text("entry"),
  };
}

function readAnnotations(json: JsonObject, where: string): Annotations {
  const keys = ["readOnly", "destructive", "idempotent", "openWorld"] as const;
  const at = new Reader(json, where);
  at.only(keys);
  return Object.fromEntries(keys.filter((key) => at.has(key)).map((key) => [key, at.flag(key)]));
}

function readLimits(json: JsonObject, where: string): Limits {
  const keys = ["memoryBytes", "pids", "cpuMillis", "diskBytes", "outputBytes"] as const;
  const at = new Reader(json, where);
  at.only(keys);
  return Object.fromEntries(keys.filter((key) => at.has(key)).map((key) => [key, at.within(key, LIMIT_RANGES[key])]));
}

function readProgram(json: JsonObject): { entry: string } {
  const at = new Reader(json, "manifest.program");
  at.only(["entry"]);
  return { entry: at.text("entry") };
}

function readSource(json: JsonObject): { digest: string } {
  const at = new Reader(json, "manifest.source");
  at.only(["digest"]);
  return { digest: at.matching("digest", /^sha256:[0-9a-f]{64}$/) };
}

function readBuilder(json: JsonObject): { name: string; version: string } {
  const at = new Reader(json, "manifest.builder");
  at.only(["name", "version"]);
  return { name: at.text("name"), version: at.text("version") };
}

function readFile(json: Json, where: string): FileEntry {
  const at = new Reader(json, where);
  at.only(["path", "size", "sha256"]);
  return { path: at.text("path"), size: at.integer("size"), sha256: at.matching("sha256", /^[0-9a-f]{64}$/) };
}
