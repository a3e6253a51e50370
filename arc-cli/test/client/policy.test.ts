//! policy, audit and leases against the fake device, and what a denial says.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { arc, cleanUp, newDir } from "../cli/drive.ts";
import { FakeDevice, finished, Refusal, succeeded } from "./fake.ts";

const device = new FakeDevice();
const env = { ARC_CONFIG_DIR: join(newDir(), "arc") };

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

const seeded = { name: "kv for all", kinds: ["kv"], tokens: [], owners: [], subjects: [], origin: "config" };

test("rules are added, listed with their origin, and removed", async () => {
  device.rules = [];
  expect((await arc(["policy", "list"], { env })).stdout).toBe("no rule: every token is denied\n");
  device.rules = [seeded];
  const added = await arc(["policy", "add", "--token", "kv:orders:rw", "--token", "net:a.example:443", "--owner", "ann", "--subject", "tool:orders.count"], { env });
  expect([added.code, added.stderr, added.stdout]).toEqual([0, "", "kv.orders.rw-net.a.example.443-ann allows kv:orders:rw, net:a.example:443 for ann, only from tool:orders.count\n"]);
  expect((await arc(["policy", "list"], { env })).stdout).toBe(
    `${["NAME                                ALLOWS                           OWNERS     SUBJECTS           ORIGIN", "kv for all                          every kv                         everybody  everything         config", "kv.orders.rw-net.a.example.443-ann  kv:orders:rw, net:a.example:443  ann        tool:orders.count  device"].join("\n")}\n`,
  );
  expect((await arc(["policy", "rm", "kv.orders.rw-net.a.example.443-ann", "--dry-run"], { env })).stdout).toStartWith("would remove kv.orders.rw");
  expect(device.rules).toHaveLength(2);
  const removed = await arc(["policy", "rm", "kv.orders.rw-net.a.example.443-ann", "--json"], { env });
  expect(removed.json()).toMatchObject({ ok: true, data: { removed: { origin: "device", owners: ["ann"] } } });
  expect((await arc(["policy", "list", "--json"], { env })).json().data).toEqual([seeded]);
});

test("the same rule again is no error", async () => {
  device.rules = [];
  const words = ["policy", "add", "--kind", "vector", "--name", "vectors", "--json"];
  expect((await arc(words, { env })).json().data).toMatchObject({ alreadyPresent: false, rule: { name: "vectors", kinds: ["vector"], origin: "device" } });
  expect((await arc(words, { env })).json().data.alreadyPresent).toBe(true);
  const other = await arc(["policy", "add", "--token", "kv:a", "--name", "vectors", "--json"], { env });
  expect([other.code, other.json().error.code, other.json().error.hint]).toEqual([6, "RULE_EXISTS", expect.stringContaining("--name")]);
});

test("what cannot be a rule is refused before it is sent", async () => {
  const before = device.calls.length;
  const cases: [string[], string, string][] = [
    [[], "ARC2046", "--token or --kind"],
    [["--token", "kv:*"], "ARC2007", "--token"],
    [["--token", "kv:orders:rw "], "ARC2007", "--token"],
    [["--kind", "kw"], "ARC2007", "kv"],
    [["--kind", "kv", "--owner", "*"], "ARC2007", "--owner"],
    [["--kind", "kv", "--subject", "tool:orders.*"], "ARC2007", "--subject"],
    [["--kind", "kv", "--name", "No Such"], "ARC2007", "--name"],
  ];
  for (const [words, code, said] of cases) {
    const ran = await arc(["policy", "add", ...words, "--json"], { env });
    expect([ran.code, ran.json().error.code]).toEqual([2, code]);
    expect(`${ran.json().error.message} ${ran.json().error.hint}`).toContain(said);
  }
  expect((await arc(["policy", "add", "--kind", "kv", "--dry-run"], { env })).stdout).toBe("would allow every kv for everybody\n");
  expect(device.calls.length).toBe(before);
});

test("a rule of the configuration stays and the error says where it is", async () => {
  device.rules = [seeded];
  const ran = await arc(["policy", "rm", "kv for all"], { env });
  expect([ran.code, ran.stdout]).toEqual([6, ""]);
  expect(ran.stderr).toContain("RULE_FIXED");
  expect(ran.stderr).toContain("quilt.toml");
  const none = await arc(["policy", "rm", "none", "--json"], { env });
  expect([none.code, none.json().error.code, none.json().error.fix]).toEqual([5, "RULE_UNKNOWN", ["arc policy list"]]);
});

test("stored rules that cannot be read are a warning", async () => {
  device.rulesDamaged = "line 3";
  expect((await arc(["policy", "list", "--json"], { env })).json().warnings).toEqual([expect.stringContaining("line 3")]);
  device.rulesDamaged = "";
});

test("a denial prints the rule and the command that would change it", async () => {
  const fix = "arc policy add --token kv:orders:rw --owner ann@laptop";
  device.tools["orders.put"] = async () => {
    throw new Refusal(status.PERMISSION_DENIED, "TOKEN_NOT_ALLOWED", "kv:orders:rw is not allowed for ann@laptop: no rule allows kv tokens", { token: "kv:orders:rw", rules: "no rule allows kv tokens", fix });
  };
  device.schemas["orders.put"] = "{}";
  const human = await arc(["invoke", "orders.put"], { env });
  expect(human.code).toBe(4);
  expect(human.stderr).toContain("no rule allows kv tokens");
  expect(human.stderr).toContain(`fix   ${fix}\n`);
  const json = (await arc(["invoke", "orders.put", "--json"], { env })).json();
  expect(json.error).toMatchObject({ code: "TOKEN_NOT_ALLOWED", fix: [fix], details: { metadata: { token: "kv:orders:rw" } } });
});

test("a device cannot make somebody paste another command", async () => {
  const bad = ["rm -rf ~", "arc policy add --token kv:a; rm -rf ~", "arc policy add --token $(id)", "arc policy add --token kv:a\nid", "arc policy add --context other"];
  for (const fix of bad) {
    device.tools["orders.bad"] = async () => {
      throw new Refusal(status.PERMISSION_DENIED, "TOKEN_NOT_ALLOWED", "no", { fix });
    };
    device.schemas["orders.bad"] = "{}";
    const ran = await arc(["invoke", "orders.bad", "--json"], { env });
    expect(ran.json().error.fix).toEqual(["arc policy list"]);
  }
  device.tools["orders.bad"] = async (_input, run) => run.say(finished(succeeded("1")));
});

const event = { seq: 7n, time: "2026-11-20T10:00:00.000Z", kind: "call.refused", owner: "ann", invocationId: "0123456789abcdef", subject: "tool:a.b", reason: "TOKEN_NOT_ALLOWED", detailJson: '{"message":"no rule\\u001b[2J","tokens":["kv:a:rw"],"count":3}' };

test("the audit is filtered, escaped and shown for programs", async () => {
  device.events = [event, { ...event, seq: 8n, kind: "bundle.installed", owner: "bo\u001bb", invocationId: "", subject: "bundle:a@1", reason: "", detailJson: "{}" }];
  const human = await arc(["audit"], { env });
  expect(human.stdout).toBe(
    `2026-11-20T10:00:00.000Z call.refused        ann tool:a.b TOKEN_NOT_ALLOWED 0123456789ab no rule\\u{1b}[2J (tokens kv:a:rw; count 3)\n2026-11-20T10:00:00.000Z bundle.installed    bo\\u{1b}b bundle:a@1\n`,
  );
  const lines = (await arc(["audit", "--json"], { env })).stdout.trim().split("\n").map((line) => JSON.parse(line));
  expect(lines[0]).toEqual({ type: "audit", seq: 7, time: event.time, kind: "call.refused", owner: "ann", invocationId: event.invocationId, subject: "tool:a.b", reason: "TOKEN_NOT_ALLOWED", detail: { message: "no rule\u001b[2J", tokens: ["kv:a:rw"], count: 3 } });
  await arc(["audit", "--kind", "lease.denied", "--owner", "ann", "--invocation", "abc", "--since", "2026-11-20T10:00:00Z", "--limit", "5"], { env });
  expect(device.auditAsked).toMatchObject({ kind: "lease.denied", owner: "ann", invocationId: "abc", since: "2026-11-20T10:00:00.000Z", tail: 5, follow: false });
  const slip = await arc(["audit", "--kind", "lease.deneid"], { env });
  expect([slip.code, slip.stderr]).toEqual([2, expect.stringContaining("did you mean `lease.denied`?")]);
  expect((await arc(["audit", "--since", "yesterday"], { env })).code).toBe(2);
});

test("following ends with an interrupt", async () => {
  for (const words of [["audit", "-f"], ["leases", "-f"]]) {
    const stop = new AbortController();
    const ran = arc(words, { env, signal: stop.signal, onStdout: () => stop.abort(new Error("SIGINT")) });
    expect(await ran).toMatchObject({ code: 130, stderr: "" });
  }
});

const blocker = { invocationId: "aaaabbbbccccdddd", owner: "bob", token: "kv:orders:rw", held: "kv:orders:ro", holds: true };
const snapshot = {
  time: "2026-11-20T10:00:00.000Z",
  holders: [{ leaseId: "l", invocationId: "aaaabbbbccccdddd", owner: "bob", tokens: ["kv:orders:ro"], fence: 9n, ageMs: 61_000n, ttlMs: 9500n, priority: 4 }],
  waiters: [{ invocationId: "eeeeffff00001111", owner: "ann", tokens: ["kv:orders:rw"], waitedMs: 850n, position: 1, priority: 4, blockedBy: [blocker, { ...blocker, invocationId: "", owner: "", holds: true }, { token: "slot" }, { ...blocker, holds: false, held: "kv:orders:rw" }] }],
  capacities: [{ name: "cpu", total: 4000n, used: 250n }, { name: "mem", total: 1n << 30n, used: 1n << 20n }],
};

test("leases say who holds, who waits, and why", async () => {
  device.snapshots = [snapshot];
  expect((await arc(["leases"], { env })).stdout).toBe(
    [
      "RUN           OWNER  TOKENS        AGE   ENDS IN  FENCE",
      "aaaabbbbcccc  bob    kv:orders:ro  61 s  9 s      9",
      "",
      "waiting 1  eeeeffff0000 ann wants kv:orders:rw for 850 ms",
      "  because kv:orders:rw is held by aaaabbbbcccc (bob) as kv:orders:ro",
      "  because kv:orders:rw is held by somebody else as kv:orders:ro",
      "  because a place is short",
      "  because aaaabbbbcccc (bob) came first for kv:orders:rw",
      "",
      "RESOURCE  USED     OF",
      "cpu       0.25     4",
      "mem       1.0 MiB  1.0 GiB",
      "",
    ].join("\n"),
  );
  const { data } = (await arc(["leases", "--json"], { env })).json();
  expect(data).toMatchObject({ holders: [{ fence: 9, ttlMs: 9500 }], waiters: [{ position: 1, blockedBy: [{ held: "kv:orders:ro", holds: true }, {}, {}, {}] }], capacities: [{ name: "cpu" }, { name: "mem" }], waitersLeftOut: 0 });
  device.snapshots = [{}];
  expect((await arc(["leases"], { env })).stdout).toBe("nothing is held\n");
});
