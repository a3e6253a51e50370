// Runs one tier of tests (`check`, `test`, `e2e`), step by step, and ends with `N passed, N failed` counted in steps.
//
// A step passes when its program exits 0 and every `skipped: reason` line it printed is on this tier's list below.

import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { asRoot, giveBack } from "./stand/root.ts";

const root = resolve(import.meta.dir, "..");
const bun = join(root, "out/bin/bun");

interface Step {
  name: string;
  argv: string[];
  cwd?: string;
  /** Cages need root: a user is asked by sudo. */
  root?: true;
}

const bunTest = (name: string, paths: string[], timeoutMs = 60_000): Step => ({ name, argv: [bun, "test", "--timeout", String(timeoutMs), ...paths] });

const check: Step[] = [
  { name: "format", argv: ["cargo", "fmt", "--all", "--check"] },
  { name: "lints", argv: ["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"] },
  { name: "unit tests", argv: ["cargo", "test", "--locked", "--workspace", "--lib", "--bins", "--quiet"] },
  { name: "types of arc", argv: [bun, "run", "typecheck"], cwd: "arc-cli" },
  { name: "types of the tests", argv: [bun, "arc-cli/node_modules/typescript/lib/tsc.js", "--noEmit", "--project", "tests/tsconfig.json"] },
  bunTest("arc", ["./arc-cli/test/"]),
  bunTest("tidy", ["./tests/tidy/"]),
];

const test: Step[] = [
  ...check,
  { name: "interface tests", root: true, argv: ["cargo", "test", "--locked", "--workspace", "--test", "*", "--quiet", "--", "--test-threads=2"] },
  { ...bunTest("conformance", ["./tests/conformance/"], 300_000), root: true },
  { name: "hostile cases, light", root: true, argv: [bun, "tests/hostile/run.ts"] },
  { name: "image", argv: ["out/bin/aria-image", "build", "--out", "out/image"] },
  bunTest("boot with the examples", ["./tests/e2e/boot.test.ts"], 600_000),
];

const e2e: Step[] = [bunTest("virtual machine", ["./tests/e2e/"], 900_000)];

/** Skips a tier may print, each with what is missing. Anything else that is skipped fails the run. */
const skips: Record<string, RegExp[]> = {
  check: [/needs root/, /no cgroup/, /out\/tool-root/],
  test: [],
  e2e: [],
};

const tiers: Record<string, Step[]> = { check, test, e2e };
const tier = process.argv[2] ?? "";
const steps = tiers[tier];
if (!steps) {
  console.error(`usage: run.ts ${Object.keys(tiers).join("|")}`);
  process.exit(2);
}

mkdirSync(join(root, "out"), { recursive: true });
const log = join(root, `out/${tier}.log`);
writeFileSync(log, "");

/** Copies a stream to the terminal and the log; returns its `skipped:` lines. */
async function follow(stream: ReadableStream<Uint8Array>): Promise<string[]> {
  const found: string[] = [];
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    process.stdout.write(chunk);
    appendFileSync(log, chunk);
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    found.push(...lines.filter((line) => line.startsWith("skipped: ")));
  }
  return found;
}

async function runStep(step: Step): Promise<string | undefined> {
  const child = Bun.spawn(step.root ? asRoot(step.argv) : step.argv, { cwd: join(root, step.cwd ?? "."), stdin: "ignore", stdout: "pipe", stderr: "pipe", env: { ...process.env, CARGO_TERM_COLOR: "never" } });
  const [out, err, code] = await Promise.all([follow(child.stdout), follow(child.stderr), child.exited]);
  if (step.root) giveBack();
  if (code !== 0) return `exit ${code}`;
  const surprise = [...out, ...err].find((line) => !skips[tier]?.some((known) => known.test(line)));
  return surprise === undefined ? undefined : `not on the list of skips of '${tier}': ${surprise}`;
}

const failures: string[] = [];
for (const [index, step] of steps.entries()) {
  const start = performance.now();
  console.log(`\n== ${tier} ${index + 1}/${steps.length}: ${step.name}`);
  const failure = await runStep(step);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`== ${step.name}: ${failure === undefined ? "ok" : `FAILED (${failure})`}, ${seconds} s on ${availableParallelism()} cores`);
  if (failure !== undefined) failures.push(`${step.name}: ${failure}`);
}

console.log(`\n${failures.map((line) => `FAILED ${line}\n`).join("")}${steps.length - failures.length} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
