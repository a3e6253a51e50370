// Longer runs of the fuzz targets under libFuzzer: `make fuzz`. Ends with `N passed, N failed`, counted in targets.
//
// FUZZ_SECONDS=<n> for each target (default 60), TARGET=<name> for one, MERGE=1 adds what was found to the saved corpus. New inputs
// go to out/fuzz/corpus, an input that breaks a target to out/fuzz/crashes. Coverage comes from the stable compiler's own pass, so
// no nightly toolchain is needed; libFuzzer itself is C++ and needs a C++ compiler.

import { mkdirSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dir, "../..");
const SAVED = join(root, "tests/fuzz/corpus");
const FOUND = join(root, "out/fuzz/corpus");
const CRASHES = join(root, "out/fuzz/crashes");
const PROGRAM = join(root, "target/fuzz/x86_64-unknown-linux-gnu/release/fuzz");
/** One input may take this long and this much memory; every parser needs a fraction of it. */
const TIMEOUT_S = 5;
const MEMORY_MIB = 1024;
/** Longest input tried; the limits that matter here are in reach of it. */
const INPUT_BYTES_MAX = 65_536;
const FLAGS = [
  "--cfg=fuzzing", "-Ccodegen-units=1", "-Cpasses=sancov-module",
  ...["level=4", "inline-8bit-counters", "pc-table", "trace-compares"].map((option) => `-Cllvm-args=-sanitizer-coverage-${option}`),
];

interface Ended {
  target: string;
  failure?: string;
  said: string;
}

async function build(): Promise<void> {
  if (Bun.which("c++") === null) throw new Error("libFuzzer needs a C++ compiler: apt-get install g++");
  const cargo = Bun.spawn(["cargo", "build", "--locked", "--quiet", "--release", "--package", "fuzz", "--features", "engine"], {
    cwd: root, stdout: "inherit", stderr: "inherit",
    env: {
      ...process.env, CARGO_TARGET_DIR: join(root, "target/fuzz"), RUSTFLAGS: FLAGS.join(" "),
      // What is arithmetic or an assertion in a parser is to be seen here.
      CARGO_PROFILE_RELEASE_LTO: "off", CARGO_PROFILE_RELEASE_STRIP: "none", CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS: "true", CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS: "true",
    },
  });
  if ((await cargo.exited) !== 0) throw new Error("the fuzz targets do not build");
}

async function libFuzzer(target: string, options: string[]): Promise<{ code: number; text: string }> {
  const child = Bun.spawn([PROGRAM, ...options], { cwd: root, env: { ...process.env, FUZZ_TARGET: target }, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [text, code] = await Promise.all([new Response(child.stderr).text(), child.exited, new Response(child.stdout).text()]);
  return { code, text };
}

async function fuzz(target: string, seconds: number, merge: boolean): Promise<Ended> {
  const [saved, found, crashes] = [join(SAVED, target), join(FOUND, target), join(CRASHES, target)];
  for (const directory of [found, crashes]) mkdirSync(directory, { recursive: true });
  const before = readdirSync(found).length;
  const { code, text } = await libFuzzer(target, [
    `-max_total_time=${seconds}`, `-timeout=${TIMEOUT_S}`, `-rss_limit_mb=${MEMORY_MIB}`, `-max_len=${INPUT_BYTES_MAX}`,
    "-print_final_stats=1", "-verbosity=1", `-artifact_prefix=${crashes}/`, found, saved,
  ]);
  const stat = (name: string): string => new RegExp(`stat::${name}:\\s+(\\d+)`).exec(text)?.[1] ?? "?";
  const coverage = [...text.matchAll(/cov: (\d+)/g)].at(-1)?.[1] ?? "?";
  const said = `${stat("number_of_executed_units")} runs, ${coverage} edges, ${readdirSync(found).length - before} new inputs, peak ${stat("peak_rss_mb")} MiB`;
  if (code !== 0) return { target, said, failure: text.split("\n").slice(-40).join("\n") };
  if (merge) await libFuzzer(target, ["-merge=1", saved, found]);
  return { target, said };
}

async function main(): Promise<number> {
  const seconds = Number(process.env.FUZZ_SECONDS || 60);
  if (!Number.isInteger(seconds) || seconds < 1) throw new Error(`FUZZ_SECONDS=${process.env.FUZZ_SECONDS}: a number of seconds is needed`);
  const all = readdirSync(SAVED).sort();
  const wanted = process.env.TARGET ? all.filter((name) => name === process.env.TARGET) : all;
  if (wanted.length === 0) throw new Error(`TARGET=${process.env.TARGET}: there are ${all.join(", ")}`);
  await build();
  const queue = [...wanted];
  const ended: Ended[] = [];
  const worker = async (): Promise<void> => {
    for (let target = queue.shift(); target !== undefined; target = queue.shift()) {
      const result = await fuzz(target, seconds, Boolean(process.env.MERGE));
      ended.push(result);
      console.log(`${result.failure === undefined ? "ok    " : "FAILED"} ${target.padEnd(16)} ${result.said}${result.failure === undefined ? "" : `\n${result.failure}`}`);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  const failed = ended.filter((one) => one.failure !== undefined).length;
  console.log(`${ended.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exit(await main().catch((error: unknown) => {
  console.error(`fuzz: ${error instanceof Error ? error.message : String(error)}`);
  console.log("0 passed, 1 failed");
  return 1;
}));
