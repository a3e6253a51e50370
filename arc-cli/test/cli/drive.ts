//! Drives arc in-process: words in, exit code and texts out.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCli } from "../../src/cli.ts";
import { fits } from "./fits.ts";

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout as one JSON document. */
  readonly json: () => { [key: string]: any };
}

export interface DriveOptions {
  readonly env?: Record<string, string>;
  readonly stdin?: string | Uint8Array | AsyncIterable<Uint8Array>;
  readonly tty?: boolean;
  readonly signal?: AbortSignal;
  readonly onStdout?: (data: Uint8Array) => void | Promise<void>;
  readonly answer?: string;
  readonly cwd?: string;
}

const made: string[] = [];

/** Removes the directories made so far; each test file that makes some calls it last. */
export function cleanUp(): void {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
}

/** A directory for one test file. */
export function newDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "arc-test-"));
  made.push(dir);
  return dir;
}

export async function arc(words: readonly string[], options: DriveOptions = {}): Promise<Ran> {
  const out: Uint8Array[] = [];
  const err: Uint8Array[] = [];
  const bytes = (data: Uint8Array | string): Uint8Array => (typeof data === "string" ? Buffer.from(data) : Buffer.from(data));
  const tty = options.tty ?? false;
  const answer = options.answer;
  const code = await runCli(words, {
    stdout: {
      tty,
      columns: 80,
      write: async (data) => {
        out.push(bytes(data));
        await options.onStdout?.(bytes(data));
      },
    },
    stderr: { tty, columns: 80, write: async (data) => void err.push(bytes(data)) },
    stdin: { tty, chunks: () => stdinOf(options.stdin) },
    env: { HOME: "/nonexistent", ...options.env },
    cwd: options.cwd ?? process.cwd(),
    signal: options.signal ?? new AbortController().signal,
    ask: answer === undefined ? undefined : async () => answer,
  });
  const stdout = Buffer.concat(out).toString();
  if (words.includes("--json") && !words.includes("--fields")) checkJson(words, stdout);
  return { code, stdout, stderr: Buffer.concat(err).toString(), json: () => JSON.parse(stdout) };
}

/** Every JSON a test gets from arc fits the published schema. */
function checkJson(words: readonly string[], stdout: string): void {
  const whole = stdout.trim();
  if (whole === "") return;
  const wrong = fits(words, whole.split("\n").map((line) => JSON.parse(line) as unknown));
  if (wrong !== undefined) throw new Error(`--json does not fit its schema: ${wrong}`);
}

async function* stdinOf(input: DriveOptions["stdin"]): AsyncGenerator<Uint8Array> {
  if (input === undefined) return;
  if (typeof input === "string") yield Buffer.from(input);
  else if (input instanceof Uint8Array) yield input;
  else yield* input;
}
