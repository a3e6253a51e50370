//! Who may talk to whom: certificates that are refused, devices that are not the pinned one, devices that are not there.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { certificateRequest, newKeyPem } from "../../src/client/der.ts";
import { arc, cleanUp, newDir } from "../cli/drive.ts";
import { Authority } from "./authority.ts";
import { FakeDevice } from "./fake.ts";

const device = new FakeDevice();
const dir = join(newDir(), "arc");
const env = { ARC_CONFIG_DIR: dir };
const socket = join(newDir(), "s");
const at = (name: string): string => join(dir, "contexts/local", name);
let good: { certificate: string; key: string; ca: string; config: string };

beforeAll(async () => {
  device.certificateDays = 100;
  await device.listenTls();
  await device.listenSocket(socket);
  expect((await arc(["device", "init", "--socket", socket], { env })).code).toBe(0);
  good = { certificate: readFileSync(at("client.pem"), "utf8"), key: readFileSync(at("client.key"), "utf8"), ca: readFileSync(at("ca.pem"), "utf8"), config: readFileSync(join(dir, "config.json"), "utf8") };
});
afterAll(() => {
  device.stop();
  cleanUp();
});

function restore(): void {
  writeFileSync(at("client.pem"), good.certificate);
  writeFileSync(at("client.key"), good.key);
  writeFileSync(at("ca.pem"), good.ca);
  writeFileSync(join(dir, "config.json"), good.config);
}

async function check(exit: number, code: string): Promise<void> {
  const calls = device.calls.length;
  for (const words of [["ls"], ["invoke", "a.b"], ["logs"]]) {
    const ran = await arc([...words, "--json"], { env });
    expect([words[0], ran.code, ran.json().error.code]).toEqual([words[0], exit, code]);
  }
  expect(device.calls).toHaveLength(calls);
  restore();
}

test("a certificate of another authority is refused by the device: exit 4", async () => {
  const key = newKeyPem();
  writeFileSync(at("client.key"), key);
  writeFileSync(at("client.pem"), new Authority("other").sign(certificateRequest(key, "eve"), "eve"));
  await check(4, "ARC3003");
});

test("an expired certificate is refused by the device: exit 4", async () => {
  writeFileSync(at("client.pem"), device.authority.sign(certificateRequest(good.key, "ann"), "ann", 0));
  await Bun.sleep(1100);
  await check(4, "ARC3003");
});

test("a device with another authority is not talked to: exit 10", async () => {
  writeFileSync(at("ca.pem"), new Authority("other").pem);
  await check(10, "ARC3002");
});

test("a device of another name is not talked to, whatever NODE_TLS_REJECT_UNAUTHORIZED says: exit 10", async () => {
  process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
  try {
    writeFileSync(join(dir, "config.json"), good.config.replace('"node": "fake-1"', '"node": "fake-2"'));
    await check(10, "ARC3002");
  } finally {
    delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
  }
});

test("no device at the address: exit 7, safe to retry", async () => {
  writeFileSync(join(dir, "config.json"), good.config.replace(/127\.0\.0\.1:\d+/, "127.0.0.1:1"));
  const ran = await arc(["ls", "--json"], { env });
  expect([ran.code, ran.json().error.code, ran.json().error.retryable]).toEqual([7, "ARC3001", true]);
  restore();
});

test("something that is no device: a typed error, no hang", async () => {
  const other = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: (peer) => void peer.end("HTTP/1.1 400 no\r\n\r\n") } });
  writeFileSync(join(dir, "config.json"), good.config.replace(/127\.0\.0\.1:\d+/, `127.0.0.1:${other.port}`));
  const ran = await arc(["ls", "--json"], { env });
  expect([1, 7, 10]).toContain(ran.code);
  expect(ran.json().error.code).not.toBe("BUG");
  other.stop(true);
  restore();
});

test("credentials that are missing or no credentials", async () => {
  writeFileSync(at("client.key"), "no key");
  const ran = await arc(["ls", "--json"], { env });
  expect(ran.code).not.toBe(0);
  expect(ran.json().error.code).not.toBe("BUG");
  restore();
  const { rmSync } = await import("node:fs");
  rmSync(at("client.pem"));
  const gone = await arc(["ls", "--json"], { env });
  expect([gone.code, gone.json().error.code]).toEqual([5, "ARC2037"]);
  restore();
});

const damaged = ["", "[]", "{", '{"contexts":[]}', '{"current":1}', '{"contexts":{"a":{}}}', '{"contexts":{"../x":{}}}'];
test.each(damaged)("a damaged configuration %j is said, never repaired by guessing", async (text) => {
  writeFileSync(join(dir, "config.json"), text);
  const ran = await arc(["ls", "--json"], { env });
  expect(["ARC2035", "ARC2030"]).toContain(ran.json().error.code);
  expect(readFileSync(join(dir, "config.json"), "utf8")).toBe(text);
  restore();
});

test("doctor finds each of these and says what to type", async () => {
  const codes = async (): Promise<[number, string[]]> => {
    const ran = await arc(["doctor", "--json"], { env });
    return [ran.code, ran.json().data.findings.filter(({ level }: { level: string }) => level !== "ok").map(({ code }: { code: string }) => code)];
  };
  expect(await codes()).toEqual([0, []]);
  device.quiltUp = false;
  expect(await codes()).toEqual([7, ["ARC2108"]]);
  device.quiltUp = true;
  device.time = () => new Date(Date.now() - 60_000);
  expect(await codes()).toEqual([0, ["ARC2107"]]);
  device.time = () => new Date(Date.now() + 86_400_000);
  expect(await codes()).toEqual([6, ["ARC2107"]]);
  device.time = () => new Date();
  writeFileSync(at("client.pem"), device.authority.sign(certificateRequest(good.key, "ann"), "ann", 0));
  await Bun.sleep(1100);
  expect(await codes()).toEqual([4, ["ARC2103", "ARC3003"]]);
  restore();
  const { chmodSync } = await import("node:fs");
  chmodSync(at("client.key"), 0o644);
  expect((await codes())[1]).toContain("ARC2105");
  chmodSync(at("client.key"), 0o600);
  const human = await arc(["doctor"], { env });
  expect(human.stdout).toContain("ok      device local: fake-1");
  expect((await arc(["doctor", "--json"], { env: { ARC_CONFIG_DIR: newDir() } })).code).toBe(5);
});

test("version tells the device's, and does not fail when it is away", async () => {
  expect((await arc(["version", "--json"], { env })).json().data).toMatchObject({ client: { protocol: { min: 1, max: 1 } }, device: { node: "fake-1", compatible: true } });
  expect((await arc(["version", "--client", "--json"], { env })).json().data.device).toBeNull();
  writeFileSync(join(dir, "config.json"), good.config.replace(/127\.0\.0\.1:\d+/, "127.0.0.1:1"));
  const away = await arc(["version", "--json"], { env });
  expect([away.code, away.json().data.device.error.code]).toEqual([0, "ARC3001"]);
  restore();
});
