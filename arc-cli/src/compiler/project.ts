//! A project: `arc.toml`, and which files are its sources.

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parse, TomlError } from "smol-toml";

import { RANGE } from "../bundle/manifest.ts";
import { NAME, SEMVER } from "../bundle/reader.ts";
import { SHELF } from "../registry/reference.ts";
import { didYouMean } from "../suggest.ts";
import { CompileError, type Diagnostic, type DiagnosticId, type Span } from "./diagnostics.ts";

export interface Project {
  /** Absolute path of the directory with `arc.toml`. */
  readonly root: string;
  readonly config: ProjectConfig;
  /** Absolute paths, sorted by their path relative to the project. */
  readonly sources: readonly string[];
  /** Names in `package.json` whose packages are not in any `node_modules` above the project. */
  readonly missing: ReadonlySet<string>;
}

/** What `arc.toml` says; what it does not say may still come from `@aria`. */
export interface ProjectConfig {
  readonly name: string | undefined;
  readonly version: string | undefined;
  readonly description: string | undefined;
  readonly license: string | undefined;
  readonly authors: readonly string[] | undefined;
  readonly entry: string | undefined;
  /** Other bundles by name, each with a range of versions. */
  readonly dependencies: Readonly<Record<string, string>>;
  /** Where bundles are published and come from. */
  readonly shelf: string | undefined;
}

const CONFIG = "arc.toml";
const CONFIG_BYTES_MAX = 1024 * 1024;
const SOURCES_MAX = 5_000;
const DEPTH_MAX = 32;
const SKIPPED = new Set(["node_modules", ".arc", ".git", "dist", "out"]);

/** Finds the project at or above a directory and reads it. Throws `CompileError` with every fault of `arc.toml`. */
export function openProject(from: string): Project {
  const root = findRoot(from);
  const path = join(root, CONFIG);
  const { config, include, exclude } = readConfig(readText(path));
  return { root, config, sources: findSources(root, config.entry, include, exclude), missing: missingDependencies(root) };
}

function findRoot(from: string): string {
  for (let at = resolve(from); ; at = dirname(at)) {
    if (existsSync(join(at, CONFIG))) return at;
    if (dirname(at) === at) throw new CompileError([{ id: "ARC1080", message: `no ${CONFIG} in ${resolve(from)} or above it`, hint: "begin with `arc new NAME --template tool`" }]);
  }
}

function readText(path: string): string {
  try {
    const found = statSync(path);
    if (!found.isFile()) throw new CompileError([{ id: "ARC1081", message: `${CONFIG} is no regular file` }]);
    if (found.size > CONFIG_BYTES_MAX) throw new CompileError([{ id: "ARC1081", message: `${CONFIG} is ${found.size} bytes, limit is ${CONFIG_BYTES_MAX}` }]);
    return readFileSync(path, "utf8");
  } catch (cause) {
    if (cause instanceof CompileError) throw cause;
    throw new CompileError([{ id: "ARC1081", message: `${CONFIG} cannot be read: ${(cause as Error).message}` }]);
  }
}

/** Reads the text of an `arc.toml`. Throws `CompileError` with every fault found. */
export function readConfig(text: string): { config: ProjectConfig; include: readonly string[]; exclude: readonly string[] } {
  const reader = new ConfigReader(text);
  const bundle = reader.table("bundle", ["name", "version", "description", "license", "authors", "entry"]);
  const build = reader.table("build", ["include", "exclude"]);
  const registry = reader.table("registry", ["shelf"]);
  const config: ProjectConfig = {
    name: reader.text(bundle, "bundle", "name", NAME, "a-z, 0-9 and -, beginning with a letter, at most 63"),
    version: reader.text(bundle, "bundle", "version", SEMVER, "a semantic version like 0.1.0"),
    description: reader.text(bundle, "bundle", "description"),
    license: reader.text(bundle, "bundle", "license"),
    authors: reader.texts(bundle, "bundle", "authors"),
    entry: reader.text(bundle, "bundle", "entry", /^(?!\/)(?!.*\.\.).+\.tsx?$/, "a .ts file of the project"),
    dependencies: reader.ranges("dependencies"),
    shelf: reader.text(registry, "registry", "shelf", SHELF, "`dir:PATH` or `oci://HOST/REPOSITORY`"),
  };
  const include = reader.texts(build, "build", "include") ?? ["src/**/*.ts"];
  const exclude = reader.texts(build, "build", "exclude") ?? ["**/*.test.ts", "**/*.spec.ts", "**/*.d.ts"];
  reader.finish();
  return { config, include, exclude };
}

type Table = { readonly [key: string]: unknown };

class ConfigReader {
  readonly #text: string;
  readonly #root: Table;
  readonly #diagnostics: Diagnostic[] = [];

  constructor(text: string) {
    this.#text = text;
    try {
      this.#root = parse(text) as Table;
    } catch (error) {
      if (!(error instanceof TomlError)) throw error;
      const [message = "not TOML"] = error.message.replace(/^Invalid TOML document: /, "").split("\n");
      const span = { file: CONFIG, line: error.line, column: error.column, endLine: error.line, endColumn: error.column + 1 };
      throw new CompileError([{ id: "ARC1081", message, span }]);
    }
    this.#only(this.#root, "", ["bundle", "build", "dependencies", "registry"]);
  }

  table(name: string, keys: readonly string[]): Table {
    const value = this.#root[name];
    if (value === undefined) return {};
    if (!isTable(value)) {
      this.#report("ARC1083", name, `${name} is a table: [${name}]`);
      return {};
    }
    this.#only(value, `${name}.`, keys);
    return value;
  }

  text(table: Table, name: string, key: string, pattern?: RegExp, wanted?: string): string | undefined {
    const value = table[key];
    if (value === undefined) return undefined;
    if (typeof value === "string" && value.isWellFormed() && (pattern === undefined || pattern.test(value))) return value;
    this.#report(key === "name" ? "ARC1048" : "ARC1083", key, `${name}.${key} ${typeof value === "string" ? `${JSON.stringify(value)} is not ${wanted ?? "a text"}` : "is not a text"}`);
    return undefined;
  }

  texts(table: Table, name: string, key: string): readonly string[] | undefined {
    const value = table[key];
    if (value === undefined) return undefined;
    if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
    this.#report("ARC1083", key, `${name}.${key} is an array of texts`);
    return undefined;
  }

  /** A table of names and ranges of versions. */
  ranges(name: string): Record<string, string> {
    const value = this.#root[name] ?? {};
    if (!isTable(value)) {
      this.#report("ARC1083", name, `${name} is a table: [${name}]`);
      return {};
    }
    for (const [key, range] of Object.entries(value)) {
      if (!NAME.test(key)) this.#report("ARC1048", key, `${name}.${key} is not a bundle's name: a-z, 0-9 and -, beginning with a letter, at most 63`);
      if (typeof range !== "string" || !RANGE.test(range)) this.#report("ARC1083", key, `${name}.${key} is not a range of versions such as "^1.2.0", "~1.2.0", "=1.2.0" or ">=1.2.0"`);
    }
    return value as Record<string, string>;
  }

  finish(): void {
    if (this.#diagnostics.length > 0) throw new CompileError(this.#diagnostics);
  }

  #only(table: Table, prefix: string, keys: readonly string[]): void {
    for (const key of Object.keys(table)) {
      if (!keys.includes(key)) this.#report("ARC1082", key, `arc.toml has no key ${prefix}${key}`, didYouMean(key, keys) ?? `known: ${keys.map((known) => prefix + known).join(", ")}`);
    }
  }

  #report(id: DiagnosticId, key: string, message: string, hint?: string): void {
    const span = this.#spanOf(key);
    this.#diagnostics.push({ id, message, ...(span ? { span } : {}), ...(hint === undefined ? {} : { hint }) });
  }

  /** The parser keeps no places; the first line that begins with the key is the place. */
  #spanOf(key: string): Span | undefined {
    const lines = this.#text.split("\n");
    const index = lines.findIndex((line) => new RegExp(`^\\s*\\[?\\s*["']?${RegExp.escape(key)}["']?\\s*(=|\\]|\\.)`).test(line));
    if (index === -1) return undefined;
    const column = (lines[index] ?? "").indexOf(key) + 1;
    return { file: CONFIG, line: index + 1, column, endLine: index + 1, endColumn: column + key.length };
  }
}

function findSources(root: string, entry: string | undefined, include: readonly string[], exclude: readonly string[]): string[] {
  if (entry !== undefined) {
    const path = join(root, entry);
    if (!existsSync(path)) throw new CompileError([{ id: "ARC1084", message: `entry ${JSON.stringify(entry)} does not exist` }]);
    if (!statSync(path).isFile()) throw new CompileError([{ id: "ARC1084", message: `entry ${JSON.stringify(entry)} is no regular file` }]);
    return [path];
  }
  const wanted = include.map((pattern) => new Bun.Glob(pattern));
  const unwanted = exclude.map((pattern) => new Bun.Glob(pattern));
  const found = walk(root, "", 0).filter((path) => wanted.some((glob) => glob.match(path)) && !unwanted.some((glob) => glob.match(path)));
  if (found.length === 0) throw new CompileError([{ id: "ARC1084", message: `no source matches ${include.join(", ")}`, hint: "tools are written in src/*.ts" }]);
  if (found.length > SOURCES_MAX) throw new CompileError([{ id: "ARC1084", message: `${found.length} sources are more than ${SOURCES_MAX}`, hint: "narrow [build] include" }]);
  return found.sort().map((path) => join(root, path));
}

/** Files below the project, relative to it; symbolic links are not followed. */
function walk(root: string, below: string, depth: number): string[] {
  if (depth > DEPTH_MAX) return [];
  return readdirSync(join(root, below), { withFileTypes: true }).flatMap((item) => {
    const path = below === "" ? item.name : `${below}/${item.name}`;
    if (item.isDirectory()) return SKIPPED.has(item.name) ? [] : walk(root, path, depth + 1);
    return item.isFile() && /\.(ts|tsx|mts)$/.test(item.name) ? [path] : [];
  });
}

function missingDependencies(root: string): Set<string> {
  const path = join(root, "package.json");
  if (!existsSync(path)) return new Set();
  const { dependencies, devDependencies } = readPackage(path);
  const named = [dependencies, devDependencies].flatMap((table) => (isTable(table) ? Object.keys(table) : []));
  const names = named.filter((name) => name !== "@aria/sdk");
  return new Set(names.filter((name) => !isInstalled(root, name)));
}

function readPackage(path: string): Table {
  const wrong = (why: string): CompileError => new CompileError([{ id: "ARC1083", message: `package.json ${why}` }]);
  if (!statSync(path).isFile()) throw wrong("is no regular file");
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw wrong(`is not JSON: ${(cause as Error).message}`);
  }
  if (!isTable(json)) throw wrong("does not hold an object");
  return json;
}

function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isInstalled(root: string, name: string): boolean {
  for (let at = root; ; at = dirname(at)) {
    if (existsSync(join(at, "node_modules", name))) return true;
    if (dirname(at) === at) return false;
  }
}
