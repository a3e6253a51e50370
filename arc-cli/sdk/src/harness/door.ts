//! The guest door: frames of a little-endian u32 length and JSON on one inherited descriptor.
//!
//! Plain synchronous reads and writes: no socket object, no event loop, nothing to start. The descriptor
//! may be non-blocking, so EAGAIN is waited out; a write may be partial, so it is continued.

import { readSync, writeSync } from "node:fs";

export const FRAME_BYTES_MAX = 1024 * 1024;

/** Raised when a frame would be over the limit; nothing has been written then. */
export class FrameTooLarge extends Error {
  override readonly name = "FrameTooLarge";
}

export function readFrame(fd: number): unknown {
  const length = new DataView(readExactly(fd, 4).buffer).getUint32(0, true);
  if (length > FRAME_BYTES_MAX) throw new Error(`a frame of ${length} bytes is over the limit of ${FRAME_BYTES_MAX}`);
  return JSON.parse(new TextDecoder().decode(readExactly(fd, length)));
}

export function writeFrame(fd: number, frame: object): void {
  const body = new TextEncoder().encode(JSON.stringify(frame));
  if (body.length > FRAME_BYTES_MAX) throw new FrameTooLarge(`a frame of ${body.length} bytes is over the limit of ${FRAME_BYTES_MAX}`);
  const bytes = new Uint8Array(4 + body.length);
  new DataView(bytes.buffer).setUint32(0, body.length, true);
  bytes.set(body, 4);
  for (let at = 0; at < bytes.length; ) at += retry(() => writeSync(fd, bytes, at, bytes.length - at));
}

function readExactly(fd: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const got = retry(() => readSync(fd, bytes, at, length - at, null));
    if (got === 0) throw new Error("the host closed the door");
    at += got;
  }
  return bytes;
}

function retry(attempt: () => number): number {
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      const code = (error as { code?: string }).code;
      if (code !== "EAGAIN" && code !== "EINTR") throw error;
      // The peer is slow; the host's deadline bounds this wait.
      Bun.sleepSync(1);
    }
  }
}
