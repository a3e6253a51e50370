//! The manifest: what a bundle says about itself. Types, the order of its keys, and the strict check of one that came from outside.

import { parseToken } from "../compiler/token.ts";
import { BundleError } from "./error.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";

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
  readonly agents: readonly Json[];
  readonly teams: readonly Json[];
  readonly pipelines: readonly Json[];
  readonly program?: { readonly entry: string };
  readonly dependencies: readonly Dependency[];
  readonly source: { readonly digest: string };
  readonly builder: { readonly name: string; readonly version: string };
  readonly files: readonly FileEntry[];
}

export const NAME = /^[a-z][a-z0-9-]{0,62}$/;
// The pattern of semver.org, bounded.
export const SEMVER =
  /^(0|[1-9]\d{0,15})\.(0|[1-9]\d{0,15})\.(0|[1-9]\d{0,15})(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$/;
export const HOST = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*(?::(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5]))?$/;
export const SECRET = /^[a-z0-9][a-z0-9._-]{0,62}$/;
/** The part of the usual range grammars on which all of them agree. */
export const RANGE = new RegExp(`^(?:\\^|~|>=|=)(?=.{1,126}$)${SEMVER.source.slice(1).replace(/\(\?:\\\+.*$/, "$")}`);
const VERSION_BYTES_MAX = 128;
const TOOLS_MAX = 1000;
const LIST_MAX = 256;
const TIB = 1024 ** 4;
export const TIMEOUT_MS_MAX = 24 * 60 * 60 * 1000;

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
    tools: at.list("tools").map((tool, index) => readTool(tool, `manifest.tools[${index}]`)),
    agents: at.list("agents"),
    teams: at.list("teams"),
    pipelines: at.list("pipelines"),
    ...program,
    dependencies: at.list("dependencies").map((one, index) => readDependency(one, `manifest.dependencies[${index}]`)),
    source: readSource(at.object("source")),
    builder: readBuilder(at.object("builder")),
    files: at.list("files").map((file, index) => readFile(file, `manifest.files[${index}]`)),
  };
  checkWhole(manifest);
  return manifest;
}

function checkWhole(manifest: Manifest): void {
  if (manifest.version.length > VERSION_BYTES_MAX) throw invalid(`manifest.version is longer than ${VERSION_BYTES_MAX} bytes`);
  if (manifest.tools.length > TOOLS_MAX) throw invalid(`manifest has more than ${TOOLS_MAX} tools`);
  const names = new Set<string>();
  for (const tool of manifest.tools) {
    if (names.has(tool.name)) throw invalid(`manifest has two tools named ${tool.name}`);
    names.add(tool.name);
  }
  if (manifest.dependencies.length > LIST_MAX) throw invalid(`manifest has more than ${LIST_MAX} dependencies`);
  if (new Set(manifest.dependencies.map(({ name }) => name)).size !== manifest.dependencies.length) throw invalid("manifest names a dependency twice");
  const files = new Set(manifest.files.map((file) => file.path));
  if (files.size !== manifest.files.length) throw invalid("manifest lists a file twice");
  for (const entry of [...manifest.tools.map((tool) => tool.entry), ...(manifest.program ? [manifest.program.entry] : [])]) {
    if (!/^code\/.*\.js$/.test(entry)) throw invalid(`entry ${JSON.stringify(entry)} is not a .js file below code/`);
    if (!files.has(entry)) throw new BundleError("FILES_MISMATCH", `entry ${JSON.stringify(entry)} is not among the manifest's files`);
  }
  if (manifest.program && manifest.tools.length > 0) throw invalid("a program bundle has no tools");
}

function readDependency(json: Json, where: string): Dependency {
  const at = new Reader(json, where);
  at.only(["name", "version"]);
  return { name: at.matching("name", NAME), version: at.matching("version", RANGE) };
}

function readTool(json: Json, where: string): ToolManifest {
  const at = new Reader(json, where);
  at.only(["name", "title", "description", "input", "output", "annotations", "tokens", "egress", "secrets", "limits", "timeoutMs", "approval", "spawn", "runtime", "entry"]);
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

/** Reads one object member by member; each refusal says where. */
class Reader {
  readonly #object: JsonObject;
  readonly #where: string;

  constructor(json: Json, where: string) {
    if (!isObject(json)) throw invalid(`${where} is not an object`);
    this.#object = json;
    this.#where = where;
  }

  only(keys: readonly string[]): void {
    for (const key of Object.keys(this.#object)) {
      if (!keys.includes(key) && !key.startsWith("x-")) throw invalid(`${this.#where} has the unknown key ${JSON.stringify(key)}`);
    }
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#object, key);
  }

  value(key: string): Json | undefined {
    return this.has(key) ? this.#object[key] : undefined;
  }

  text(key: string): string {
    const value = this.value(key);
    if (typeof value !== "string") throw this.#wrong(key, "a string");
    return value;
  }

  matching(key: string, pattern: RegExp): string {
    const value = this.text(key);
    if (!pattern.test(value)) throw this.#wrong(key, `a text like ${pattern.source.slice(0, 60)}`);
    return value;
  }

  oneOf<T extends string>(key: string, allowed: readonly T[]): T {
    const value = this.text(key);
    const found = allowed.find((word) => word === value);
    if (found === undefined) throw this.#wrong(key, allowed.join(" | "));
    return found;
  }

  flag(key: string): boolean {
    const value = this.value(key);
    if (typeof value !== "boolean") throw this.#wrong(key, "true or false");
    return value;
  }

  integer(key: string): number {
    const value = this.value(key);
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw this.#wrong(key, "a whole number");
    return value;
  }

  within(key: string, [min, max]: readonly [number, number]): number {
    const value = this.integer(key);
    if (value < min || value > max) throw this.#wrong(key, `from ${min} to ${max}`);
    return value;
  }

  object(key: string): JsonObject {
    const value = this.value(key);
    if (!isObject(value)) throw this.#wrong(key, "an object");
    return value;
  }

  list(key: string): readonly Json[] {
    const value = this.value(key);
    if (!Array.isArray(value)) throw this.#wrong(key, "an array");
    return value as readonly Json[];
  }

  texts(key: string, pattern?: RegExp): string[] {
    const list = this.list(key);
    if (pattern && list.length > LIST_MAX) throw this.#wrong(key, `at most ${LIST_MAX} items`);
    return list.map((item) => {
      if (typeof item !== "string" || (pattern && !pattern.test(item))) throw this.#wrong(key, "an array of valid texts");
      return item;
    });
  }

  #wrong(key: string, wanted: string): BundleError {
    return invalid(`${this.#where}.${key} is not ${wanted}`);
  }
}

function invalid(message: string): BundleError {
  return new BundleError("MANIFEST_INVALID", message);
}
