// Policy, audit and leases through the real daemons: what a denial says can be pasted, what was allowed survives both daemons, every
// step stands in the audit once, and nobody sees or changes what is not theirs.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { credentials, loadPackageDefinition, type Client, type GrpcObject, type ServiceClientConstructor } from "@grpc/grpc-js";
import { load } from "@grpc/proto-loader";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arcProgram, run, startHost, until, type Host, type Run } from "../stand/host.ts";
import { PROTO } from "./foreign.ts";

interface Row {
  seq: number;
  kind: string;
  owner: string;
  invocationId: string;
  subject: string;
  reason: string;
  detail: { message?: string; tokens?: string[] };
}

let host: Host;
/** Configuration of an identity that may only call. */
let carl: Record<string, string>;
let me = "";
const scratch = mkdtempSync(join(tmpdir(), "policy-"));
const script = (name: string, source: string): string => {
  writeFileSync(join(scratch, name), source);
  return join(scratch, name);
};
const plain = script("plain.ts", 'console.log("ran");\n');
const holds = script("holds.ts", 'console.log("holding");\nfor await (const _ of Bun.stdin.stream());\n');

beforeAll(async () => {
  host = await startHost();
  carl = { ARC_CONFIG_DIR: await enrolCaller("carl") };
  me = await subjectOf(join(host.configDir, "contexts/dev/client.pem"));
}, 120_000);
afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await host?.stop();
});

/** Who the holder of a certificate is to the device. */
async function subjectOf(certificate: string): Promise<string> {
  const said = await run(["openssl", "x509", "-in", certificate, "-noout", "-subject", "-nameopt", "multiline"]);
  return /commonName\s*=\s*(\S+)/.exec(said.stdout)?.[1] ?? "";
}

/** Enrols a fresh key with the role `caller` over the socket, and writes a context for arc. */
async function enrolCaller(subject: string): Promise<string> {
  const dir = join(scratch, subject);
  const context = join(dir, "contexts/dev");
  mkdirSync(context, { recursive: true });
  const [key, csr] = [join(context, "client.key"), join(dir, "csr.der")];
  for (const argv of [["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key], ["openssl", "req", "-new", "-key", key, "-subj", `/CN=${subject}`, "-outform", "DER", "-out", csr]]) {
    const done = await run(argv);
    if (done.code !== 0) throw new Error(done.stderr);
  }
  const api = loadPackageDefinition(await load(["aria/v1/node.proto"], { includeDirs: [PROTO], keepCase: true }));
  const Node = ((api.aria as GrpcObject).v1 as GrpcObject).Node as ServiceClientConstructor;
  const node = new Node(`unix:${host.ariadSocket}`, credentials.createInsecure()) as unknown as Client & { Enroll: (request: unknown, done: (error: Error | null, value: { certificate_pem: string; ca_pem: string; node_id: string }) => void) => void };
  const answer = await new Promise<{ certificate_pem: string; ca_pem: string; node_id: string }>((resolve, reject) =>
    node.Enroll({ csr_der: readFileSync(csr), subject, role: "caller" }, (error, value) => (error === null ? resolve(value) : reject(error))),
  );
  node.close();
  writeFileSync(join(context, "client.pem"), answer.certificate_pem);
  writeFileSync(join(context, "ca.pem"), answer.ca_pem);
  const place = { address: host.listen, node: answer.node_id, ca: "contexts/dev/ca.pem", certificate: "contexts/dev/client.pem", key: "contexts/dev/client.key" };
  writeFileSync(join(dir, "config.json"), JSON.stringify({ current: "dev", contexts: { dev: place } }));
  return dir;
}

async function rows(filters: string[], env: Record<string, string> = {}): Promise<Row[]> {
  const done = await host.arc(["audit", "--json", ...(filters.includes("--limit") ? [] : ["--limit", "10000"]), ...filters], { env });
  expect(done.code, done.stderr + done.stdout).toBe(0);
  return done.stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Row);
}

const exec = (token: string): Promise<Run> => host.arc(["exec", plain, "--token", token]);

/** How many rows there are of each of these kinds about tokens of this name. */
async function counts(name: string): Promise<Record<string, number>> {
  const found = await rows([]);
  const about = new Set(found.filter((row) => JSON.stringify(row).includes(name)).map((row) => row.invocationId));
  const count: Record<string, number> = {};
  for (const row of found) {
    const concerned = row.invocationId === "" ? JSON.stringify(row).includes(name) : about.has(row.invocationId);
    if (concerned) count[row.kind] = (count[row.kind] ?? 0) + 1;
  }
  return count;
}

async function settles(name: string, wanted: Record<string, number>): Promise<void> {
  await until(10_000, async () => Bun.deepEquals(await counts(name), wanted));
  expect(await counts(name)).toEqual(wanted);
}

test("a denial is pasted, holds, survives both daemons, is taken back, and each step is in the audit once", async () => {
  const token = "sql:notes:rw";
  const denied = await exec(token);
  expect([denied.code, denied.stdout]).toEqual([125, ""]);
  expect(denied.stderr).toContain("TOKEN_NOT_ALLOWED");
  expect(denied.stderr).toContain("no rule allows sql tokens");
  const fix = /^\s*fix\s+(arc policy add .*)$/m.exec(denied.stderr)?.[1] ?? "";
  expect(fix).toBe(`arc policy add --token ${token} --owner ${me}`);

  const added = await host.arc([...fix.split(" ").slice(1), "--json"]);
  expect(added.code, added.stdout).toBe(0);
  const name = (JSON.parse(added.stdout) as { data: { rule: { name: string } } }).data.rule.name;
  expect((JSON.parse((await host.arc([...fix.split(" ").slice(1), "--json"])).stdout) as { data: { alreadyPresent: boolean } }).data.alreadyPresent).toBe(true);
  expect((await exec(token)).stdout).toBe("ran\n");

  for (const [daemon, signal] of [["quiltd", "SIGTERM"], ["ariad", "SIGTERM"], ["quiltd", "SIGKILL"], ["ariad", "SIGKILL"]] as const) await host.restart(daemon, signal);
  expect((await exec(token)).stdout).toBe("ran\n");
  expect((await exec("mesh:other")).code).toBe(125);

  const removed = await host.arc(["policy", "rm", name]);
  expect([removed.code, removed.stdout]).toEqual([0, `removed ${name}\n`]);
  expect((await exec(token)).code).toBe(125);
  expect((await host.arc(["policy", "rm", name])).code).toBe(5);

  const wanted = { "call.refused": 2, "lease.denied": 2, "lease.granted": 2, "call.finished": 2, "policy.added": 1, "policy.removed": 1 };
  await settles("sql:notes", wanted);
  // After a reconnect nothing is written twice, and what happens then is not missed.
  await host.restart("ariad", "SIGKILL");
  expect((await exec(token)).code).toBe(125);
  await settles("sql:notes", { ...wanted, "call.refused": 3, "lease.denied": 3 });
  await host.restart("quiltd", "SIGKILL");
  expect((await exec(token)).code).toBe(125);
  await settles("sql:notes", { ...wanted, "call.refused": 4, "lease.denied": 4 });
  const all = await rows([]);
  expect(all.map((row) => row.seq)).toEqual([...new Set(all.map((row) => row.seq))].sort((a, b) => a - b));
  const refusals = all.filter((row) => row.kind === "call.refused" && row.reason === "TOKEN_NOT_ALLOWED");
  for (const row of refusals) expect([row.owner, row.subject.startsWith("exec:"), row.invocationId.length]).toEqual([me, true, 32]);
}, 120_000);

test("rules of the configuration stay and say where they are", async () => {
  const list = JSON.parse((await host.arc(["policy", "list", "--json"])).stdout) as { data: { name: string; origin: string; kinds: string[] }[] };
  const seeded = list.data.find((rule) => rule.origin === "config");
  expect(seeded?.kinds).toContain("kv");
  const kept = await host.arc(["policy", "rm", seeded?.name ?? ""]);
  expect(kept.code).toBe(6);
  expect(kept.stderr).toContain("RULE_FIXED");
  expect(kept.stderr).toContain("quilt.toml");
});

describe("bad rules are refused with a reason", () => {
  const bad: [string, unknown, string][] = [
    ["no token", { name: "x" }, "RULE_INVALID"],
    ["a wildcard", { tokens: ["kv:*"] }, "TOKEN_SYNTAX"],
    ["an unknown kind", { kinds: ["kw"] }, "RULE_INVALID"],
    ["a name that is a path", { name: "../x", kinds: ["kv"] }, "RULE_INVALID"],
  ];
  test.each(bad)("%s", async (_what, rule, reason) => {
    const { bufCurl, enrolled } = await import("./foreign.ts");
    const done = await bufCurl(host, "aria.v1.Policy/AddRule", { rule }, enrolled(host), ["--servername", "localhost"]);
    expect(done.code).not.toBe(0);
    const details = [...done.stderr.matchAll(/"value": "([A-Za-z0-9+/]+)"/g)].map((match) => Buffer.from(match[1] ?? "", "base64").toString("latin1"));
    expect(details.join(" ")).toContain(reason);
    expect((await host.arc(["policy", "list"])).stdout).not.toContain("../x");
  });
});

test("who may only call changes no rule, sees its own part of the audit, and nobody else's names", async () => {
  const refused = await host.arc(["policy", "add", "--kind", "net", "--json"], { env: carl });
  expect([refused.code, (JSON.parse(refused.stdout) as { error: { code: string } }).error.code]).toEqual([4, "ROLE"]);
  const list = await host.arc(["policy", "list"]);
  expect(list.stdout).not.toContain("every net");
  expect((await host.arc(["policy", "rm", "anything"], { env: carl })).code).toBe(4);
  await host.arc(["policy", "add", "--token", "secret:key", "--owner", me, "--name", "not-for-carl"]);
  expect((await host.arc(["policy", "list"], { env: carl })).stdout).not.toContain("not-for-carl");

  const own = await rows([], carl);
  expect([...new Set(own.map((row) => row.owner))]).toEqual(["carl"]);
  expect(own.map((row) => [row.kind, row.subject, row.reason]).slice(0, 2)).toEqual([["call.refused", "Policy.AddRule", "ROLE"], ["call.refused", "Policy.RemoveRule", "ROLE"]]);
  const foreign = await host.arc(["audit", "--owner", me], { env: carl });
  expect([foreign.code, foreign.stdout]).toEqual([4, ""]);
  const run = (await rows(["--kind", "lease.granted"]))[0]?.invocationId ?? "";
  expect(run).not.toBe("");
  expect(await rows(["--invocation", run], carl)).toEqual([]);
});

test("what leaves the table is what was asked for", async () => {
  const kinds = new Set((await rows(["--kind", "policy.added"])).map((row) => row.kind));
  expect([...kinds]).toEqual(["policy.added"]);
  expect(await rows(["--since", "2999-01-01"])).toEqual([]);
  expect(await rows(["--owner", "nobody"])).toEqual([]);
  expect((await rows(["--limit", "1"])).length).toBe(1);
  expect((await host.arc(["audit", "--invocation", "../etc"])).code).toBe(2);
});

test("leases name the holder, the waiter and why, and a caller sees neither", async () => {
  const hold = (): ReturnType<typeof Bun.spawn> => Bun.spawn([arcProgram, "exec", holds, "--token", "kv:orders:rw"], { env: { ...process.env, ARC_CONFIG_DIR: host.configDir }, stdin: "pipe", stdout: "ignore", stderr: "ignore" });
  interface Snapshot {
    holders: { invocationId: string; owner: string; tokens: string[]; ttlMs: number }[];
    waiters: { owner: string; position: number; tokens: string[]; blockedBy: { invocationId: string; owner: string; token: string; held: string; holds: boolean }[] }[];
  }
  const snapshot = async (env: Record<string, string> = {}): Promise<Snapshot> => (JSON.parse((await host.arc(["leases", "--json"], { env })).stdout) as { data: Snapshot }).data;
  const first = hold();
  expect(await until(15_000, async () => (await snapshot()).holders.some((held) => held.tokens.includes("kv:orders:rw")))).toBe(true);
  const second = hold();
  try {
    expect(await until(15_000, async () => (await snapshot()).waiters.length === 1)).toBe(true);
    const { holders, waiters } = await snapshot();
    const holder = holders.find((held) => held.tokens.includes("kv:orders:rw"));
    expect(holder).toMatchObject({ owner: me });
    expect(holder?.ttlMs).toBeGreaterThan(0);
    expect(waiters[0]).toMatchObject({ owner: me, position: 1, tokens: ["kv:orders:rw"] });
    expect(waiters[0]?.blockedBy).toContainEqual({ invocationId: holder?.invocationId ?? "", owner: me, token: "kv:orders:rw", held: "kv:orders:rw", holds: true });
    const human = await host.arc(["leases"]);
    expect(human.stdout).toContain(`because kv:orders:rw is held by ${holder?.invocationId.slice(0, 12)} (${me}) as kv:orders:rw`);
    expect(await snapshot(carl)).toMatchObject({ holders: [], waiters: [] });
  } finally {
    for (const child of [first, second]) (child.stdin as { end(): void }).end();
    await Promise.all([first.exited, second.exited]);
  }
  expect(await until(10_000, async () => (await snapshot()).holders.length === 0)).toBe(true);
}, 60_000);

test("a tool's own words are not in the audit", async () => {
  const canary = `canary-${crypto.randomUUID()}`;
  const says = script("says.ts", `console.error("${canary}");\nthrow new Error("${canary}");\n`);
  expect((await host.arc(["exec", says, "--env", `SECRET=${canary}`])).code).not.toBe(0);
  expect(await until(10_000, async () => (await rows(["--kind", "call.finished"])).some((row) => row.reason === "EXITED"))).toBe(true);
  expect(JSON.stringify(await rows([]))).not.toContain(canary);
});
