//! A host for the harness in tests: starts it with a door on descriptor 3, sends one invoke frame, collects what comes back.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

// Both are made when they are first needed, once for each test file.
let made: string | undefined;
let harness: Promise<string> | undefined;

/** Removes what was made; each test file that uses this one calls it last. */
export function cleanUp(): void {
  if (made !== undefined) rmSync(made, { recursive: true });
  made = harness = undefined;
}

function directory(): string {
  return (made ??= mkdtempSync(join(tmpdir(), "arc-harness-")));
}

async function bundleHarness(): Promise<string> {
  const build = await Bun.build({ entrypoints: [join(import.meta.dir, "../../sdk/src/harness/main.ts")], target: "bun", format: "esm" });
  const path = join(directory(), "harness.js");
  await Bun.write(path, build.outputs[0] ?? "");
  return path;
}

export interface Ended {
  readonly frames: readonly Record<string, Record<string, unknown>>[];
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number | null;
}

/** Writes a tool module and gives its path. `body` is the function's body; `input` is its parameter. */
export function toolModule(body: string, codecs: { input?: string; output?: string } = {}): string {
  const path = join(directory(), `tool-${crypto.randomUUID()}.js`);
  writeFileSync(path, `export const tool = { name: "t", input: ${codecs.input ?? "null"}, output: ${codecs.output ?? "null"}, streams: ${/std(out|err)/.test(body)}, async run(input) { ${body} } };\n`);
  return path;
}

// Bun gives a socket pair for extra stdio, so one descriptor carries both directions.
export async function call(module: string, inputJson = "{}", timeoutMs = 10_000): Promise<Ended> {
  return talk([{ invoke: { invocationId: "i-1", module, inputJson } }], timeoutMs);
}

/** Writes these frames into the door of a new process and waits for its end. */
export async function talk(frames: readonly object[], timeoutMs = 10_000): Promise<Ended> {
  const script = await (harness ??= bundleHarness());
  const child = Bun.spawn([process.execPath, "--no-install", "--env-file=/dev/null", "--config=/dev/null", script], {
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    env: { HOME: "/tmp", PATH: "/bin" },
    timeout: timeoutMs,
  });
  const door = child.stdio[3] as unknown as number;
  for (const content of frames) {
    const body = new TextEncoder().encode(JSON.stringify(content));
    const frame = new Uint8Array(4 + body.length);
    new DataView(frame.buffer).setUint32(0, body.length, true);
    frame.set(body, 4);
    await writeAll(door, frame);
  }
  const [bytes, stdout, stderr, exitCode] = await Promise.all([readAll(door), new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  return { frames: split(bytes), stdout, stderr, exitCode };
}

async function writeAll(fd: number, bytes: Uint8Array): Promise<void> {
  const { writeSync } = await import("node:fs");
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if ((error as { code?: string }).code !== "EAGAIN") throw error;
      await Bun.sleep(1);
    }
  }
}

async function readAll(fd: number): Promise<Buffer> {
  const { readSync } = await import("node:fs");
  const chunks: Buffer[] = [];
  const chunk = Buffer.alloc(64 * 1024);
  for (;;) {
    try {
      const got = readSync(fd, chunk);
      if (got === 0) return Buffer.concat(chunks);
      chunks.push(Buffer.from(chunk.subarray(0, got)));
    } catch (error) {
      if ((error as { code?: string }).code !== "EAGAIN") return Buffer.concat(chunks);
      await Bun.sleep(1);
    }
  }
}

function split(bytes: Buffer): Record<string, Record<string, unknown>>[] {
  const frames: Record<string, Record<string, unknown>>[] = [];
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    // A frame of no bytes is the answer to a prepare frame.
    frames.push(length === 0 ? { ready: {} } : (JSON.parse(bytes.subarray(at + 4, at + 4 + length).toString()) as Record<string, Record<string, unknown>>));
    at += 4 + length;
  }
  return frames;
}
