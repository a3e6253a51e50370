// `make bench`: measures us and the peers in one run, prints one table, writes out/bench.json. Rules: docs/goals.md.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arcProgram, bun, root, run, startHost } from "../stand/host.ts";
import { needRoot } from "../stand/root.ts";
import { bootToFirstAnswer } from "./boot.ts";
import { invokeTimes } from "./invoke.ts";

interface Row {
  goal: string;
  metric: string;
  unit: string;
  value: number;
  reference: string;
  reference_value: number;
  ratio: number;
}

const rows: Row[] = [];
const bars: { text: string; held: boolean }[] = [];

export function quantile(samples: number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

function row(goal: string, metric: string, unit: string, value: number, reference: string, referenceValue: number, bar?: number): void {
  const round = (n: number): number => Number(n.toPrecision(4));
  const ratio = value / referenceValue;
  rows.push({ goal, metric, unit, value: round(value), reference, reference_value: round(referenceValue), ratio: round(ratio) });
  if (bar !== undefined) bars.push({ text: `${goal} ${metric} / ${reference}: ${ratio.toFixed(2)}, bar ${bar}`, held: ratio <= bar });
}

function say(text: string): void {
  console.error(`bench: ${text}`);
}

/** Cold program: bare, bubblewrap, crun, ours, interleaved. Returns the medians in milliseconds and whether the run may judge. */
async function cold(work: string): Promise<{ bare: number; bubblewrap: number; quiet: boolean }> {
  say("cold TypeScript program: bare, bubblewrap, crun, ours (40 interleaved rounds)");
  await must(["cargo", "build", "--locked", "--release", "--quiet", "-p", "aria-bench-cold"]);
  const program = join(root, "target/x86_64-unknown-linux-gnu/release/aria-bench-cold");
  const result = JSON.parse(await must([program, "40", join(root, "out/tool-root"), join(root, "out/bin/quilt-init"), join(work, "cold")])) as Record<string, number[]>;
  const ms = (name: string, q = 0.5): number => quantile(result[name] ?? [], q) / 1000;
  const quiet = ms("bare", 0.9) / ms("bare") <= 1.5;
  if (!quiet) say(`too noisy: bare Bun p90/p50 = ${(ms("bare", 0.9) / ms("bare")).toFixed(2)}; ratios are printed, nothing is judged`);
  const bar = (limit: number): number | undefined => (quiet ? limit : undefined);
  row("G2", "cold TypeScript program, engine", "ms", ms("cage"), "bare Bun", ms("bare"), bar(1.6));
  row("G2", "cold TypeScript program, engine", "ms", ms("cage"), "bubblewrap+Bun", ms("bubblewrap"), bar(1));
  row("G2", "cold TypeScript program, engine", "ms", ms("cage"), "crun+Bun", ms("crun"), bar(1));
  row("G2", "cold TypeScript program, engine, p99", "ms", ms("cage", 0.99), "bare Bun p99", ms("bare", 0.99));
  return { bare: ms("bare"), bubblewrap: ms("bubblewrap"), quiet };
}

async function must(argv: string[], cwd = root): Promise<string> {
  const result = await run(argv, { cwd });
  if (result.code !== 0) throw new Error(`${argv.slice(0, 3).join(" ")}: exit ${result.code}\n${result.stderr.slice(-2000)}`);
  return result.stdout;
}

async function clientToAnswer(work: string, floor: { bare: number; bubblewrap: number }): Promise<void> {
  say("client to answer: Tools.Invoke on an open connection");
  const host = await startHost();
  try {
    const project = join(work, "weather");
    const steps = [["new", project, "--template", "tool"], ["build", "--out", join(work, "weather.aria")], ["upload", join(work, "weather.aria")]];
    for (const [index, args] of steps.entries()) {
      const result = await host.arc(args, { cwd: index === 1 ? project : work });
      if (result.code !== 0) throw new Error(`arc ${args[0]}: exit ${result.code}\n${result.stderr}`);
    }
    const samples = await invokeTimes(host, "weather.forecast", { city: "Oslo" }, 40);
    row("G2c", "client to answer, open connection", "ms", quantile(samples, 0.5), "bare Bun, cold", floor.bare);
    row("G2c", "client to answer, open connection", "ms", quantile(samples, 0.5), "bubblewrap+Bun, cold", floor.bubblewrap);
    const whole: number[] = [];
    for (let round = 0; round < 10; round++) {
      const start = performance.now();
      const result = await host.arc(["invoke", "weather.forecast", "--input", '{"city":"Oslo"}']);
      if (result.code !== 0) throw new Error(`arc invoke: exit ${result.code}\n${result.stderr}`);
      whole.push(performance.now() - start);
    }
    row("G2c", "arc invoke, whole process", "ms", quantile(whole, 0.5), "bare Bun, cold", floor.bare);
  } finally {
    await host.stop();
  }
}

async function imageSize(work: string): Promise<void> {
  say("image size (compressing Bun alone for the reference)");
  const name = readdirSync(join(root, "out/image")).find((file) => file.endsWith(".img.zst"));
  if (name === undefined) throw new Error("out/image has no .img.zst: run 'make image'");
  const reference = join(work, "bun.zst");
  await must(["zstd", "-19", "-T0", "--quiet", "--force", "-o", reference, bun]);
  const mib = (path: string): number => statSync(path).size / (1 << 20);
  row("G14b", "compressed disk image", "MiB", mib(join(root, "out/image", name)), "Bun alone, zstd -19", mib(reference), 2);
}

/** A project of `count` tools, each with an input and an output interface of its own. */
function manyTools(dir: string, count: number): void {
  mkdirSync(join(dir, "src"), { recursive: true });
  for (let i = 0; i < count; i++)
    writeFileSync(join(dir, `src/tool-${i}.ts`), `import { tool } from "@aria/sdk";
export interface Input${i} { name: string; count?: number; tags: string[]; mode: "fast" | "slow" }
export interface Output${i} { text: string; at: Date; parts: { key: string; value: number }[] }
export class Tools${i} {
  /** Tool number ${i}. */
  @tool({ timeout: "5s" })
  work${i}(input: Input${i}): Output${i} {
    return { text: input.name.repeat(input.count ?? 1), at: new Date(0), parts: input.tags.map((key, value) => ({ key, value })) };
  }
}
`);
}

async function arcBuild(work: string): Promise<void> {
  say("arc build of 20 tools against tsc --noEmit (5 interleaved rounds)");
  const project = join(work, "many");
  await must([arcProgram, "new", project, "--template", "tool"]);
  manyTools(project, 20);
  await must([arcProgram, "build", "--out", join(work, "many.aria")], project);
  const tsc = [bun, join(root, "arc-cli/node_modules/typescript/lib/tsc.js"), "--noEmit", "-p", project];
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < 5; round++) {
    for (const [samples, argv] of [[ours, [arcProgram, "build", "--out", join(work, "many.aria")]], [theirs, tsc]] as const) {
      const start = performance.now();
      await must([...argv], project);
      samples.push(performance.now() - start);
    }
  }
  row("B1", "arc build, cold, 20 tools", "ms", quantile(ours, 0.5), "tsc --noEmit", quantile(theirs, 0.5));
}

function print(): void {
  const table = rows.map((r) => [r.goal, r.metric, `${r.value} ${r.unit}`, r.reference, `${r.reference_value} ${r.unit}`, r.ratio.toFixed(2)]);
  const head = ["goal", "metric", "value", "reference", "its value", "ratio"];
  const widths = head.map((title, column) => Math.max(title.length, ...table.map((cells) => cells[column]?.length ?? 0)));
  for (const cells of [head, ...table]) console.log(cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  "));
  for (const bar of bars) console.log(`${bar.held ? "held  " : "MISSED"} ${bar.text}`);
}

await needRoot(import.meta.path);
const work = mkdtempSync(join(tmpdir(), "aria-bench-"));
try {
  const floor = await cold(work);
  await clientToAnswer(work, floor);
  await arcBuild(work);
  await imageSize(work);
  say("boot to first answer in QEMU");
  const boot = await bootToFirstAnswer(join(work, "weather.aria"), "weather.forecast", { city: "Oslo" }, work);
  row("G14a", "boot to ready, guest clock", "s", boot.ready, "kernel and first stage, guest clock", boot.rootMounted);
  row("G14a", "boot to first answer, upload included", "s", boot.firstAnswer, "boot to ready", boot.readyWall);
} finally {
  rmSync(work, { recursive: true, force: true });
}
mkdirSync(join(root, "out"), { recursive: true });
writeFileSync(join(root, "out/bench.json"), `${JSON.stringify(rows, null, 1)}\n`);
print();
process.exit(bars.every((bar) => bar.held) ? 0 : 1);
