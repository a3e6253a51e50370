//! One zstd frame, with its size declared and nothing beside it.
//!
//! The frame's header and blocks are walked before a byte is decompressed, so a lie about the size
//! or a second frame is refused without work.

import { BundleError } from "./error.ts";
import { limits } from "./limits.ts";

const MAGIC = 0xfd2fb528;
const BLOCK_BYTES_MAX = 128 * 1024;

export function compress(bytes: Uint8Array): Uint8Array {
  // A plain array: a Buffer shares its memory with its slices.
  const packed = new Uint8Array(Bun.zstdCompressSync(bytes as Uint8Array<ArrayBuffer>, { level: 19 }));
  const frame = readFrame(packed, "the compressed layer");
  if (frame.contentBytes !== bytes.length) throw new BundleError("ZSTD_FRAME", "the compressor declared another size");
  return packed;
}

export function decompress(packed: Uint8Array, what: string): Uint8Array {
  const frame = readFrame(packed, what);
  if (frame.contentBytes > limits.unpackedBytes) throw new BundleError("BUNDLE_TOO_LARGE", `${what} unpacks to ${frame.contentBytes} bytes, limit is ${limits.unpackedBytes}`);
  if (frame.contentBytes > limits.ratioFreeBytes && frame.contentBytes > packed.length * limits.ratio) {
    throw new BundleError("RATIO", `${what} unpacks ${packed.length} bytes to ${frame.contentBytes}, more than ${limits.ratio}:1`);
  }
  if (frame.blocks * BLOCK_BYTES_MAX < frame.contentBytes) throw new BundleError("ZSTD_FRAME", `${what} declares more content than its blocks can hold`);
  let out: Uint8Array;
  try {
    out = new Uint8Array(Bun.zstdDecompressSync(packed as Uint8Array<ArrayBuffer>));
  } catch (cause) {
    throw new BundleError("ZSTD_FRAME", `${what} is not a sound zstd frame: ${(cause as Error).message}`);
  }
  if (out.length !== frame.contentBytes) throw new BundleError("ZSTD_FRAME", `${what} unpacks to ${out.length} bytes but declares ${frame.contentBytes}`);
  return out;
}

interface Frame {
  readonly contentBytes: number;
  readonly blocks: number;
}

/** Reads the one frame's header (RFC 8878 §3.1.1) and walks its blocks to the last byte. */
function readFrame(bytes: Uint8Array, what: string): Frame {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 6 || view.getUint32(0, true) !== MAGIC) throw new BundleError("ZSTD_FRAME", `${what} does not begin with a zstd frame`);
  const descriptor = view.getUint8(4);
  const singleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  if ((descriptor & 0x08) !== 0) throw new BundleError("ZSTD_FRAME", `${what} uses a reserved bit`);
  if ((descriptor & 0x03) !== 0) throw new BundleError("ZSTD_FRAME", `${what} needs a dictionary`);
  if (sizeFlag === 0 && !singleSegment) throw new BundleError("ZSTD_FRAME", `${what} does not declare its content size`);
  const sizeAt = singleSegment ? 5 : 6;
  const sizeBytes = sizeFlag === 0 ? 1 : 1 << sizeFlag;
  if (bytes.length < sizeAt + sizeBytes) throw new BundleError("TRUNCATED", `${what} ends inside its header`);
  const contentBytes = readSize(view, sizeAt, sizeBytes);
  const windowBytes = singleSegment ? contentBytes : windowOf(view.getUint8(5));
  if (windowBytes > limits.zstdWindowBytes) throw new BundleError("ZSTD_FRAME", `${what} needs a window of ${windowBytes} bytes, limit is ${limits.zstdWindowBytes}`);
  const checksumBytes = (descriptor & 0x04) === 0 ? 0 : 4;
  return { contentBytes, blocks: walkBlocks(view, sizeAt + sizeBytes, checksumBytes, what) };
}

function readSize(view: DataView, at: number, width: number): number {
  if (width === 1) return view.getUint8(at);
  if (width === 2) return view.getUint16(at, true) + 256;
  if (width === 4) return view.getUint32(at, true);
  const value = view.getBigUint64(at, true);
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
}

function windowOf(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

function walkBlocks(view: DataView, from: number, checksumBytes: number, what: string): number {
  let at = from;
  let blocks = 0;
  for (;;) {
    if (at + 3 > view.byteLength) throw new BundleError("TRUNCATED", `${what} ends inside its zstd frame`);
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    const type = (header >> 1) & 3;
    if (type === 3) throw new BundleError("ZSTD_FRAME", `${what} has a block of a reserved type`);
    at += 3 + (type === 1 ? 1 : header >> 3);
    blocks += 1;
    if ((header & 1) === 1) break;
  }
  const end = at + checksumBytes;
  if (end > view.byteLength) throw new BundleError("TRUNCATED", `${what} ends inside its zstd frame`);
  if (end < view.byteLength) throw new BundleError("TRAILING_BYTES", `${what} has ${view.byteLength - end} bytes after its zstd frame`);
  return blocks;
}
