// What code says to its device, against a device made by hand: the harness's side of the door, a program's, and none at all.

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { AriaError, kv, tools, vector } from "../../sdk/src/index.ts";

type Json = Record<string, unknown>;
/** Answers one frame of the guest with any number of frames. */
type Device = (frame: Json) => readonly Json[];

const sdk = join(import.meta.dir, "../../sdk/src/index.ts");
const directory = mkdtempSync(join(tmpdir(), "arc-guest-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** Runs a program with a door on descriptor 3 and plays its device. */
async function program(source: string, device: Device): Promise<{ stdout: string; stderr: string; exitCode: number | null }> {
  const file = join(directory, `${crypto.randomUUID()}.ts`);
  writeFileSync(file, `import { AriaError, kv, tools, vector } from ${JSON.stringify(sdk)};\n${source}`);
  const child = Bun.spawn([process.execPath, "--no-install", file], {
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    env: { HOME: "/tmp", PATH: "/bin", ARIA_DOOR: "3" },
    timeout: 20_000,
  });
  const played = play(child.stdio[3] as unknown as number, device);
  const [stdout, stderr, exitCode] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  await played;
  return { stdout, stderr, exitCode };
}

async function play(fd: number, device: Device): Promise<void> {
  let have = Buffer.alloc(0);
  const chunk = Buffer.alloc(1 << 20);
  for (;;) {
    const got = await patient(() => readSync(fd, chunk));
    if (got === undefined || got === 0) return;
    have = Buffer.concat([have, chunk.subarray(0, got)]);
    while (have.length >= 4 && have.length >= 4 + have.readUInt32LE(0)) {
      const frame = JSON.parse(have.toString("utf8", 4, 4 + have.readUInt32LE(0))) as Json;
      have = have.subarray(4 + have.readUInt32LE(0));
      for (const answer of device(frame)) {
        const body = Buffer.from(JSON.stringify(answer));
        const bytes = Buffer.concat([Buffer.alloc(4), body]);
        bytes.writeUInt32LE(body.length, 0);
        for (let at = 0; at < bytes.length; ) at += (await patient(() => writeSync(fd, bytes, at))) ?? bytes.length;
      }
    }
  }
}

/** Undefined when the other side is gone. */
async function patient(attempt: () => number): Promise<number | undefined> {
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if ((error as { code?: string }).code !== "EAGAIN") return undefined;
      await Bun.sleep(1);
    }
  }
}

interface Asked {
  id: number;
  op: string;
  body: Json;
}

function asked(frame: Json): Asked {
  const { id, ...rest } = frame["request"] as Json & { id: number };
  const [op, body] = Object.entries(rest)[0] as [string, Json];
  return { id, op, body };
}

const ok = (id: number, value: unknown): Json => ({ response: { id, ok: value } });

test("without a device every resource says so", async () => {
  for (const work of [() => kv("a").get("k"), () => kv("a").put("k", 1), () => vector("a").search([1]), () => tools.call("a.b")]) {
    const error = await work().then(() => undefined, (refused: unknown) => refused);
    expect(error).toBeInstanceOf(AriaError);
    expect((error as AriaError).reason).toBe("NO_DEVICE");
  }
});

test("values without a JSON form are refused before they are sent", async () => {
  for (const value of [Number.NaN, undefined, 1n, () => 1, [undefined], { a: Symbol("x") }, { a: new Map() }]) {
    const error = await kv("a").put("k", value as never).then(() => undefined, (refused: unknown) => refused);
    expect((error as AriaError).reason).toBe("VALUE_NOT_JSON");
  }
});

test("a program asks, is answered, and ends by itself", async () => {
  const done = await program(`
    await kv("t").put("k", { n: 1 });
    await Bun.sleep(20);
    console.log(JSON.stringify([await kv("t").get("k"), await kv("t").get("none") === undefined]));
  `, (frame) => {
    const { id, op, body } = asked(frame);
    if (op === "kvPut") return [ok(id, { version: 7 })];
    return [ok(id, body["key"] === "none" ? null : { key: "k", valueJson: "{\"n\":1}", version: 7 })];
  });
  expect([done.exitCode, done.stderr, JSON.parse(done.stdout)]).toEqual([0, "", [{ n: 1 }, true]]);
}, 30_000);

test("refusals are typed errors with the place where they were met", async () => {
  const done = await program(`
    async function here() { await kv("t").get("k"); }
    try { await here(); } catch (error) { console.log(error instanceof AriaError, error.reason, error.message, error.stack.includes("here")); }
  `, (frame) => [{ response: { id: asked(frame).id, error: { reason: "TOKEN_MISSING", message: "kv:t:ro is needed" } } }]);
  expect(done.stdout.trim()).toBe("true TOKEN_MISSING TOKEN_MISSING: kv:t:ro is needed true");
}, 30_000);

test("answers find their requests in any order, and no more than 64 are open", async () => {
  const open: Asked[] = [];
  let [most, seen] = [0, 0];
  const answer = ({ id, body }: Asked): Json => ok(id, { key: body["key"], valueJson: String(body["key"]).slice(1), version: 1 });
  const done = await program(`
    const values = await Promise.all(Array.from({ length: 200 }, (_, i) => kv("t").get("k" + i)));
    console.log(values.every((value, i) => value === i));
  `, (frame) => {
    open.push(asked(frame));
    most = Math.max(most, open.length);
    seen += 1;
    // Nothing before it has to stop asking, then the newest first; the oldest wait to the end.
    if (most < 64) return [];
    return seen === 200 ? open.splice(0).reverse().map(answer) : [answer(open.pop() as Asked)];
  });
  expect([done.stdout.trim(), done.stderr, most]).toEqual(["true", "", 64]);
}, 30_000);

test("frames nobody asked for, and answers to nobody, change nothing", async () => {
  const done = await program(`console.log(await kv("t").get("k"));`, (frame) => {
    const { id } = asked(frame);
    return [{ response: { id: 999, ok: 1 } }, { response: {} }, {}, { invoke: {} }, ok(id, { key: "k", valueJson: "5", version: 1 }), ok(id, { key: "k", valueJson: "6", version: 1 })];
  });
  expect([done.stdout.trim(), done.exitCode]).toEqual(["5", 0]);
}, 30_000);

test("a watch gives its events in order and is cancelled when its loop is left", async () => {
  const seen: string[] = [];
  const done = await program(`
    for await (const change of kv("t").watch({ from: 3 })) {
      console.log(change.key, change.value ?? "gone");
      if (change.value === undefined) break;
    }
  `, (frame) => {
    const { id, op, body } = asked(frame);
    seen.push(op);
    if (op === "cancel") return [{ response: { id: body["request"], error: { reason: "CANCELLED", message: "" } } }, ok(id, { cancelled: true })];
    const event = (value: Json): Json => ({ response: { id, event: value } });
    return [event({ from: body["from"] }), event({ key: "a", valueJson: "1", version: 4 }), event({ key: "a", valueJson: null, version: 5 }), event({ key: "late", valueJson: "1", version: 6 })];
  });
  expect([done.stdout, done.exitCode, seen]).toEqual(["a 1\na gone\n", 0, ["kvWatch", "cancel"]]);
}, 30_000);

test("large values go both ways at once", async () => {
  const large = "x".repeat(600_000);
  const done = await program(`
    const large = "x".repeat(600_000);
    const all = await Promise.all(Array.from({ length: 12 }, (_, i) => i % 2 ? kv("t").put("k" + i, large) : kv("t").get("k" + i)));
    console.log(all.every((one) => one === 1 || one === large));
  `, (frame) => {
    const { id, op } = asked(frame);
    return [ok(id, op === "kvPut" ? { version: 1 } : { key: "k", valueJson: JSON.stringify(large), version: 1 })];
  });
  expect([done.stdout.trim(), done.stderr]).toEqual(["true", ""]);
}, 30_000);
