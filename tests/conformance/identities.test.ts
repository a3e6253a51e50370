// An operator's life through arc against a real device: a second operator is invited, certificates and keys are renewed, a lost laptop is
// shut out from another one and from the device's own socket, and what is about to end is said.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startHost, until, arcProgram, type Host } from "../stand/host.ts";

interface Credential {
  keySha256: string;
  subject: string;
  role: string;
  expiresAt: string | null;
  revokedAt: string | null;
}

let host: Host;
const scratch = mkdtempSync(join(tmpdir(), "identities-"));
const own = (name: string): Record<string, string> => ({ ARC_CONFIG_DIR: join(scratch, name) });

beforeAll(async () => {
  host = await startHost({ context: "dev" });
}, 60_000);
afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await host?.stop();
});

async function arc(args: string[], env?: Record<string, string>): Promise<{ exit: number; code: string | undefined; data: unknown; stdout: string }> {
  const done = await host.arc(["--json", ...args], env === undefined ? {} : { env });
  const body = JSON.parse(done.stdout) as { data?: unknown; error?: { code: string } };
  return { exit: done.code, code: body.error?.code, data: body.data, stdout: done.stdout };
}

const credentials = async (env?: Record<string, string>): Promise<Credential[]> => (await arc(["device", "credentials"], env)).data as Credential[];

/** Somebody else, invited by the first operator and enrolled over the network. */
async function second(name: string, role: string): Promise<Record<string, string>> {
  const env = own(name);
  const hash = ((await arc(["device", "key"], env)).data as { sha256: string }).sha256;
  const invited = (await arc(["device", "invite", hash, "--role", role])).data as { fingerprint: string; listen: string };
  expect(invited.listen).toBe(host.listen);
  const added = await arc(["device", "add", "shared", "--address", invited.listen, "--fingerprint", invited.fingerprint, "--subject", name], env);
  expect(added, added.stdout).toMatchObject({ exit: 0, data: { role } });
  return env;
}

test("a key that nobody invited does not come in, an invited one once", async () => {
  const eve = own("eve");
  const { fingerprint } = (await arc(["device", "invite", "0".repeat(64)])).data as { fingerprint: string };
  expect((await arc(["device", "add", "shared", "--address", host.listen, "--fingerprint", fingerprint], eve)).exit).toBe(4);
  const bea = await second("bea", "operator");
  expect((await arc(["ls"], bea)).exit).toBe(0);
  expect((await credentials()).filter(({ subject }) => subject === "bea")).toMatchObject([{ role: "operator", revokedAt: null, expiresAt: expect.any(String) }]);
  const hash = ((await arc(["device", "key"], bea)).data as { sha256: string }).sha256;
  expect((await arc(["device", "invite", hash])).code).toBe("CREDENTIAL_EXISTS");
  expect((await arc(["device", "invite", "me"])).exit).toBe(2);
});

test("who only calls neither invites nor sees others", async () => {
  const carl = await second("carl", "caller");
  expect((await credentials(carl)).map(({ subject }) => subject)).toEqual(["carl"]);
  expect((await arc(["device", "invite", "0".repeat(64)], carl)).code).toBe("ROLE");
  expect((await arc(["device", "revoke", "bea", "--yes"], carl)).code).toBe("CREDENTIAL_UNKNOWN");
});

test("a certificate is renewed, and with a new key the old one is refused", async () => {
  const dora = await second("dora", "operator");
  const live = async (): Promise<string[]> => (await credentials()).filter((one) => one.subject === "dora" && one.revokedAt === null).map((one) => one.keySha256);
  const [before] = await live();
  expect((await arc(["device", "renew"], dora)).data).toMatchObject({ newKey: false, keySha256: before });
  cpSync(join(scratch, "dora"), join(scratch, "stale"), { recursive: true });
  const renewed = await arc(["device", "renew", "--new-key"], dora);
  expect(renewed.exit, renewed.stdout).toBe(0);
  expect(await live()).toEqual([(renewed.data as { keySha256: string }).keySha256]);
  expect((await live())[0]).not.toBe(before);
  expect((await arc(["ls"], dora)).exit).toBe(0);
  expect((await arc(["ls"], own("stale"))).exit).toBe(4);
  expect((await arc(["doctor"], dora)).exit).toBe(0);
});

test("a lost laptop is shut out at once, also from what it follows, by an operator or from the device's socket", async () => {
  for (const [name, from] of [["lost", []], ["gone", ["--socket", host.ariadSocket]]] as const) {
    const laptop = await second(name, "operator");
    const follows = Bun.spawn([arcProgram, "logs", "-f"], { env: { ...process.env, ...laptop }, stdin: "ignore", stdout: "ignore", stderr: "pipe" });
    await until(1_000, () => follows.exitCode !== null);
    expect(follows.exitCode).toBe(null);
    expect((await arc(["device", "revoke", name, "--yes", ...from])).exit).toBe(0);
    expect(await follows.exited).toBe(4);
    expect((await arc(["ls"], laptop)).exit).toBe(4);
    expect((await arc(["device", "renew"], laptop)).exit).toBe(4);
    expect((await credentials()).find(({ subject }) => subject === name)?.revokedAt).toEqual(expect.any(String));
  }
});
