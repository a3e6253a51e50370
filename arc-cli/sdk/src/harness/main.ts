//! Loads one tool, calls it once, says how it went, ends.
//!
//! The call is: read the invoke frame ▸ import the module ▸ decode ▸ run ▸ encode ▸ one result or failure frame ▸ exit.
//! The process ends at the answer even when the tool left timers or sockets open. Code of the tool shares this
//! process, so nothing here is a boundary: the host trusts no frame.

import { readFileSync } from "node:fs";

import { CodecError, decode, encode, type Codec } from "./codec.ts";
import { FRAME_BYTES_MAX, FrameTooLarge, readFrame, writeFrame } from "./door.ts";

const DOOR = 3;
const TEXT_MAX = 64 * 1024;

interface LoadedTool {
  readonly name: string;
  readonly run: (input: unknown) => unknown;
  readonly input: Codec;
  readonly output: Codec;
}

/** Set at the first result or failure: a call has one end. */
let ended = false;

function fail(kind: "threw" | "result", error: unknown): void {
  if (ended) return;
  ended = true;
  writeFrame(DOOR, { failure: { kind, ...describe(error) } });
}

function succeed(outputJson: string): void {
  if (ended) return;
  try {
    writeFrame(DOOR, { result: { outputJson } });
    ended = true;
  } catch (error) {
    if (!(error instanceof FrameTooLarge)) throw error;
    fail("result", new CodecError(`the answer does not fit a frame of ${FRAME_BYTES_MAX} bytes; write large data to a file with out()`, "OutputTooLarge"));
  }
}

/** Anything can be thrown, also objects whose getters throw. */
function describe(error: unknown): { name: string; message: string; stack: string } {
  try {
    if (error instanceof Error) {
      return { name: text(error.name), message: text(error.message), stack: text(stackOf(error)) };
    }
    return { name: error === null ? "null" : typeof error, message: text(typeof error === "object" ? Bun.inspect(error, { depth: 2 }) : String(error)), stack: "" };
  } catch {
    return { name: "Error", message: "the thrown value cannot be shown", stack: "" };
  }
}

/** The stack as the author knows it: paths of the project, without the frames of this file. */
function stackOf(error: Error): string {
  const lines = text(error.stack ?? "").split("\n");
  const mine = lines.filter((line) => !line.includes("/lib/aria/harness.js") && !line.includes("(native:"));
  const own = mine.join("\n").replaceAll("/app/", "");
  return error.cause instanceof Error && error.cause !== error ? `${own}\ncaused by: ${text(error.cause.stack ?? "").replaceAll("/app/", "")}` : own;
}

function text(value: unknown): string {
  const whole = String(value).toWellFormed();
  return whole.length > TEXT_MAX ? `${whole.slice(0, TEXT_MAX).toWellFormed()}…` : whole;
}

function openDoor(): void {
  const door = {
    log: (level: string, message: string, fieldsJson: string): void => writeFrame(DOOR, { log: { level, message: text(message), fieldsJson: fieldsJson.length > TEXT_MAX ? "{}" : fieldsJson } }),
    progress: (fraction: number, message: string): void => writeFrame(DOOR, { progress: { fraction, message: text(message) } }),
  };
  Object.defineProperty(globalThis, Symbol.for("aria.door"), { value: door });
}

function readInvoke(): { module: string; inputJson: string } {
  const frame = readFrame(DOOR) as { invoke?: { module?: unknown; inputJson?: unknown } };
  const { module, inputJson } = frame.invoke ?? {};
  if (typeof module !== "string") throw new Error("the first frame is not an invoke frame");
  // The JSON mapping leaves out what is empty.
  return { module, inputJson: typeof inputJson === "string" && inputJson !== "" ? inputJson : "{}" };
}

async function call(): Promise<void> {
  const { module, inputJson } = readInvoke();
  openDoor();
  let answer: unknown;
  let tool: LoadedTool;
  try {
    tool = ((await import(module)) as { tool: LoadedTool }).tool;
    answer = await tool.run(decode(tool.input, JSON.parse(inputJson)));
  } catch (error) {
    await drain(module);
    fail("threw", error);
    return;
  }
  await drain(module);
  try {
    succeed(encode(tool.output, answer));
  } catch (error) {
    // A getter or proxy of the answer may throw too; that is a result without a JSON form as well.
    fail("result", error);
  }
}

/**
 * Waits until what went through `process.stdout` and `process.stderr` has left the process; `console` writes at once.
 * Touching these streams costs milliseconds, so a module that never names them is spared.
 */
async function drain(module: string): Promise<void> {
  const code = readFileSync(module);
  for (const name of ["stdout", "stderr"] as const) {
    if (code.includes(name)) await new Promise<void>((done) => process[name].end(() => done()));
  }
}

// Taken before the tool runs: it may replace `process.exit`.
const exit = process.exit.bind(process);

for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) => {
    fail("threw", error);
    exit(1);
  });
}
await call();
exit(0);
