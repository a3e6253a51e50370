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

  #reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>; cancel(): Promise<void> } | undefined;
  #resting: Promise<void> = Promise.resolve();
  #rest: Uint8Array = new Uint8Array();
  #partial: Partial | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Stops reading until the next `read`, so that the process may end. Only when no frame is on its way. */
  rest(): void {
    const reader = this.#reader;
    this.#reader = undefined;
    if (reader) this.#resting = reader.cancel().catch(() => undefined);
  }

  /** The next frame. */
  async read(): Promise<unknown> {
    await this.#resting;
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
  writeReady(): void {
    // Nobody waits for the call yet, so this is the time to load what writes fastest.
    this.#finish({ bytes: new Uint8Array(4), at: 0 });
  }

  /** Writes now, before it returns. */
  writeNow(frame: object): void {
    this.#writeSync(encodeFrame(frame));
  }

  /** Writes in its turn, while the program goes on; what is read meanwhile may be what makes room. */
  async write(frame: object): Promise<void> {
    const bytes = encodeFrame(frame);
    const before = this.#last;
    const mine = (async () => {
      await before;
      this.#partial = { bytes, at: 0 };
      while (this.#partial?.bytes === bytes && !this.#advance(this.#partial)) await Bun.sleep(1);
    })();
    // Somebody waits for each frame; the next one is written whatever became of this one.
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  /** Writes what goes in without waiting; true when that was all. */
  #advance(partial: Partial): boolean {
    const fs = this.#files();
    while (partial.at < partial.bytes.length) {
      try {
        partial.at += fs.writeSync(this.#fd, partial.bytes, partial.at, partial.bytes.length - partial.at);
      } catch (error) {
        if (!isBusy(error)) throw error;
        return false;
      }
    }
    if (this.#partial === partial) this.#partial = undefined;
    return true;
  }

  #files(): typeof import("node:fs") {
    return (this.#fs ??= require("node:fs") as typeof import("node:fs"));
  }

  /** Writes the last frame of a call. */
  async writeLast(frame: object): Promise<void> {
    const bytes = encodeFrame(frame);
    if (this.#fs === undefined && bytes.length <= SMALL_BYTES) await Bun.write(Bun.file(this.#fd), bytes);
    else this.#writeSync(bytes);
  }

  #writeSync(bytes: Uint8Array): void {
    // A frame that is half written comes first, or nobody could tell them apart.
    if (this.#partial) this.#finish(this.#partial);
    this.#finish({ bytes, at: 0 });
  }

  #finish(partial: Partial): void {
    // The peer is slow; the host's deadline bounds this wait.
    while (!this.#advance(partial)) Bun.sleepSync(1);
  }
}

/** A frame on its way. */
interface Partial {
  readonly bytes: Uint8Array;
  at: number;
}

function isBusy(error: unknown): boolean {
  const code = (error as { code?: string }).code;
  return code === "EAGAIN" || code === "EINTR";
}

/** Length and JSON in one piece. */
export function encodeFrame(frame: object): Uint8Array<ArrayBuffer> {
  const body = new TextEncoder().encode(JSON.stringify(frame));
  if (body.length > FRAME_BYTES_MAX) throw new FrameTooLarge(`a frame of ${body.length} bytes is over the limit of ${FRAME_BYTES_MAX}`);
  const bytes = new Uint8Array(4 + body.length);
  new DataView(bytes.buffer).setUint32(0, body.length, true);
  bytes.set(body, 4);
  return bytes;
}
