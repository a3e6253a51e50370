// Runs a case in a sandbox that was made ready before it: as the code of a tool, straight on the engine, whose own word is taken for
// where the sandbox came from. Two kinds: `generic`, which had seen nothing of the case, and `shelf`, which is the tool's own and had
// loaded its module.

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bun, run, until } from "../stand/host.ts";
import { type CaseFile, milliseconds, type Profile } from "./case-file.ts";
import { type Device, type ExecResult, LineReader } from "./device.ts";
import { EngineClient, type Origin, type Request, type Told } from "./engine.ts";
import type { Ended } from "./verdict.ts";

export const FLAVOURS = ["generic", "shelf"] as const;
export type Flavour = (typeof FLAVOURS)[number];

/** One waits at a time and is given up soon, so that the host is as it was before the next case. */
export const SHELVES = "[shelf]\ngeneric = 1\nper_tool = 1\nidle_ms = 4000\n";

const ORIGIN: Record<Flavour, Origin> = { generic: "GENERIC", shelf: "SHELF" };
const ARGV = ["/bin/bun", "--no-install", "--env-file=/dev/null", "--config=/dev/null", "--no-orphans", "/lib/aria/harness.js"];
const MODULE = "/app/tool.js";
/** The call that only looks whether somebody waits returns at once; the other is the case. */
const TOOL = `export const tool = { name: "case", input: null, output: null, run: ({ go }) => (go ? import("./case.js") : null) };\n`;
const LOOKS_MAX = 60;
const LOOK_PAUSE_MS = 100;
/** A sandbox that was seen waiting may be given up in the moment before the case. */
const TRIES = 4;
const HEAD_CHARS_MAX = 4096;

/** What `make test` runs of them: one of each class. */
export const LIGHT: Record<Flavour, ReadonlySet<string>> = {
  generic: new Set(["control", "c01", "c03", "c04", "c08", "c10", "c12", "c13", "c20", "c21-x32", "c31", "c37", "c40", "c42", "c52-count", "c54-spin", "c55", "c64", "c66-segv"]),
  shelf: new Set(["control", "c01", "c12", "c13", "c40", "c42", "c64"]),
};

/** About a program that has no door; every waiting sandbox has one. */
const DOORLESS: ReadonlySet<string> = new Set(["C59"]);

/** Whether a case makes sense in a sandbox of this kind: servers behind the door are not the engine's, and a bundle's tool has no third profile. */
export function suits(file: CaseFile, profile: Profile, flavour: Flavour): boolean {
  const id = file.header?.id ?? "";
  return !id.startsWith("T") && !DOORLESS.has(id) && (flavour === "generic" || (profile !== "tool-nojit" && !file.heavy));
}

export interface WarmResult extends ExecResult {
  /** Empty when no sandbox of the kind that was asked for came. */
  sandbox: string;
}

export class WarmRunner {
  readonly #engine: EngineClient;
  readonly #places: string;

  private constructor(engine: EngineClient, places: string) {
    this.#engine = engine;
    this.#places = places;
  }

  static async start(device: Device): Promise<WarmRunner> {
    if (device.host === undefined) throw new Error("WARM=1 talks to the engine itself, which only this machine's is in reach of");
    const places = join(device.host.dir, "aria/hostile-cases");
    mkdirSync(places, { recursive: true });
    return new WarmRunner(await EngineClient.connect(device.host.quiltSocket), places);
  }

  stop(): void {
    this.#engine.close();
    rmSync(this.#places, { recursive: true, force: true });
  }

  /** Resolves when nothing waits on a shelf any more. */
  idle(): Promise<boolean> {
    return until(20_000, async () => (await this.#engine.status()).waiting === 0);
  }

  async run(file: CaseFile, profile: Profile, flavour: Flavour): Promise<WarmResult> {
    const codeDir = join(this.#places, file.name);
    mkdirSync(codeDir, { recursive: true });
    const built = await run([bun, "build", "--target=bun", `--outfile=${codeDir}/case.js`, file.path]);
    if (built.code !== 0) return never(`does not build: ${built.stderr.slice(0, 400)}`);
    writeFileSync(join(codeDir, "tool.js"), TOOL);
    const request: Request = {
      argv: ARGV, profile: `PROFILE_${profile.toUpperCase().replace("-", "_")}` as Request["profile"] & string, codeDir, out: true, limits: limits(file),
      prepare: frame({ prepare: {} }),
      ...(flavour === "shelf" ? { shelf: { key: `${file.name} ${profile}`, prepare: frame({ prepare: { module: MODULE } }) } } : {}),
    };
    try {
      return await this.#served(request, ORIGIN[flavour]);
    } finally {
      rmSync(codeDir, { recursive: true });
    }
  }

  /** The case, in such a sandbox or not at all. */
  async #served(request: Request, origin: Origin): Promise<WarmResult> {
    let seen = "";
    for (let tries = 0; tries < TRIES; tries++) {
      const waits = await this.#waits(request, origin);
      if (waits !== undefined) return never(waits);
      const result = await this.#call(request, origin);
      if (result.sandbox !== "") return result;
      seen = JSON.stringify(result.ended);
    }
    return never(`no ${origin} sandbox served it in ${TRIES} tries: ${seen}`);
  }

  /** Calls the tool without its case until such a sandbox answers; why not, if none does. */
  async #waits(request: Request, origin: Origin): Promise<string | undefined> {
    let last = "";
    for (let looks = 0; looks < LOOKS_MAX; looks++) {
      const told = await this.#engine.execute({ ...request, door: [invoke(false)] }).done;
      if (told.status.code !== 0 || told.ends[0]?.reason !== "END_REASON_EXITED") return `the tool does not answer: ${told.status.details} ${JSON.stringify(told.ends)} ${told.head.slice(0, 400)}`;
      await Bun.sleep(LOOK_PAUSE_MS);
      if (told.sandbox.origin === origin) return undefined;
      last = told.sandbox.origin;
    }
    return `no ${origin} sandbox in ${LOOKS_MAX} calls, the last was ${last}`;
  }

  async #call(request: Request, origin: Origin): Promise<WarmResult> {
    const readers = { stdout: new LineReader(), stderr: new LineReader() };
    const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
    let [stdoutBytes, head] = [0, ""];
    const onOutput = (stream: "stdout" | "stderr", data: Uint8Array): void => {
      const text = decoders[stream].decode(data, { stream: true });
      if (head.length < HEAD_CHARS_MAX) head += text.slice(0, HEAD_CHARS_MAX);
      if (stream === "stdout") stdoutBytes += data.length;
      readers[stream].take(text);
    };
    const started = performance.now();
    const told = await this.#engine.execute({ ...request, door: [invoke(true)], onOutput }).done;
    for (const reader of Object.values(readers)) reader.end();
    const canary = readers.stdout.canary ?? readers.stderr.canary;
    return {
      lines: readers.stdout.lines, ended: toEnded(told), elapsedMs: performance.now() - started, stdoutBytes, head, arcExit: -1, ...(canary === undefined ? {} : { canary }),
      sandbox: told.sandbox.origin === origin ? told.sandbox.id : "",
    };
  }
}

function never(error: string): WarmResult {
  return { lines: [], ended: { kind: "never_ran", error }, elapsedMs: 0, stdoutBytes: 0, head: "", arcExit: -1, sandbox: "" };
}

function frame(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

function invoke(go: boolean): Uint8Array {
  return frame({ invoke: { module: MODULE, inputJson: JSON.stringify({ go }) } });
}

const UNITS: Record<string, number> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** What the header asks of `arc exec`, as the engine's limits. */
export function limits(file: CaseFile): Record<string, number> {
  const option = (name: string): string | undefined => (file.limits.includes(name) ? file.limits[file.limits.indexOf(name) + 1] : undefined);
  const [timeout, memory, cpu] = [option("--timeout"), option("--memory"), option("--cpu")];
  return {
    ...(timeout === undefined ? {} : { wall_ms: milliseconds(timeout, file.name) }),
    ...(memory === undefined ? {} : { memory_bytes: Number.parseInt(memory, 10) * (UNITS[memory.at(-1) ?? ""] ?? 1) }),
    ...(cpu === undefined ? {} : { cpu_millis: Math.round(Number(cpu) * 1000) }),
  };
}

/** As the device tells its callers. */
export function toEnded(told: Told): Ended {
  const end = told.ends[0];
  if (told.status.code !== 0 || end === undefined) return { kind: "silent", error: `status ${told.status.code}: ${told.status.details}` };
  const reason = end.reason.replace("END_REASON_", "");
  if (reason === "EXITED") return end.exit_code === 0 ? { kind: "succeeded" } : { kind: "failed", reason, exitCode: end.exit_code };
  if (reason === "REVOKED" || reason === "SHUTDOWN") return { kind: "cancelled", by: reason };
  return { kind: "failed", reason: reason === "DOOR_MISUSED" ? "RESULT_INVALID" : reason, signal: end.signal, message: end.detail };
}
