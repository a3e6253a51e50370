// The layer sentences of ARCHITECTURE.md, read from the manifests and the sources. A failure quotes the sentence that was broken.

import { expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dir, "../..");

interface Manifest {
  package: { name: string };
  dependencies?: Record<string, unknown>;
}

interface Crate {
  name: string;
  dir: string;
  dependencies: Set<string>;
  sources: { path: string; text: string }[];
}

function sourcesOf(dir: string): { path: string; text: string }[] {
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".rs"))
    .map((path) => ({ path: join(dir, path), text: readFileSync(join(dir, path), "utf8") }));
}

function crates(): Crate[] {
  const workspace = Bun.TOML.parse(readFileSync(join(root, "Cargo.toml"), "utf8")) as { workspace: { members: string[] } };
  return workspace.workspace.members.map((dir) => {
    const manifest = Bun.TOML.parse(readFileSync(join(root, dir, "Cargo.toml"), "utf8")) as unknown as Manifest;
    return { name: manifest.package.name, dir, dependencies: new Set(Object.keys(manifest.dependencies ?? {})), sources: sourcesOf(join(root, dir, "src")) };
  });
}

const all = crates();
const named = (...names: string[]): Crate[] => all.filter((crate) => names.includes(crate.name));
const uses = (crate: Crate, ...libraries: string[]): string[] => libraries.filter((library) => crate.dependencies.has(library));
/** Source text without comments and string literals, so that prose does not count. */
const code = (text: string): string => text.replace(/\/\/[^\n]*/g, "").replace(/"(?:[^"\\]|\\.)*"/g, '""');
const mentions = (crate: Crate, word: RegExp): string[] => crate.sources.filter((source) => word.test(code(source.text))).map((source) => source.path);

test("aria-core, quilt-core, aria-types, aria-bundle do not know tokio, tonic or wasmtime", () => {
  for (const crate of named("aria-core", "quilt-core", "aria-types", "aria-bundle")) expect([crate.name, uses(crate, "tokio", "tonic", "wasmtime")]).toEqual([crate.name, []]);
});

test("kernel, token-api, orchestrator do not know each other", () => {
  const trio = ["aria-kernel", "aria-token-api", "aria-orchestrator"];
  for (const crate of named(...trio)) expect([crate.name, uses(crate, ...trio)]).toEqual([crate.name, []]);
});

test("protobuf types stop at token-api, ariad and quiltd", () => {
  // The clock of the benches is a client of the engine's socket and of nothing else.
  const allowed = new Set(["aria-protocol", "aria-token-api", "ariad", "quiltd", "aria-bench"]);
  for (const crate of all.filter((crate) => !allowed.has(crate.name))) expect([crate.name, uses(crate, "aria-protocol", "prost")]).toEqual([crate.name, []]);
});

test("nothing in quilt/ mentions bundle, tool, agent; nothing in runtime/ mentions cgroup, namespace, mount", () => {
  for (const crate of all.filter((crate) => crate.dir.startsWith("quilt/"))) expect(mentions(crate, /\b[Bb]undle|\b[Aa]gent\b/)).toEqual([]);
  for (const crate of all.filter((crate) => crate.dir.startsWith("runtime/"))) expect(mentions(crate, /\bcgroup|\bnamespaces?\b|\bmount\(/)).toEqual([]);
});

test("quilt and runtime share only crates/", () => {
  const ours = (prefix: string) => all.filter((crate) => crate.dir.startsWith(prefix)).map((crate) => crate.name);
  for (const crate of all.filter((crate) => crate.dir.startsWith("quilt/"))) expect(uses(crate, ...ours("runtime/"))).toEqual([]);
  for (const crate of all.filter((crate) => crate.dir.startsWith("runtime/"))) expect(uses(crate, ...ours("quilt/"))).toEqual([]);
  for (const crate of all.filter((crate) => crate.dir.startsWith("crates/"))) expect(uses(crate, ...ours("quilt/"), ...ours("runtime/"))).toEqual([]);
});

test("unsafe is only in quilt-sandbox, aria-init and the reflink of aria-store", () => {
  const allowed = new Set(["quilt-sandbox", "aria-init", "aria-store"]);
  for (const crate of all.filter((crate) => !allowed.has(crate.name) && !crate.dir.startsWith("tests/"))) expect(mentions(crate, /\bunsafe\s*(\{|fn|impl)/)).toEqual([]);
});

test("no core reads a clock, the environment or the command line", () => {
  for (const crate of named("aria-core", "quilt-core", "aria-types")) expect(mentions(crate, /SystemTime::now|Instant::now|std::env|env::var/)).toEqual([]);
});

test("only aria-bundle, aria-types, quilt-sandbox and the daemons serialize", () => {
  for (const crate of named("aria-core", "quilt-core")) expect(mentions(crate, /derive\([^)]*Serialize/)).toEqual([]);
});

test("every dependency version lives in the workspace", () => {
  for (const crate of all) {
    const manifest = Bun.TOML.parse(readFileSync(join(root, crate.dir, "Cargo.toml"), "utf8")) as Record<string, Record<string, unknown> | undefined>;
    for (const section of ["dependencies", "dev-dependencies", "build-dependencies"])
      for (const [name, value] of Object.entries(manifest[section] ?? {}))
        expect([crate.name, name, typeof value === "object" && value !== null && ("workspace" in value || "path" in value)]).toEqual([crate.name, name, true]);
  }
});

test("every member exists and has content", () => {
  for (const crate of all) {
    expect(existsSync(join(root, crate.dir))).toBe(true);
    expect(crate.sources.reduce((lines, source) => lines + source.text.split("\n").length, 0)).toBeGreaterThan(20);
  }
});
