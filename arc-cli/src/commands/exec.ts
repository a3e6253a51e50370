//! `arc exec`: run one TypeScript file in a fresh sandbox on the device. Stdin in, stdout and stderr out as they come, exit code through.
//!
//! The exit code is the program's; 128+n when signal n ended it, 125 when it never ran. With --json the last line is the outcome,
//! so that the three can always be told apart.

import { createHash } from "node:crypto";
import { basename } from "node:path";
import { type Digest, CHUNK_BYTES, putBlob, putFiles, saveFiles } from "../client/blobs.ts";
import type { Device } from "../client/channel.ts";
import { type Ended, ended, endedJson, endedText, programExit, usageJson } from "../client/outcome.ts";
import { contextOption, withDevice } from "../client/session.ts";
import { RunView } from "../client/view.ts";
import { ClosedPipe } from "../cli.ts";
import { type Context, command, flag, option, positional, rest, type Values } from "../command.ts";
import { DeviceError, errorJson, Exit, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import type { Finished } from "../gen/aria/v1/common_pb.ts";
import { Profile } from "../gen/aria/v1/exec_pb.ts";
import { Session, type SessionEnd, sessionJson, type SessionOptions, sessionText } from "../session/session.ts";
import { bytesText } from "../table.ts";
import { bytes, cores, count, duration, fileArgument, variable } from "../values.ts";

const PROFILES: Readonly<Record<string, Profile>> = { tool: Profile.TOOL, "tool-noexec": Profile.TOOL_NOEXEC, "tool-nojit": Profile.TOOL_NOJIT };

const args = {
  program: positional({ value: "FILE", help: "TypeScript or JavaScript file to run, bundled with what it imports" }),
  args: rest({ value: "ARGS", help: "Arguments of the program" }),
  token: option({ value: "TOKEN", help: "Resource token the program holds, for example kv:orders:rw", repeat: true }),
  env: option({ value: "K=V", help: "Environment variable of the program", parse: variable, repeat: true }),
  memory: option({ value: "SIZE", help: "Memory limit, for example 256M", parse: bytes }),
  cpu: option({ value: "CORES", help: "CPU limit, for example 0.5", parse: cores }),
  pids: option({ value: "N", help: "Limit of processes and threads", parse: count }),
  disk: option({ value: "SIZE", help: "Size of /tmp, of /out and of /workspace, each", parse: bytes }),
  timeout: option({ value: "TIME", help: "How long it may run, for example 10s", parse: duration }),
  profile: option({ value: "NAME", help: "Sandbox profile", choices: ["tool", "tool-noexec", "tool-nojit"], default: "tool" }),
  file: option({ value: "NAME=PATH", help: "File the program finds at /in/NAME", parse: fileArgument, repeat: true }),
  out: option({ value: "DIR", help: "Save what the program left in /out here" }),
  session: option({ value: "DIR", help: "Directory the program finds a copy of at /workspace; what it changes there is dropped" }),
  pull: flag({ help: "Bring what the program changed into the --session directory, when it has ended by itself" }),
  dryRun: flag({ help: "With --pull: show what it would bring, and change nothing" }),
  context: contextOption,
};

type ExecArgs = Values<typeof args>;

export const exec = command({
  name: "exec",
  summary: "Run a script in a sandbox on a device",
  description: "The sandbox is the one tools get. Exit code: the program's own; 128+n when signal n ended it, 125 when it never ran.",
  args,
  examples: ["arc exec probe.ts -- --depth 3", "arc exec report.ts --memory 512M --timeout 10s < data.csv > report.html", "arc exec fix.ts --session . --pull --dry-run"],
  failureExit: Exit.neverRan,
  async run(values, context) {
    try {
      return await runProgram(values, context);
    } catch (error) {
      if (!context.ui.json || error instanceof ClosedPipe) throw error;
      // The last line of the stream is always the outcome, also of a run that never was.
      const interrupted = context.signal.aborted;
      const outcome = interrupted ? { kind: "cancelled", by: "caller" } : { kind: error instanceof LostRun ? "unknown" : "never_ran" };
      const exit = interrupted ? Exit.interrupted : Exit.neverRan;
      context.ui.event({ type: "outcome", ok: false, exit, outcome, error: errorJson(error) });
      return exit;
    }
  },
});

/** The way to the device was lost while the program ran. */
class LostRun extends UserError {}

interface Result {
  readonly end: Ended;
  readonly finished: Finished | undefined;
  readonly saved: readonly string[];
  readonly session: SessionEnd | undefined;
  /** Why the changes in the session did not come back. */
  readonly sessionError: unknown;
}

async function runProgram(values: ExecArgs, context: Context): Promise<number> {
  const wanted = sessionOptions(values);
  const environment = uniqueVariables(values);
  const program = await build(values.program, context);
  const name = basename(values.program);
  const session = wanted === undefined ? undefined : await Session.open(wanted, context.signal);
  const result = await withDevice(values.context, context, `run ${name}`, (device) => onDevice(device, values, environment, program, session, context));
  const { end, finished, saved, sessionError } = result;
  const exit = sessionError === undefined ? programExit(end) : failureOf(sessionError);
  const { ui } = context;
  if (ui.json) {
    const more = { ...(values.out === undefined ? {} : { saved }), ...(session === undefined ? {} : { session: sessionJson(result.session, sessionError) }) };
    ui.event({ type: "outcome", ok: exit === Exit.ok, exit, outcome: endedJson(end), invocationId: finished?.invocationId ?? "", usage: usageJson(finished?.usage), ...more });
    return exit;
  }
  report(end, name, saved, values.out !== undefined, context);
  if (session !== undefined && result.session !== undefined) for (const line of sessionText(result.session, session.options)) ui.note(line);
  if (wanted?.pull === true && result.session === undefined && sessionError === undefined) ui.note("nothing was pulled: the program did not end by itself");
  if (sessionError !== undefined) ui.fail(sessionError);
  return exit;
}

/** The program has run, so whatever its own exit code was, the person has to hear of this. */
const failureOf = (error: unknown): number => (error instanceof UserError ? error.exit : Exit.unexpected);

function sessionOptions({ session, pull, dryRun, token }: ExecArgs): SessionOptions | undefined {
  if (session === undefined) {
    if (pull || dryRun) throw new UserError("ARC2068", `--${pull ? "pull" : "dry-run"} without --session`, { hint: "--session DIR names the directory" });
    return undefined;
  }
  if (dryRun && !pull) throw new UserError("ARC2068", "--dry-run without --pull");
  if (pull && workspaceTokens(token).every((text) => READ_ONLY.test(text)) && workspaceTokens(token).length > 0) {
    throw new UserError("ARC2068", "--pull of a session the program may only read", { hint: "give it --token fs:workspace:rw" });
  }
  return { dir: session, pull, dryRun };
}

const READ_ONLY = /^fs:workspace(:ro)?$/;
/** The tokens that say what the program may do with its session; without one it may do everything. */
const workspaceTokens = (tokens: readonly string[]): string[] => tokens.filter((text) => /^fs:workspace(:|$)/.test(text));

async function onDevice(device: Device, values: ExecArgs, environment: Record<string, string>, program: Program, session: Session | undefined, context: Context): Promise<Result> {
  const { ui, signal } = context;
  const bar = ui.progress(basename(values.program), program.bytes.length, bytesText);
  await putBlob(device, program, () => slices(program.bytes), bar, signal).finally(() => bar.end());
  const files = await putFiles(device, values.file, ui, signal);
  const start = {
    bundle: { sha256: program.sha256, sizeBytes: program.sizeBytes },
    args: [...values.args],
    env: environment,
    tokens: [...values.token, ...(session !== undefined && workspaceTokens(values.token).length === 0 ? ["fs:workspace:rw"] : [])],
    limits: { memoryBytes: values.memory ?? 0n, pids: values.pids ?? 0, cpuMillis: values.cpu ?? 0, diskBytes: values.disk ?? 0n, wallMs: values.timeout ?? 0n },
    profile: PROFILES[values.profile] ?? Profile.TOOL,
    files,
    ...(session === undefined ? {} : { session: await session.put(device, ui, signal) }),
  };
  const finished = await stream(device, start, values.program, context);
  const end = ended(finished?.outcome);
  const saved = end.kind === "succeeded" && values.out !== undefined ? await saveFiles(device, end.files, values.out, signal) : [];
  return { end, finished, saved, ...(await sessionEnd(device, session, end, finished, signal)) };
}

async function sessionEnd(device: Device, session: Session | undefined, end: Ended, finished: Finished | undefined, signal: AbortSignal): Promise<Pick<Result, "session" | "sessionError">> {
  if (session === undefined) return { session: undefined, sessionError: undefined };
  try {
    if (finished?.session !== undefined) return { session: await session.finish(device, finished.session, signal), sessionError: undefined };
    if (!session.options.pull || !returned(end)) return { session: undefined, sessionError: undefined };
    throw new DeviceError("ARC3010", "the device kept no changes to pull", { exit: Exit.unexpected });
  } catch (error) {
    if (signal.aborted) throw new UserError("INTERRUPTED", "cancelled; nothing was pulled", { exit: Exit.interrupted, cause: error });
    return { session: undefined, sessionError: error instanceof UserError ? error : await device.explain(error, "pull") };
  }
}

/** Came to its own end. What another program left is in the middle of something. */
const returned = (end: Ended): boolean => end.kind === "succeeded" || (end.kind === "failed" && end.exitCode !== undefined);


/** Both directions at once: stdin goes up while events come down. */
async function stream(device: Device, start: object, name: string, { ui, signal, stdin }: Context): Promise<Finished | undefined> {
  const over = new AbortController();
  async function* requests() {
    yield { part: { case: "start" as const, value: start } };
    for await (const chunk of stdin.chunks()) {
      if (over.signal.aborted) return;
      yield { part: { case: "stdin" as const, value: chunk } };
    }
  }
  const view = new RunView(ui, { watch: ui.verbose, raw: true });
  let finished: Finished | undefined;
  let started = false;
  try {
    for await (const { event } of device.exec.run(requests(), { signal: AbortSignal.any([signal, over.signal]) })) {
      if (event === undefined) continue;
      started ||= event.event.case === "started";
      if (event.event.case === "finished") {
        // Always the last message; leaving closes our side, which the device waits for.
        finished = event.event.value;
        break;
      }
      await view.show(event);
    }
  } catch (error) {
    if (error instanceof ClosedPipe || signal.aborted || finished === undefined) throw await explained(error, started, name, device, signal);
  } finally {
    // Whatever made us leave, a run that still goes on is cancelled.
    over.abort();
    await view.end();
  }
  return finished;
}

async function explained(error: unknown, started: boolean, name: string, device: Device, signal: AbortSignal): Promise<unknown> {
  if (error instanceof ClosedPipe || error instanceof UserError) return error;
  if (signal.aborted) return new UserError("INTERRUPTED", `${name}: cancelled`, { exit: Exit.interrupted, cause: error });
  const known = await device.explain(error, `run ${name}`);
  if (!started) return known;
  return new LostRun(known.code, `${known.message}; it had begun, how it ended is not known`, { exit: known.exit, details: known.details, cause: error });
}

function report(end: Ended, name: string, saved: readonly string[], wanted: boolean, { ui }: Context): void {
  for (const path of saved) ui.note(`saved ${escapeLine(path)}`);
  if (end.kind === "succeeded") {
    if (!wanted && end.files.length > 0) ui.note(`left in /out: ${end.files.map((file) => escapeLine(file.name)).join(", ")}; --out DIR saves it`);
    return;
  }
  // A program that chose its own exit code has said what it wanted to say.
  if (end.kind === "failed" && end.exitCode !== undefined) ui.detail(escapeLine(`${name}: ${endedText(end)}`));
  else ui.complain(`${name}: ${endedText(end)}`);
}

interface Program extends Digest {
  readonly bytes: Uint8Array;
}

async function build(path: string, context: Context): Promise<Program> {
  const { buildProgram } = await import("../bundle/program.ts");
  const built = await buildProgram(path, { cwd: context.cwd });
  return { bytes: built.bytes, sha256: createHash("sha256").update(built.bytes).digest("hex"), sizeBytes: BigInt(built.bytes.length) };
}

async function* slices(whole: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < whole.length; at += CHUNK_BYTES) yield whole.subarray(at, at + CHUNK_BYTES);
}

function uniqueVariables({ env }: ExecArgs): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { name, value } of env) {
    if (Object.hasOwn(found, name)) throw new UserError("ARC2006", `--env ${name} is given twice`);
    found[name] = value;
  }
  return found;
}
