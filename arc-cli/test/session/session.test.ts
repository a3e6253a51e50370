//! `arc exec --session` against the fake device: what goes up, what comes back, and what never may.

import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { chmodSync, cpSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FailedReason } from "../../src/gen/aria/v1/common_pb.ts";
import type { RunStart } from "../../src/gen/aria/v1/exec_pb.ts";
import { end, header, type Kind, readTree, start } from "../../src/session/tree.ts";
import { arc, cleanUp, newDir } from "../cli/drive.ts";
import { FakeDevice, failed, type FakeRun, finished, succeeded } from "../client/fake.ts";

const device = new FakeDevice();
const env = { ARC_CONFIG_DIR: join(newDir(), "arc") };
const script = join(newDir(), "p.ts");
let dir = "";

beforeAll(async () => {
  writeFileSync(script, "console.log(1);\n");
  await device.listenTls();
  const socket = join(newDir(), "s");
  await device.listenSocket(socket);
  expect((await arc(["device", "init", "--socket", socket], { env })).code).toBe(0);
});
// Thousands of files are removed here.
afterAll(() => {
  device.stop();
  cleanUp();
}, 60_000);
beforeEach(() => {
  dir = join(newDir(), "work");
  mkdirSync(join(dir, "sub/deep"), { recursive: true });
  writeFileSync(join(dir, "a.txt"), "one");
  writeFileSync(join(dir, "sub/deep/b"), "two");
  writeFileSync(join(dir, "run.sh"), "#!/bin/sh\n", { mode: 0o755 });
  device.program = async (_start, run) => run.say(finished(succeeded("")));
});

type Record = readonly [kind: Kind, path: string, content?: string];

function tree(records: readonly Record[]): Buffer {
  const parts = records.flatMap(([kind, path, content = ""]) => [header({ kind, path, size: Buffer.byteLength(content) }), Buffer.from(content)]);
  return Buffer.concat([start(), ...parts, end(records.length)]);
}

/** The device answers with these bytes as changes. */
function answers(bytes: Buffer, also: (start: RunStart) => void = () => undefined, outcome: Parameters<typeof finished>[0] = succeeded("")): void {
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  device.program = async (start: RunStart, run: FakeRun) => {
    also(start);
    device.blobs.set(sha256, bytes);
    const answer = finished(outcome) as { case: "finished"; value: object };
    await run.say({ case: "finished", value: { ...answer.value, session: { added: 1, changed: 1, deleted: 1, changes: { sha256, sizeBytes: BigInt(bytes.length) } } } });
  };
}

/** Everything below a directory: paths, modes and content. */
function seen(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: "utf8" }).sort().map((path) => {
    const stat = lstatSync(join(root, path));
    return `${path} ${(stat.mode & 0o777).toString(8)} ${stat.isFile() ? readFileSync(join(root, path), "utf8") : ""}`;
  });
}

const exec = (...words: string[]) => arc(["exec", script, "--session", dir, ...words], { env });

test("the directory goes up once, sorted, with its execute bits and a token for it", async () => {
  mkdirSync(join(dir, "sub.d"));
  expect(await exec()).toMatchObject({ code: 0, stdout: "", stderr: "" });
  const sent = device.runs.at(-1);
  expect(sent?.tokens).toEqual(["fs:workspace:rw"]);
  expect(sent?.session?.collect).toBe(false);
  const bytes = device.blobs.get(sent?.session?.tree?.sha256 ?? "") ?? new Uint8Array();
  let contents = "";
  const entries = await readTree(once(bytes), async (_entry, pieces) => {
    for await (const piece of pieces) contents += Buffer.from(piece).toString();
  });
  expect(entries.map(({ kind, path }) => `${kind} ${path}`)).toEqual(["file a.txt", "program run.sh", "directory sub", "directory sub.d", "directory sub/deep", "file sub/deep/b"]);
  expect(contents).toBe("one#!/bin/sh\ntwo");
  const puts = device.calls.filter((name) => name === "PutBlob").length;
  await exec("--pull", "--token", "fs:workspace:rw", "--token", "kv:a:ro");
  expect(device.calls.filter((name) => name === "PutBlob")).toHaveLength(puts);
  expect(device.runs.at(-1)).toMatchObject({ tokens: ["fs:workspace:rw", "kv:a:ro"], session: { collect: true } });
});

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 3) yield bytes.subarray(at, at + 3);
}

test("a pull brings exactly the changes, and says what it brought", async () => {
  chmodSync(join(dir, "a.txt"), 0o640);
  answers(tree([["program", "a.txt", "ONE"], ["directory", "new", ""], ["file", "new/f", "x"], ["file", "run.sh", "#!/bin/sh\n"], ["file", "sub", "now a file"], ["deleted", "sub/deep"], ["deleted", "sub/deep/b"]]));
  const ran = await exec("--pull");
  expect(ran).toMatchObject({ code: 0, stdout: "" });
  expect(ran.stderr.replaceAll(dir, "DIR")).toMatchInlineSnapshot(`
"~ a.txt
+ new
+ new/f
~ run.sh
~ sub
- sub/deep
- sub/deep/b
pulled into DIR: 1 added, 1 changed, 1 deleted
"
`);
  expect(seen(dir)).toEqual(["a.txt 750 ONE", "new 755 ", "new/f 644 x", "run.sh 644 #!/bin/sh\n", "sub 644 now a file"]);
});

test("without --pull, with --dry-run, and after a bad end the directory stays as it was", async () => {
  const before = seen(dir);
  const changes = tree([["file", "a.txt", "ONE"], ["deleted", "run.sh"]]);
  answers(changes);
  const plain = await exec();
  expect([plain.code, plain.stderr.replaceAll(dir, "DIR")]).toEqual([0, "1 added, 1 changed, 1 deleted in the session, all of it dropped; --pull brings it into DIR\n"]);
  const dry = await exec("--pull", "--dry-run");
  expect([dry.code, dry.stderr.replaceAll(dir, "DIR")]).toEqual([0, "~ a.txt\n- run.sh\n1 added, 1 changed, 1 deleted; a dry run: DIR is as it was\n"]);
  device.program = async (_start, run) => run.say(finished(failed(FailedReason.DEADLINE, "too slow")));
  const late = await exec("--pull");
  expect([late.code, late.stderr]).toEqual([137, "arc: p.ts: DEADLINE: too slow\nnothing was pulled: the program did not end by itself\n"]);
  expect(seen(dir)).toEqual(before);
});

test("a program that returned another code is pulled, and its code passes through", async () => {
  answers(tree([["file", "a.txt", "ONE"]]), undefined, failed(FailedReason.EXITED, "exited with code 3", { exitCode: 3 }));
  expect((await exec("--pull")).code).toBe(3);
  expect(readFileSync(join(dir, "a.txt"), "utf8")).toBe("ONE");
});

test("what somebody changed meanwhile is a conflict, and nothing is applied", async () => {
  const touched: readonly [string, (dir: string) => void][] = [
    ["a.txt", (at) => writeFileSync(join(at, "a.txt"), "two")],
    ["run.sh", (at) => chmodSync(join(at, "run.sh"), 0o644)],
    ["new", (at) => writeFileSync(join(at, "new"), "")],
    ["sub/deep/b", (at) => rmSync(join(at, "sub/deep/b"))],
  ];
  for (const [path, change] of touched) {
    const copy = join(newDir(), "copy");
    cpSync(dir, copy, { recursive: true });
    answers(tree([["file", "a.txt", "ONE"]]), () => change(copy));
    const ran = await arc(["exec", script, "--session", copy, "--pull"], { env });
    expect([ran.code, ran.stderr]).toEqual([6, expect.stringContaining(`changed while the program ran: ${path}; nothing was pulled`)]);
    const expected = join(newDir(), "copy");
    cpSync(dir, expected, { recursive: true });
    change(expected);
    expect(seen(copy)).toEqual(seen(expected));
  }
});

test("--json: the outcome has what became of the session", async () => {
  answers(tree([["file", "a.txt", "ONE"], ["file", "c", ""], ["deleted", "run.sh"]]));
  const outcome = (stdout: string): any => JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
  expect(outcome((await exec("--json")).stdout)).toMatchObject({ exit: 0, session: { added: 1, changed: 1, deleted: 1, pulled: false, paths: null } });
  expect(outcome((await exec("--json", "--pull", "--dry-run")).stdout).session).toMatchObject({ pulled: false, paths: { added: ["c"], changed: ["a.txt"], deleted: ["run.sh"] } });
  expect(outcome((await exec("--json", "--pull")).stdout).session).toMatchObject({ pulled: true });
  answers(tree([["other", "a.txt"]]));
  const ran = await exec("--json", "--pull");
  expect([ran.code, outcome(ran.stdout)]).toEqual([6, expect.objectContaining({ ok: false, exit: 6, outcome: expect.objectContaining({ kind: "succeeded" }), session: { pulled: false, error: expect.objectContaining({ code: "ARC2063", details: { paths: ["a.txt"] } }) } })]);
});

test("links, sockets, pipes, odd names and depths of the directory do not go up", async () => {
  const outside = join(newDir(), "outside");
  writeFileSync(outside, "secret");
  const bad: readonly (readonly [string, RegExp, (at: string) => void])[] = [
    ["link", /link is a link/, (at) => symlinkSync(outside, join(at, "link"))],
    ["link to a directory", /sub\/up is a link/, (at) => symlinkSync("..", join(at, "sub/up"))],
    ["pipe", /pipe is neither a file nor a directory/, (at) => void Bun.spawnSync(["mkfifo", join(at, "pipe")])],
    ["name", /not UTF-8/, (at) => writeFileSync(Buffer.concat([Buffer.from(`${at}/`), Buffer.from([0xff])]), "")],
    ["depth", /more than 64 levels deep/, (at) => void mkdirSync(join(at, "d/".repeat(65)), { recursive: true })],
    ["draft", /ARC2066/, (at) => void mkdirSync(join(at, ".arc-pull-abc"))],
  ];
  const runs = device.runs.length;
  for (const [name, text, make] of bad) {
    const copy = join(newDir(), "copy");
    cpSync(dir, copy, { recursive: true });
    make(copy);
    const ran = await arc(["exec", script, "--session", copy], { env });
    expect([name, ran.code, ran.stderr]).toEqual([name, 125, expect.stringMatching(text)]);
  }
  for (const place of [join(dir, "none"), join(dir, "a.txt")]) expect((await arc(["exec", script, "--session", place], { env })).code).toBe(125);
  expect(device.runs.length).toBe(runs);
});

test("changes a device may not send are refused, and nothing is applied", async () => {
  const before = seen(dir);
  const outside = join(dir, "../outside");
  const raw = (kind: string, path: string): Buffer => {
    const record = Buffer.from(header({ kind: "file", path, size: 0 }));
    record.write(kind);
    return Buffer.concat([start(), record, end(1)]);
  };
  const good = tree([["file", "a.txt", "x"]]);
  const bad: readonly Buffer[] = [
    raw("f", "../outside"), raw("f", "/etc/x"), raw("f", "sub/../../outside"), raw("f", "a//b"), raw("f", "."), raw("f", "a\0b"), raw("l", "link"), raw("e", "x"),
    tree([["file", "none/f", "x"]]), tree([["file", "a.txt/f", "x"]]), tree([["deleted", "nothing"]]), tree([["deleted", "sub"]]), tree([["file", "sub", ""]]),
    tree([["file", "b", ""], ["file", "a", ""]]), tree([["file", "b", ""], ["file", "b", ""]]),
    good.subarray(0, good.length - 1), Buffer.concat([good, Buffer.from("x")]), Buffer.from("aria-tr2"), Buffer.from("x"),
  ];
  for (const [at, bytes] of bad.entries()) {
    answers(bytes);
    const ran = await exec("--pull");
    expect([at, ran.code, ran.stderr]).toEqual([at, 1, expect.stringContaining("ARC3010")]);
  }
  expect(existsSync(outside)).toBe(false);
  for (const [kind, path] of [["other", "a.txt"], ["other", "socket"]] as const) {
    answers(tree([[kind, path]]));
    expect(await exec("--pull")).toMatchObject({ code: 6, stderr: expect.stringContaining(`neither a file nor a directory: ${path}`) });
  }
  answers(Buffer.from(raw("f", "ab").toString("latin1").replace("ab", "a\xff"), "latin1"));
  expect(await exec("--pull")).toMatchObject({ code: 6, stderr: expect.stringContaining("not UTF-8") });
  device.program = async (_start, run) => run.say({ case: "finished", value: { ...(finished(succeeded("")) as { value: object }).value, session: { added: 1, changed: 0, deleted: 0, changes: { sha256: createHash("sha256").update(good).digest("hex"), sizeBytes: 3n } } } });
  device.blobs.set(createHash("sha256").update(good).digest("hex"), good);
  expect((await exec("--pull")).stderr).toMatch(/DIGEST_MISMATCH|ARC3010/);
  expect(seen(dir)).toEqual(before);
});

test("a pull that fails in the middle leaves everything as it was", async () => {
  // An immutable file cannot be renamed, not even by root; where that cannot be set there is nothing to test.
  const locked = Bun.spawnSync(["chattr", "+i", join(dir, "sub/deep/b")]);
  if (!locked.success) return console.log("skipped: no immutable files here");
  try {
    const before = seen(dir);
    answers(tree([["file", "a.txt", "ONE"], ["file", "first", "x"], ["deleted", "run.sh"], ["file", "sub/deep/b", "TWO"]]));
    const ran = await exec("--pull");
    expect([ran.code, ran.stderr]).toEqual([1, expect.stringMatching(/ARC2067.*the directory is as it was/)]);
    expect(seen(dir)).toEqual(before);
  } finally {
    Bun.spawnSync(["chattr", "-i", join(dir, "sub/deep/b")]);
  }
});

test("options that do not fit together", async () => {
  for (const words of [["--pull"], ["--dry-run"]]) expect(await arc(["exec", script, ...words], { env })).toMatchObject({ code: 125, stderr: expect.stringContaining("ARC2068") });
  expect((await exec("--dry-run")).stderr).toContain("ARC2068");
  for (const token of ["fs:workspace", "fs:workspace:ro"]) expect((await exec("--pull", "--token", token)).stderr).toContain("ARC2068");
});

test("ten thousand files go up in few messages and come back", async () => {
  for (let n = 0; n < 10_000; n += 1) writeFileSync(join(dir, `f${n}`), String(n));
  answers(tree(Array.from({ length: 10_000 }, (_, n) => ["file", `f${n}`, `x${n}`] as const).sort(([, a], [, b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))));
  expect((await exec("--pull")).code).toBe(0);
  expect([readFileSync(join(dir, "f9999"), "utf8"), statSync(join(dir, "a.txt")).size, readdirSync(dir).length]).toEqual(["x9999", 3, 10_003]);
}, 60_000);
