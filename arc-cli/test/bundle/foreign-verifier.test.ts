//! A verifier that shares no code with arc (docs/verify-bundle.py: Python's library and openssl) agrees, also on what is wrong.

import { afterAll, expect, test } from "bun:test";
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { signBundle, writeBundle } from "../../src/bundle/layout.ts";
import { readTar, writeTar } from "../../src/bundle/tar.ts";

const script = join(import.meta.dir, "../../../docs/verify-bundle.py");
const dir = mkdtempSync(join(tmpdir(), "arc-verify-"));
afterAll(() => rmSync(dir, { recursive: true }));

const newKey = (): string => generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const manifest = {
  ...{ format: 1 as const, name: "signed", version: "1.0.0", description: "", authors: [], license: "", engine: ">=0.1.0", tools: [], agents: [], teams: [], pipelines: [] },
  ...{ dependencies: [], source: { digest: `sha256:${"0".repeat(64)}` }, builder: { name: "arc", version: "0.1.0" } },
};
const key = newKey();
const plain = writeBundle(manifest, [{ path: "code/go.js", bytes: new TextEncoder().encode("export const tool = 1;") }]).bytes;
const good = signBundle(plain, key);

async function verify(bytes: Uint8Array, pem = key): Promise<{ code: number; text: string }> {
  const [bundle, author] = [join(dir, "b.aria"), join(dir, "author.pem")];
  writeFileSync(bundle, bytes);
  writeFileSync(author, createPublicKey(pem).export({ type: "spki", format: "pem" }));
  const child = Bun.spawn(["python3", script, bundle, author], { stdout: "pipe", stderr: "pipe" });
  const [out, error, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  return { code, text: out + error };
}

test("a signed bundle is verified with the file and the public key alone", async () => {
  expect(await verify(good)).toEqual({ code: 0, text: expect.stringMatching(/^verified: signed@1\.0\.0 sha256:[0-9a-f]{64} signed by sha256:/) });
});

test("an unsigned one and another key are not", async () => {
  expect(await verify(plain)).toEqual({ code: 1, text: expect.stringContaining("it is not signed") });
  expect(await verify(good, newKey())).toEqual({ code: 1, text: expect.stringContaining("did not sign it") });
});

test("a flipped byte in any blob is seen, also when the blob's name is made to fit", async () => {
  const entries = readTar(good, "the bundle");
  for (const [place, entry] of entries.entries()) {
    const bytes = Uint8Array.from(entry.bytes);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    const changed = writeTar(entries.map((one, at) => (at === place ? { ...one, bytes } : one)));
    expect((await verify(changed)).code, entry.path).toBe(1);
    if (!entry.path.startsWith("blobs/")) continue;
    const path = `blobs/sha256/${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
    expect((await verify(writeTar(entries.map((one, at) => (at === place ? { path, bytes } : one))))).code, entry.path).toBe(1);
  }
}, 60_000);
