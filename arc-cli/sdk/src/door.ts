//! What a tool can say while it runs. The harness puts the way to the host behind a symbol; without it
//! (a unit test, a script) logs go to standard error and progress goes nowhere.

import type { JsonValue } from "./json.ts";

type Level = "debug" | "info" | "warn" | "error";

/** The harness's side of this contract is `harness/main.ts`. */
interface Door {
  log(level: Level, message: string, fieldsJson: string): void;
  progress(fraction: number, message: string): void;
}

const DOOR = Symbol.for("aria.door");

function door(): Door | undefined {
  return (globalThis as { [DOOR]?: Door })[DOOR];
}

/** Writes structured log lines of this call; they reach the caller while the tool runs. */
export interface Log {
  debug(message: string, fields?: { readonly [key: string]: JsonValue }): void;
  info(message: string, fields?: { readonly [key: string]: JsonValue }): void;
  warn(message: string, fields?: { readonly [key: string]: JsonValue }): void;
  error(message: string, fields?: { readonly [key: string]: JsonValue }): void;
}

function write(level: Level, message: string, fields: { readonly [key: string]: JsonValue } = {}): void {
  const fieldsJson = JSON.stringify(fields);
  const host = door();
  if (host) host.log(level, message, fieldsJson);
  else console.error(`${level}: ${message}${fieldsJson === "{}" ? "" : ` ${fieldsJson}`}`);
}

export const log: Log = {
  debug: (message, fields) => write("debug", message, fields),
  info: (message, fields) => write("info", message, fields),
  warn: (message, fields) => write("warn", message, fields),
  error: (message, fields) => write("error", message, fields),
};

/** Says how far the call is: a fraction from 0 to 1 (clamped) and, if it helps, what is being done. */
export function progress(fraction: number, message: string = ""): void {
  if (!Number.isFinite(fraction)) throw new RangeError(`progress takes a fraction from 0 to 1, got ${fraction}`);
  door()?.progress(Math.min(1, Math.max(0, fraction)), message);
}
