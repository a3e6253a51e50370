//! Loads one tool, calls it once, says how it went, ends.
//!
//! The call is: read the invoke frame ▸ import the module ▸ decode ▸ run ▸ encode ▸ one result or failure frame ▸ exit.
//! The process ends at the answer even when the tool left timers or sockets open. Code of the tool shares this
//! process, so nothing here is a boundary: the host trusts no frame.

import { CodecError, decode, encode, type Codec } from "./codec.ts";
import { Door, encodeFrame, FRAME_BYTES_MAX, FrameTooLarge } from "../frames.ts";
import { Requests, type Asked, type OnEvent } from "../requests.ts";

const door = new Door(3);
let requests: Requests | undefined;
const TEXT_MAX = 64 * 1024;

interface LoadedTool {
  readonly name: string;
  readonly run: (input: unknown) => unknown;
  readonly input: Codec;
  readonly output: Codec;
  /** The code names `process.stdout` or `process.stderr`, so they have to be emptied before the end. */
  readonly streams?: boolean;
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

/** The other side of this contract is the SDK's `door.ts`. */
function openDoor(): void {
  const host = {
    log: (level: string, message: string, fieldsJson: string): void => door.writeNow({ log: { level, message: text(message), fieldsJson: fieldsJson.length > TEXT_MAX ? "{}" : fieldsJson } }),
    progress: (fraction: number, message: string): void => door.writeNow({ progress: { fraction, message: text(message) } }),
    ask: (op: string, body: object, event?: OnEvent): Asked => (requests ??= new Requests(door)).ask(op, body, event),
  };
  Object.defineProperty(globalThis, Symbol.for("aria.door"), { value: host });
}

interface HostFrame {
  readonly prepare?: { readonly module?: unknown };
  readonly invoke?: { readonly module?: unknown; readonly inputJson?: unknown };
}

/**
 * Started ahead of its call, a process gets a prepare frame first: it loads what it can know, says that it is ready and waits
 * for the call. A module that cannot be loaded ends the process; the call that meets the same error gets it from a process of
 * its own.
 */
async function serve(): Promise<void> {
  const frame = (await door.read()) as HostFrame;
  openDoor();
  if (frame.prepare === undefined) return call.serve(frame);
  await rehearse();
  const { module } = frame.prepare;
  if (typeof module === "string") loaded = { module, content: (await import(module)) as Loaded };
  door.writeReady();
  await waitAndServe(door, call);
}

/** While it waits nothing else of this program runs, and it wakes up right here. */
async function waitAndServe(door: Door, call: Call): Promise<void> {
  await call.serve((door.readNow()?.frame ?? (await door.read())) as HostFrame);
}

interface Loaded {
  readonly tool: LoadedTool;
}

/** What was loaded ahead of the call. */
let loaded: { readonly module: string; readonly content: Loaded } | undefined;

/** Asking for a module costs time even when it is loaded. */
async function load(module: string): Promise<Loaded> {
  return loaded?.module === module ? loaded.content : ((await import(module)) as Loaded);
}

/** The first pass through any code takes many times as long as the next, so it is made while nobody waits: a call at a door of its own. */
async function rehearse(): Promise<void> {
  const codec: Codec = { object: { text: null, when: { date: 1 }, list: { array: null } } };
  const tool: LoadedTool = { name: "", run: (input) => input, input: codec, output: codec };
  loaded = { module: "", content: { tool } };
  const frame = encodeFrame({ invoke: { module: "", inputJson: '{"text":"x","when":"2000-01-01T00:00:00.000Z","list":[1,true,null]}' } });
  const readSync = (_fd: number, piece: Uint8Array): number => (piece.set(frame), frame.length);
  const writeSync = (_fd: number, _bytes: Uint8Array, _at: number, length: number): number => length;
  const stage = new Door(-1, { readSync, writeSync, write: () => undefined });
  await waitAndServe(stage, new Call(stage));
}

/** Runs the tool once: its answer as JSON text. */
async function answer(tool: LoadedTool, inputJson: string): Promise<string> {
  const value = await tool.run(decode(tool.input, JSON.parse(inputJson)));
  if (tool.streams) await drain();
  return encoded(tool, value);
}

/** One call over a door, from its invoke frame to the one frame that says how it ended. */
class Call {
  readonly #door: Door;
  /** Set at the first result or failure: a call has one end. */
  #ended = false;

  constructor(door: Door) {
    this.#door = door;
  }

  async serve(frame: HostFrame): Promise<void> {
    const { module, inputJson } = frame.invoke ?? {};
    if (typeof module !== "string") throw new Error("the first frame is not an invoke frame");
    let tool: LoadedTool | undefined;
    let outputJson: string;
    try {
      tool = (await load(module)).tool;
      // The JSON mapping leaves out what is empty.
      outputJson = await answer(tool, typeof inputJson === "string" && inputJson !== "" ? inputJson : "{}");
    } catch (error) {
      if (tool?.streams) await drain();
      // A getter or proxy of the answer may throw too; that is a result without a JSON form as well.
      await (error instanceof Unfit ? this.fail("result", error.reason) : this.fail(isResultFault(error) ? "result" : "threw", error));
      return;
    }
    await this.#succeed(outputJson);
  }

  async fail(kind: "threw" | "result", error: unknown): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    const tooLarge = kind === "result" && error instanceof CodecError && error.name === "OutputTooLarge";
    await this.#door.writeLast({ failure: { kind: tooLarge ? "too-large" : kind, ...describe(error) } });
  }

  async #succeed(outputJson: string): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    try {
      await this.#door.writeLast({ result: { outputJson } });
    } catch (error) {
      if (!(error instanceof FrameTooLarge)) throw error;
      this.#ended = false;
      await this.fail("result", new CodecError(`the answer does not fit a frame of ${FRAME_BYTES_MAX} bytes; write large data to a file with out()`, "OutputTooLarge"));
    }
  }
}

/** The SDK's mark on a result that its own schema refuses. What was thrown may throw itself when it is looked at. */
function isResultFault(error: unknown): boolean {
  try {
    return error instanceof Error && Reflect.get(error, Symbol.for("aria.result")) === true;
  } catch {
    return false;
  }
}

/** Marks what went wrong after the tool had answered. */
class Unfit {
  readonly reason: unknown;
  constructor(reason: unknown) {
    this.reason = reason;
  }
}

function encoded(tool: LoadedTool, answer: unknown): string {
  try {
    return encode(tool.output, answer);
  } catch (error) {
    throw new Unfit(error);
  }
}

let drained: Promise<void> | undefined;

/** Waits, once, until what went through `process.stdout` and `process.stderr` has left the process; `console` writes at once. */
function drain(): Promise<void> {
  const emptied = (name: "stdout" | "stderr"): Promise<void> => new Promise((done) => process[name].end(() => done()));
  return (drained ??= emptied("stdout").then(() => emptied("stderr")));
}

// Taken before the tool runs: it may replace `process.exit`.
const exit = process.exit.bind(process);
const call = new Call(door);

for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) => {
    void call.fail("threw", error).then(() => exit(1));
  });
}
await serve();
exit(0);
