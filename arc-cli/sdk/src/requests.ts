//! Requests to the host and their answers, many at a time over one door.
//!
//! Reading begins with the first request and rests when none is open, so a program that waits for nothing can end.

import type { Door } from "./frames.ts";

/** The host refuses more. */
const OPEN_MAX = 64;

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

  #send(id: number, op: string, body: object, event: OnEvent | undefined): Promise<unknown> {
    return new Promise((done, refused) => {
      this.#open.set(id, { done, refused, event });
      this.#door.write({ request: { id, [op]: body } }).catch((error: unknown) => {
        this.#open.delete(id);
        const tooLarge = error instanceof Error && error.name === "FrameTooLarge";
        refused({ reason: tooLarge ? "TOO_LARGE" : "DOOR_CLOSED", message: error instanceof Error ? error.message : String(error) });
      });
      if (!this.#reading) void this.#read();
    });
  }

  async #read(): Promise<void> {
    this.#reading = true;
    clearTimeout(this.#rest);
    try {
      while (this.#open.size > 0) this.#take(((await this.#door.read()) as { response?: Response }).response ?? {});
    } catch (error) {
      const why = { reason: "DOOR_CLOSED", message: error instanceof Error ? error.message : String(error) };
      for (const open of this.#open.values()) open.refused(why);
      this.#open.clear();
    } finally {
      this.#reading = false;
      // Not at once: the next request is often made of this answer.
      if (this.#rests) this.#rest = setTimeout(() => this.#door.rest(), 0);
    }
  }

  #take(response: Response): void {
    const { id, error } = response;
    const open = typeof id === "number" ? this.#open.get(id) : undefined;
    if (open === undefined) return;
    if ("event" in response) return open.event?.(response.event);
    this.#open.delete(id as number);
    if (error === undefined) open.done(response.ok);
    else open.refused({ reason: String(error.reason), message: String(error.message) });
  }
}
