//! The program as it is installed: launcher, descriptors, signals. Needs what `bun build.ts` writes.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FakeDevice, finished, out, succeeded } from "../client/fake.ts";
import { cleanUp, newDir } from "./drive.ts";

const root = join(import.meta.dir, "../../..");
const program = join(root, "out/bin/arc");
const device = new FakeDevice();
const dir = newDir();
const env = { PATH: "/usr/bin:/bin", HOME: dir, ARC_CONFIG_DIR: join(dir, "arc") };
const script = join(dir, "p.ts");

async function run(argv: readonly string[], options: { env?: Record<string, string>; cwd?: string; stdin?: "ignore" | Uint8Array } = {}) {
  const child = Bun.spawn([...argv], { env: options.env ?? env, cwd: options.cwd ?? dir, stdin: options.stdin ?? "ignore", stdout: "pipe", stderr: "pipe" });
  const [code, stdout, stderr] = await Promise.all([child.exited, child.stdout.bytes(), child.stderr.text()]);
  return { code, stdout: Buffer.from(stdout), stderr };
}

beforeAll(async () => {
  if (!existsSync(program)) throw new Error("out/bin/arc is missing: run `bun arc-cli/build.ts` first");
  writeFileSync(script, "console.log(1);\n");
  await device.listenTls();
  const socket = join(dir, "s");
  await device.listenSocket(socket);
  expect((await run([program, "device", "init", "--socket", socket])).code).toBe(0);
});
afterAll(() => {
  device.stop();
  cleanUp();
});

test("it starts from anywhere, through links, and keeps its contexts in the checkout", async () => {
  const elsewhere = newDir();
  const bin = join(elsewhere, "bin");
  mkdirSync(bin);
  symlinkSync(program, join(bin, "one"));
  symlinkSync("one", join(bin, "arc"));
  for (const argv of [[join(bin, "arc")], ["/bin/sh", "-c", "arc version --client", "sh"]]) {
    const ran = await run(argv.length === 1 ? [...argv, "version", "--client"] : argv, { env: { PATH: `${bin}:/usr/bin:/bin`, HOME: elsewhere }, cwd: "/" });
    expect([ran.code, ran.stdout.toString()]).toEqual([0, expect.stringMatching(/^arc \d/)]);
  }
});

test("files of the current directory and a user's Bun settings change nothing", async () => {
  const hostile = newDir();
  writeFileSync(join(hostile, ".env"), "ARC_CONTEXT=evil\nNO_COLOR=\n");
  writeFileSync(join(hostile, "bunfig.toml"), 'preload = ["./evil.ts"]\n');
  writeFileSync(join(hostile, "evil.ts"), 'console.log("evil");\n');
  writeFileSync(join(hostile, "package.json"), "{");
  const ran = await run([program, "ls"], { cwd: hostile, env: { ...env, BUN_OPTIONS: "--preload ./evil.ts" } });
  expect([ran.code, ran.stdout.toString()]).toEqual([0, "no bundle is installed\n"]);
});

test("colours follow the terminal that the launcher saw", async () => {
  const tty = await run(["script", "-qec", `${program} --help`, "/dev/null"], { env: { ...env, TERM: "xterm" } });
  expect(tty.stdout.toString()).toContain("\u001b[1m");
  expect((await run([program, "--help"])).stdout.toString()).not.toContain("\u001b");
});

const keys: [string, string, number][] = [
  ["n\\n", "nothing was changed", 0],
  ["\\003", "interrupted", 130],
  ["\\004", "nothing was changed", 0],
];
test.each(keys)("a question answered with %s: %s", async (key, text, code) => {
  // The pause lets the prompt come first; what is typed ahead would be lost when the terminal changes its mode.
  const typed = `(sleep 1; printf '${key}'; sleep 1) | script -qec "${program} device rm local; echo code \\$?" /dev/null`;
  const ran = await run(["/bin/bash", "-c", typed]);
  expect(ran.stdout.toString()).toContain(text);
  expect(ran.stdout.toString()).toContain(`code ${code}`);
});

test("a reader that leaves ends arc quietly", async () => {
  const ran = await run(["/bin/bash", "-c", `${program} explain | head -n 1; echo "\${PIPESTATUS[0]}"`]);
  expect(ran.stdout.toString()).toMatch(/^ARC1\d{3} .*\n(141|0)\n$/);
  expect(ran.stderr).toBe("");
});

test("a full disk is an error, not silence", async () => {
  const ran = await run(["/bin/sh", "-c", `${program} explain > /dev/full`]);
  expect([ran.code, ran.stderr]).toEqual([1, expect.stringMatching(/ARC2045.*ENOSPC/)]);
  device.program = async (_start, session) => {
    await session.say(out("much"));
    await session.cancelled;
  };
  const exec = await run(["/bin/sh", "-c", `${program} exec ${script} > /dev/full`]);
  expect([exec.code, exec.stderr]).toEqual([125, expect.stringMatching(/ARC2045.*ENOSPC/)]);
});

test("exec: 40 MB up and down through pipes arrive whole", async () => {
  device.program = async (_start, session) => {
    for await (const chunk of session.stdin) await session.say(out(chunk));
    await session.say(finished(succeeded("")));
  };
  const bytes = Buffer.alloc(40_000_000, "0123456789abcdef");
  const ran = await run([program, "exec", script], { stdin: bytes });
  expect([ran.code, ran.stderr, ran.stdout.equals(bytes)]).toEqual([0, "", true]);
}, 60_000);

test("a stdin that cannot be read is an error of this side", async () => {
  device.program = async (_start, session) => {
    for await (const chunk of session.stdin) await session.say(out(chunk));
    await session.cancelled;
  };
  const ran = await run(["/bin/sh", "-c", `${program} exec ${script} < /`]);
  expect([ran.code, ran.stderr]).toEqual([125, expect.stringMatching(/ARC2040.*EISDIR/)]);
});

test("exec ends although nobody closes stdin", async () => {
  device.program = async (_start, session) => session.say(finished(succeeded("")));
  const child = Bun.spawn([program, "exec", script], { env, stdin: "pipe", stdout: "pipe", stderr: "pipe" });
  expect(await child.exited).toBe(0);
});

test("one Ctrl-C cancels the run and is exit 130", async () => {
  const [started, cancelled] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  device.program = async (_start, session) => {
    await session.say({ case: "started", value: { invocationId: "run-1", sandboxId: "s" } });
    started.resolve();
    await session.cancelled;
    cancelled.resolve();
  };
  const child = Bun.spawn([program, "exec", script], { env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  await started.promise;
  child.kill("SIGINT");
  expect([await child.exited, await child.stderr.text()]).toEqual([130, expect.stringContaining("cancelled")]);
  await cancelled.promise;
});

test("upload of 200 MB takes constant memory", async () => {
  const big = join(dir, "big.aria");
  writeFileSync(big, Buffer.concat([Buffer.from("bundle big@1.0.0\n"), Buffer.alloc(200_000_000, 5)]));
  const child = Bun.spawn([program, "upload", big], { env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  // The launcher execs, so this pid becomes Bun; its own high-water mark, because rusage also counts the parent's.
  let peak = 0;
  while (child.exitCode === null) {
    const status = await Bun.file(`/proc/${child.pid}/status`).text().catch(() => "");
    peak = Math.max(peak, Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1000);
    await Bun.sleep(20);
  }
  expect([child.exitCode, await child.stderr.text()]).toEqual([0, ""]);
  expect(peak).toBeGreaterThan(30);
  expect(peak).toBeLessThan(200);
}, 60_000);

test("TypeScript is loaded by the commands that need it alone", () => {
  const lib = join(root, "out/lib/arc");
  const files = readdirSync(lib).filter((name) => name.endsWith(".js"));
  const staticImports = (name: string): string[] => [...readFileSync(join(lib, name), "utf8").matchAll(/(?:from|import)\s*"([^"]+)"/g)].map((match) => match[1] ?? "");
  const closure = (name: string, seen = new Set<string>()): Set<string> => {
    for (const path of staticImports(name)) {
      if (seen.has(path)) continue;
      seen.add(path);
      if (files.includes(path.slice(2))) closure(path.slice(2), seen);
    }
    return seen;
  };
  const heavy = (name: string): boolean => [...closure(name)].some((path) => path.includes("typescript"));
  const light = ["main.js", ...files.filter((name) => /^(completion|device|doctor|exec|explain|help|invoke|logs|ls|program|rm|upload|version)-/.test(name))];
  expect(light.length).toBeGreaterThan(12);
  expect(light.filter(heavy)).toEqual([]);
});
