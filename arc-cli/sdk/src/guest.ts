//! Asking the device for something while a tool or program runs, and what comes back when it refuses.
//!
//! A tool finds the way to its host behind a symbol, put there by the harness. A program of `arc exec` that holds tokens opens
//! the door itself when it first asks. Anywhere else there is no device, which is said and not guessed around.

import { Door } from "./frames.ts";
import { Requests, type Asked, type OnEvent, type Refusal } from "./requests.ts";

/** The device refused a request, or there is none. `reason` is stable: `TOKEN_MISSING`, `LEASE_EXPIRED`, `KV_FULL`, `BUDGET_EXHAUSTED`, … */
export class AriaError extends Error {
  override readonly name = "AriaError";
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(`${reason}: ${message}`);
    this.reason = reason;
  }
}

interface Host {
  ask(op: string, body: object, event?: OnEvent): Asked;
}

const DOOR = Symbol.for("aria.door");
/** The device sets it for a program that holds tokens. */
const DOOR_ENV = "ARIA_DOOR";

let own: Requests | undefined;

function host(): Host {
  const given = (globalThis as { [DOOR]?: Partial<Host> })[DOOR];
  if (given?.ask) return given as Host;
  if (own) return own;
  const fd = process.env[DOOR_ENV];
  if (fd === undefined) {
    throw new AriaError("NO_DEVICE", "resources are on a device: run this as a tool that asks for tokens, or with `arc exec --token …`");
  }
  return (own = new Requests(new Door(Number(fd)), true));
}

/** One request and its answer. */
export async function request(op: string, body: object): Promise<unknown> {
  try {
    return await host().ask(op, body).answer;
  } catch (error) {
    throw told(error);
  }
}

/** One request, sent now, and its events, until whoever reads them stops or the device does. */
export function events(op: string, body: object): AsyncGenerator<unknown, void, undefined> {
  const stream: Stream = { ready: [], wake: () => undefined };
  const asked = host().ask(op, body, (event) => {
    stream.ready.push(event);
    stream.wake();
  });
  const end = (error?: unknown): void => {
    stream.end = { error };
    stream.wake();
  };
  asked.answer.then(() => end(), end);
  return read(stream, asked);
}

interface Stream {
  readonly ready: unknown[];
  wake: () => void;
  end?: { readonly error: unknown };
}

async function* read(stream: Stream, asked: Asked): AsyncGenerator<unknown, void, undefined> {
  try {
    for (;;) {
      while (stream.ready.length > 0) yield stream.ready.shift();
      if (stream.end) break;
      await new Promise<void>((done) => (stream.wake = done));
    }
    if (stream.end.error !== undefined) throw told(stream.end.error);
  } finally {
    asked.cancel();
  }
}

/** JSON text of a value that is JSON, and a refusal for everything JSON would bend. */
export function toJson(value: unknown): string {
  const text = JSON.stringify(value, function (this: unknown, key: string, plain: unknown) {
    const item = (this as Record<string, unknown>)[key];
    const bad = typeof plain === "bigint" || typeof plain === "function" || typeof plain === "symbol" || (typeof plain === "number" && !Number.isFinite(plain));
    const hole = plain === undefined && Array.isArray(this);
    if (bad || hole || item instanceof Map || item instanceof Set) throw new AriaError("VALUE_NOT_JSON", `${key === "" ? "the value" : key} has no JSON form`);
    return plain;
  }) as string | undefined;
  if (text === undefined) throw new AriaError("VALUE_NOT_JSON", "undefined has no JSON form");
  return text;
}

function told(error: unknown): unknown {
  if (error instanceof Error) return error;
  const { reason, message } = error as Refusal;
  return new AriaError(reason, message);
}
