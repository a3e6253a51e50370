//! Whose bundles a device takes, and what a bundle may touch more, against a fake device.

import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { arc, cleanUp, newDir } from "../cli/drive.ts";
import { FakeDevice } from "./fake.ts";

const device = new FakeDevice();
const dir = newDir();
const socket = join(newDir(), "s");
const env = { ARC_CONFIG_DIR: join(dir, "arc") };
const file = join(dir, "weather.aria");
const AUTHORITY = `sha256:${"a".repeat(64)}`;

beforeAll(async () => {
  await device.listenTls();
  await device.listenSocket(socket);
  expect((await arc(["device", "init", "--socket", socket, "--subject", "ann"], { env })).code).toBe(0);
  writeFileSync(file, "bundle weather@0.2.0");
});
beforeEach(() => {
  device.widens = undefined;
});
afterAll(() => {
  device.stop();
  cleanUp();
});

test("enrolling again trusts nothing twice; a name another key has is made unique", async () => {
  expect((await arc(["device", "init", "--socket", socket, "--subject", "ann"], { env })).code).toBe(0);
  expect(device.signers.map(({ publisher }) => publisher)).toEqual(["ann"]);
  const other = { ARC_CONFIG_DIR: join(newDir(), "arc") };
  const ran = await arc(["device", "init", "--socket", socket, "--subject", "ann", "--json"], { env: other });
  expect(ran.json().data.signer.publisher).toMatch(/^ann-[0-9a-f]{8}$/);
  expect(device.signers).toHaveLength(2);
});

test("a revoked key of one's own does not stand in the way of enrolling, and is said", async () => {
  const own = { ARC_CONFIG_DIR: join(newDir(), "arc") };
  const first = await arc(["device", "init", "--socket", socket, "--subject", "gone", "--json"], { env: own });
  const { keyId } = first.json().data.signer;
  const revoked = await arc(["key", "revoke", "default", "--yes", "--json"], { env: own });
  expect(revoked.json().data.blockedBundles).toEqual(["weather@0.1.0"]);
  const again = await arc(["device", "init", "--socket", socket, "--subject", "gone", "--json"], { env: own });
  expect([again.code, again.json().data.signer, again.json().warnings.join()]).toEqual([0, null, expect.stringContaining(keyId)]);
});

test("a public key in PEM is trusted for whom it speaks, a private one is not sent", async () => {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const [good, secret, other] = ["good", "secret", "other"].map((name) => join(dir, `${name}.pem`)) as [string, string, string];
  writeFileSync(good, publicKey.export({ type: "spki", format: "pem" }));
  writeFileSync(secret, privateKey.export({ type: "pkcs8", format: "pem" }));
  writeFileSync(other, generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ type: "spki", format: "pem" }));
  const ran = await arc(["key", "trust", "--file", good, "--as", "bob", "--json"], { env });
  expect(ran.json().data.signer.publisher).toBe("bob");
  const calls = device.calls.length;
  for (const path of [secret, other, file]) expect((await arc(["key", "trust", "--file", path, "--as", "eve"], { env })).code).toBe(2);
  expect((await arc(["key", "trust", "--file", join(dir, "none.pem")], { env })).code).toBe(5);
  expect((await arc(["key", "trust", "default", "--file", good], { env })).code).toBe(2);
  expect((await arc(["key", "trust", "--expires", "soon"], { env })).code).toBe(2);
  expect(device.calls).toHaveLength(calls);
  const listed = await arc(["key", "list", "--device"], { env });
  expect(listed.stdout).toContain("bob");
  expect(listed.stdout).toContain("default");
});

test("revoking asks, and names what it does not know", async () => {
  const count = device.signers.filter(({ revokedAt }) => revokedAt !== "").length;
  expect((await arc(["key", "revoke", "default"], { env })).code).toBe(2);
  expect((await arc(["key", "revoke", "nobody", "--yes"], { env })).code).toBe(5);
  const unknown = await arc(["key", "revoke", AUTHORITY, "--yes", "--json"], { env });
  expect([unknown.code, unknown.json().error.code]).toEqual([5, "KEY_UNKNOWN"]);
  expect(device.signers.filter(({ revokedAt }) => revokedAt !== "")).toHaveLength(count);
});

test("more authority is exit 8 with the command that accepts exactly it", async () => {
  device.widens = { authority: AUTHORITY, changes: [{ tool: "forecast", wider: true, touch: "kv:orders:rw" }] };
  const held = await arc(["upload", file, "--json"], { env });
  expect([held.code, held.json().error.code]).toEqual([8, "AUTHORITY_WIDENED"]);
  expect(held.json().error.fix).toEqual([`arc upload ${file} --dry-run`, `arc upload ${file} --accept-authority ${AUTHORITY}`]);
  const dry = await arc(["upload", file, "--dry-run"], { env });
  expect([dry.code, dry.stdout]).toEqual([8, expect.stringContaining("authority against 0.1.0:\n  + forecast kv:orders:rw\nrefused until accepted")]);
  expect((await arc(["upload", file, "--accept-authority", "yes"], { env })).code).toBe(2);
  expect(device.installed).toEqual([]);
  const accepted = await arc(["upload", file, "--accept-authority", AUTHORITY, "--json"], { env });
  expect([accepted.code, accepted.json().data.authorityChanges]).toEqual([0, device.widens.changes]);
});

test("a device that names a strange authority gets no command to paste", async () => {
  device.widens = { authority: "x; rm -rf /", changes: [] };
  const held = await arc(["upload", file, "--json"], { env });
  expect(held.json().error.fix).toEqual([`arc upload ${file} --dry-run`]);
});
