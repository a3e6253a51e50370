//! A signature is about one bundle, holds for one key, and no byte of a signed bundle can change unseen.

import { describe, expect, test } from "bun:test";
import { createPublicKey, generateKeyPairSync } from "node:crypto";

import { sha256Hex } from "../../src/bundle/digest.ts";
import { BundleError } from "../../src/bundle/error.ts";
import { openBundle, signBundle, writeBundle } from "../../src/bundle/layout.ts";
import type { Manifest } from "../../src/bundle/manifest.ts";
import { holds, keyIdOf } from "../../src/bundle/signature.ts";

const newKey = (): string => generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const manifest = (version: string): Omit<Manifest, "files"> => ({
  ...{ format: 1, name: "signed", version, description: "", authors: [], license: "", engine: ">=0.1.0", tools: [], agents: [], teams: [], pipelines: [] },
  ...{ dependencies: [], source: { digest: `sha256:${"0".repeat(64)}` }, builder: { name: "arc", version: "0.1.0" } },
});
const files = [{ path: "code/go.js", bytes: new TextEncoder().encode("export const tool = 1;") }];
const key = newKey();
const plain = writeBundle(manifest("1.0.0"), files);
const good = signBundle(plain.bytes, key);

test("signing keeps the bundle's identity and content, and names the key", () => {
  const opened = openBundle(good);
  expect(opened.digest).toBe(plain.digest);
  expect(opened.envelope?.signatures.map((one) => one.keyId)).toEqual([keyIdOf(createPublicKey(key))]);
  expect(holds(opened.envelope!, createPublicKey(key))).toBe(true);
  expect(holds(opened.envelope!, createPublicKey(newKey()))).toBe(false);
  expect(openBundle(plain.bytes).envelope).toBeUndefined();
});

test("the same key gives the same bytes; signing again changes nothing, another key is beside it", () => {
  expect(sha256Hex(signBundle(plain.bytes, key))).toBe(sha256Hex(good));
  expect(sha256Hex(signBundle(good, key))).toBe(sha256Hex(good));
  const second = newKey();
  const { envelope } = openBundle(signBundle(good, second));
  expect([key, second].map((one) => holds(envelope!, createPublicKey(one)))).toEqual([true, true]);
});

test("an envelope of another bundle is refused", () => {
  const other = signBundle(writeBundle(manifest("1.0.1"), files).bytes, key);
  const at = (bytes: Uint8Array): number => Buffer.from(bytes).indexOf('{"payloadType"');
  const moved = new Uint8Array(good);
  moved.set(other.subarray(at(other), at(other) + 200), at(good));
  expect(() => openBundle(moved)).toThrow(BundleError);
});

describe("a flipped bit", () => {
  test("anywhere in a signed bundle is refused, or leaves a signature that does not hold", () => {
    const unnoticed: number[] = [];
    for (let at = 0; at < good.length; at += 1) {
      const flipped = new Uint8Array(good);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << at % 8);
      try {
        const { envelope, digest } = openBundle(flipped);
        if (digest !== plain.digest || !envelope || holds(envelope, createPublicKey(key))) unnoticed.push(at);
      } catch (error) {
        if (!(error instanceof BundleError)) throw error;
      }
    }
    expect(unnoticed).toEqual([]);
  }, 60_000);
});
