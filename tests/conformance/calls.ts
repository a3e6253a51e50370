// The projects in `examples/` and what their `calls.json` and `more-calls.json` promise.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root, type Run } from "../stand/host.ts";

export interface Call {
  /** `<bundle>.<tool>` */
  tool: string;
  input: unknown;
  /** Name in the cage → path inside the example, or `generated:<what>`. */
  files?: Record<string, string>;
  /** Every property named here must come back so; an object may hold more, a list may not. */
  expect?: unknown;
  /** The call must fail like this. */
  fails?: { exit: number; code: string; message?: string };
  /** Files that must come back. */
  out?: Record<string, { bytesMin?: number; sha256?: string; contains?: string; png?: { width: number; height: number } }>;
  timeout?: string;
}

export interface Example {
  name: string;
  dir: string;
  calls: Call[];
}

export function examples(): Example[] {
  const base = join(root, "examples");
  return readdirSync(base).filter((name) => existsSync(join(base, name, "arc.toml"))).sort().map((name) => {
    const dir = join(base, name);
    const read = (file: string): Call[] => (existsSync(join(dir, file)) ? (JSON.parse(readFileSync(join(dir, file), "utf8")) as Call[]) : []);
    return { name, dir, calls: [...read("calls.json"), ...read("more-calls.json")] };
  });
}

/** Whether `actual` has everything `expected` names. */
export function holds(actual: unknown, expected: unknown): boolean {
  if (Array.isArray(expected)) return Array.isArray(actual) && actual.length === expected.length && expected.every((item, i) => holds(actual[i], item));
  if (typeof expected === "object" && expected !== null) {
    if (typeof actual !== "object" || actual === null || Array.isArray(actual)) return false;
    return Object.entries(expected).every(([key, value]) => Object.hasOwn(actual, key) && holds((actual as Record<string, unknown>)[key], value));
  }
  return Object.is(actual, expected);
}

const GENERATED_ROWS = 400_000;

/** About ten megabytes with known statistics. */
export function csv10mb(): string {
  const lines = ["id,value,empty,label"];
  for (let i = 0; i < GENERATED_ROWS; i++) lines.push(`${i},${(i * 7919) % 1000},${i % 2 === 0 ? 1 : ""},label number ${(i * 31) % 9973}`);
  return lines.join("\n") + "\n";
}

type Arc = (args: string[]) => Promise<Run>;

/** Makes one call; undefined, or what was wrong. */
export async function check(arc: Arc, example: Example, call: Call): Promise<string | undefined> {
  const scratch = mkdtempSync(join(tmpdir(), "call-"));
  try {
    const outDir = join(scratch, "out");
    mkdirSync(outDir);
    const files = Object.entries(call.files ?? {}).flatMap(([name, path]) => ["--file", `${name}=${source(path, example.dir, scratch)}`]);
    const done = await arc(["--json", "invoke", call.tool, "--input", JSON.stringify(call.input), ...files, ...(call.timeout === undefined ? [] : ["--timeout", call.timeout]), ...(call.out === undefined ? [] : ["--out", outDir])]);
    const said = `exit ${done.code}: ${done.stdout.slice(0, 1500)}${done.stderr.slice(0, 500)}`;
    const body = JSON.parse(done.stdout) as { ok: boolean; data?: { output?: unknown }; error?: { code?: string; message?: string } };
    if (call.fails !== undefined) {
      const { exit, code, message } = call.fails;
      const right = !body.ok && done.code === exit && body.error?.code === code && (message === undefined || (body.error.message ?? "").includes(message));
      return right ? undefined : `wanted exit ${exit} ${code} ${message ?? ""}, got ${said}`;
    }
    if (done.code !== 0 || !body.ok) return said;
    if (call.expect !== undefined && !holds(body.data?.output, call.expect)) return `wanted ${JSON.stringify(call.expect)}, got ${said}`;
    for (const [name, want] of Object.entries(call.out ?? {})) {
      const wrong = checkFile(join(outDir, name), want);
      if (wrong !== undefined) return `${name}: ${wrong}`;
    }
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function source(path: string, dir: string, scratch: string): string {
  if (path !== "generated:csv10mb") return join(dir, path);
  const file = join(scratch, "big.csv");
  writeFileSync(file, csv10mb());
  return file;
}

function checkFile(path: string, want: NonNullable<Call["out"]>[string]): string | undefined {
  if (!existsSync(path)) return "did not come back";
  const bytes = readFileSync(path);
  if (want.bytesMin !== undefined && bytes.length < want.bytesMin) return `${bytes.length} bytes, wanted ${want.bytesMin}`;
  if (want.sha256 !== undefined && createHash("sha256").update(bytes).digest("hex") !== want.sha256) return "other content";
  if (want.contains !== undefined && !bytes.toString("utf8").includes(want.contains)) return `does not contain ${want.contains}`;
  // Width and height stand at fixed places of the first chunk.
  if (want.png !== undefined && (bytes.readUInt32BE(16) !== want.png.width || bytes.readUInt32BE(20) !== want.png.height)) return `is ${bytes.readUInt32BE(16)}×${bytes.readUInt32BE(20)}`;
  return undefined;
}
