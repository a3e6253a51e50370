//! The process around `runCli`: descriptors, signals, exit code. No decisions.

import { createInterface } from "node:readline/promises";
import { ClosedPipe, runCli } from "./cli.ts";
import type { Stdin } from "./command.ts";
import { Exit } from "./errors.ts";
import type { Sink } from "./ui.ts";

const interrupt = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.on(name, () => {
    if (interrupt.signal.aborted) process.exit(Exit.interrupted);
    interrupt.abort(new Error(name));
  });
}

function sink(stream: NodeJS.WriteStream): Sink {
  // A failed write is reported to its caller; without a listener the same error would also end the process.
  stream.on("error", () => undefined);
  return {
    tty: stream.isTTY === true,
    columns: stream.columns ?? 80,
    write: (data) =>
      new Promise((resolve, reject) => {
        stream.write(data, (error) => {
          if (error === undefined || error === null) resolve();
          else reject((error as NodeJS.ErrnoException).code === "EPIPE" ? new ClosedPipe("the reader of the output is gone") : error);
        });
      }),
  };
}

const stdin: Stdin = {
  tty: process.stdin.isTTY === true,
  chunks: () => process.stdin as unknown as AsyncIterable<Uint8Array>,
};

async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await lines.question(question, { signal: interrupt.signal });
  } finally {
    lines.close();
  }
}

const terminal = process.stdin.isTTY === true && process.stderr.isTTY === true;
const code = await runCli(process.argv.slice(2), {
  stdout: sink(process.stdout),
  stderr: sink(process.stderr),
  stdin,
  env: process.env,
  cwd: process.cwd(),
  signal: interrupt.signal,
  ask: terminal ? ask : undefined,
});
// Idle HTTP/2 sessions and an unread stdin must not keep a finished program alive.
process.exit(code);
