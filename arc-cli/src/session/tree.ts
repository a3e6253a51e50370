//! The tree format (docs/formats.md): directories and files in one stream of bytes, to a device and back.
//!
//! What comes back was made by a program, so reading trusts nothing: every path is checked, every length is bounded by the
//! bytes that were announced, and the end must be the end.

import { DeviceError, Exit, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";

const MAGIC = Buffer.from("aria-tr1");
const HEADER_BYTES = 11;
/** Bounds of the device: records, bytes of a path, segments of a path, bytes of a segment. */
export const ENTRIES_MAX = 65_536;
const PATH_BYTES_MAX = 1024;
const DEPTH_MAX = 64;
const SEGMENT_BYTES_MAX = 255;

/** `deleted` and `other` (neither file nor directory) stand only in changes. */
export type Kind = "directory" | "file" | "program" | "deleted" | "other";
const LETTERS: Readonly<Record<Kind, string>> = { directory: "d", file: "f", program: "x", deleted: "-", other: "o" };
const KINDS = new Map(Object.entries(LETTERS).map(([kind, letter]) => [letter.charCodeAt(0), kind as Kind]));
const END = "e".charCodeAt(0);

export interface Entry {
  readonly kind: Kind;
  readonly path: string;
  readonly size: number;
}

export const hasContent = (kind: Kind): boolean => kind === "file" || kind === "program";

export const start = (): Uint8Array => MAGIC;

/** A record without its content. */
export function header({ kind, path, size }: Entry): Uint8Array {
  return record(LETTERS[kind].charCodeAt(0), Buffer.from(path), size);
}

/** The last record. */
export const end = (entries: number): Uint8Array => record(END, Buffer.alloc(0), entries);

function record(letter: number, path: Uint8Array, size: number): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES + path.length);
  bytes.writeUInt8(letter, 0);
  bytes.writeUInt16LE(path.length, 1);
  bytes.writeBigUInt64LE(BigInt(size), 3);
  bytes.set(path, HEADER_BYTES);
  return bytes;
}

/** Bytes of a whole tree. */
export function treeBytes(entries: readonly Entry[]): number {
  return entries.reduce((sum, { path, size }) => sum + HEADER_BYTES + Buffer.byteLength(path) + size, MAGIC.length + HEADER_BYTES);
}

/** Why a path cannot be in a tree; undefined when it can. */
export function pathProblem(path: string): string | undefined {
  const segments = path.split("/");
  if (segments.some((segment) => segment === "" || segment === "." || segment === ".." || segment.includes("\0"))) return "is no relative path of plain names";
  if (segments.some((segment) => Buffer.byteLength(segment) > SEGMENT_BYTES_MAX)) return `has a name of more than ${SEGMENT_BYTES_MAX} bytes`;
  if (segments.length > DEPTH_MAX) return `is more than ${DEPTH_MAX} levels deep`;
  return Buffer.byteLength(path) > PATH_BYTES_MAX ? `is longer than ${PATH_BYTES_MAX} bytes` : undefined;
}

/** The order of a tree: by the bytes of the path. */
export const byPath = (a: { readonly path: string }, b: { readonly path: string }): number => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path));

/** Reads a tree; `file` takes the content of each record that has some, in pieces. */
export async function readTree(chunks: AsyncIterable<Uint8Array>, file: (entry: Entry, pieces: AsyncIterable<Uint8Array>) => Promise<void>): Promise<Entry[]> {
  const bytes = new Bytes(chunks);
  if (!MAGIC.equals(await bytes.exactly(MAGIC.length))) throw malformed("does not begin like a tree");
  const entries: Entry[] = [];
  for (;;) {
    const head = await bytes.exactly(HEADER_BYTES);
    const [letter, length, size] = [head.readUInt8(0), head.readUInt16LE(1), Number(head.readBigUInt64LE(3))];
    if (letter === END) {
      if (length !== 0 || size !== entries.length || !(await bytes.atEnd())) throw malformed("has another end than it announces");
      return entries;
    }
    const kind = KINDS.get(letter);
    if (kind === undefined || (!hasContent(kind) && size !== 0) || !Number.isSafeInteger(size) || entries.length === ENTRIES_MAX) throw malformed("has a record that cannot be");
    const entry = { kind, size, path: text(await bytes.exactly(length)) };
    const last = entries.at(-1);
    if (pathProblem(entry.path) !== undefined || (last !== undefined && byPath(last, entry) >= 0)) throw malformed(`has the path ${escapeLine(JSON.stringify(entry.path))} where it cannot be`);
    entries.push(entry);
    if (hasContent(kind)) await file(entry, bytes.pieces(size));
  }
}

function text(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    const shown = escapeLine(new TextDecoder().decode(bytes));
    throw new UserError("ARC2063", `the program left ${shown}, whose name is not UTF-8; nothing was pulled`, { exit: Exit.conflict });
  }
}

function malformed(what: string): DeviceError {
  return new DeviceError("ARC3010", `what the device sent as changes ${what}`, { exit: Exit.unexpected });
}

/** A stream of chunks, read by length. */
class Bytes {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async exactly(length: number): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    for await (const piece of this.pieces(length)) parts.push(piece);
    return Buffer.concat(parts);
  }

  async *pieces(length: number): AsyncGenerator<Uint8Array> {
    let left = length;
    while (left > 0) {
      if (this.#rest.length === 0 && (await this.atEnd())) throw malformed("breaks off");
      const piece = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }

  async atEnd(): Promise<boolean> {
    while (this.#rest.length === 0) {
      const { done, value } = await this.#chunks.next();
      if (done === true) return true;
      this.#rest = value;
    }
    return false;
  }
}
