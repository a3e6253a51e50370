// The device under attack: daemons on this machine, or the booted image. Runs one program through `arc exec --json` and gives
// back its lines and how it ended; what a case floods us with is read and dropped, never kept.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { arcProgram, startHost, type Host } from "../stand/host.ts";
import type { Vm } from "../stand/vm.ts";
import { PLANTED } from "./oracles.ts";
import { type Ended, type Line, parseLine, type RunRecord } from "./verdict.ts";

export interface Device {
  kind: "host" | "vm";
  configDir: string;
  host?: Host;
  vm?: Vm;
  stop(): Promise<void>;
}

const LINE_CHARS_MAX = 64 * 1024;
const EVENT_CHARS_MAX = 8 << 20;
const LINES_MAX = 64;
const STDERR_CHARS_MAX = 4096;

/** A planted secret: never in an argument or a file of a case, so seeing one means it leaked. */
export function newCanary(): string {
  return `ARIA-CANARY-${Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString("hex")}`;
}
const CANARY = /ARIA-CANARY-[0-9a-f]{16}/;
/** The one value c41 uses to prove that it can recognise a secret. */
const CANARY_SAMPLE = "ARIA-CANARY-0123456789abcdef";

/** `quiltToml` is added to the engine's configuration on this machine. */
export async function startDevice(vm: boolean, configDir?: string, quiltToml = ""): Promise<Device> {
  if (vm) {
    const { Vm } = await import("../stand/vm.ts");
    const machine = await Vm.start({ context: "vm", ...(configDir === undefined ? {} : { configDir }) });
    return { kind: "vm", configDir: machine.configDir, vm: machine, stop: () => machine.stop() };
  }
  const host = await startHost({ context: "dev", quiltToml, ...(configDir === undefined ? {} : { configDir }) });
  for (const place of PLANTED) writeFileSync(join(host.dir, place), `${newCanary()}\n`);
  return { kind: "host", configDir: host.configDir, host, stop: () => host.stop() };
}

export interface ExecResult extends RunRecord {
  stdoutBytes: number;
  /** The first bytes of the program's stdout and stderr, for drivers that look at them. */
  head: string;
  arcExit: number;
}

/** Collects a program's stdout as lines, without keeping what is too long to be one of ours. */
export class LineReader {
  readonly lines: Line[] = [];
  canary: string | undefined;
  #rest = "";
  #overlong = false;

  take(text: string): void {
    this.#scan(text);
    let from = 0;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", from)) {
      if (!this.#overlong && this.#rest.length + (at - from) <= LINE_CHARS_MAX) this.#line(this.#rest + text.slice(from, at));
      this.#rest = "";
      this.#overlong = false;
      from = at + 1;
    }
    const tail = text.slice(from);
    if (this.#overlong || this.#rest.length + tail.length > LINE_CHARS_MAX) {
      this.#overlong = true;
      this.#rest = "";
    } else this.#rest += tail;
  }

  end(): void {
    if (!this.#overlong && this.#rest !== "") this.#line(this.#rest);
    this.#rest = "";
  }

  #scan(text: string): void {
    const found = CANARY.exec(this.#rest.slice(-64) + text)?.[0];
    if (found !== undefined && found !== CANARY_SAMPLE) this.canary = found;
  }

  #line(text: string): void {
    const line = parseLine(text);
    if (line === undefined) return;
    // An escape is never pushed out by lines that come after it.
    if (this.lines.length < LINES_MAX) this.lines.push(line);
    else if (line.escaped !== false || this.lines.every((one) => one.escaped === false)) this.lines[LINES_MAX - 1] = line;
  }
}

interface Event {
  type?: string;
  text?: string;
  base64?: string;
  outcome?: Record<string, unknown>;
  error?: { code?: string; message?: string };
}

export async function exec(device: Device, program: string, options: readonly string[], guardMs: number, args: readonly string[] = []): Promise<ExecResult> {
  const started = performance.now();
  const child = Bun.spawn([arcProgram, "exec", program, "--json", ...options, ...(args.length > 0 ? ["--", ...args] : [])], {
    env: { ...process.env, ARC_CONFIG_DIR: device.configDir, NO_COLOR: "1" },
    stdin: "ignore", stdout: "pipe", stderr: "pipe",
  });
  let late = false;
  const guard = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, guardMs);
  const reader = new LineReader();
  const stderrReader = new LineReader();
  let ended: Ended | undefined;
  let stdoutBytes = 0;
  let head = "";
  const event = (line: string): void => {
    const value = parseEvent(line);
    if (value === undefined) return;
    const text = value.text ?? (value.base64 === undefined ? "" : Buffer.from(value.base64, "base64").toString("latin1"));
    if (value.type === "stdout" || value.type === "stderr") {
      if (head.length < STDERR_CHARS_MAX) head += text.slice(0, STDERR_CHARS_MAX);
      (value.type === "stdout" ? reader : stderrReader).take(text);
      if (value.type === "stdout") stdoutBytes += text.length;
    }
    if (value.type === "outcome") ended = toEnded(value);
  };
  const [, stderr, arcExit] = await Promise.all([eachLine(child.stdout, event), firstText(child.stderr), child.exited]);
  clearTimeout(guard);
  reader.end();
  const canary = reader.canary ?? stderrReader.canary;
  const fallback: Ended = { kind: "silent", error: late ? `did not end in ${guardMs} ms` : `exit ${arcExit}: ${stderr.trim().slice(0, 400)}` };
  return { lines: reader.lines, ended: ended ?? fallback, elapsedMs: performance.now() - started, stdoutBytes, head, arcExit, ...(canary === undefined ? {} : { canary }) };
}

function parseEvent(line: string): Event | undefined {
  try {
    return JSON.parse(line) as Event;
  } catch {
    return undefined;
  }
}

function toEnded(event: Event): Ended {
  const outcome = event.outcome ?? {};
  const text = (key: string): string => (typeof outcome[key] === "string" ? outcome[key] : "");
  const number = (key: string): Record<string, number> => (typeof outcome[key] === "number" ? { [key]: outcome[key] } : {});
  switch (outcome.kind) {
    case "succeeded":
      return { kind: "succeeded" };
    case "failed":
      return { kind: "failed", reason: text("reason"), message: text("message"), ...number("exitCode"), ...number("signal") };
    case "refused":
      return { kind: "refused", reason: text("reason"), message: text("message") };
    case "cancelled":
      return { kind: "cancelled", by: text("by") };
    default:
      return { kind: "never_ran", error: `${event.error?.code ?? "no reason"}: ${event.error?.message ?? ""}` };
  }
}

async function eachLine(stream: ReadableStream<Uint8Array>, line: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) line(part);
    if (rest.length > EVENT_CHARS_MAX) rest = "";
  }
  if (rest !== "") line(rest);
}

async function firstText(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) if (text.length < STDERR_CHARS_MAX) text += decoder.decode(chunk, { stream: true });
  return text;
}
