// Whose bundles a device takes: each refusal with its reason and exit code through arc, nothing left of it, and the same device takes
// the good bundle right after. Bundles and signatures are put together by hand, so arc's writer is not believed.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arcProgram, startHost, until, type Host } from "../stand/host.ts";
import { authority, bundle, keyId, parts, type Parts, type Signer } from "./bundle-maker.ts";

let host: Host;
const scratch = mkdtempSync(join(tmpdir(), "trust-"));
const pair = (): { publicKey: KeyObject; privateKey: KeyObject } => generateKeyPairSync("ed25519");
const [ann, bob, eve, brief] = [pair(), pair(), pair(), pair()];

interface Body {
  ok: boolean;
  data?: never;
  error?: { code: string; message: string; fix: string[]; details: { metadata?: Record<string, string> } };
}

beforeAll(async () => {
  host = await startHost({ context: "dev" });
  for (const [name, key] of [["ann", ann], ["bob", bob]] as const) expect((await trust(name, key.publicKey)).exit).toBe(0);
}, 60_000);
afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await host?.stop();
});

async function arc(...args: string[]): Promise<{ exit: number; code: string | undefined; body: Body }> {
  const done = await host.arc(["--json", ...args]);
  const body = JSON.parse(done.stdout) as Body;
  return { exit: done.code, code: body.error?.code, body };
}

function pem(name: string, key: KeyObject): string {
  const path = join(scratch, `${name}.pem`);
  writeFileSync(path, key.export({ type: "spki", format: "pem" }));
  return path;
}

const trust = (publisher: string, key: KeyObject, ...more: string[]) => arc("key", "trust", "--file", pem(publisher, key), "--as", publisher, ...more);

/** One tool that asks for these tokens. */
function asking(name: string, version: string, tokens: string[] = [], description = ""): Parts {
  const made = parts(name, version);
  const [tool] = made.manifest.tools as Record<string, unknown>[];
  return { ...made, manifest: { ...made.manifest, description, tools: [{ ...tool, tokens }] } };
}

function written(from: Parts, ...signers: (KeyObject | Signer)[]): string {
  const path = join(scratch, "b.aria");
  writeFileSync(path, bundle(from, signers.map((one) => ("key" in one ? one : { key: one }))));
  return path;
}

const upload = (from: Parts, signers: (KeyObject | Signer)[], ...more: string[]) => arc("upload", written(from, ...signers), ...more);
const installed = async (): Promise<string[]> => ((await arc("ls")).body.data as unknown as { name: string; version: string }[]).map((one) => `${one.name}@${one.version}`);
const staged = (): string[] => readdirSync(join(host.dir, "aria/staging"));

/** The refusal, and that it left nothing; then the good bundle of the same name is taken. */
async function refused(exit: number, code: string, from: Parts, ...signers: (KeyObject | Signer)[]): Promise<void> {
  const before = await installed();
  const answer = await upload(from, signers);
  expect({ exit: answer.exit, code: answer.code }, answer.body.error?.message).toEqual({ exit, code });
  expect([await installed(), staged()]).toEqual([before, []]);
}

describe("a signature", () => {
  const demo = (): Parts => parts("demo");
  test("is needed", () => refused(10, "SIGNATURE_MISSING", demo()));
  test("of an unknown key is not enough", () => refused(10, "SIGNER_UNKNOWN", demo(), eve.privateKey));
  test("that does not hold is refused, also beside a good one", async () => {
    const false_ = { key: bob.privateKey, signature: new Uint8Array(64).fill(7) };
    await refused(10, "SIGNATURE_BAD", demo(), false_);
    await refused(10, "SIGNATURE_BAD", demo(), ann.privateKey, false_);
  });
  test("about another bundle is refused", () => {
    const other = (statement: Record<string, unknown>): unknown => ({ ...statement, subject: [{ name: "demo@1.0.0", digest: { sha256: "0".repeat(64) } }] });
    return refused(10, "SIGNATURE_INVALID", demo(), { key: ann.privateKey, statement: other });
  });
  test("of a key whose time is over is refused", async () => {
    expect((await trust("brief", brief.publicKey, "--expires", "2999-01-01")).exit).toBe(0);
    expect((await upload(parts("early"), [brief.privateKey])).exit).toBe(0);
    // Far enough that the device hears of it in time, on a busy machine too.
    const soon = new Date(Date.now() + 15_000);
    expect((await trust("brief", brief.publicKey, "--expires", soon.toISOString())).exit).toBe(0);
    await until(20_000, () => Date.now() > soon.getTime() + 200);
    await refused(10, "SIGNER_EXPIRED", demo(), brief.privateKey);
    // What was taken while the trust lasted is still called.
    expect((await arc("invoke", "early.hello", "--input", '{"name":"a"}')).exit).toBe(0);
  });
  test("of a trusted key is taken, and the same file again changes nothing", async () => {
    const first = await upload(demo(), [eve.privateKey, ann.privateKey]);
    expect(first.body.data).toMatchObject({ alreadyPresent: false, bundle: { publisher: "ann", signer: keyId(ann.publicKey), blocked: null } });
    expect((await upload(demo(), [ann.privateKey])).body.data).toMatchObject({ alreadyPresent: true });
  });
});

describe("a name", () => {
  test("is its publisher's, also when the bundle is gone and the device was restarted", async () => {
    expect((await upload(parts("owned"), [ann.privateKey])).exit).toBe(0);
    await refused(10, "PUBLISHER_MISMATCH", parts("owned", "1.1.0"), bob.privateKey);
    expect((await arc("rm", "owned", "--yes")).exit).toBe(0);
    await host.restart("ariad", "SIGKILL");
    await refused(10, "PUBLISHER_MISMATCH", parts("owned", "1.1.0"), bob.privateKey);
    expect((await upload(parts("owned", "1.1.0"), [bob.privateKey, ann.privateKey])).exit).toBe(0);
  });
  test("does not go back to an older version, also when the newer is gone", async () => {
    expect((await upload(parts("forward", "1.2.0"), [ann.privateKey])).exit).toBe(0);
    await refused(6, "BUNDLE_ROLLBACK", parts("forward", "1.1.9"), ann.privateKey);
    expect((await arc("rm", "forward", "--yes")).exit).toBe(0);
    await refused(6, "BUNDLE_ROLLBACK", parts("forward", "1.2.0-rc.1"), ann.privateKey);
    expect((await upload(parts("forward", "1.2.0"), [ann.privateKey])).exit).toBe(0);
  });
  test("has one content for each installed version", async () => {
    expect((await upload(parts("once"), [ann.privateKey])).exit).toBe(0);
    const other = asking("once", "1.0.0", [], "other bytes");
    await refused(6, "VERSION_TAKEN", other, ann.privateKey);
    expect((await arc("rm", "once@1.0.0", "--yes")).exit).toBe(0);
    expect((await upload(other, [ann.privateKey])).exit).toBe(0);
  });
});

test("more authority is shown, waits for exactly its acceptance, and the installed version goes on meanwhile", async () => {
  expect((await upload(asking("orders", "1.0.0", ["kv:orders:ro"]), [ann.privateKey])).exit).toBe(0);
  const wide = asking("orders", "1.1.0", ["kv:orders:rw", "secret:stripe"]);
  await refused(8, "AUTHORITY_WIDENED", wide, ann.privateKey);
  const digest = authority(wide.manifest);
  const answer = await upload(wide, [ann.privateKey]);
  expect(answer.body.error?.fix).toContainEqual(expect.stringContaining(`--accept-authority ${digest}`));
  const dry = await upload(wide, [ann.privateKey], "--dry-run");
  const wider = (touch: string): unknown => ({ tool: "hello", wider: true, touch });
  expect([dry.exit, dry.body.data]).toMatchObject([8, { dryRun: true, needsAcceptance: true, comparedVersion: "1.0.0", authorityChanges: [wider("kv:orders:rw"), wider("secret:stripe")] }]);
  expect((await installed()).filter((name) => name.startsWith("orders"))).toEqual(["orders@1.0.0"]);
  expect((await arc("invoke", "orders.hello", "--input", '{"name":"a"}')).exit).toBe(0);
  expect((await upload(wide, [ann.privateKey], "--accept-authority", authority(parts("orders").manifest))).exit).toBe(8);
  expect((await upload(wide, [ann.privateKey], "--accept-authority", "yes")).exit).toBe(2);

  expect((await upload(wide, [ann.privateKey], "--accept-authority", digest)).exit).toBe(0);
  const narrow = asking("orders", "1.2.0", ["kv:orders:ro"]);
  const less = await upload(narrow, [ann.privateKey], "--dry-run");
  expect([less.exit, less.body.data]).toMatchObject([0, { needsAcceptance: false, authorityChanges: [{ wider: false, touch: "kv:orders:rw" }, { wider: false, touch: "secret:stripe" }] }]);
  expect((await upload(narrow, [ann.privateKey])).exit).toBe(0);
  // What was accepted of this name stays accepted; anything else waits again.
  expect((await upload(asking("orders", "1.3.0", ["kv:orders:rw", "secret:stripe"]), [ann.privateKey])).exit).toBe(0);
  await refused(8, "AUTHORITY_WIDENED", asking("orders", "1.4.0", ["kv:orders:exclusive", "secret:stripe"]), ann.privateKey);
});

test("revoking a key ends its running calls, blocks its bundles, and is for good; a new key of the publisher brings them back", async () => {
  const [old, fresh] = [pair(), pair()];
  expect((await trust("carl", old.publicKey)).exit).toBe(0);
  const slow = parts("slow");
  slow.files = slow.files.map((entry) => ({ ...entry, body: new TextEncoder().encode('export const tool = { name: "hello", input: null, output: null, async run(input) { console.log("running"); if (input.name === "wait") await new Promise((r) => setTimeout(r, 500_000)); return { hello: input.name }; } };\n') }));
  (slow.manifest.tools as Record<string, unknown>[])[0]!.timeoutMs = 600_000;
  expect((await upload(slow, [old.privateKey])).exit).toBe(0);

  const call = Bun.spawn([arcProgram, "invoke", "slow.hello", "--input", '{"name":"wait"}', "--watch", "--json"], { env: { ...process.env, ARC_CONFIG_DIR: host.configDir }, stdin: "ignore", stdout: "pipe", stderr: "ignore" });
  const lines = new Response(call.stdout).text();
  expect(await until(15_000, async () => (await host.arc(["logs"])).stdout.includes("running"))).toBe(true);
  expect((await trust("carl", fresh.publicKey)).code).toBe("PUBLISHER_TAKEN");
  expect((await trust("carl", fresh.publicKey, "--joins")).exit).toBe(0);
  const revoked = await arc("key", "revoke", keyId(old.publicKey), "--yes");
  expect(revoked.body.data).toMatchObject({ blockedBundles: ["slow@1.0.0"] });
  expect(await call.exited).not.toBe(0);
  expect(await lines).toContain("revocation");

  const blocked = await arc("invoke", "slow.hello", "--input", '{"name":"a"}');
  expect([blocked.exit, blocked.code]).toEqual([10, "SIGNER_REVOKED"]);
  await refused(10, "SIGNER_REVOKED", parts("new"), old.privateKey);
  expect((await trust("carl", old.publicKey, "--joins")).code).toBe("SIGNER_REVOKED");
  expect((await upload(slow, [fresh.privateKey])).body.data).toMatchObject({ alreadyPresent: true });
  expect((await arc("invoke", "slow.hello", "--input", '{"name":"a"}')).exit).toBe(0);

  const listed = (await arc("key", "list", "--device")).body.data as unknown as { keyId: string; publisher: string; revokedAt: string | null }[];
  expect(listed.find((one) => one.keyId === keyId(old.publicKey))).toMatchObject({ publisher: "carl", revokedAt: expect.any(String) });
  const kinds = (await host.arc(["audit", "--json"])).stdout;
  for (const kind of ["signer.trusted", "signer.revoked", "bundle.signed", "authority.accepted"]) expect(kinds).toContain(`"${kind}"`);
});

test("the author's own key is trusted from the start, and a program needs none", async () => {
  const own = (await arc("key", "list")).body.data as unknown as { name: string; keyId: string }[];
  const listed = (await arc("key", "list", "--device")).body.data as unknown as { keyId: string; name: string | null }[];
  expect(listed.find((one) => one.name === "default")?.keyId).toBe(own.find((one) => one.name === "default")?.keyId ?? "");
  writeFileSync(join(scratch, "p.ts"), 'console.log("ran");\n');
  expect((await host.arc(["exec", join(scratch, "p.ts")])).stdout).toBe("ran\n");
});
