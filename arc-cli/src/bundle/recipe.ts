//! A bundle file as a list of pieces: large blobs by their digest, everything between them as it stands. Only headers are read, so
//! memory does not grow with the file. Nothing is judged here: the pieces joined are the file, and the device reads that.

import type { FileHandle } from "node:fs/promises";

export type Piece =
  | { readonly kind: "literal"; readonly bytes: Uint8Array }
  | { readonly kind: "blob"; readonly sha256: string; readonly sizeBytes: number; readonly at: number };

const BLOCK = 512;
/** A blob below this costs more to ask for than to send along. */
const BLOB_BYTES_MIN = 4096;
const PIECES_MAX = 1000;
/** With the blobs' digests this stays below the largest message. */
const LITERAL_BYTES_MAX = 512 * 1024;
const BLOB = /^blobs\/sha256\/([0-9a-f]{64})$/;

/** The pieces of a file, or undefined when it has too many or is no archive. Then it is sent as it is. */
export async function recipe(handle: FileHandle, sizeBytes: number): Promise<Piece[] | undefined> {
  const blobs = await largeBlobs(handle, sizeBytes);
  if (blobs === undefined || blobs.length === 0) return undefined;
  const pieces: Piece[] = [];
  let [at, literal] = [0, 0];
  for (const blob of [...blobs, { at: sizeBytes }]) {
    if (blob.at > at) {
      literal += blob.at - at;
      if (literal > LITERAL_BYTES_MAX) return undefined;
      pieces.push({ kind: "literal", bytes: await readAt(handle, at, blob.at - at) });
    }
    if (!("sha256" in blob)) break;
    pieces.push(blob);
    at = blob.at + blob.sizeBytes;
  }
  return pieces.length > PIECES_MAX ? undefined : pieces;
}

type Blob = Extract<Piece, { kind: "blob" }>;

async function largeBlobs(handle: FileHandle, sizeBytes: number): Promise<Blob[] | undefined> {
  const blobs: Blob[] = [];
  for (let at = 0, entries = 0; at + BLOCK <= sizeBytes; entries += 1) {
    if (entries > PIECES_MAX) return undefined;
    const header = Buffer.from(await readAt(handle, at, BLOCK));
    if (header.every((byte) => byte === 0)) return blobs;
    const size = /^([0-7]{1,11})[\0 ]/.exec(header.toString("latin1", 124, 136))?.[1];
    if (size === undefined) return undefined;
    const bytes = Number.parseInt(size, 8);
    if (at + BLOCK + bytes > sizeBytes) return undefined;
    const sha256 = BLOB.exec(header.toString("latin1", 0, 100).replace(/\0+$/, ""))?.[1];
    if (sha256 !== undefined && bytes >= BLOB_BYTES_MIN) blobs.push({ kind: "blob", sha256, sizeBytes: bytes, at: at + BLOCK });
    at += BLOCK + Math.ceil(bytes / BLOCK) * BLOCK;
  }
  return undefined;
}

async function readAt(handle: FileHandle, at: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, length - done, at + done);
    if (bytesRead === 0) throw new Error("the file became shorter while it was read");
    done += bytesRead;
  }
  return bytes;
}
