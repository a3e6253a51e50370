//! The process around `runCli`: descriptors, signals, exit code. No decisions.
//!
//! Descriptors are read and written with plain calls on the thread pool: a slow reader slows arc, a reader that left is an
//! error of that write, and starting costs nothing (`process.stdout` alone takes longer than `arc --help` may).

import { read, write } from "node:fs";
import { ClosedPipe, runCli } from "./cli.ts";
import type { Stdin } from "./command.ts";
import { Exit, UserError } from "./errors.ts";
import type { Sink } from "./ui.ts";

const READ_BYTES = 64 * 1024;
const RETRY_MS = 5;

const interrupt = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => {
    if (interrupt.signal.aborted) process.exit(Exit.interrupted);
    interrupt.abort(new Error(name));
  });
}

// The launcher looks at the three descriptors (one shell builtin each) and says "t" or "-" for each in ARC_TTY.
const terminals = await terminalsOf(process.env["ARC_TTY"]);

async function terminalsOf(said: string | undefined): Promise<readonly boolean[]> {
  if (said !== undefined && /^[t-]{3}$/.test(said)) return [...said].map((mark) => mark === "t");
  const { isatty } = await import("node:tty");
  return [0, 1, 2].map((descriptor) => isatty(descriptor));
}

function sink(descriptor: 1 | 2): Sink {
  return {
    tty: terminals[descriptor] === true,
    get columns() {
      return (descriptor === 1 ? process.stdout : process.stderr).columns ?? 80;
    },
    write: (data) => writeAll(descriptor, typeof data === "string" ? Buffer.from(data) : data),
  };
}

async function writeAll(descriptor: number, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.length; ) {
    at += await new Promise<number>((resolve, reject) => {
      write(descriptor, data, at, data.length - at, null, (error, written) => {
        if (error === null) resolve(written);
        // Somebody made the terminal or pipe non-blocking; it will take more soon.
        else if (error.code === "EAGAIN") setTimeout(resolve, RETRY_MS, 0);
        else reject(writeError(error, descriptor));
      });
    });
  }
}

function writeError(error: NodeJS.ErrnoException, descriptor: number): Error {
  if (error.code === "EPIPE") return new ClosedPipe("the reader of the output is gone");
  return new UserError("ARC2045", `write to ${descriptor === 1 ? "stdout" : "stderr"}: ${error.message}`, { exit: Exit.unexpected, cause: error });
}

async function* readAll(): AsyncGenerator<Uint8Array> {
  for (;;) {
    const chunk = new Uint8Array(READ_BYTES);
    const got = await new Promise<number>((resolve, reject) => {
      read(0, chunk, 0, READ_BYTES, null, (error, bytes) => {
        if (error === null) resolve(bytes);
        else if (error.code === "EAGAIN") setTimeout(resolve, RETRY_MS, -1);
        // A closed descriptor is an empty input.
        else if (error.code === "EBADF") resolve(0);
        else reject(new UserError("ARC2040", `read stdin: ${error.message}`, { exit: Exit.unexpected, cause: error }));
      });
    });
    if (got === 0) return;
    if (got > 0) yield chunk.subarray(0, got);
  }
}

/** A terminal that hands over each key at once. Only its settings are changed; the bytes are read as ever. */
const raw = (on: boolean): void => void process.stdin.setRawMode(on);

const stdin: Stdin = {
  tty: terminals[0] === true,
  chunks: readAll,
  async *keys() {
    raw(true);
    yield* readAll();
  },
  keysDone: () => raw(false),
};

async function ask(question: string): Promise<string> {
  const { createInterface } = await import("node:readline/promises");
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const closed = Promise.withResolvers<string>();
  // A terminal in raw mode hands Ctrl-C to the prompt, not to the process.
  lines.once("SIGINT", () => closed.reject(new Error("SIGINT")));
  // End of input is no answer.
  lines.once("close", () => closed.resolve(""));
  try {
    return await Promise.race([lines.question(question, { signal: interrupt.signal }), closed.promise]);
  } catch (error) {
    throw new UserError("INTERRUPTED", "interrupted", { exit: Exit.interrupted, cause: error });
  } finally {
    lines.close();
  }
}

const code = await runCli(process.argv.slice(2), {
  stdout: sink(1),
  stderr: sink(2),
  stdin,
  env: process.env,
  cwd: process.cwd(),
  signal: interrupt.signal,
  ask: terminals[0] === true && terminals[2] === true ? ask : undefined,
});
// Idle HTTP/2 sessions and an unread stdin must not keep a finished program alive.
process.exit(code);
