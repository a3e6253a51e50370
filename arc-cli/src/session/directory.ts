//! A directory of this machine as a tree: what is in it, with digests, and its bytes for a device.
//!
//! Directories and regular files only. A link or anything special is an error that names it: what cannot come back exactly
//! does not go up.

import { createHash, type Hash } from "node:crypto";
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readSync, realpathSync, type Stats } from "node:fs";
import { join } from "node:path";
import { CHUNK_BYTES, type Digest } from "../client/blobs.ts";
import { Exit, UserError } from "../errors.ts";
import { byPath, end, type Entry, ENTRIES_MAX, hasContent, header, type Kind, pathProblem, start, treeBytes } from "./tree.ts";

/** A tree larger than a device takes as one blob is not worth reading. */
const BYTES_MAX = 1024 ** 3;
/** Directories of pulls that did not come to their end; see apply.ts. */
export const DRAFT_PREFIX = ".arc-pull-";

/** One path with the digest of its content (empty for a directory). */
export interface Found extends Entry {
  readonly sha256: string;
}

/** A directory as it was when it was read. */
export interface Snapshot extends Digest {
  readonly root: string;
  readonly entries: readonly Found[];
}

/** Reads everything once; `without` is a name at the top that does not count. */
export async function snapshot(dir: string, signal: AbortSignal, without?: string): Promise<Snapshot> {
  const root = rootOf(dir);
  const entries = list(root, dir, without);
  const digests: string[] = [];
  const whole = createHash("sha256");
  for await (const chunk of bytesOf(root, entries, signal, (digest) => digests.push(digest))) whole.update(chunk);
  const found = entries.map((entry, at) => ({ ...entry, sha256: hasContent(entry.kind) ? (digests[at] ?? "") : "" }));
  return { root, entries: found, sha256: whole.digest("hex"), sizeBytes: BigInt(treeBytes(entries)) };
}

/** The bytes of a snapshot, read again; whoever takes them checks the digest. */
export const treeOf = ({ root, entries }: Snapshot, signal: AbortSignal): AsyncGenerator<Uint8Array> => bytesOf(root, entries, signal, () => undefined);

/** Paths that are not as they were. */
export function differences(before: Snapshot, now: Snapshot): string[] {
  const known = new Map(before.entries.map((entry) => [entry.path, entry]));
  const differs = now.entries.filter((entry) => {
    const old = known.get(entry.path);
    known.delete(entry.path);
    return old === undefined || old.kind !== entry.kind || old.sha256 !== entry.sha256;
  });
  return [...differs.map(({ path }) => path), ...known.keys()].sort();
}

function rootOf(dir: string): string {
  let root: string;
  try {
    // The person may name a link; below it there may be none.
    root = realpathSync(dir);
  } catch (error) {
    throw unreadable(dir, error);
  }
  if (lstatSync(root).isDirectory()) return root;
  throw new UserError("ARC2061", `session ${dir} is no directory`, { exit: Exit.usage });
}

function list(root: string, dir: string, without: string | undefined): Entry[] {
  const entries: Entry[] = [];
  let bytes = 0;
  const open = [""];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    for (const name of namesIn(root, at)) {
      const path = at === "" ? name : `${at}/${name}`;
      if (path === without) continue;
      if (at === "" && name.startsWith(DRAFT_PREFIX)) {
        throw new UserError("ARC2066", `${join(dir, name)} is what an earlier pull left: it did not come to its end`, { exit: Exit.conflict, hint: "files it had replaced are in `old` there; move what you need and remove the directory" });
      }
      const entry = entryAt(root, path);
      entries.push(entry);
      bytes += entry.size;
      if (entries.length > ENTRIES_MAX) throw tooLarge(dir, `more than ${ENTRIES_MAX} files and directories`);
      if (bytes > BYTES_MAX) throw tooLarge(dir, "more than 1 GiB");
      if (entry.kind === "directory") open.push(path);
    }
  }
  return entries.sort(byPath);
}

const tooLarge = (dir: string, what: string): UserError => new UserError("ARC2062", `session ${dir} holds ${what}`, { exit: Exit.usage, hint: "name a smaller directory" });

function namesIn(root: string, path: string): string[] {
  let names: Buffer[];
  try {
    names = readdirSync(join(root, path), { encoding: "buffer" });
  } catch (error) {
    throw unreadable(join(root, path), error);
  }
  return names.map((name) => {
    const text = name.toString("utf8");
    if (!Buffer.from(text).equals(name)) throw refused(join(root, path, text), "has a name that is not UTF-8");
    return text;
  });
}

function entryAt(root: string, path: string): Entry {
  const problem = pathProblem(path);
  if (problem !== undefined) throw refused(path, problem);
  const stat = lstat(join(root, path));
  if (stat.isDirectory()) return { kind: "directory", path, size: 0 };
  if (stat.isSymbolicLink()) throw refused(join(root, path), "is a link");
  if (!stat.isFile()) throw refused(join(root, path), "is neither a file nor a directory");
  return { kind: fileKind(stat.mode), path, size: stat.size };
}

function lstat(path: string): Stats {
  try {
    return lstatSync(path);
  } catch (error) {
    throw unreadable(path, error);
  }
}

const fileKind = (mode: number): Kind => ((mode & constants.S_IXUSR) === 0 ? "file" : "program");

const refused = (path: string, why: string): UserError => new UserError("ARC2061", `session: ${path} ${why}`, { exit: Exit.usage, hint: "a session holds directories and regular files only" });

/** Gathers small pieces, so that ten thousand small files are not ten thousand messages. */
async function* bytesOf(root: string, entries: readonly Entry[], signal: AbortSignal, digest: (sha256: string) => void): AsyncGenerator<Uint8Array> {
  let waiting: Uint8Array[] = [start()];
  let length = 0;
  function* gathered(piece: Uint8Array): Generator<Uint8Array> {
    waiting.push(piece);
    length += piece.length;
    if (length < CHUNK_BYTES) return;
    yield* slices(Buffer.concat(waiting));
    [waiting, length] = [[], 0];
  }
  for (const entry of entries) {
    signal.throwIfAborted();
    yield* gathered(header(entry));
    const hash = createHash("sha256");
    if (hasContent(entry.kind)) for (const piece of contentOf(root, entry, hash)) yield* gathered(piece);
    digest(hash.digest("hex"));
  }
  yield* slices(Buffer.concat([...waiting, end(entries.length)]));
}

function* slices(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES);
}

/** Exactly the bytes that were announced, of the file and not of what a link in its place names. */
function* contentOf(root: string, { path, size, kind }: Entry, hash: Hash): Generator<Uint8Array> {
  const name = join(root, path);
  let fd: number;
  try {
    fd = openSync(name, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    throw unreadable(name, error);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size !== size || fileKind(stat.mode) !== kind) throw moved(name);
    for (let left = size; left > 0; ) {
      const piece = new Uint8Array(Math.min(left, CHUNK_BYTES));
      const count = readSync(fd, piece);
      if (count === 0) throw moved(name);
      left -= count;
      hash.update(piece.subarray(0, count));
      yield piece.subarray(0, count);
    }
  } finally {
    closeSync(fd);
  }
}

const moved = (path: string): UserError => new UserError("ARC2065", `session: ${path} changed while it was read`, { exit: Exit.conflict, retryable: true });

function unreadable(path: string, error: unknown): UserError {
  const { code, message } = error as NodeJS.ErrnoException;
  const exit = code === "ENOENT" || code === "ENOTDIR" ? Exit.notFound : Exit.unexpected;
  return new UserError("ARC2060", `read session ${path}: ${message}`, { exit, cause: error });
}
