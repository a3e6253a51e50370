// Runs one tier of tests (`check`, `test`, `e2e`), and ends with `N passed, N failed` counted in steps.
//
// A step passes when its program exits 0 and every `skipped: reason` line it printed is on this tier's list below.
// Steps that wait more than they compute run two at a time; the one that began first is shown as it goes, the other when it ended.

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
  /** May run beside one other such step; the rest keep both cores busy by themselves. */
  beside?: true;
}

const bunTest = (name: string, paths: string[], timeoutMs = 60_000): Step => ({ name, argv: [bun, "test", "--timeout", String(timeoutMs), ...paths] });

const check: Step[] = [
  { name: "format", argv: ["cargo", "fmt", "--all", "--check"] },
  { name: "lints", argv: ["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"] },
  { name: "unit tests", argv: ["cargo", "test", "--locked", "--workspace", "--lib", "--bins", "--quiet"] },
  { name: "types of arc", argv: [bun, "run", "typecheck"], cwd: "arc-cli" },
  { name: "types of the tests", argv: [bun, "arc-cli/node_modules/typescript/lib/tsc.js", "--noEmit", "--project", "tests/tsconfig.json"] },
  bunTest("tidy", ["./tests/tidy/"]),
  { ...bunTest("arc", ["./arc-cli/test/"]), beside: true },
];

const test: Step[] = [
  ...check.filter((step) => !step.beside),
  { name: "interface tests, built", argv: ["cargo", "test", "--locked", "--workspace", "--test", "*", "--quiet", "--no-run"] },
  { name: "image", argv: ["out/bin/aria-image", "build", "--out", "out/image"] },
  { name: "interface tests", root: true, beside: true, argv: ["cargo", "test", "--locked", "--workspace", "--test", "*", "--quiet", "--", "--test-threads=2"] },
  ...check.filter((step) => step.beside),
  { ...bunTest("conformance", ["./tests/conformance/"], 300_000), root: true, beside: true },
  { ...bunTest("boot with the examples", ["./tests/e2e/boot.test.ts"], 600_000), beside: true },
  { name: "hostile cases, light", root: true, beside: true, argv: [bun, "tests/hostile/run.ts"] },
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

/** Who writes to the terminal as it goes; the others wait until they have ended. */
let shown: Step | undefined;

/** Copies a stream to the log and, when the step is the one that is shown, to the terminal; returns its `skipped:` lines. */
async function follow(step: Step, stream: ReadableStream<Uint8Array>, kept: Uint8Array[]): Promise<string[]> {
  const found: string[] = [];
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    if (shown === step) process.stdout.write(chunk);
    else kept.push(chunk);
    appendFileSync(log, chunk);
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    found.push(...lines.filter((line) => line.startsWith("skipped: ")));
  }
  return found;
}

/** Why the step failed, if it did. */
async function runStep(step: Step, kept: Uint8Array[]): Promise<string | undefined> {
  const child = Bun.spawn(step.root ? asRoot(step.argv) : step.argv, { cwd: join(root, step.cwd ?? "."), stdin: "ignore", stdout: "pipe", stderr: "pipe", env: { ...process.env, CARGO_TERM_COLOR: "never" } });
  const [out, err, code] = await Promise.all([follow(step, child.stdout, kept), follow(step, child.stderr, kept), child.exited]);
  if (step.root) giveBack();
  if (code !== 0) return `exit ${code}`;
  const surprise = [...out, ...err].find((line) => !skips[tier]?.some((known) => known.test(line)));
  return surprise === undefined ? undefined : `not on the list of skips of '${tier}': ${surprise}`;
}

const failures: string[] = [];

async function take(step: Step, number: number): Promise<void> {
  const start = performance.now();
  const kept: Uint8Array[] = [];
  shown ??= step;
  console.log(`\n== ${tier} ${number}/${steps!.length}: ${step.name}${shown === step ? "" : " (its output follows when it has ended)"}`);
  const failure = await runStep(step, kept);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  if (kept.length > 0) console.log(`\n== output of ${step.name}`);
  for (const chunk of kept) process.stdout.write(chunk);
  console.log(`== ${step.name}: ${failure === undefined ? "ok" : `FAILED (${failure})`}, ${seconds} s on ${availableParallelism()} cores`);
  if (failure !== undefined) failures.push(`${step.name}: ${failure}`);
  if (shown === step) shown = undefined;
}

const running = new Map<Step, Promise<unknown>>();
/** Whether the step may begin beside what runs now. */
const fits = (step: Step): boolean => running.size === 0 || (running.size < 2 && [step, ...running.keys()].every((each) => each.beside));
for (const [index, step] of steps.entries()) {
  while (!fits(step)) await Promise.race(running.values());
  running.set(step, take(step, index + 1).finally(() => running.delete(step)));
}
await Promise.all(running.values());

console.log(`\n${failures.map((line) => `FAILED ${line}\n`).join("")}${steps.length - failures.length} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
