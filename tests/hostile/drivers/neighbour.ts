// C52, C53, C57 seen by a neighbour: while one owner's cage forks, spins or floods, calls of others keep their latency, and the
// daemons keep their memory.

import { join } from "node:path";
import { root } from "../../stand/host.ts";
import { exec } from "../device.ts";
import { type Driver, Findings } from "./driver.ts";
import { resident } from "./machine.ts";

const CASES = join(root, "tests/hostile/cases");
const CALLS = 12;
/** Twice as long at the 99th percentile is what the cage promises; a handful of calls has only a maximum, and a shared machine jitters. */
const FACTOR = 2;
const SLACK_MS = 1_000;
const GROWTH_BYTES_MAX = 16 << 20;

export const neighbour: Driver = {
  name: "C52 neighbour",
  attack: "slow a neighbour down, or grow the daemons, by forking, spinning and flooding",
  holds: "pids, cpu, memory, output limit (engine)",
  where: "host",
  heavy: true,
  async run(device) {
    const host = device.host!;
    const findings = new Findings();
    const call = async (): Promise<number> => {
      const result = await exec(device, join(CASES, "_idle.ts"), ["--timeout", "60s"], 90_000, ["0"]);
      findings.check("a quiet call ends normally", result.ended.kind === "succeeded", JSON.stringify(result.ended));
      return result.elapsedMs;
    };
    const slowest = async (): Promise<number> => {
      const times: number[] = [];
      for (let i = 0; i < CALLS; i++) times.push(await call());
      return times.sort((a, b) => a - b)[Math.floor(CALLS * 0.9)]!;
    };
    await call();
    const quiet = await slowest();
    const before = { ariad: resident(host.pids().ariad), quiltd: resident(host.pids().quiltd) };
    const notes = [`quiet ${quiet.toFixed(0)} ms`];
    for (const [name, timeout] of [["c52-bomb", "15s"], ["c54-spin", "15s"], ["c57-out", "15s"]] as const) {
      const attack = exec(device, join(CASES, `${name}.ts`), ["--timeout", timeout], 60_000);
      await Bun.sleep(700);
      const beside = await slowest();
      findings.check(`beside ${name}`, beside <= quiet * FACTOR + SLACK_MS, `${beside.toFixed(0)} ms, quiet ${quiet.toFixed(0)} ms`);
      notes.push(`${name} ${beside.toFixed(0)} ms`);
      await attack;
    }
    const after = { ariad: resident(host.pids().ariad), quiltd: resident(host.pids().quiltd) };
    for (const name of ["ariad", "quiltd"] as const) findings.check(`${name} did not grow`, after[name] - before[name] < GROWTH_BYTES_MAX, `${before[name]} to ${after[name]} bytes`);
    return findings.verdict(notes.join(", "));
  },
};
