// `arc exec --session DIR` through real daemons: the program works on a copy, and what it did comes back exactly or not at all.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arcProgram, startHost, type Host, type Run } from "../stand/host.ts";
import { cageProcesses } from "../hostile/drivers/machine.ts";

const MIB = 1024 * 1024;
const scratch = mkdtempSync(join(tmpdir(), "session-"));
let host: Host;
let dir = "";
let count = 0;

beforeAll(async () => {
  host = await startHost();
}, 60_000);
afterAll(async () => {
  await host?.stop();
  rmSync(scratch, { recursive: true, force: true });
}, 60_000);
beforeEach(() => {
  dir = join(scratch, `work-${(count += 1)}`);
  mkdirSync(join(dir, "sub/deep"), { recursive: true });
  mkdirSync(join(dir, "empty"));
  writeFileSync(join(dir, "a.txt"), "one\n");
  writeFileSync(join(dir, "same"), "as it was\n");
  writeFileSync(join(dir, "sub/deep/b"), "two\n");
  writeFileSync(join(dir, "run.sh"), "#!/bin/sh\n", { mode: 0o755 });
});

/** Runs a program with the session; `fs` and the working directory are ready. */
function exec(source: string, words: string[] = [], at = dir): Promise<Run> {
  const script = join(scratch, `p-${(count += 1)}.ts`);
  writeFileSync(script, `import * as fs from "node:fs";\nprocess.chdir("/workspace");\n${source}\n`);
  return host.arc(["exec", script, "--session", at, ...words]);
}

interface Outcome {
  exit: number;
  error?: { code: string; message: string };
  outcome: { kind: string; reason?: string };
  session?: { added: number; changed: number; deleted: number; pulled: boolean; paths: { added: string[]; changed: string[]; deleted: string[] } | null; error?: { code: string } };
}
async function json(source: string, words: string[] = []): Promise<Outcome> {
  const ran = await exec(source, ["--json", ...words]);
  return JSON.parse(ran.stdout.trim().split("\n").at(-1) ?? "") as Outcome;
}

/** Paths, modes, times and content: byte-identical means nothing of this differs. */
function seen(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: "utf8" }).sort().map((path) => {
    const stat = lstatSync(join(root, path));
    return `${path} ${(stat.mode & 0o7777).toString(8)} ${stat.isFile() ? `${stat.ino} ${stat.mtimeMs} ${readFileSync(join(root, path), "latin1")}` : ""}`;
  });
}
const names = (root: string): string[] => readdirSync(root, { recursive: true, encoding: "utf8" }).sort();

const EDIT = `fs.writeFileSync("a.txt", "ONE\\n"); fs.renameSync("sub/deep/b", "sub/c"); fs.rmSync("sub/deep", { recursive: true });
  fs.rmSync("empty", { recursive: true }); fs.mkdirSync("new/er", { recursive: true }); fs.writeFileSync("new/er/f", "x"); fs.chmodSync("run.sh", 0o644);`;

describe("what comes back", () => {
  test("without --pull the directory is byte-identical and the changes are counted", async () => {
    const before = seen(dir);
    const ran = await exec(EDIT);
    expect([ran.code, ran.stdout, ran.stderr.replaceAll(dir, "DIR")]).toEqual([0, "", "4 added, 2 changed, 3 deleted in the session, all of it dropped; --pull brings it into DIR\n"]);
    expect(seen(dir)).toEqual(before);
    const quiet = await exec(`fs.readFileSync("a.txt")`);
    expect([quiet.code, quiet.stderr]).toEqual([0, ""]);
  });

  test("with --pull edits, renames, deletions and new files are exact, and nothing else is touched", async () => {
    const inode = statSync(join(dir, "same")).ino;
    const ran = await exec(EDIT, ["--pull"]);
    expect([ran.code, ran.stderr.replaceAll(dir, "DIR")]).toEqual([0, "~ a.txt\n- empty\n+ new\n+ new/er\n+ new/er/f\n~ run.sh\n+ sub/c\n- sub/deep\n- sub/deep/b\npulled into DIR: 4 added, 2 changed, 3 deleted\n"]);
    expect(names(dir)).toEqual(["a.txt", "new", "new/er", "new/er/f", "run.sh", "same", "sub", "sub/c"]);
    expect([readFileSync(join(dir, "a.txt"), "utf8"), readFileSync(join(dir, "sub/c"), "utf8"), statSync(join(dir, "run.sh")).mode & 0o777]).toEqual(["ONE\n", "two\n", 0o644]);
    expect(statSync(join(dir, "same")).ino).toBe(inode);
    expect((await exec("", ["--pull"])).stderr).toBe("nothing changed in the session\n");
  });

  test("a file becomes a directory and back; the same length and times are no disguise", async () => {
    await exec(`const { atime, mtime } = fs.statSync("same"); fs.writeFileSync("same", "AS IT WAS\\n"); fs.utimesSync("same", atime, mtime);
      fs.rmSync("a.txt"); fs.mkdirSync("a.txt"); fs.writeFileSync("a.txt/in", "1"); fs.rmSync("sub", { recursive: true }); fs.writeFileSync("sub", "2");`, ["--pull"]);
    expect(names(dir)).toEqual(["a.txt", "a.txt/in", "empty", "run.sh", "same", "sub"]);
    expect(["same", "a.txt/in", "sub"].map((path) => readFileSync(join(dir, path), "utf8"))).toEqual(["AS IT WAS\n", "1", "2"]);
  });

  test("--dry-run shows it and changes nothing; --json lists the paths", async () => {
    const before = seen(dir);
    expect((await json(EDIT, ["--pull", "--dry-run"])).session).toEqual({ added: 4, changed: 2, deleted: 3, pulled: false, paths: { added: ["new", "new/er", "new/er/f", "sub/c"], changed: ["a.txt", "run.sh"], deleted: ["empty", "sub/deep", "sub/deep/b"] } });
    expect(seen(dir)).toEqual(before);
    expect((await json(EDIT)).session).toEqual({ added: 4, changed: 2, deleted: 3, pulled: false, paths: null });
  });

  test("a program that returned another code is pulled, one that was ended is not", async () => {
    const failed = await exec(`fs.writeFileSync("a.txt", "ONE\\n"); process.exit(3);`, ["--pull"]);
    expect([failed.code, readFileSync(join(dir, "a.txt"), "utf8")]).toEqual([3, "ONE\n"]);
    const before = seen(dir);
    for (const end of ["for (;;);", "process.kill(process.pid, 9);"]) {
      const ran = await exec(`fs.writeFileSync("a.txt", "torn"); ${end}`, ["--pull", "--timeout", "900ms"]);
      expect([ran.code, ran.stderr]).toEqual([137, expect.stringContaining("nothing was pulled: the program did not end by itself")]);
    }
    expect(seen(dir)).toEqual(before);
  });

  test("what somebody changed meanwhile is a conflict: exit 6, and theirs stays", async () => {
    const script = join(scratch, "slow.ts");
    writeFileSync(script, `require("node:fs").writeFileSync("/workspace/a.txt", "tool"); console.log("ready"); for await (const _ of Bun.stdin.stream()) {}`);
    const child = Bun.spawn([arcProgram, "exec", script, "--session", dir, "--pull"], { env: { ...process.env, ARC_CONFIG_DIR: host.configDir, NO_COLOR: "1" }, stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    await child.stdout.getReader().read();
    writeFileSync(join(dir, "same"), "mine now\n");
    const before = seen(dir);
    child.stdin.end();
    expect([await child.exited, await new Response(child.stderr).text()]).toEqual([6, expect.stringContaining("changed while the program ran: same; nothing was pulled")]);
    expect(seen(dir)).toEqual(before);
  });
});

describe("what a program tries", () => {
  test("links out of it are never followed, on the device or here, and nothing of the pull is applied", async () => {
    const secret = join(scratch, "secret");
    writeFileSync(secret, "untouched");
    const before = seen(dir);
    const tricks = [
      `fs.rmSync("sub", { recursive: true }); fs.symlinkSync("/etc", "sub");`,
      `fs.rmSync("a.txt"); fs.symlinkSync(${JSON.stringify(secret)}, "a.txt");`,
      `fs.symlinkSync("..", "up"); fs.writeFileSync("fine", "x");`,
      `fs.symlinkSync("/proc/self/root", "root");`,
      `require("node:net").createServer().listen("socket", () => process.exit(0));`,
    ];
    for (const trick of tricks) {
      const done = await json(trick, ["--pull"]);
      expect([trick, done.exit, done.session?.error?.code]).toEqual([trick, 6, "ARC2063"]);
      expect((await exec(trick)).code).toBe(0);
    }
    expect(seen(dir)).toEqual(before);
    expect(readFileSync(secret, "utf8")).toBe("untouched");
  }, 60_000);

  test("the quota is ENOSPC inside, for bytes and for files; a full session that failed is not pulled", async () => {
    const before = seen(dir);
    const fill = (what: string): string => `let code = "none"; try { ${what} } catch (error) { code = error.code; } console.log(code);`;
    const bytes = await exec(fill(`for (let n = 0; n < 64; n += 1) fs.writeFileSync("f" + n, Buffer.alloc(${MIB}, 1));`), ["--disk", "8M"]);
    expect([bytes.code, bytes.stdout]).toEqual([0, "ENOSPC\n"]);
    const files = await exec(fill(`for (let n = 0; n < 70000; n += 1) fs.closeSync(fs.openSync("f" + n, "w"));`), ["--memory", "512M"]);
    expect([files.code, files.stdout]).toEqual([0, "ENOSPC\n"]);
    const done = await json(`for (let n = 0; ; n += 1) fs.writeFileSync("f" + n, Buffer.alloc(${MIB}, 1));`, ["--disk", "8M", "--pull"]);
    expect([done.outcome.reason, done.session ?? null]).toEqual(["DISK_LIMIT", null]);
    expect(seen(dir)).toEqual(before);
  }, 60_000);

  test("sparse giants and deep trees are bounded in time and are a typed end", async () => {
    const sparse = `for (let n = 0; n < 2000; n += 1) { fs.writeFileSync("s" + n, ""); fs.truncateSync("s" + n, 50 * ${MIB}); }`;
    const deep = `for (let n = 0, at = "."; n < 70; n += 1) fs.mkdirSync(at += "/d");`;
    for (const source of [sparse, deep]) {
      const done = await json(source, ["--pull"]);
      expect([done.outcome.kind, done.outcome.reason]).toEqual(["failed", "OUTPUT_TOO_LARGE"]);
      expect((await exec(source)).code).toBe(0);
    }
    const tera = await exec(`try { fs.truncateSync("a.txt", 2 ** 40); } catch (error) { console.log(error.code); }`);
    expect(tera.stdout).toBe("EFBIG\n");
  }, 60_000);

  test("a read-only session can be read and not changed", async () => {
    const ran = await exec(`console.log(fs.readFileSync("a.txt", "utf8").trim()); try { fs.writeFileSync("a.txt", "x"); } catch (error) { console.log(error.code); }`, ["--token", "fs:workspace:ro"]);
    expect([ran.code, ran.stdout]).toEqual([0, expect.stringMatching(/^one\n(EROFS|EACCES)\n$/)]);
  });

  test("two sessions run at once, each sees its own copy alone", async () => {
    const other = join(scratch, "other");
    mkdirSync(other);
    writeFileSync(join(other, "mine"), "other");
    // The first holds its session until its stdin ends, and that is after the second has come and gone.
    const script = join(scratch, "holds.ts");
    writeFileSync(script, `console.log(require("node:fs").readdirSync("/workspace").join()); for await (const _ of Bun.stdin.stream()) {}`);
    const first = Bun.spawn([arcProgram, "exec", script, "--session", dir], { env: { ...process.env, ARC_CONFIG_DIR: host.configDir, NO_COLOR: "1" }, stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    const { value } = await first.stdout.getReader().read();
    expect(Buffer.from(value ?? []).toString()).toContain("a.txt");
    const second = await exec(`console.log(fs.readdirSync(".").join());`, ["--timeout", "10s"], other);
    expect([second.code, second.stdout, second.stderr, first.exitCode]).toEqual([0, "mine\n", "", null]);
    first.stdin.end();
    expect(await first.exited).toBe(0);
  });
});

describe("what does not go up", () => {
  test("links, pipes and names that are not UTF-8, before anything runs", async () => {
    const bad: [string, (at: string) => void][] = [
      ["link", (at) => symlinkSync("/etc/passwd", join(at, "link"))],
      ["pipe", (at) => void Bun.spawnSync(["mkfifo", join(at, "pipe")])],
      ["name", (at) => writeFileSync(Buffer.concat([Buffer.from(`${at}/`), Buffer.from([0xff])]), "")],
    ];
    for (const [name, make] of bad) {
      const at = join(scratch, `bad-${name}`);
      mkdirSync(at);
      make(at);
      const ran = await exec("console.log(1)", [], at);
      expect([name, ran.code, ran.stdout, ran.stderr]).toEqual([name, 125, "", expect.stringContaining("ARC2061")]);
    }
  });

  test("what does not fit is a typed refusal with the way out", async () => {
    writeFileSync(join(dir, "large"), Buffer.alloc(12 * MIB, 1));
    const done = await json("", ["--disk", "8M"]);
    expect([done.exit, done.outcome.kind, done.error?.code]).toEqual([125, "never_ran", "WORKSPACE_FULL"]);
    expect((await exec("", ["--disk", "16M"])).code).toBe(0);
  });

  test("odd names and ten thousand files make the round trip", async () => {
    for (const name of ["a\nb", " ", "-rf", "‮x", "é", "é", "n".repeat(255), "\\", "\u001b[2J"]) writeFileSync(join(dir, name), name);
    for (let n = 0; n < 10_000; n += 1) writeFileSync(join(dir, `f${n}`), String(n));
    const ran = await exec(`for (const name of fs.readdirSync(".")) if (fs.statSync(name).isFile()) fs.appendFileSync(name, "!");`, ["--pull"]);
    expect(ran.code).toBe(0);
    expect(ran.stderr).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
    for (const name of ["a\nb", "‮x", "é", "é", "f9999", "\u001b[2J"]) expect(readFileSync(join(dir, name), "utf8").endsWith("!")).toBe(true);
  }, 120_000);
});

test("without a rule the session is refused with the command that allows it, in the caller's words", async () => {
  const strict = await startHost({ policy: "" });
  try {
    const script = join(scratch, "none.ts");
    writeFileSync(script, "console.log(1)");
    const ran = await strict.arc(["exec", script, "--session", dir]);
    expect([ran.code, ran.stdout]).toEqual([125, ""]);
    expect(ran.stderr).toContain("TOKEN_NOT_ALLOWED");
    expect(ran.stderr).toContain("fs:workspace:rw");
    expect(ran.stderr).not.toMatch(/fs:workspace:[0-9a-f]{32}/);
  } finally {
    await strict.stop();
  }
}, 60_000);

test("nothing is left of all this on the machine", async () => {
  const end = Date.now() + 15_000;
  while (Date.now() < end && cageProcesses(host).length > 0) await Bun.sleep(50);
  expect(cageProcesses(host)).toEqual([]);
  expect(names(dir).filter((name) => name.startsWith(".arc-pull-"))).toEqual([]);
});
