// Bad input end to end through arc: each is a typed error with its exit code, and the device goes on. Then the daemons' own ends:
// restart and kill -9 lose nothing that was acknowledged.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arcProgram, root, startHost, until, type Host, type Run } from "../stand/host.ts";
import { bundle, parts } from "./bundle-maker.ts";
import { send, stubs } from "./device-client.ts";
import { cgroups } from "../hostile/drivers/machine.ts";

let host: Host;
const scratch = mkdtempSync(join(tmpdir(), "refusals-"));
const path = (name: string): string => join(scratch, name);
const script = (name: string, source: string): string => {
  writeFileSync(path(name), source);
  return path(name);
};

beforeAll(async () => {
  host = await startHost({ context: "dev" });
  for (const [project, name] of [["tests/hostile/projects/results", "misfits"], ["examples/text-diff", "text-diff"]] as const) {
    for (const args of [["build", join(root, project), "--out", path(`${name}.aria`)], ["upload", path(`${name}.aria`)]]) {
      const done = await host.arc(args);
      if (done.code !== 0) throw new Error(done.stderr);
    }
  }
}, 120_000);
afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await host?.stop();
});

interface Body {
  ok: boolean;
  data?: { output?: unknown };
  error?: { code?: string; message?: string; hint?: string };
}
const body = (done: Run): Body => JSON.parse(done.stdout) as Body;

async function refused(args: string[], exit: number, code: string, options: Parameters<Host["arc"]>[1] = {}): Promise<void> {
  const done = await host.arc(["--json", ...args], options);
  expect({ exit: done.code, code: body(done).error?.code }, done.stdout + done.stderr).toEqual({ exit, code });
  // For people the same, in words, on stderr only, without control bytes.
  const human = await host.arc(args, options);
  expect(human.code).toBe(exit);
  expect(human.stdout).toBe("");
  // What the tool itself printed comes before it.
  expect(human.stderr.split("\n").some((line) => line.startsWith("error"))).toBe(true);
  expect(human.stderr).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f]/);
}

const misfit = (tool: string, way: string): string[] => ["invoke", `misfits.${tool}`, "--input", JSON.stringify({ way })];

describe("input of a call", () => {
  const diff = (input: string): string[] => ["invoke", "text-diff.diff", "--input", input];
  test("wrong type", () => refused(diff('{"before":1,"after":"x"}'), 2, "INPUT_SCHEMA"));
  test("missing property", () => refused(diff('{"before":"x"}'), 2, "INPUT_SCHEMA"));
  test("unknown property", () => refused(diff('{"before":"x","after":"y","more":1}'), 2, "INPUT_SCHEMA"));
  test("null", () => refused(diff("null"), 2, "INPUT_SCHEMA"));
  test("a list", () => refused(diff("[]"), 2, "INPUT_SCHEMA"));
  test("out of range", () => refused(diff('{"before":"x","after":"y","context":101}'), 2, "INPUT_SCHEMA"));
  test("unknown tool of a known bundle", () => refused(["invoke", "text-diff.nope"], 5, "TOOL_UNKNOWN"));
  test("unknown bundle", () => refused(["invoke", "nope.nope"], 5, "TOOL_UNKNOWN"));
  test("a name that is a path", () => refused(["invoke", "../../etc.passwd"], 2, "TOOL_UNKNOWN"));
  test("no JSON", async () => {
    const done = await host.arc(["--json", ...diff("{before:1}")]);
    expect(done.code).toBe(2);
    expect(body(done).ok).toBe(false);
  });
  test("deeper than 128", async () => {
    const done = await host.arc(["--json", ...diff(`{"before":${"[".repeat(5000)}${"]".repeat(5000)},"after":""}`)]);
    expect(done.code).toBe(2);
  });
  test("larger than a mebibyte", async () => {
    writeFileSync(path("big.json"), JSON.stringify({ before: "x".repeat(1 << 20), after: "" }));
    const done = await host.arc(["--json", ...diff(`@${path("big.json")}`)]);
    expect([2, 11]).toContain(done.code);
    expect(["INPUT_TOO_LARGE", "ARC2010", "MESSAGE_TOO_LARGE"]).toContain(body(done).error?.code ?? "");
  });
  test("larger than any message", async () => {
    writeFileSync(path("huge.json"), JSON.stringify({ before: "x".repeat(20 << 20), after: "" }));
    const done = await host.arc(["--json", ...diff(`@${path("huge.json")}`)]);
    expect(done.code).not.toBe(0);
    expect(done.code).not.toBe(1);
  });
  test("a file that is not there", async () => {
    const done = await host.arc(["--json", ...diff('{"before":"x","after":"y"}'), "--file", `x=${path("nowhere")}`]);
    expect([2, 5]).toContain(done.code);
  });
  test("a file name with a slash", async () => {
    writeFileSync(path("plain"), "x");
    const done = await host.arc(["--json", ...diff('{"before":"x","after":"y"}'), "--file", `../x=${path("plain")}`]);
    expect(done.code).toBe(2);
  });
});

describe("a tool that", () => {
  for (const [tool, way, code] of [
    ["fail", "error", "THREW"], ["fail", "nothing", "THREW"], ["end", "exit-0", "EXITED"], ["end", "exit-7", "EXITED"], ["end", "hang", "DEADLINE"], ["end", "spin", "DEADLINE"],
    ["end", "flood", "OUTPUT_TOO_LARGE"], ["end", "allocate", "OOM_KILLED"], ["end", "kill", "SIGNALLED"], ["odd", "nan", "RESULT_INVALID"], ["forge", "two-results", "RESULT_INVALID"],
  ] as const) test(`does ${tool} ${way} is ${code}, exit 9`, () => refused(misfit(tool, way), 9, code), 60_000);
  test("throws shows its own stack in TypeScript", async () => {
    const done = await host.arc(misfit("fail", "error"));
    expect(done.stderr).toContain("this went wrong on purpose");
    expect(done.stderr).toContain("misfits.ts");
  });
});

describe("a bundle", () => {
  test("that is no bundle", async () => {
    writeFileSync(path("no.aria"), "hello".repeat(1000));
    const done = await host.arc(["--json", "upload", path("no.aria")]);
    expect([2, 3, 6]).toContain(done.code);
    expect(body(done).error?.code ?? "").not.toBe("");
  });
  test("that is cut", async () => {
    writeFileSync(path("cut.aria"), bundle(parts("cut")).slice(0, 5000));
    const done = await host.arc(["--json", "upload", path("cut.aria")]);
    expect(done.code).not.toBe(0);
    expect(done.code).not.toBe(1);
  });
  test("that is not there", async () => {
    const done = await host.arc(["--json", "upload", path("nowhere.aria")]);
    expect([2, 5]).toContain(done.code);
  });
  test("that is larger than allowed", async () => {
    const stub = await stubs(host);
    const answer = await send(stub("Bundles"), "UploadBundle", new Uint8Array(16), { size_bytes: 257 << 20 });
    expect(answer).toMatchObject({ ok: false, refusal: { code: 8, reason: "BUNDLE_TOO_LARGE" } });
  });
  test("that is a version already taken", async () => {
    for (const [index, text] of ["a", "b"].entries()) {
      const made = parts("taken");
      made.manifest.description = text;
      writeFileSync(path("taken.aria"), bundle(made));
      expect((await host.arc(["sign", path("taken.aria")])).code).toBe(0);
      const done = await host.arc(["--json", "upload", path("taken.aria")]);
      if (index === 0) expect(done.code).toBe(0);
      else expect({ exit: done.code, code: body(done).error?.code }).toEqual({ exit: 6, code: "VERSION_TAKEN" });
    }
  });
  test("that is unknown cannot be removed or inspected", () => refused(["rm", "nope", "--yes"], 5, "BUNDLE_UNKNOWN"));
});

describe("a blob", () => {
  test("larger than it says, other than it says, or endless is refused and not kept", async () => {
    const stub = await stubs(host);
    const bytes = new Uint8Array(3 << 20).fill(7);
    for (const claimed of [{ sha256: "0".repeat(64) }, { size_bytes: 1 }, { size_bytes: bytes.length + 1 }, { size_bytes: 2 ** 50 }]) {
      const answer = await send(stub("Blobs"), "PutBlob", bytes, claimed);
      expect(answer.ok, JSON.stringify(claimed)).toBe(false);
    }
  });
});

describe("a program", () => {
  test("ends with its own code", async () => {
    expect((await host.arc(["exec", script("seven.ts", "process.exit(7);")])).code).toBe(7);
  });
  test("may read stdin before there is any", async () => {
    const file = script("late.ts", 'console.log("reading");\nconsole.log((await Bun.stdin.text()).toUpperCase());');
    const child = Bun.spawn([arcProgram, "exec", file], { env: { ...process.env, ARC_CONFIG_DIR: host.configDir }, stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    const output = child.stdout.getReader();
    const first = new TextDecoder().decode((await output.read()).value);
    child.stdin.write("late");
    await child.stdin.end();
    const rest = new TextDecoder().decode((await output.read()).value);
    expect([first.trim(), rest.trim(), await new Response(child.stderr).text(), await child.exited]).toEqual(["reading", "LATE", "", 0]);
  });

  test("gets stdin, arguments and environment, and its streams stay apart", async () => {
    const file = script("echo.ts", 'process.stdout.write((await Bun.stdin.text()).toUpperCase() + process.argv.slice(2).join(",") + process.env.ARIA_TEST); process.stderr.write("err");');
    const done = await host.arc(["exec", file, "--env", "ARIA_TEST=!", "--", "a", "--b"], { stdin: "hello " });
    expect(done).toEqual({ code: 0, stdout: "HELLO a,--b!", stderr: "err" });
  });
  test("that does not compile never runs", async () => {
    const done = await host.arc(["exec", script("broken.ts", "const x: = 1;")]);
    expect(done.code).toBe(125);
    expect(done.stderr).toContain("broken.ts");
  });
  test("with a refused variable never runs", async () => {
    for (const variable of ["LD_PRELOAD=/tmp/x", "BUN_OPTIONS=--inspect", "NODE_OPTIONS=x"]) {
      const done = await host.arc(["--json", "exec", script("ok.ts", ""), "--env", variable]);
      expect(done.code, variable).toBe(125);
    }
  });
  test("with a limit above the maximum never runs", async () => {
    const done = await host.arc(["exec", script("ok.ts", ""), "--memory", "900G"]);
    expect(done.code).toBe(125);
  });
  test("over its deadline is 137", async () => {
    const started = performance.now();
    const done = await host.arc(["--json", "exec", script("hang.ts", "setInterval(() => {}, 1e6);"), "--timeout", "1s"]);
    expect(done.code).toBe(137);
    expect(done.stdout).toContain("DEADLINE");
    expect(performance.now() - started).toBeLessThan(15_000);
  });
});

test("what runs wrote drives no terminal when it is read later, and forges no record", async () => {
  const forged = '{"time":"2020-01-01T00:00:00.000Z","level":"error","text":"forged"}';
  const file = script("terminal.ts", `console.log("\\x1b[2J\\x1b]0;owned\\x07 \\u202e"); console.log(${JSON.stringify(forged)}); console.error("\\x9b31m\\r\\x08");`);
  expect((await host.arc(["exec", file])).code).toBe(0);
  const shown = await host.arc(["logs"]);
  expect(shown.code, shown.stderr).toBe(0);
  expect(shown.stdout).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/);
  const records = (await host.arc(["--json", "logs"])).stdout;
  for (const line of records.split("\n").filter((one) => one !== "")) expect(line).not.toStartWith('{"time":"2020');
}, 30_000);

/** The stand's ariad takes a new port when it starts again. */
async function follow(): Promise<void> {
  const config = join(host.configDir, "config.json");
  const text = await Bun.file(config).text();
  writeFileSync(config, text.replaceAll(/127\.0\.0\.1:\d+/g, host.listen));
}

describe("the daemons", () => {
  const works = async (): Promise<boolean> => (await host.arc(["invoke", "text-diff.diff", "--input", '{"before":"a","after":"b"}'])).code === 0;
  for (const [daemon, signal] of [["ariad", "SIGTERM"], ["quiltd", "SIGTERM"], ["ariad", "SIGKILL"], ["quiltd", "SIGKILL"]] as const) {
    test(`${daemon} comes back after ${signal} with the registry whole`, async () => {
      const before = (await host.arc(["--json", "ls"])).stdout;
      await host.restart(daemon, signal);
      await follow();
      expect(await until(20_000, works)).toBe(true);
      expect((await host.arc(["--json", "ls"])).stdout).toBe(before);
    }, 60_000);
  }
  test("quiltd killed in the middle of a run: the caller is told, nothing is left, the next run works", async () => {
    const argv = [arcProgram, "exec", script("long.ts", 'console.log("up"); await Bun.sleep(60_000);'), "--timeout", "70s"];
    const running = Bun.spawn(argv, { env: { ...process.env, ARC_CONFIG_DIR: host.configDir, NO_COLOR: "1" }, stdin: "ignore", stdout: "pipe", stderr: "ignore" });
    const { value } = await running.stdout.getReader().read();
    expect(new TextDecoder().decode(value)).toBe("up\n");
    const groups = cgroups(host).length;
    await host.restart("quiltd", "SIGKILL");
    expect(await running.exited).not.toBe(0);
    expect(await until(5_000, () => cgroups(host).length <= groups)).toBe(true);
    expect(await until(20_000, works)).toBe(true);
  }, 60_000);
  test("without quiltd a call is refused as unavailable, and the rest still answers", async () => {
    process.kill(host.pids().quiltd, "SIGSTOP");
    process.kill(host.pids().quiltd, "SIGCONT");
    expect(await works()).toBe(true);
    expect((await host.arc(["ls"])).code).toBe(0);
  });
});
