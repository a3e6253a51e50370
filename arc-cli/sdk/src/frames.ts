//! The guest door: frames of a little-endian u32 length and JSON on one inherited descriptor.
//!
//! Reading and a small answer go through the runtime's own file object, because loading `node:fs` costs more than the rest
//! of a small call. What must not wait for the event loop (logs) or may be written in part (large frames) uses `node:fs`,
//! loaded then. The descriptor may be non-blocking: EAGAIN is waited out, a partial write is continued.

export const FRAME_BYTES_MAX = 1024 * 1024;
/** A frame of this size always fits an empty socket buffer in one piece. */
const SMALL_BYTES = 32 * 1024;

/** One read. */
const PIECE_BYTES = 16 * 1024;

/** Raised when a frame would be over the limit; nothing has been written then. */
export class FrameTooLarge extends Error {
  override readonly name = "FrameTooLarge";
}

/** What a door is read and written with when it does not go through the event loop. */
export interface Files {
  readSync(fd: number, piece: Uint8Array): number;
  writeSync(fd: number, bytes: Uint8Array, at: number, length: number): number;
  write(fd: number, bytes: Uint8Array, at: number, length: number, position: null, done: (error: Error | null, count: number) => void): void;
}

export class Door {
  readonly #fd: number;
  /** Once something was written here, order and a full buffer are its business. */
  #fs: Files | undefined;

  #reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>; cancel(): Promise<void> } | undefined;
  #resting: Promise<void> = Promise.resolve();
  #rest: Uint8Array = new Uint8Array();
  /** Frames that wait for their turn or are being written by another thread. */
  #queued = 0;
  #last: Promise<void> = Promise.resolve();

  /** Without `files`, those of the runtime, loaded when they are needed. */
  constructor(fd: number, files?: Files) {
    this.#fd = fd;
    this.#fs = files;
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
      const next = this.#next();
      if (next) return next.frame;
      const { done, value } = await reader.read();
      if (done || value === undefined) throw new Error("the host closed the door");
      this.#add(value);
    }
  }

  /**
   * The next frame, while nothing else of this program runs: a fraction of what waiting with the event loop costs. Only while no
   * `read` is under way. `undefined` when the descriptor does not wait; `read` does.
   */
  readNow(): { readonly frame: unknown } | undefined {
    const fs = this.#files();
    for (;;) {
      const next = this.#next();
      if (next) return next;
      const piece = new Uint8Array(PIECE_BYTES);
      let got: number;
      try {
        got = fs.readSync(this.#fd, piece);
      } catch (error) {
        if (isBusy(error)) return undefined;
        throw error;
      }
      if (got === 0) throw new Error("the host closed the door");
      this.#add(piece.subarray(0, got));
    }
  }

  /** A frame that is there whole. */
  #next(): { readonly frame: unknown } | undefined {
    const have = this.#rest;
    if (have.length < 4) return undefined;
    const length = new DataView(have.buffer, have.byteOffset).getUint32(0, true);
    if (length > FRAME_BYTES_MAX) throw new Error(`a frame of ${length} bytes is over the limit of ${FRAME_BYTES_MAX}`);
    if (have.length < 4 + length) return undefined;
    this.#rest = have.subarray(4 + length);
    return { frame: JSON.parse(new TextDecoder().decode(have.subarray(4, 4 + length))) };
  }

  #add(piece: Uint8Array): void {
    this.#rest = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
  }

  /** Answers a prepare frame: a frame of no bytes. */
  writeReady(): void {
    // Nobody waits for the call yet, so this is the time to load what writes fastest.
    this.#writeSync(new Uint8Array(4));
  }

  /** Writes now, before it returns; after frames that wait for their turn, if there are any. */
  writeNow(frame: object): void {
    const bytes = encodeFrame(frame);
    if (this.#queued === 0) this.#writeSync(bytes);
    else this.#queue(bytes).catch(() => undefined);
  }

  /**
   * Writes while the program goes on, because what is read meanwhile may be what makes room for it. With `fits`, when all that the
   * other side has not answered surely fits its buffer, it is written at once, which is faster.
   */
  async write(bytes: Uint8Array, fits: boolean): Promise<void> {
    if (fits && this.#queued === 0) this.#writeSync(bytes);
    else await this.#queue(bytes);
  }

  /** Writes the last frame of a call. */
  async writeLast(frame: object): Promise<void> {
    const bytes = encodeFrame(frame);
    if (this.#queued > 0) await this.#queue(bytes);
    else if (this.#fs === undefined && bytes.length <= SMALL_BYTES) await Bun.write(Bun.file(this.#fd), bytes);
    else this.#writeSync(bytes);
  }

  #queue(bytes: Uint8Array): Promise<void> {
    this.#queued++;
    const mine = this.#last.then(() => this.#writeElsewhere(bytes)).finally(() => this.#queued--);
    // Somebody waits for each frame; the next one is written whatever became of this one.
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  /** On another thread, where it may wait for the other side without holding up this one. */
  async #writeElsewhere(bytes: Uint8Array): Promise<void> {
    const fs = this.#files();
    for (let at = 0; at < bytes.length; ) {
      at += await new Promise<number>((done, failed) => {
        fs.write(this.#fd, bytes, at, bytes.length - at, null, (error, count) => {
          if (!error) done(count);
          else if (!isBusy(error)) failed(error);
          else setTimeout(() => done(0), 1);
        });
      });
    }
  }

  #writeSync(bytes: Uint8Array): void {
    const fs = this.#files();
    for (let at = 0; at < bytes.length; ) {
      try {
        at += fs.writeSync(this.#fd, bytes, at, bytes.length - at);
      } catch (error) {
        if (!isBusy(error)) throw error;
        // The peer is slow; the host's deadline bounds this wait.
        Bun.sleepSync(1);
      }
    }
  }

  #files(): Files {
    return (this.#fs ??= require("node:fs") as Files);
  }
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
