//! Keys: made once, listed, shown, and used by sign and inspect.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash, createPublicKey } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { openBundle, writeBundle } from "../../src/bundle/layout.ts";
import { holds } from "../../src/bundle/signature.ts";
import { arc } from "./drive.ts";

const home = mkdtempSync(join(tmpdir(), "arc-key-"));
const env = { ARC_CONFIG_DIR: join(home, "config") };
const bundle = join(home, "b.aria");

beforeAll(() => {
  const manifest = {
    ...{ format: 1 as const, name: "signed", version: "1.0.0", description: "", authors: [], license: "", engine: ">=0.1.0", tools: [], agents: [], teams: [], pipelines: [] },
    ...{ dependencies: [], source: { digest: `sha256:${"0".repeat(64)}` }, builder: { name: "arc", version: "0.1.0" } },
  };
  writeFileSync(bundle, writeBundle(manifest, [{ path: "code/go.js", bytes: new TextEncoder().encode("1") }]).bytes);
});

afterAll(() => rmSync(home, { recursive: true }));

test("a key is made once, private to its owner", async () => {
  const ran = await arc(["key", "new", "--json"], { env });
  expect(ran.code).toBe(0);
  const { keyId } = ran.json().data;
  expect((await arc(["key", "list", "--json"], { env })).json().data).toEqual([{ name: "default", keyId }]);
  expect(statSync(join(env.ARC_CONFIG_DIR, "keys/default.pem")).mode & 0o777).toBe(0o600);
});

test("a key is never replaced, and its name is a plain word", async () => {
  expect((await arc(["key", "new"], { env })).code).toBe(6);
  for (const name of ["../x", "-x", "A", ""]) expect((await arc(["key", "new", "--", name], { env })).code).toBe(2);
  expect((await arc(["key", "new", "release", "--json"], { env })).json().data.keyId).toMatch(/^sha256:[0-9a-f]{64}$/);
  const missing = await arc(["key", "show", "releese"], { env });
  expect([missing.code, missing.stderr]).toEqual([5, expect.stringContaining("did you mean `release`?")]);
});

test("what `key show` prints is the key in PEM, and its hash the id", async () => {
  const pem = (await arc(["key", "show", "release"], { env })).stdout;
  const der = createPublicKey(pem).export({ type: "spki", format: "der" });
  const { keyId } = (await arc(["key", "show", "release", "--json"], { env })).json().data;
  expect(keyId).toBe(`sha256:${createHash("sha256").update(der).digest("hex")}`);
});

test("signing adds to the file, inspecting tells who and whether it holds", async () => {
  expect((await arc(["sign", bundle], { env })).code).toBe(0);
  expect((await arc(["sign", bundle, "--key", "release", "--json"], { env })).json().data.signers).toHaveLength(2);
  const { signatures, digest } = (await arc(["inspect", bundle, "--json"], { env })).json().data;
  expect(signatures.map((one: { name: string; holds: boolean }) => [one.name, one.holds])).toEqual([["default", true], ["release", true]]);
  const opened = openBundle(new Uint8Array(readFileSync(bundle)));
  expect(opened.digest).toBe(digest);
  expect(holds(opened.envelope!, createPublicKey((await arc(["key", "show"], { env })).stdout))).toBe(true);
  const elsewhere = await arc(["inspect", bundle], { env: { ARC_CONFIG_DIR: join(home, "none") } });
  expect(elsewhere.stdout).toContain("a key that is not here");
  expect(existsSync(join(home, "none"))).toBe(false);
});

test("build signs with the default key, with another, or not at all", async () => {
  const project = join(home, "project");
  expect((await arc(["new", project, "--template", "tool"], { env })).code).toBe(0);
  const signers = async (...options: string[]): Promise<string[]> => {
    const built = await arc(["build", project, "--json", ...options], { env });
    expect([built.code, built.stderr]).toEqual([0, ""]);
    const { file, signer } = built.json().data;
    const found = openBundle(new Uint8Array(readFileSync(file))).envelope?.signatures.map((one) => one.keyId) ?? [];
    expect(found).toEqual(signer === null ? [] : [signer]);
    return found;
  };
  const [byDefault, byRelease] = [await signers(), await signers("--key", "release")];
  expect(byDefault).not.toEqual(byRelease);
  expect(await signers("--unsigned")).toEqual([]);
  expect((await arc(["build", project, "--key", "nobody"], { env })).code).toBe(5);
  expect((await arc(["build", project, "--key", "release", "--unsigned"], { env })).code).toBe(2);
}, 60_000);
