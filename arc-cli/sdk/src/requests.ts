//! Requests to the host and their answers, many at a time over one door.
//!
//! Reading begins with the first request and rests when none is open, so a program that waits for nothing can end.

import { encodeFrame, type Door } from "./frames.ts";

/** The host refuses more. */
const OPEN_MAX = 64;
/** So much always fits the buffer of a socket, together with what it costs there. */
const FITS_BYTES = 64 * 1024;

/** Takes the events of a request that goes on. */
export type OnEvent = (event: unknown) => void;

/** A request on its way. The answer rejects with a `Refusal`. */
export interface Asked {
  readonly answer: Promise<unknown>;
  /** Ends a request that goes on; its answer rejects. */
  cancel(): void;
}

/** Why the host did not do it. Plain, because harness and SDK are different copies of this code. */
export interface Refusal {
  readonly reason: string;
  readonly message: string;
}

interface Open {
  readonly done: (answer: unknown) => void;
  readonly refused: (why: Refusal) => void;
  readonly event: OnEvent | undefined;
  readonly bytes: number;
}

interface Response {
  readonly id?: unknown;
  readonly ok?: unknown;
  readonly error?: { readonly reason?: unknown; readonly message?: unknown };
  readonly event?: unknown;
}

export class Requests {
  readonly #door: Door;
  readonly #open = new Map<number, Open>();
  /** Those that wait for one of the places. */
  readonly #waiting: (() => void)[] = [];
  #next = 1;
  #taken = 0;
  /** Bytes of open requests. */
  #unanswered = 0;
  #reading = false;
  readonly #rests: boolean;
  #rest: Timer | undefined;

  /** With `rests` it lets the process end when no request is open. */
  constructor(door: Door, rests = false) {
    this.#door = door;
    this.#rests = rests;
  }

  ask(op: string, body: object, event?: OnEvent): Asked {
    let id: number | undefined;
    let cancelled = false;
    const answer = (async () => {
      await this.#place();
      try {
        if (cancelled) throw { reason: "CANCELLED", message: "cancelled before it was sent" } satisfies Refusal;
        id = this.#next++;
        return await this.#send(id, op, body, event);
      } finally {
        this.#taken--;
        this.#waiting.shift()?.();
      }
    })();
    const cancel = (): void => {
      cancelled = true;
      // The answer to this says nothing that the end of the request does not say.
      if (id !== undefined && this.#open.has(id)) this.#send(this.#next++, "cancel", { request: id }, undefined).catch(() => undefined);
    };
    return { answer, cancel };
  }

  async #place(): Promise<void> {
    while (this.#taken >= OPEN_MAX) await new Promise<void>((turn) => this.#waiting.push(turn));
    this.#taken++;
  }

  async #send(id: number, op: string, body: object, event: OnEvent | undefined): Promise<unknown> {
    let bytes: Uint8Array;
    try {
      bytes = encodeFrame({ request: { id, [op]: body } });
    } catch (error) {
      throw refusal("TOO_LARGE", error);
    }
    return new Promise((done, refused) => {
      this.#open.set(id, { done, refused, event, bytes: bytes.length });
      this.#unanswered += bytes.length;
      this.#door.write(bytes, this.#unanswered <= FITS_BYTES).catch((error: unknown) => {
        if (this.#close(id)) refused(refusal("DOOR_CLOSED", error));
      });
      if (!this.#reading) void this.#read();
    });
  }

  /** Takes a request out; who gets it ends it. */
  #close(id: unknown): Open | undefined {
    const open = typeof id === "number" ? this.#open.get(id) : undefined;
    if (open === undefined) return undefined;
    this.#open.delete(id as number);
    this.#unanswered -= open.bytes;
    return open;
  }

  async #read(): Promise<void> {
    this.#reading = true;
    clearTimeout(this.#rest);
    try {
      while (this.#open.size > 0) this.#take(((await this.#door.read()) as { response?: Response }).response ?? {});
    } catch (error) {
      for (const id of [...this.#open.keys()]) this.#close(id)?.refused(refusal("DOOR_CLOSED", error));
    } finally {
      this.#reading = false;
      // Not at once: the next request is often made of this answer.
      if (this.#rests) this.#rest = setTimeout(() => this.#door.rest(), 0);
    }
  }

  #take(response: Response): void {
    const { id, error } = response;
    if ("event" in response) {
      if (typeof id === "number") this.#open.get(id)?.event?.(response.event);
      return;
    }
    const open = this.#close(id);
    if (error === undefined) open?.done(response.ok);
    else open?.refused({ reason: String(error.reason), message: String(error.message) });
  }
}

function refusal(reason: string, error: unknown): Refusal {
  return { reason, message: error instanceof Error ? error.message : String(error) };
}
