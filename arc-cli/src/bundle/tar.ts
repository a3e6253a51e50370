//! The strict ustar profile of docs/formats.md: writing it byte for byte the same each time, and reading it with every rule on.
//!
//! There is no tolerance for other dialects: no PAX, no GNU names, no links, no devices. An archive
//! either follows the profile to its last padding byte or is refused.

import { BundleError } from "./error.ts";
import { limits } from "./limits.ts";
import { checkPath, PathSet, show } from "./path.ts";

export interface TarEntry {
  readonly path: string;
  readonly bytes: Uint8Array;
}

const BLOCK = 512;
const RECORD = 10_240;
const encoder = new TextEncoder();

/** Packs entries in the order given: mode 0644, owner 0, time 0, padded to 10,240 bytes. */
export function writeTar(entries: readonly TarEntry[]): Uint8Array {
  const paths = new PathSet();
  let size = 2 * BLOCK;
  for (const entry of entries) size += BLOCK + roundUp(entry.bytes.length, BLOCK);
  const out = new Uint8Array(roundUp(size, RECORD));
  let at = 0;
  for (const entry of entries) {
    checkPath(entry.path);
    paths.add(entry.path, "file");
    writeHeader(out.subarray(at, at + BLOCK), entry);
    out.set(entry.bytes, at + BLOCK);
    at += BLOCK + roundUp(entry.bytes.length, BLOCK);
  }
  return out;
}

/** Sorts by the bytes of the path, which is the order of the writer. */
export function byPathBytes(a: { readonly path: string }, b: { readonly path: string }): number {
  return Buffer.compare(Buffer.from(a.path), Buffer.from(b.path));
}

function writeHeader(block: Uint8Array, entry: TarEntry): void {
  const { prefix, name } = splitPath(entry.path);
  block.set(encoder.encode(name), 0);
  putOctal(block, 100, 8, 0o644);
  putOctal(block, 108, 8, 0);
  putOctal(block, 116, 8, 0);
  putOctal(block, 124, 12, entry.bytes.length);
  putOctal(block, 136, 12, 0);
  block[156] = 0x30;
  block.set(encoder.encode("ustar\u000000"), 257);
  putOctal(block, 329, 8, 0);
  putOctal(block, 337, 8, 0);
  block.set(encoder.encode(prefix), 345);
  block.set(encoder.encode(`${checksum(block).toString(8).padStart(6, "0")}\0 `), 148);
}

/** ustar keeps a path in 100 bytes of name and 155 of prefix, cut at a slash. */
function splitPath(path: string): { prefix: string; name: string } {
  if (encoder.encode(path).length <= 100) return { prefix: "", name: path };
  for (let cut = path.indexOf("/"); cut !== -1; cut = path.indexOf("/", cut + 1)) {
    const prefix = path.slice(0, cut);
    const name = path.slice(cut + 1);
    if (encoder.encode(prefix).length <= 155 && encoder.encode(name).length <= 100) return { prefix, name };
  }
  throw new BundleError("PATH_TOO_LONG", `path ${show(path)} does not fit a ustar header (100 bytes after a prefix of 155)`);
}

function putOctal(block: Uint8Array, at: number, width: number, value: number): void {
  block.set(encoder.encode(value.toString(8).padStart(width - 1, "0")), at);
}

/** The sum of the header's bytes with the checksum field read as spaces. */
function checksum(block: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < BLOCK; i += 1) sum += i >= 148 && i < 156 ? 0x20 : (block[i] ?? 0);
  return sum;
}

/** Reads a whole archive. Directory entries are checked and left out of the result. */
export function readTar(bytes: Uint8Array, what: string): TarEntry[] {
  const entries: TarEntry[] = [];
  const paths = new PathSet();
  let count = 0;
  let total = 0;
  let at = 0;
  for (;;) {
    const block = bytes.subarray(at, at + BLOCK);
    if (block.length < BLOCK) throw new BundleError("TRUNCATED", `${what} ends inside a header at byte ${at}`);
    if (isZero(block)) break;
    const header = readHeader(block, what);
    count += 1;
    total += header.size;
    if (count > limits.entries) throw new BundleError("TOO_MANY_ENTRIES", `${what} has more than ${limits.entries} entries`);
    if (header.size > limits.entryBytes) throw new BundleError("ENTRY_TOO_LARGE", `entry ${show(header.path)} is ${header.size} bytes, limit is ${limits.entryBytes}`);
    if (total > limits.unpackedBytes) throw new BundleError("BUNDLE_TOO_LARGE", `${what} unpacks to more than ${limits.unpackedBytes} bytes`);
    paths.add(header.path, header.kind);
    const end = at + BLOCK + header.size;
    const next = at + BLOCK + roundUp(header.size, BLOCK);
    if (next > bytes.length) throw new BundleError("TRUNCATED", `${what} ends inside ${show(header.path)}`);
    if (!isZero(bytes.subarray(end, next))) throw new BundleError("TRAILING_BYTES", `${what} has bytes after the end of ${show(header.path)}`);
    if (header.kind === "file") entries.push({ path: header.path, bytes: bytes.subarray(at + BLOCK, end) });
    at = next;
  }
  checkEnd(bytes, at, what);
  return entries;
}

function checkEnd(bytes: Uint8Array, at: number, what: string): void {
  if (bytes.length < at + 2 * BLOCK) throw new BundleError("TRUNCATED", `${what} does not end with two zero blocks`);
  if (bytes.length !== roundUp(at + 2 * BLOCK, RECORD)) throw new BundleError("TRAILING_BYTES", `${what} is not padded to the next multiple of ${RECORD} bytes`);
  if (!isZero(bytes.subarray(at))) throw new BundleError("TRAILING_BYTES", `${what} has bytes after its end`);
}

interface Header {
  readonly path: string;
  readonly size: number;
  readonly kind: "file" | "directory";
}

function readHeader(block: Uint8Array, what: string): Header {
  const magic = String.fromCharCode(...block.subarray(257, 265));
  if (magic.startsWith("ustar ")) throw new BundleError("EXTENSION_HEADER", `${what} is a GNU archive, the profile is ustar`);
  if (magic !== "ustar\u000000") throw new BundleError("FORMAT_UNSUPPORTED", `${what} is not a ustar archive`);
  if (readOctal(block, 148, 8, "checksum", what) !== checksum(block)) throw new BundleError("CHECKSUM", `${what} has a header with a wrong checksum`);
  const kind = entryKind(String.fromCharCode(block[156] ?? 0), what);
  const mode = readOctal(block, 100, 8, "mode", what);
  if ((mode & ~0o777) !== 0) throw new BundleError("MODE", `${what} has an entry with mode ${mode.toString(8)}: set-id and sticky bits are refused`);
  const size = readOctal(block, 124, 12, "size", what);
  if (!isZero(block.subarray(157, 257))) throw new BundleError("LINK", `${what} has an entry with a link name`);
  if (kind === "directory" && size !== 0) throw new BundleError("ENTRY_TYPE", `${what} has a directory with content`);
  const prefix = readText(block.subarray(345, 500), what);
  const name = readText(block.subarray(0, 100), what);
  if (!isZero(block.subarray(500))) throw new BundleError("EXTENSION_HEADER", `${what} has bytes after the prefix of a header`);
  const joined = prefix === "" ? name : `${prefix}/${name}`;
  const path = kind === "directory" && joined.endsWith("/") ? joined.slice(0, -1) : joined;
  checkPath(path);
  return { path, size, kind };
}

function entryKind(flag: string, what: string): "file" | "directory" {
  if (flag === "0" || flag === "\0") return "file";
  if (flag === "5") return "directory";
  if (flag === "1" || flag === "2") throw new BundleError("LINK", `${what} has a link`);
  if ("xgLKNSVDMXA".includes(flag)) throw new BundleError("EXTENSION_HEADER", `${what} has an extension header of type ${show(flag)}`);
  throw new BundleError("ENTRY_TYPE", `${what} has an entry of type ${show(flag)}, only files and directories are allowed`);
}

function readOctal(block: Uint8Array, at: number, width: number, field: string, what: string): number {
  const text = String.fromCharCode(...block.subarray(at, at + width));
  const match = /^([0-7]+)[\0 ]*$/.exec(text);
  if (!match?.[1]) throw new BundleError("CHECKSUM", `${what} has a header whose ${field} is not an octal number`);
  return Number.parseInt(match[1], 8);
}

function readText(field: Uint8Array, what: string): string {
  const end = field.indexOf(0);
  const bytes = end === -1 ? field : field.subarray(0, end);
  if (end !== -1 && !isZero(field.subarray(end))) throw new BundleError("PATH_INVALID", `${what} has a name with a NUL inside`);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new BundleError("PATH_INVALID", `${what} has a name that is not UTF-8`);
  }
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function roundUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}
