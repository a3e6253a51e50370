//! A bundle to a device piece by piece: one round trip when nothing changed, only what is missing, and on after a broken link.

import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { createCipheriv, createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { recipe } from "../../src/bundle/recipe.ts";
import { writeBundle } from "../../src/bundle/layout.ts";
import { arc, cleanUp, newDir } from "../cli/drive.ts";
import { FakeDevice } from "./fake.ts";

const device = new FakeDevice();
const dir = newDir();
const env = { ARC_CONFIG_DIR: join(dir, "arc") };

beforeAll(async () => {
  await device.listenTls();
  const socket = join(newDir(), "s");
  await device.listenSocket(socket);
  expect((await arc(["device", "init", "--socket", socket, "--name", "dev"], { env })).code).toBe(0);
});
afterAll(() => {
  device.stop();
  cleanUp();
});
beforeEach(() => {
  device.receivedBytes = 0;
  device.commits = 0;
});

/** Noise, so that the layer is as long as its content. */
function noise(bytes: number, seed: string): Uint8Array {
  const key = createHash("sha256").update(seed).digest().subarray(0, 16);
  return new Uint8Array(createCipheriv("aes-128-ctr", key, Buffer.alloc(16)).update(new Uint8Array(bytes)));
}

function made(version: string, content: Uint8Array): string {
  const manifest = {
    ...{ format: 1 as const, name: "big", version, description: "x".repeat(8000), authors: [], license: "", engine: ">=0.1.0", tools: [], agents: [], teams: [], pipelines: [] },
    ...{ dependencies: [], source: { digest: `sha256:${"0".repeat(64)}` }, builder: { name: "arc", version: "0.1.0" } },
  };
  const path = join(dir, `big-${version}.aria`);
  writeFileSync(path, writeBundle(manifest, [{ path: "code/go.js", bytes: content }]).bytes);
  return path;
}

test("an unchanged bundle is one round trip, and of a changed one only what changed is sent", async () => {
  const content = noise(300_000, "a");
  const first = await arc(["upload", made("1.0.0", content), "--json"], { env });
  expect(first.json()).toMatchObject({ ok: true, data: { alreadyPresent: false, bundle: { name: "big", version: "1.0.0" } } });
  expect([device.commits, device.receivedBytes > 300_000]).toEqual([2, true]);
  [device.commits, device.receivedBytes] = [0, 0];
  const again = await arc(["upload", made("1.0.0", content), "--json"], { env });
  expect(again.json().data).toMatchObject({ alreadyPresent: true, sentBytes: 0 });
  expect([device.commits, device.receivedBytes]).toEqual([1, 0]);
  const next = await arc(["upload", made("1.0.1", content), "--json"], { env });
  expect(next.json().data.alreadyPresent).toBe(false);
  expect(device.receivedBytes).toBeLessThan(20_000);
}, 60_000);

test("after a broken link it goes on where the device stopped", async () => {
  const content = noise(900_000, "b");
  device.breakAfterBytes = 450_000;
  const ran = await arc(["upload", made("2.0.0", content), "--json"], { env });
  expect(ran.code, ran.stdout).toBe(0);
  expect(ran.json().data.bundle.version).toBe("2.0.0");
  // Nothing that had arrived was sent again; what was on its way when the link broke is at most a window.
  expect(device.receivedBytes).toBeLessThan(1_000_000);
}, 60_000);

test("a file that is no archive is sent whole, so that the device says what is wrong", async () => {
  const path = join(dir, "noise.aria");
  writeFileSync(path, noise(100_000, "c"));
  const ran = await arc(["upload", path, "--json"], { env });
  expect([ran.code, ran.json().error.code]).toEqual([2, "MANIFEST_INVALID"]);
});

test("the pieces of a file joined are the file", async () => {
  const path = made("3.0.0", noise(50_000, "d"));
  const handle = await open(path);
  try {
    const whole = await handle.readFile();
    const pieces = (await recipe(handle, whole.length)) ?? [];
    const joined = pieces.map((piece) => (piece.kind === "literal" ? piece.bytes : whole.subarray(piece.at, piece.at + piece.sizeBytes)));
    expect(Buffer.concat(joined).equals(whole)).toBe(true);
    for (const piece of pieces) {
      if (piece.kind === "blob") expect(createHash("sha256").update(whole.subarray(piece.at, piece.at + piece.sizeBytes)).digest("hex")).toBe(piece.sha256);
      else expect(piece.bytes.length).toBeLessThan(12_000);
    }
    expect(pieces.filter(({ kind }) => kind === "blob")).toHaveLength(2);
  } finally {
    await handle.close();
  }
});
