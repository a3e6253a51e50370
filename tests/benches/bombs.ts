// What a neighbour notices of a cage that does its worst, and how fast such a cage is over at its deadline. The programs are the
// hostile cases C50 to C58.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { bun, root } from "../stand/host.ts";
import { type CaseFile, readCases } from "../hostile/case-file.ts";
import { type Clock, must } from "./client.ts";
import { Noise, quantile, say, type Samples, type Table } from "./table.ts";

const CASES = join(root, "tests/hostile/cases");
/** One of each kind that goes on until its deadline; the others end by a limit of their own. */
const ENDLESS = ["c52-bomb", "c53", "c54-regex", "c54-spin"];

/** Bundles cases into programs the clock can run. */
async function load(clock: Clock, cases: readonly CaseFile[]): Promise<void> {
  const list = [];
  for (const file of cases) {
    await must([bun, "build", "--target=bun", `--outfile=${join(clock.work, "bombs", file.name, "main.js")}`, file.path]);
    const memory = file.limits[file.limits.indexOf("--memory") + 1];
    const mib = file.limits.includes("--memory") ? Number.parseInt(memory ?? "", 10) : 256;
    list.push({ name: file.name, spawn: !file.profiles.includes("tool-noexec"), memory_bytes: mib * 2 ** 20 });
  }
  writeFileSync(join(clock.work, "bombs/list.json"), JSON.stringify(list));
}

const worst = (name: string): boolean => /^c5[0-8]/.test(name);

export async function neighbours(clock: Clock, table: Table, only?: readonly string[]): Promise<void> {
  const cases = readCases(CASES).filter(({ name }) => worst(name) && (only?.includes(name) ?? true));
  say(`neighbours of ${cases.length} cages that do their worst, one after the other`);
  await load(clock, cases);
  const found = await clock.measure<{ alone: Samples; beside: { bomb: string; times: Samples; runs: number; last_end: string }[] }>("neighbours", 1);
  const noise = new Noise({ "neighbour alone": found.alone.wall_us });
  const p99 = (samples: Samples): number => quantile(samples.wall_us, 0.99) / 1000;
  for (const { bomb, times, runs, last_end } of found.beside)
    table.row(noise, "S7", `cold call beside ${bomb} (${runs} x, ${last_end}), p99 of ${times.wall_us.length}`, "ms", p99(times), "alone, p99", p99(found.alone), { max: 2 });
}

/** An absolute bar: 50 ms stands as the reference. */
export async function kills(clock: Clock, table: Table, rounds: number): Promise<void> {
  say(`kill latency: ${ENDLESS.join(", ")}, ${rounds} times each`);
  await load(clock, readCases(CASES).filter(({ name }) => ENDLESS.includes(name)));
  const noise = new Noise(await clock.floors());
  const found = await clock.measure<{ bomb: string; times: Samples }[]>("kills", rounds);
  const all = found.flatMap(({ times }) => times.wall_us);
  const row = (name: string, samples: number[], q: number, max?: number): void =>
    table.row(noise, "S7", name, "ms", quantile(samples, q) / 1000, "50 ms", 50, max === undefined ? undefined : { max });
  row(`kill latency: deadline to empty cgroup, p99 of ${all.length}`, all, 0.99, 1);
  for (const { bomb, times } of found) row(`same, ${bomb}, p50 of ${times.wall_us.length}`, times.wall_us, 0.5);
}
