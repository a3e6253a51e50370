//! Every exit code of arc, each by a command that ends with it. `exits.txt` beside this file is the table; scripts rely on it.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { Exit } from "../../src/errors.ts";
import { arc, cleanUp, newDir } from "../cli/drive.ts";
import { failed, FakeDevice, finished, Refusal, succeeded } from "../client/fake.ts";

setDefaultTimeout(120_000);

const device = new FakeDevice();
const dir = newDir();
const env = { ARC_CONFIG_DIR: join(dir, "arc") };
const broken = join(dir, "broken");
const stopped = AbortSignal.abort(new Error("SIGINT"));

const refuses = (code: status, reason: string) => async (): Promise<void> => {
  throw new Refusal(code, reason, "no");
};

beforeAll(async () => {
  await device.listenTls();
  const socket = join(newDir(), "s");
  await device.listenSocket(socket);
  expect((await arc(["device", "init", "--socket", socket, "--name", "dev"], { env })).code).toBe(0);
  device.tools = {
    "t.fine": async (_input, run) => run.say(finished(succeeded("1"))),
    "t.throws": async (_input, run) => run.say(finished(failed(1, "no"))),
    "t.budget": async (_input, run) => run.say(finished(failed(12, "no"))),
    "t.denied": refuses(status.PERMISSION_DENIED, "TOKEN_NOT_ALLOWED"),
    "t.stranger": refuses(status.UNAUTHENTICATED, "CREDENTIAL_REVOKED"),
    "t.misfit": refuses(status.INVALID_ARGUMENT, "INPUT_SCHEMA"),
    "t.conflict": refuses(status.FAILED_PRECONDITION, "RULE_FIXED"),
    "t.busy": refuses(status.RESOURCE_EXHAUSTED, "QUEUE_FULL"),
    "t.full": refuses(status.RESOURCE_EXHAUSTED, "DISK_QUOTA"),
    "t.down": refuses(status.UNAVAILABLE, "QUILT_DOWN"),
    "t.bug": refuses(status.INTERNAL, "INTERNAL"),
    "t.signer": refuses(status.PERMISSION_DENIED, "SIGNER_UNKNOWN"),
  };
  mkdirSync(join(broken, "src"), { recursive: true });
  writeFileSync(join(broken, "arc.toml"), '[bundle]\nname = "broken"\n');
  writeFileSync(join(broken, "src/a.ts"), "const a: number = 'x';\n");
});
afterAll(() => {
  device.stop();
  cleanUp();
});

const cases: readonly (readonly [words: string[], signal?: AbortSignal])[] = [
  [["version", "--client"]],
  [["invoke", "t.fine"]],
  [["nonsense"]],
  [["invoke"]],
  [["check", "BROKEN"]],
  [["invoke", "t.misfit"]],
  [["invoke", "t.denied"]],
  [["invoke", "t.stranger"]],
  [["invoke", "t.absent"]],
  [["explain", "NOTHING"]],
  [["new", "BROKEN"]],
  [["invoke", "t.conflict"]],
  [["invoke", "t.busy"]],
  [["invoke", "t.down"]],
  [["invoke", "t.throws"]],
  [["invoke", "t.signer"]],
  [["invoke", "t.full"]],
  [["invoke", "t.budget"]],
  [["invoke", "t.bug"]],
  [["exec", "NOWHERE.ts"]],
  [["ls"], stopped],
];

test("the table", async () => {
  const lines: string[] = [];
  const seen = new Set<number>();
  for (const [words, signal] of cases) {
    const { code } = await arc(words.map((word) => (word === "BROKEN" ? broken : word)), { env, ...(signal === undefined ? {} : { signal }) });
    seen.add(code);
    lines.push(`${String(code).padStart(3)}  arc ${words.join(" ")}${signal === undefined ? "" : "   (interrupted)"}`);
  }
  const path = join(import.meta.dir, "exits.txt");
  const text = `${lines.join("\n")}\n`;
  if ((process.env["UPDATE"] ?? "") !== "") writeFileSync(path, text);
  expect(text).toBe(readFileSync(path, "utf8"));
  // Nothing waits for a person yet.
  expect(Object.values(Exit).filter((code) => !seen.has(code))).toEqual([Exit.approval]);
});
