//! upload, ls, rm, invoke and logs against the fake device.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { FailedReason } from "../../src/gen/aria/v1/common_pb.ts";
import { arc, cleanUp, newDir } from "../cli/drive.ts";
import { FakeDevice, failed, finished, out, Refusal, succeeded } from "./fake.ts";

const device = new FakeDevice();
const dir = newDir();
const env = { ARC_CONFIG_DIR: join(dir, "arc") };
const file = (name: string, content: string | Uint8Array): string => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};

beforeAll(async () => {
  await device.listenTls();
  const socket = join(newDir(), "s");
  await device.listenSocket(socket);
  expect((await arc(["device", "init", "--socket", socket, "--name", "dev"], { env })).code).toBe(0);
  device.schemas["weather.forecast"] = JSON.stringify({
    type: "object",
    properties: { city: { type: "string" }, days: { type: "integer" }, id: { $ref: "#/$defs/id" }, wind: { type: "boolean" }, tags: { type: "array", items: { type: "string" } }, where: { type: "object" }, maxTemp: { anyOf: [{ type: "number" }, { type: "null" }] } },
    $defs: { id: { type: "integer" } },
  });
  device.tools["weather.forecast"] = async (input, run) => run.say(finished(succeeded(input)));
});
afterAll(() => {
  device.stop();
  cleanUp();
});

test("upload sends small chunks, says what it became, and is idempotent", async () => {
  const path = file("big.aria", Buffer.concat([Buffer.from("bundle big@1.0.0\n"), Buffer.alloc(3_000_000, 7)]));
  const first = await arc(["upload", path, "--json"], { env });
  expect(first.json()).toMatchObject({ ok: true, data: { alreadyPresent: false, bundle: { name: "big", version: "1.0.0", sizeBytes: 3_000_017 } } });
  expect(device.chunkBytesMax).toBe(256 * 1024);
  const second = await arc(["upload", path], { env });
  expect([second.code, second.stdout]).toEqual([0, expect.stringMatching(/^big@1\.0\.0 sha256:[0-9a-f]{64} \(already present\)\n$/)]);
  writeFileSync(path, "bundle big@1.0.0\nother");
  const taken = await arc(["upload", path, "--json"], { env });
  expect([taken.code, taken.json().error.code, taken.json().error.details.status]).toEqual([6, "VERSION_TAKEN", "ALREADY_EXISTS"]);
  const broken = await arc(["upload", file("x.aria", "what"), "--json"], { env });
  expect([broken.code, broken.json().error.code]).toEqual([2, "MANIFEST_INVALID"]);
  expect((await arc(["upload", join(dir, "none.aria")], { env })).code).toBe(5);
  expect((await arc(["upload", dir], { env })).code).toBe(2);
});

test("ls and rm", async () => {
  expect((await arc(["ls"], { env })).stdout).toContain("big");
  expect((await arc(["ls", "--json", "--fields", "name,version"], { env })).json().data).toEqual([{ name: "big", version: "1.0.0" }]);
  const silent = await arc(["rm", "big"], { env });
  expect([silent.code, silent.stderr]).toEqual([2, expect.stringContaining("--yes")]);
  expect((await arc(["rm", "big@1.0.0", "--dry-run"], { env })).stdout).toBe("would remove big@1.0.0\n");
  expect(device.installed).toHaveLength(1);
  expect((await arc(["rm", "big@1.0.0", "--yes"], { env })).stdout).toBe("removed big@1.0.0\n");
  const gone = await arc(["rm", "big", "--yes", "--json"], { env });
  expect([gone.code, gone.json().error.code]).toEqual([5, "BUNDLE_UNKNOWN"]);
  expect((await arc(["rm", "../x", "--yes"], { env })).code).toBe(2);
});

test("the answer keeps integers and key order, in both forms", async () => {
  const input = '{"z":12345678901234567890,"a":1.0,"city":"Oslo"}';
  expect((await arc(["invoke", "weather.forecast", "--input", input], { env })).stdout).toBe(`${input}\n`);
  const json = await arc(["invoke", "weather.forecast", "--input", input, "--json"], { env });
  expect(json.stdout).toContain(`"output":${input}`);
  expect(json.stdout).toContain('"memoryPeakBytes":9007199254740993');
  expect((await arc(["invoke", "weather.forecast", "--input", "-"], { env, stdin: input })).stdout).toBe(`${input}\n`);
  expect((await arc(["invoke", "weather.forecast", "--input", `@${file("in.json", input)}`], { env })).stdout).toBe(`${input}\n`);
  expect((await arc(["invoke", "weather.forecast"], { env })).stdout).toBe("{}\n");
});

const flags: [string[], string][] = [
  [["--city", "Oslo"], '{"city":"Oslo"}'],
  [["--city=12", "--days=3", "--no-wind"], '{"city":"12","days":3,"wind":false}'],
  [["--id", "12345678901234567890", "--wind"], '{"id":12345678901234567890,"wind":true}'],
  [["--days", "-3", "--max-temp", "-1.5"], '{"days":-3,"maxTemp":-1.5}'],
  [["--maxTemp", "null", "--tags", "a", "--tags", "b"], '{"maxTemp":null,"tags":["a","b"]}'],
  [["--tags", "one"], '{"tags":["one"]}'],
  [["--tags", '["x","y"]', "--where", '{"lat":1}'], '{"tags":["x","y"],"where":{"lat":1}}'],
];
test.each(flags)("flags %j become %s", async (words, input) => {
  expect(await arc(["invoke", "weather.forecast", ...words], { env })).toMatchObject({ stderr: "", stdout: `${input}\n`, code: 0 });
});

const badFlags: [string[], string][] = [
  [["--cty", "Oslo"], "did you mean `--city`?"],
  [["--days", "many"], "--days must be a integer"],
  [["--city", "a", "--city", "b"], "given twice"],
  [["--city"], "needs a value"],
  [["--city", "Oslo", "extra"], "unexpected argument `extra`"],
  [["--where", "{"], "must be JSON"],
  [["--city", "Oslo", "--input", "{}"], "exclude each other"],
  [["--input", "{city}"], "no JSON"],
];
test.each(badFlags)("flags %j are refused: %s", async (words, text) => {
  const calls = device.invocations.length;
  const ran = await arc(["invoke", "weather.forecast", ...words], { env });
  expect([ran.code, ran.stdout, ran.stderr]).toEqual([2, "", expect.stringContaining(text)]);
  expect(device.invocations).toHaveLength(calls);
});

test("a tool that throws: exit 9, its stack, nothing on stdout, escapes are visible", async () => {
  device.tools["bad.throw"] = async (_input, run) => {
    await run.say(out("printed \u001b[31mred\u001b[0m\n"));
    await run.say({ case: "log", value: { level: "warn", message: "careful \u001b]0;title\u0007", fieldsJson: '{"n":1}' } });
    await run.say(finished(failed(FailedReason.THREW, "Error: no \u009b31mcity\u202e", { stack: "at forecast (src/weather.ts:3:9)" })));
  };
  const ran = await arc(["invoke", "bad.throw"], { env, tty: true });
  expect([ran.code, ran.stdout]).toEqual([9, ""]);
  expect(ran.stderr).not.toMatch(/\u001b\]|\u009b|\u202e|\u0007|\u001b\[31mred/);
  expect(ran.stderr).toContain("printed \\u{1b}[31mred\\u{1b}[0m");
  expect(ran.stderr).toContain("careful \\u{1b}]0;title\\u{7} ");
  expect(ran.stderr).toContain("src/weather.ts:3:9");
  const json = await arc(["invoke", "bad.throw", "--json"], { env });
  expect([json.code, json.json().error.code, json.json().error.details.outcome.stack]).toEqual([9, "THREW", "at forecast (src/weather.ts:3:9)"]);
});

test.each(["DEADLINE", "OOM_KILLED", "PIDS_LIMIT", "DISK_LIMIT", "OUTPUT_TOO_LARGE", "RESULT_INVALID", "SECCOMP", "SIGNALLED", "EXITED"] as const)("%s is exit 9 under its name", async (name) => {
  device.tools["bad.end"] = async (_input, run) => run.say(finished(failed(FailedReason[name], "why", { exitCode: 3, signal: 11 })));
  const ran = await arc(["invoke", "bad.end", "--json"], { env });
  expect([ran.code, ran.json().error.code]).toEqual([9, name]);
});

const notFailed: [Parameters<typeof finished>[0], string, number][] = [
  [{ case: "cancelled", value: { by: "shutdown" } }, "CANCELLED", 7],
  [{ case: "cancelled", value: { by: "ann" } }, "CANCELLED", 9],
  [{ case: "refused", value: { reason: "TOKEN_NOT_ALLOWED", message: "no rule" } }, "TOKEN_NOT_ALLOWED", 4],
  [{ case: "refused", value: { reason: "QUEUE_FULL", message: "busy" } }, "QUEUE_FULL", 7],
];
test.each(notFailed)("%j is %s, exit %i", async (kind, code, exit) => {
  device.tools["bad.end"] = async (_input, run) => run.say(finished(kind));
  const ran = await arc(["invoke", "bad.end", "--json"], { env });
  expect([ran.code, ran.json().error.code]).toEqual([exit, code]);
});

test("a stream that ends without an outcome is no success", async () => {
  device.tools["bad.end"] = async (_input, run) => run.say({ case: "started", value: { invocationId: "run-1", sandboxId: "s" } });
  const ran = await arc(["invoke", "bad.end", "--json"], { env });
  expect([ran.code, ran.json().error.code]).toEqual([1, "ARC3009"]);
});

test("an answer with control characters is escaped for a terminal and stays the same value", async () => {
  device.tools["odd.answer"] = async (_input, run) => run.say(finished(succeeded('{"x":"\u009b2J\u202e"}')));
  const ran = await arc(["invoke", "odd.answer"], { env, tty: true });
  expect(ran.stdout).toBe('{"x":"\\u009b2J\\u202e"}\n');
  expect(JSON.parse(ran.stdout)).toEqual({ x: "\u009b2J\u202e" });
});

test("an answer that is no JSON is the device's fault and cannot break the envelope", async () => {
  device.tools["odd.broken"] = async (_input, run) => run.say(finished(succeeded('1},"ok":true,"x":{"y":1')));
  expect((await arc(["invoke", "odd.broken"], { env })).code).toBe(1);
  const json = await arc(["invoke", "odd.broken", "--json"], { env });
  expect(json.json().data.output).toBe('1},"ok":true,"x":{"y":1');
});

test("files go in by digest once and come back checked", async () => {
  const photo = Buffer.alloc(700_000, 3);
  const digest = createHash("sha256").update(photo).digest("hex");
  const result = Buffer.from("small");
  const resultDigest = createHash("sha256").update(result).digest("hex");
  device.tools["img.resize"] = async (_input, run, request) => {
    expect(request.files).toMatchObject([{ name: "photo.jpg", blob: { sha256: digest, sizeBytes: 700_000n } }]);
    expect(request.timeoutMs).toBe(5000n);
    device.blobs.set(resultDigest, new Uint8Array(result));
    await run.say(finished(succeeded("null", [{ name: "small.jpg", blob: { sha256: resultDigest, sizeBytes: 5n } }])));
  };
  const into = newDir();
  const words = ["invoke", "img.resize", "--timeout", "5s", "--file", `photo.jpg=${file("p.jpg", photo)}`];
  const ran = await arc([...words, "--out", into], { env });
  expect([ran.code, ran.stdout]).toEqual([0, "null\n"]);
  expect(readFileSync(join(into, "small.jpg"), "utf8")).toBe("small");
  expect(device.blobs.get(digest)).toHaveLength(700_000);
  const before = device.calls.filter((name) => name === "PutBlob").length;
  const again = await arc(words, { env });
  expect(again.stderr).toContain("left in /out: small.jpg; --out DIR saves it");
  expect(device.calls.filter((name) => name === "PutBlob")).toHaveLength(before);
  device.blobs.set(resultDigest, new Uint8Array(Buffer.from("liars")));
  device.tools["img.resize"] = async (_input, run) => run.say(finished(succeeded("null", [{ name: "small.jpg", blob: { sha256: resultDigest, sizeBytes: 5n } }])));
  const lie = await arc(["invoke", "img.resize", "--out", into, "--json"], { env });
  expect([lie.code, lie.json().error.code]).toEqual([6, "DIGEST_MISMATCH"]);
  expect(readFileSync(join(into, "small.jpg"), "utf8")).toBe("small");
});

test.each(["../evil", "a/b", "..", "", "x\u001b[2J"])("a file named %j is never saved", async (name) => {
  device.tools["img.evil"] = async (_input, run) => run.say(finished(succeeded("null", [{ name, blob: { sha256: "0".repeat(64), sizeBytes: 0n } }])));
  expect(await arc(["invoke", "img.evil", "--out", newDir(), "--json"], { env })).toMatchObject({ code: 1, stdout: expect.stringContaining("ARC3007") });
});

test("an unknown tool is suggested", async () => {
  const ran = await arc(["invoke", "weather.forcast"], { env });
  expect([ran.code, ran.stderr]).toEqual([5, expect.stringContaining("did you mean `weather.forecast`?")]);
});

const refusals: [status, string, number][] = [
  [status.INVALID_ARGUMENT, "INPUT_SCHEMA", 2],
  [status.UNAUTHENTICATED, "CREDENTIAL_REVOKED", 4],
  [status.PERMISSION_DENIED, "TOKEN_NOT_ALLOWED", 4],
  [status.NOT_FOUND, "BLOB_UNKNOWN", 5],
  [status.FAILED_PRECONDITION, "BUNDLE_DISABLED", 6],
  [status.ABORTED, "SESSION_BASE_CHANGED", 6],
  [status.UNIMPLEMENTED, "RPC_NOT_BUILT", 6],
  [status.RESOURCE_EXHAUSTED, "QUEUE_FULL", 7],
  [status.UNAVAILABLE, "QUILT_DOWN", 7],
  [status.DEADLINE_EXCEEDED, "TOKEN_WAIT", 7],
  [status.PERMISSION_DENIED, "SIGNER_UNKNOWN", 10],
  [status.RESOURCE_EXHAUSTED, "DISK_QUOTA", 11],
  [status.DATA_LOSS, "DIGEST_MISMATCH", 6],
  [status.INTERNAL, "BUG", 1],
];
test.each(refusals)("status %i with %s is exit %i", async (code, reason, exit) => {
  device.tools["no.way"] = async () => {
    throw new Refusal(code, reason, "because");
  };
  const ran = await arc(["invoke", "no.way", "--json"], { env });
  expect([ran.code, ran.json().error.code, ran.json().error.message]).toEqual([exit, reason, "invoke no.way: because"]);
});

test("--watch tells the steps; with --json they are events and the last is finished", async () => {
  device.tools["slow.go"] = async (_input, run) => {
    await run.say({ case: "queued", value: { invocationId: "run-1", why: "memory" } });
    await run.say({ case: "granted", value: { invocationId: "run-1", leaseId: "l", fence: 18446744073709551615n } });
    await run.say({ case: "started", value: { invocationId: "run-1", sandboxId: "s" } });
    await run.say(out("hi\n"));
    await run.say({ case: "progress", value: { fraction: 0.5, message: "half" } });
    await run.say(finished(succeeded("1")));
  };
  const ran = await arc(["invoke", "slow.go", "--watch"], { env });
  expect([ran.stdout, ran.stderr]).toEqual(["1\n", "waiting: memory\ngranted\nstarted\nhi\n50% half\n"]);
  const json = await arc(["invoke", "slow.go", "--watch", "--json"], { env });
  const events = json.stdout.trim().split("\n").map((line) => JSON.parse(line));
  expect(events.map(({ type }) => type)).toEqual(["queued", "granted", "started", "stdout", "progress", "finished"]);
  expect(json.stdout).toContain('"fence":18446744073709551615');
});

test("Ctrl-C cancels the run: the device sees it, exit 130", async () => {
  const stop = new AbortController();
  let seen = false;
  device.tools["slow.hang"] = async (_input, run) => {
    await run.say({ case: "started", value: { invocationId: "run-1", sandboxId: "s" } });
    setTimeout(() => stop.abort(new Error("SIGINT")), 50);
    await run.cancelled;
    seen = true;
  };
  const ran = await arc(["invoke", "slow.hang", "--json"], { env, signal: stop.signal });
  expect([ran.code, ran.json().error.code]).toEqual([130, "INTERRUPTED"]);
  for (let at = 0; at < 100 && !seen; at++) await Bun.sleep(10);
  expect(seen).toBe(true);
});

test("logs are filtered, followed and escaped", async () => {
  device.logs = [
    { time: "2026-11-20T10:00:00.000Z", invocationId: "run-1", tool: "a.b", source: "stdout", level: "", text: "hello \u001b[2J\n" },
    { time: "2026-11-20T10:00:01.000Z", invocationId: "run-2", tool: "c.d", source: "log", level: "warn", text: "careful" },
  ];
  const all = await arc(["logs"], { env });
  expect(all.stdout).toBe("2026-11-20T10:00:00.000Z a.b run-1 stdout hello \\u{1b}[2J\n2026-11-20T10:00:01.000Z c.d run-2 warn   careful\n");
  expect((await arc(["logs", "c.d"], { env })).stdout).not.toContain("hello");
  expect((await arc(["logs", "run-1"], { env })).stdout).not.toContain("careful");
  const json = await arc(["logs", "--json"], { env });
  expect(json.stdout.trim().split("\n").map((line) => JSON.parse(line).type)).toEqual(["log", "log"]);
  const stop = new AbortController();
  setTimeout(() => stop.abort(new Error("SIGINT")), 100);
  expect(await arc(["logs", "-f", "--tail", "1"], { env, signal: stop.signal })).toMatchObject({ code: 130, stderr: "" });
  expect((await arc(["logs", "no/such"], { env })).code).toBe(2);
});
