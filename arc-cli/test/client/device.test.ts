//! Becoming known to a device, against a fake one of another gRPC implementation.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { arc, cleanUp, newDir } from "../cli/drive.ts";
import { openssl } from "./authority.ts";
import { FakeDevice } from "./fake.ts";

const device = new FakeDevice();
const dir = newDir();
const socket = join(newDir(), "api.sock");
const env = { ARC_CONFIG_DIR: join(dir, "arc") };

beforeAll(async () => {
  await device.listenTls();
  await device.listenSocket(socket);
});
afterAll(() => {
  device.stop();
  cleanUp();
});

test("init over the socket stores a context that works over TLS", async () => {
  const ran = await arc(["device", "init", "--socket", socket, "--name", "dev", "--json"], { env });
  expect(ran.stderr).toBe("");
  const [own] = (await arc(["key", "list", "--json"], { env })).json().data;
  const { defaultSubject } = await import("../../src/client/enrol.ts");
  expect(ran.json().data).toEqual({ context: "dev", node: "fake-1", address: device.listen, role: "operator", current: true, signer: { keyId: own.keyId, publisher: defaultSubject() } });
  expect(device.signers.map(({ keyId }) => keyId)).toEqual([own.keyId]);
  const config = JSON.parse(readFileSync(join(dir, "arc/config.json"), "utf8"));
  expect(config).toEqual({ current: "dev", contexts: { dev: { address: device.listen, node: "fake-1", ca: "contexts/dev/ca.pem", certificate: "contexts/dev/client.pem", key: "contexts/dev/client.key" } } });
  for (const file of ["client.key", "client.pem", "ca.pem"]) expect(statSync(join(dir, "arc/contexts/dev", file)).mode & 0o777).toBe(0o600);
  expect(statSync(join(dir, "arc")).mode & 0o777).toBe(0o700);
  expect((await arc(["ls"], { env })).stdout).toBe("no bundle is installed\n");
});

test("init again keeps the key", async () => {
  const before = readFileSync(join(dir, "arc/contexts/dev/client.key"), "utf8");
  expect((await arc(["device", "init", "--socket", socket, "--name", "dev"], { env })).code).toBe(0);
  expect(readFileSync(join(dir, "arc/contexts/dev/client.key"), "utf8")).toBe(before);
});

test("a default subject that is taken is made unique", async () => {
  const own = { ARC_CONFIG_DIR: join(newDir(), "arc") };
  const { defaultSubject } = await import("../../src/client/enrol.ts");
  device.subjectsTaken.add(defaultSubject());
  expect((await arc(["device", "init", "--socket", socket], { env: own })).code).toBe(0);
  const explicit = await arc(["device", "init", "--socket", socket, "--subject", defaultSubject()], { env: own });
  expect([explicit.code, explicit.stderr]).toEqual([6, expect.stringContaining("SUBJECT_TAKEN")]);
  device.subjectsTaken.clear();
});

test("the request openssl reads is ours: P-256, self-signed, our subject", async () => {
  const { certificateRequest, keySha256, newKeyPem, selfSigned } = await import("../../src/client/der.ts");
  const key = newKeyPem();
  const at = join(newDir(), "x");
  writeFileSync(`${at}.der`, certificateRequest(key, "ann@laptop"));
  const text = openssl(["req", "-inform", "DER", "-in", `${at}.der`, "-verify", "-noout", "-text", "-subject"]);
  expect(text).toContain("verify OK");
  expect(text).toContain("CN = ann@laptop");
  expect(text).toContain("prime256v1");
  writeFileSync(`${at}.key`, key);
  openssl(["pkey", "-in", `${at}.key`, "-pubout", "-outform", "DER", "-out", `${at}.spki`]);
  expect(openssl(["dgst", "-sha256", "-r", `${at}.spki`]).slice(0, 64)).toBe(keySha256(key));
  writeFileSync(`${at}.pem`, selfSigned(key, "ann", new Date()));
  expect(openssl(["verify", "-CAfile", `${at}.pem`, `${at}.pem`])).toContain("OK");
});

test("add pins the authority by fingerprint and uses the operator's key", async () => {
  const address = await device.listenForEnrolment();
  const own = { ARC_CONFIG_DIR: join(newDir(), "arc") };
  const hash = (await arc(["device", "key"], { env: own })).stdout.trim();
  expect(hash).toMatch(/^[0-9a-f]{64}$/);
  expect((await arc(["device", "key"], { env: own })).stdout.trim()).toBe(hash);
  const wrong = await arc(["device", "add", "kitchen", "--address", address, "--fingerprint", "00".repeat(32), "--json"], { env: own });
  expect([wrong.code, wrong.json().error.code]).toEqual([10, "ARC3006"]);
  expect((await arc(["device", "ls", "--json"], { env: own })).json().data).toEqual([]);
  const spelled = `SHA256:${device.authority.fingerprint.toUpperCase().replace(/..(?=.)/g, "$&:")}`;
  const ran = await arc(["device", "add", "kitchen", "--address", address, "--fingerprint", spelled], { env: own });
  expect([ran.code, ran.stderr, ran.stdout]).toEqual([0, "", expect.stringMatching(/^enrolled with fake-1 as operator; context kitchen is the current one\nit takes bundles signed by sha256:[0-9a-f]{64} \(default\), of \S+\n$/)]);
  expect((await arc(["device", "ls", "--json"], { env: own })).json().data[0]).toMatchObject({ name: "kitchen", current: true, address, fingerprint: device.authority.fingerprint });
});

test("use, ls and rm", async () => {
  expect((await arc(["device", "init", "--socket", socket, "--name", "second"], { env })).code).toBe(0);
  expect((await arc(["device", "use", "dev"], { env })).stdout).toBe("dev is the current device\n");
  const typo = await arc(["device", "use", "devv"], { env });
  expect([typo.code, typo.stderr]).toEqual([5, expect.stringContaining("did you mean `dev`?")]);
  const silent = await arc(["device", "rm", "second"], { env });
  expect([silent.code, silent.stderr]).toEqual([2, expect.stringContaining("add --yes")]);
  expect((await arc(["device", "rm", "second"], { env, tty: true, answer: "n" })).code).toBe(0);
  expect((await arc(["device", "ls", "--json"], { env })).json().data).toHaveLength(2);
  expect((await arc(["device", "rm", "second", "--yes"], { env })).code).toBe(0);
  expect((await arc(["device", "ls", "--json"], { env })).json().data).toHaveLength(1);
});

test("a socket path longer than the kernel's address is reached", async () => {
  const { mkdirSync, renameSync } = await import("node:fs");
  const other = new FakeDevice();
  const short = join(newDir(), "s");
  await other.listenSocket(short);
  const deep = join(newDir(), "d".repeat(120));
  mkdirSync(deep);
  renameSync(short, join(deep, "api.sock"));
  const ran = await arc(["device", "init", "--socket", join(deep, "api.sock"), "--json"], { env: { ARC_CONFIG_DIR: join(newDir(), "arc") } });
  expect(ran.json()).toMatchObject({ ok: true, data: { node: "fake-1", address: "" } });
  other.stop();
});

test.skipIf(process.getuid?.() !== 0)("root leaves files that the owner of the directory can read (skipped: needs root)", async () => {
  const { chownSync } = await import("node:fs");
  const home = newDir();
  chownSync(home, 1234, 1234);
  expect((await arc(["device", "init", "--socket", socket], { env: { ARC_CONFIG_DIR: join(home, "a/arc") } })).code).toBe(0);
  for (const path of ["a", "a/arc", "a/arc/config.json", "a/arc/contexts", "a/arc/contexts/local", "a/arc/contexts/local/client.key"]) expect([path, statSync(join(home, path)).uid]).toEqual([path, 1234]);
});

test("two arcs at once lose nothing", async () => {
  const own = { ARC_CONFIG_DIR: join(newDir(), "arc") };
  const names = ["a", "b", "c", "d", "e"];
  const ran = await Promise.all(names.map((name) => arc(["device", "init", "--socket", socket, "--name", name], { env: own })));
  expect(ran.map(({ code }) => code)).toEqual(names.map(() => 0));
  expect((await arc(["device", "ls", "--json"], { env: own })).json().data.map(({ name }: { name: string }) => name)).toEqual(names);
});

test("no socket, no permission, closed window", async () => {
  const own = { ARC_CONFIG_DIR: join(newDir(), "arc") };
  const none = await arc(["device", "init", "--socket", "/nonexistent/api.sock", "--json"], { env: own });
  expect([none.code, none.json().error.code, none.json().error.retryable]).toEqual([7, "ARC3001", true]);
  device.enrolClosed = true;
  const closed = await arc(["device", "init", "--socket", socket, "--json"], { env: own });
  device.enrolClosed = false;
  expect([closed.code, closed.json().error.code]).toEqual([4, "ENROLMENT_CLOSED"]);
  expect((await arc(["device", "ls", "--json"], { env: own })).json().data).toEqual([]);
});
