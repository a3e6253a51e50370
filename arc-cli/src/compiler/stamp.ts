//! Whether a build would give again what it gave last: `.arc/build.json` in the project names every input with the hash of its
//! content, and the file that came out. Times of files say nothing here; content does.
//!
//! Beside the files that were read count: the names of all files of the project (a new one may be what an import means now),
//! the lock file and package.json, this arc's own files, Bun, and the key. Whatever is not sure is built again.

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

import { sha256Hex } from "../bundle/digest.ts";

/** What a build is asked for. */
export interface Wanted {
  readonly root: string;
  /** Absolute path of the bundle; null: where it goes when nothing is said. */
  readonly out: string | null;
  /** Who signs, or null. */
  readonly signer: string | null;
  /** Which arc: `buildId()`. */
  readonly arc: string;
}

/** One build, as remembered. `T` is what `arc build` prints, JSON. */
interface Stamp<T> {
  readonly format: 1;
  readonly wanted: Omit<Wanted, "root">;
  /** Hash over the sorted names of the project's files. */
  readonly names: string;
  /** Path relative to the project → hash, or null for a file that was not there. */
  readonly inputs: Readonly<Record<string, string | null>>;
  /** Where the bundle was written, and its hash. */
  readonly file: string;
  readonly bundle: string;
  readonly result: T;
}

const SKIPPED = new Set(["node_modules", ".arc", ".git"]);
const NAMES_MAX = 20_000;
const DEPTH_MAX = 32;
/** Read although the compile may not have opened them: they decide what an import means. */
const DECIDING = ["arc.toml", "package.json", "bun.lock", "bun.lockb", "package-lock.json", "tsconfig.json", "arc.lock"];

/** The project at or above a directory, if there is one. */
export function rootAbove(from: string): string | undefined {
  for (let at = from; ; at = dirname(at)) {
    if (existsSync(join(at, "arc.toml"))) return at;
    if (dirname(at) === at) return undefined;
  }
}

/** A hash over everything that is this arc, or nothing when it runs from its sources, where it may change under way. */
export function buildId(): string | undefined {
  const path = join(import.meta.dir, "build-id");
  return existsSync(path) ? `${readFileSync(path, "utf8").trim()} bun ${Bun.version}` : undefined;
}

/** What the last build printed, when building now would give the same bytes and they still lie there. */
export function unchanged<T>(wanted: Wanted): T | undefined {
  const { root, ...rest } = wanted;
  const stamp = read<T>(root);
  if (stamp === undefined || JSON.stringify(stamp.wanted) !== JSON.stringify(ordered(rest))) return undefined;
  if (hashOf(stamp.file) !== stamp.bundle || namesOf(root) !== stamp.names) return undefined;
  for (const [path, hash] of Object.entries(stamp.inputs)) if (hashOf(resolve(root, path)) !== hash) return undefined;
  return stamp.result;
}

/** Remembers a build. `inputs` are absolute paths. A project that cannot be written to is built anew each time. */
export function remember<T extends { readonly file: string }>(wanted: Wanted, inputs: readonly string[], bundle: Uint8Array, result: T): void {
  const { root, ...rest } = wanted;
  const names = namesOf(root);
  if (names === undefined) return;
  const paths = [...new Set([...inputs, ...DECIDING.map((name) => join(root, name))])].sort();
  const hashes = Object.fromEntries(paths.map((path) => [relative(root, path), hashOf(path)]));
  const stamp: Stamp<T> = { format: 1, wanted: ordered(rest), names, inputs: hashes, file: result.file, bundle: sha256Hex(bundle), result };
  try {
    mkdirSync(join(root, ".arc"), { recursive: true });
    if (!existsSync(join(root, ".arc/.gitignore"))) writeFileSync(join(root, ".arc/.gitignore"), "*\n");
    const draft = join(root, `.arc/.build.${process.pid}`);
    writeFileSync(draft, `${JSON.stringify(stamp)}\n`);
    renameSync(draft, join(root, ".arc/build.json"));
  } catch {
    // Only the next build's time depends on it.
  }
}

const ordered = ({ out, signer, arc }: Omit<Wanted, "root">): Omit<Wanted, "root"> => ({ out, signer, arc });

function read<T>(root: string): Stamp<T> | undefined {
  try {
    const stamp = JSON.parse(readFileSync(join(root, ".arc/build.json"), "utf8")) as Stamp<T>;
    return stamp.format === 1 && typeof stamp.inputs === "object" && stamp.inputs !== null ? stamp : undefined;
  } catch {
    return undefined;
  }
}

function hashOf(path: string): string | null {
  try {
    return sha256Hex(new Uint8Array(readFileSync(path)));
  } catch {
    return null;
  }
}

/** Nothing when there are too many to look at. Bundles may appear and go. */
function namesOf(root: string): string | undefined {
  const names: string[] = [];
  const walk = (below: string, depth: number): void => {
    for (const item of readdirSync(join(root, below), { withFileTypes: true })) {
      const path = below === "" ? item.name : `${below}/${item.name}`;
      if (names.length > NAMES_MAX) return;
      if (!item.isDirectory()) names.push(path);
      else if (!SKIPPED.has(item.name) && depth < DEPTH_MAX) walk(path, depth + 1);
    }
  };
  try {
    walk("", 0);
  } catch {
    return undefined;
  }
  return names.length > NAMES_MAX ? undefined : sha256Hex(names.filter((name) => !name.endsWith(".aria")).sort().join("\n"));
}
