//! `arc __complete` and `arc doctor --fix`: what only arc knows, and what it may repair by itself.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FakeDevice, finished, succeeded } from "../client/fake.ts";
import { arc, cleanUp, newDir } from "./drive.ts";

const device = new FakeDevice();
const dir = newDir();
const env = { ARC_CONFIG_DIR: join(dir, "arc") };

beforeAll(async () => {
  await device.listenTls();
  const socket = join(newDir(), "s");
  await device.listenSocket(socket);
  expect((await arc(["device", "init", "--socket", socket, "--name", "dev"], { env })).code).toBe(0);
  expect((await arc(["key", "new", "release"], { env })).code).toBe(0);
  for (const name of ["weather.forecast", "weather.history", "orders.count"]) device.tools[name] = async (_input, run) => run.say(finished(succeeded("{}")));
  device.schemas["weather.forecast"] = JSON.stringify({ type: "object", properties: { city: { type: "string", description: "Where" }, place: { type: "object", properties: { lat: { type: "number" } } } } });
  device.installed.push({ name: "weather", version: "0.1.0", digest: "sha256:1", tools: [], bytes: 1 });
  device.kept = [{ invocationId: "run-1", tool: "weather.forecast", outcome: "succeeded" }];
});
afterAll(() => {
  device.stop();
  cleanUp();
});

const complete = async (...words: string[]): Promise<string[]> => (await arc(["__complete", "--json", "--", ...words], { env })).json()["data"].map((one: { word: string }) => one.word);

test.each([
  [["invoke", "wea"], ["weather.forecast", "weather.history"]],
  [["logs", "-f", "ord"], ["orders.count"]],
  [["invoke", "weather.forecast", "--"], ["--city", "--place", "--place.lat"]],
  [["invoke", "weather.forecast", "--context", ""], ["dev"]],
  [["device", "use", ""], ["dev"]],
  [["build", "--key", ""], ["default", "release"]],
  [["key", "show", ""], ["default", "release"]],
  [["rm", ""], ["weather@0.1.0"]],
  [["run", ""], ["run-1"]],
  [["exec", "--profile", "tool-"], ["tool-noexec", "tool-nojit"]],
  [["build", ""], []],
  [["nothing", ""], []],
  [[""], []],
])("%p completes to %p", async (words, wanted) => expect(await complete(...words)).toEqual(wanted));

test("without a device it says nothing, quickly, and succeeds", async () => {
  const ran = await arc(["__complete", "--", "invoke", ""], { env: { ARC_CONFIG_DIR: newDir() } });
  expect([ran.code, ran.stdout, ran.stderr]).toEqual([0, "", ""]);
});

test("doctor --fix closes a key, removes a lock and chooses the only device; it repairs nothing without being asked", async () => {
  const config = join(dir, "arc/config.json");
  const before = JSON.parse(readFileSync(config, "utf8"));
  const key = join(dir, "arc", before.contexts.dev.key);
  const lock = `${config}.lock`;
  chmodSync(key, 0o644);
  writeFileSync(config, JSON.stringify({ contexts: before.contexts }));
  writeFileSync(lock, "");
  utimesSync(lock, 1, 1);
  const seen = await arc(["doctor", "--json"], { env });
  expect([seen.code, seen.json()["data"].findings.filter((one: { repairable: boolean }) => one.repairable).map((one: { code: string }) => one.code).sort()]).toEqual([5, ["ARC2101", "ARC2105", "ARC2112"]]);
  expect(statSync(key).mode & 0o777).toBe(0o644);
  const { code, json } = await arc(["doctor", "--fix", "--json"], { env });
  expect([code, json()["data"].healthy, json()["data"].repaired.length]).toEqual([0, true, 3]);
  expect([statSync(key).mode & 0o777, JSON.parse(readFileSync(config, "utf8")).current, statSync(lock, { throwIfNoEntry: false })]).toEqual([0o600, "dev", undefined]);
});
