//! `arc exec` against the fake device: both directions stream, codes pass through, nothing is held in memory.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { FailedReason } from "../../src/gen/aria/v1/common_pb.ts";
import { Profile } from "../../src/gen/aria/v1/exec_pb.ts";
import { arc, cleanUp, newDir } from "../cli/drive.ts";
import { FakeDevice, failed, finished, out, Refusal, succeeded } from "./fake.ts";

const device = new FakeDevice();
const env = { ARC_CONFIG_DIR: join(newDir(), "arc") };
// The fake runs nothing; what the file says does not matter here.
const script = join(newDir(), "p.ts");

beforeAll(async () => {
  writeFileSync(script, "console.log(1);\n");
  await device.listenTls();
  const socket = join(newDir(), "s");
  await device.listenSocket(socket);
  expect((await arc(["device", "init", "--socket", socket], { env })).code).toBe(0);
});
afterAll(() => {
  device.stop();
  cleanUp();
});

const started = { case: "started" as const, value: { invocationId: "run-1", sandboxId: "s" } };

test("every option reaches the device, the program is put once", async () => {
  device.program = async (_start, run) => run.say(finished(succeeded("")));
  const words = ["exec", script, "--token", "kv:a:rw", "--token", "kv:b:ro", "--env", "A=1=2", "--memory", "256M", "--cpu", "0.5", "--pids", "7", "--disk", "8MiB", "--timeout", "10s", "--profile", "tool-noexec", "--", "-x", "--json", "--"];
  expect(await arc(words, { env })).toMatchObject({ code: 0, stdout: "", stderr: "" });
  expect(device.runs.at(-1)).toMatchObject({
    args: ["-x", "--json", "--"],
    env: { A: "1=2" },
    tokens: ["kv:a:rw", "kv:b:ro"],
    limits: { memoryBytes: 268435456n, cpuMillis: 500, pids: 7, diskBytes: 8388608n, wallMs: 10_000n, outputBytes: 0n },
    profile: Profile.TOOL_NOEXEC,
  });
  // The fake keeps a blob only when digest and size are true.
  const bundle = device.runs.at(-1)?.bundle;
  expect(device.blobs.get(bundle?.sha256 ?? "")).toHaveLength(Number(bundle?.sizeBytes));
  expect((await arc(["exec", script], { env })).code).toBe(0);
  expect(device.runs.at(-1)?.profile).toBe(Profile.TOOL);
  expect(device.calls.filter((name) => name === "PutBlob")).toHaveLength(1);
});

test("stdin goes up while stdout comes down, byte for byte", async () => {
  const bytes = new Uint8Array(256).map((_, at) => at);
  device.program = async (_start, run) => {
    await run.say(started);
    for await (const chunk of run.stdin) await run.say(out(chunk.map((byte) => 255 - byte)));
    await run.say(finished(succeeded("")));
  };
  const order: string[] = [];
  let answered = Promise.withResolvers<void>();
  async function* stdin(): AsyncGenerator<Uint8Array> {
    for (let round = 0; round < 3; round++) {
      order.push("in");
      yield bytes;
      // The next bytes are not there before the answer to these is: only true streaming gets past this.
      await answered.promise;
      answered = Promise.withResolvers();
    }
  }
  let got = 0;
  const onStdout = (data: Uint8Array): void => {
    got += data.length;
    order.push("out");
    answered.resolve();
  };
  const ran = await arc(["exec", script], { env, stdin: stdin(), onStdout });
  expect([ran.code, got, order]).toEqual([0, 768, ["in", "out", "in", "out", "in", "out"]]);
});

test("stdout and stderr stay apart and raw", async () => {
  device.program = async (_start, run) => {
    await run.say(out(new Uint8Array([27, 91, 50, 74, 255, 0])));
    await run.say(out("oops", 2));
    await run.say(finished(failed(FailedReason.EXITED, "exited", { exitCode: 3 })));
  };
  const ran = await arc(["exec", script], { env, tty: true });
  expect([ran.code, ran.stderr]).toEqual([3, "oops"]);
});

test("a reader that is slow holds the program back", async () => {
  let sent = 0;
  device.program = async (_start, run) => {
    for (; sent < 2000; sent++) await run.say(out(new Uint8Array(16_384)));
    await run.say(finished(succeeded("")));
  };
  let seen = 0;
  let ahead = 0;
  const onStdout = async (data: Uint8Array): Promise<void> => {
    seen += data.length;
    if (seen !== 1_048_576) return;
    await Bun.sleep(300);
    ahead = sent * 16_384 - seen;
  };
  expect((await arc(["exec", script], { env, onStdout })).code).toBe(0);
  expect(seen).toBe(2000 * 16_384);
  // Without back-pressure all 32 MB would have been sent during the pause.
  expect(ahead).toBeLessThan(8 * 1_048_576);
});

const codes: [ReturnType<typeof failed> | ReturnType<typeof succeeded> | { case: "cancelled"; value: { by: string } } | { case: "refused"; value: { reason: string; message: string } }, number, string][] = [
  [failed(FailedReason.EXITED, "", { exitCode: 9 }), 9, ""],
  [failed(FailedReason.EXITED, "", { exitCode: 255 }), 255, ""],
  [failed(FailedReason.SIGNALLED, "", { signal: 11 }), 139, "ended by signal 11"],
  [failed(FailedReason.DEADLINE, "ran longer than 10 s"), 137, "DEADLINE: ran longer than 10 s"],
  [failed(FailedReason.OOM_KILLED, "memory"), 137, "OOM_KILLED: memory"],
  [failed(FailedReason.SECCOMP, "mount"), 159, "SECCOMP: mount"],
  [failed(FailedReason.PIDS_LIMIT, "pids"), 137, "PIDS_LIMIT: pids"],
  [{ case: "cancelled", value: { by: "shutdown" } }, 137, "cancelled by shutdown"],
  [{ case: "refused", value: { reason: "TOKEN_NOT_ALLOWED", message: "no rule" } }, 125, "TOKEN_NOT_ALLOWED: no rule"],
];
test.each(codes)("outcome %j is exit %i", async (kind, code, text) => {
  device.program = async (_start, run) => run.say(finished(kind));
  const ran = await arc(["exec", script], { env });
  expect([ran.code, ran.stdout, ran.stderr]).toEqual([code, "", text === "" ? "" : `arc: p.ts: ${text}\n`]);
  const last = JSON.parse((await arc(["exec", script, "--json"], { env })).stdout.trim().split("\n").at(-1) ?? "");
  expect(last).toMatchObject({ type: "outcome", exit: code, outcome: { kind: kind.case } });
});

test("--json is NDJSON that loses no byte, and ends with the outcome", async () => {
  const euro = new Uint8Array([0xe2, 0x82, 0xac]);
  device.program = async (_start, run) => {
    await run.say(started);
    await run.say(out(euro.subarray(0, 1)));
    await run.say(out(euro.subarray(1)));
    await run.say(out(new Uint8Array([0xff, 0xfe]), 2));
    await run.say(out(euro.subarray(0, 2)));
    await run.say(finished(failed(FailedReason.EXITED, "exited", { exitCode: 4 })));
  };
  const ran = await arc(["exec", script, "--json"], { env });
  const lines = ran.stdout.trim().split("\n").map((line) => JSON.parse(line));
  expect(lines.map(({ type }) => type)).toEqual(["started", "stdout", "stderr", "stdout", "outcome"]);
  expect(lines[1].text).toBe("€");
  expect(Buffer.from(lines[2].base64, "base64")).toEqual(Buffer.from([0xff, 0xfe]));
  expect(Buffer.from(lines[3].base64, "base64")).toEqual(Buffer.from([0xe2, 0x82]));
  expect(lines[4]).toMatchObject({ ok: false, exit: 4, outcome: { kind: "failed", reason: "EXITED", exitCode: 4 } });
  expect(ran.code).toBe(4);
});

test("what never ran is 125, whatever the reason", async () => {
  device.program = async () => {
    throw new Refusal(status.PERMISSION_DENIED, "EXEC_DISABLED", "off");
  };
  const disabled = await arc(["exec", script], { env });
  expect([disabled.code, disabled.stderr]).toEqual([125, expect.stringContaining("EXEC_DISABLED")]);
  const json = await arc(["exec", script, "--json"], { env });
  expect(json.json()).toMatchObject({ type: "outcome", exit: 125, outcome: { kind: "never_ran" }, error: { code: "EXEC_DISABLED" } });
  expect((await arc(["exec", script], { env: { ARC_CONFIG_DIR: "/nonexistent" } })).code).toBe(125);
  for (const words of [["exec"], ["exec", script, "--nope"], ["exec", script, "--memory", "much"], ["exec", script, "--env", "=x"], ["exec", script, "--profile", "root"], ["exec", script, "--env", "A=1", "--env", "A=2"]]) {
    expect((await arc(words, { env })).code).toBe(125);
  }
  const session = await arc(["exec", script, "--session", script, "--json"], { env });
  expect([session.code, session.json().error.code]).toEqual([125, "ARC2061"]);
});

test("a device that goes away in the middle is said so", async () => {
  const other = new FakeDevice();
  await other.listenTls();
  const socket = join(newDir(), "s");
  await other.listenSocket(socket);
  const own = { ARC_CONFIG_DIR: join(newDir(), "arc") };
  expect((await arc(["device", "init", "--socket", socket], { env: own })).code).toBe(0);
  other.program = async (_start, run) => {
    await run.say(started);
    setTimeout(() => other.stop(), 20);
    await run.cancelled;
  };
  const ran = await arc(["exec", script, "--json"], { env: own });
  const last = JSON.parse(ran.stdout.trim().split("\n").at(-1) ?? "");
  expect([ran.code, last.type, last.outcome]).toEqual([125, "outcome", { kind: "unknown" }]);
  expect(last.error.message).toContain("how it ended is not known");
});

test("Ctrl-C cancels the program and is exit 130", async () => {
  const stop = new AbortController();
  const seen = Promise.withResolvers<void>();
  device.program = async (_start, run) => {
    await run.say(started);
    setTimeout(() => stop.abort(new Error("SIGINT")), 20);
    await run.cancelled;
    seen.resolve();
  };
  const ran = await arc(["exec", script], { env, signal: stop.signal });
  expect([ran.code, ran.stderr]).toEqual([130, expect.stringContaining("p.ts: cancelled")]);
  await seen.promise;
  const again = new AbortController();
  device.program = async (_start, run) => {
    await run.say(started);
    again.abort(new Error("SIGINT"));
    await run.cancelled;
  };
  const json = await arc(["exec", script, "--json"], { env, signal: again.signal });
  expect(JSON.parse(json.stdout.trim().split("\n").at(-1) ?? "")).toMatchObject({ type: "outcome", exit: 130, outcome: { kind: "cancelled", by: "caller" } });
});

test("a reader of stdout that left cancels the program", async () => {
  const { ClosedPipe } = await import("../../src/cli.ts");
  const seen = Promise.withResolvers<void>();
  device.program = async (_start, run) => {
    await run.say(out("one\n"));
    await run.cancelled;
    seen.resolve();
  };
  const onStdout = (): void => {
    throw new ClosedPipe("gone");
  };
  expect((await arc(["exec", script], { env, onStdout })).code).toBe(141);
  await seen.promise;
});
