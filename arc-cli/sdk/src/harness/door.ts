//! The guest door: frames of a little-endian u32 length and JSON on one inherited descriptor.
//!
//! Reading and a small answer go through the runtime's own file object, because loading `node:fs` costs more than the rest
//! of a small call. What must not wait for the event loop (logs) or may be written in part (large frames) uses `node:fs`,
//! loaded then. The descriptor may be non-blocking: EAGAIN is waited out, a partial write is continued.

export const FRAME_BYTES_MAX = 1024 * 1024;
/** A frame of this size always fits an empty socket buffer in one piece. */
const SMALL_BYTES = 32 * 1024;

/** Raised when a frame would be over the limit; nothing has been written then. */
export class FrameTooLarge extends Error {
  override readonly name = "FrameTooLarge";
}

export class Door {
  readonly #fd: number;
  /** Once something was written here, order and a full buffer are its business. */
  #fs: typeof import("node:fs") | undefined;

  #reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> } | undefined;
  #rest: Uint8Array = new Uint8Array();

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The next frame. */
  async read(): Promise<unknown> {
    const reader = (this.#reader ??= Bun.file(this.#fd).stream().getReader());
    for (;;) {
      const have = this.#rest;
      if (have.length >= 4) {
        const length = new DataView(have.buffer, have.byteOffset).getUint32(0, true);
        if (length > FRAME_BYTES_MAX) throw new Error(`a frame of ${length} bytes is over the limit of ${FRAME_BYTES_MAX}`);
        if (have.length >= 4 + length) {
          this.#rest = have.subarray(4 + length);
          return JSON.parse(new TextDecoder().decode(have.subarray(4, 4 + length)));
        }
      }
      const { done, value } = await reader.read();
      if (done || value === undefined) throw new Error("the host closed the door");
      this.#rest = have.length === 0 ? value : Buffer.concat([have, value]);
    }
  }

  /** Answers a prepare frame: a frame of no bytes. */
  async writeReady(): Promise<void> {
    await Bun.write(Bun.file(this.#fd), new Uint8Array(4));
  }

  /** Writes now, before it returns. */
  writeNow(frame: object): void {
    this.#writeSync(encodeFrame(frame));
  }

  /** Writes the last frame of a call. */
  async writeLast(frame: object): Promise<void> {
    const bytes = encodeFrame(frame);
    if (this.#fs === undefined && bytes.length <= SMALL_BYTES) await Bun.write(Bun.file(this.#fd), bytes);
    else this.#writeSync(bytes);
  }

  #writeSync(bytes: Uint8Array): void {
    const fs = (this.#fs ??= require("node:fs") as typeof import("node:fs"));
    for (let at = 0; at < bytes.length; ) at += retry(() => fs.writeSync(this.#fd, bytes, at, bytes.length - at));
  }
}

function encodeFrame(frame: object): Uint8Array<ArrayBuffer> {
  const body = new TextEncoder().encode(JSON.stringify(frame));
  if (body.length > FRAME_BYTES_MAX) throw new FrameTooLarge(`a frame of ${body.length} bytes is over the limit of ${FRAME_BYTES_MAX}`);
  const bytes = new Uint8Array(4 + body.length);
  new DataView(bytes.buffer).setUint32(0, body.length, true);
  bytes.set(body, 4);
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
