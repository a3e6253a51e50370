//! `arc dev` against a device that keeps what it is sent: save, errors, keys, the end.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { arc, cleanUp, newDir } from "../cli/drive.ts";
import { FakeDevice, finished, succeeded } from "../client/fake.ts";

setDefaultTimeout(120_000);

const device = new FakeDevice();
const dir = newDir();
const env = { ARC_CONFIG_DIR: join(dir, "arc") };
const project = join(dir, "weather");
const source = join(project, "src/weather.ts");

beforeAll(async () => {
  await device.listenTls();
  const socket = join(newDir(), "s");
  await device.listenSocket(socket);
  expect((await arc(["device", "init", "--socket", socket, "--name", "dev"], { env })).code).toBe(0);
  expect((await arc(["new", project], { env })).code).toBe(0);
  device.tools["weather.forecast"] = async (input, run) => run.say(finished(succeeded(input)));
});
afterAll(() => {
  device.stop();
  cleanUp();
});

type Event = { [key: string]: any };

/** A session of `arc dev --json`; `next` is its next event of a type. */
function start(words: readonly string[] = []) {
  const stop = new AbortController();
  const events: Event[] = [];
  let wake = (): void => undefined;
  let rest = "";
  const done = arc(["dev", project, "--json", ...words], {
    env,
    signal: stop.signal,
    onStdout: (data) => {
      const lines = (rest + Buffer.from(data).toString()).split("\n");
      rest = lines.pop() ?? "";
      events.push(...lines.map((line) => JSON.parse(line) as Event));
      wake();
    },
  });
  const next = async (type: string): Promise<Event> => {
    for (;;) {
      const at = events.findIndex((event) => event["type"] === type);
      if (at >= 0) return events.splice(0, at + 1).at(-1) as Event;
      const woken = new Promise<"woken">((resolve) => (wake = () => resolve("woken")));
      if ((await Promise.race([woken, done])) !== "woken" && !events.some((event) => event["type"] === type)) throw new Error(`ended without ${type}: ${(await done).stderr}`);
    }
  };
  return { next, done, stop };
}

const versions = (): string[] => device.installed.map(({ version }) => version);

test("save, and the device has it; errors are told and never end it; the end takes it away", async () => {
  const text = readFileSync(source, "utf8");
  const session = start();
  expect(await session.next("device")).toMatchObject({ context: "dev", local: true });
  const first = await session.next("build");
  expect(first).toMatchObject({ ok: true, interface: "new", tools: ["weather.forecast"] });
  expect(versions()).toEqual([first["version"]]);

  writeFileSync(source, text.replace("city: string", "city: string; country?: string"));
  const second = await session.next("build");
  expect(second).toMatchObject({ ok: true, interface: "changed", authority: "unchanged" });
  expect(versions()).toEqual([second["version"]]);

  writeFileSync(source, "export const broken: number = 'text';\n");
  const bad = await session.next("build");
  expect(bad).toMatchObject({ ok: false, error: { code: "ARC1001", span: { file: "src/weather.ts", line: 1 } } });
  expect(versions()).toEqual([second["version"]]);

  writeFileSync(source, text);
  expect(await session.next("build")).toMatchObject({ ok: true, interface: "changed" });

  // A new file whose import could not be found before.
  writeFileSync(source, `import { base } from "./base.ts";\n${text}\nexport const b = base;\n`);
  expect(await session.next("build")).toMatchObject({ ok: false, error: { code: "ARC1003" } });
  writeFileSync(join(project, "src/base.ts"), "export const base = 1;\n");
  expect(await session.next("build")).toMatchObject({ ok: true });
  rmSync(join(project, "src/base.ts"));
  expect(await session.next("build")).toMatchObject({ ok: false, error: { code: "ARC1003" } });
  writeFileSync(source, text);
  const last = await session.next("build");

  session.stop.abort();
  expect(await session.next("stopped")).toMatchObject({ removed: [last["version"]] });
  expect((await session.done).code).toBe(130);
  expect(versions()).toEqual([]);
});

test("touching a file without a change swaps nothing", async () => {
  const session = start();
  await session.next("build");
  const before = versions();
  writeFileSync(source, readFileSync(source));
  await session.next("unchanged");
  expect(versions()).toEqual(before);
  session.stop.abort();
  await session.done;
});

test("a release stays where it is, and what a killed session left goes", async () => {
  device.installed.push({ name: "weather", version: "0.1.0", digest: "sha256:1", tools: [], bytes: 1 });
  const left = start();
  const leftover = (await left.next("build"))["version"] as string;
  expect(leftover).toStartWith("0.1.1-dev.");
  // The process is gone without its end: the entry is put back as a kill would leave it.
  const entry = device.installed.find(({ version }) => version === leftover);
  left.stop.abort();
  await left.done;
  if (entry !== undefined) device.installed.push(entry);
  device.installed.push({ name: "weather", version: "0.1.1-dev.5.p00000000", digest: "sha256:2", tools: [], bytes: 1 });
  const session = start();
  const { version } = await session.next("build");
  expect(versions()).toEqual(["0.1.0", "0.1.1-dev.5.p00000000", version]);
  session.stop.abort();
  await session.done;
  expect(versions()).toEqual(["0.1.0", "0.1.1-dev.5.p00000000"]);
  device.installed.splice(0);
});

test("an interrupt in the middle of a swap leaves nothing on the device", async () => {
  const session = start();
  await session.next("build");
  const text = readFileSync(source, "utf8");
  writeFileSync(source, `${text}\nexport const more = 1;\n`);
  const uploads = (): number => device.calls.filter((call) => call === "UploadBundle").length;
  const before = uploads();
  while (uploads() === before) await Bun.sleep(1);
  session.stop.abort();
  expect((await session.done).code).toBe(130);
  writeFileSync(source, text);
  expect(versions()).toEqual([]);
});

test("after each swap the tool is called with the input that was given", async () => {
  const session = start(["--invoke", "--input", '{"city":"Oslo"}']);
  expect(await session.next("invoked")).toMatchObject({ ok: true, tool: "weather.forecast", outcome: { output: { city: "Oslo" } } });
  session.stop.abort();
  await session.done;
});

test("a terminal has keys: call, logs, restart, quit", async () => {
  device.logs = [];
  async function* keys(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("i");
    yield Buffer.from("lr");
    yield Buffer.from("q");
  }
  const done = await arc(["dev", project, "--input", '{"city":"Bergen"}'], { env: { ...env, NO_COLOR: "1" }, tty: true, stdin: keys() });
  expect([done.code, done.stdout]).toEqual([0, '{"city":"Bergen"}\n']);
  expect(done.stderr).toContain("device dev at 127.0.0.1:");
  expect(done.stderr).toMatch(/✓ 1 tool · schema new · authority new · \d+ ms {2}weather\.forecast/);
  expect(done.stderr).toContain("restarting");
  expect(done.stderr).toMatch(/removed weather@0\.1\.0-dev\./);
});

test("no project, no device: said at once", async () => {
  const nowhere = join(dir, "nowhere");
  mkdirSync(nowhere);
  expect((await arc(["dev", nowhere, "--json"], { env })).json()).toMatchObject({ ok: false, error: { code: "ARC1080" } });
  const none = await arc(["dev", project, "--context", "other", "--json"], { env });
  expect([none.code, none.json().error.code]).toEqual([5, "ARC2032"]);
});
