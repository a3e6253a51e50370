// C53: the share of processor time, measured where it is enforced: what the cage's group used against what its quota allowed in the
// periods the kernel itself counted. A busy machine changes neither.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root, until } from "../../stand/host.ts";
import { exec } from "../device.ts";
import { type Driver, Findings } from "./driver.ts";
import { type CageProcess, cageProcesses, text } from "./machine.ts";

const SPIN = join(root, "tests/hostile/cases/c53.ts");
const SHARES = { light: ["0.25"], usual: ["0.1", "0.25", "0.5", "1"] };
const SECONDS = 10;
const TOLERANCE = 1.05;

interface Counters {
  usedUs: number;
  periods: number;
  throttled: number;
  quotaUs: number;
  periodUs: number;
}

const number = (source: string, key: string): number => Number(new RegExp(`^${key}[ \\t]+(\\d+)`, "m").exec(source)?.[1] ?? Number.NaN);

/** The counters of the group a process is in, from whichever hierarchy has them. */
function counters(pid: number): Counters {
  const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().split("\n").map((line) => line.split(":") as [string, string, string]);
  const unified = lines.find(([id]) => id === "0")?.[2] ?? "";
  const v1 = lines.find(([, names]) => names.split(",").includes("cpu"))?.[2];
  const roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map((mount) => join(mount, unified));
  const usage = roots.map((path) => number(text(join(path, "cpu.stat")), "usage_usec")).find((value) => !Number.isNaN(value)) ?? Number.NaN;
  if (v1 !== undefined) {
    const path = join("/sys/fs/cgroup/cpu", v1);
    const stat = text(join(path, "cpu.stat"));
    return { usedUs: usage, periods: number(stat, "nr_periods"), throttled: number(stat, "nr_throttled"), quotaUs: Number(text(join(path, "cpu.cfs_quota_us"))), periodUs: Number(text(join(path, "cpu.cfs_period_us"))) };
  }
  const stat = text(join(roots[1]!, "cpu.stat"));
  const [quotaUs, periodUs] = text(join(roots[1]!, "cpu.max")).trim().split(" ").map(Number);
  return { usedUs: usage, periods: number(stat, "nr_periods"), throttled: number(stat, "nr_throttled"), quotaUs: quotaUs ?? Number.NaN, periodUs: periodUs ?? Number.NaN };
}

export const quota: Driver = {
  name: "C53 quota",
  attack: "take more processor time than granted with sixteen threads, at several shares",
  holds: "cpu",
  where: "host",
  heavy: true,
  async run(device, { light }) {
    const host = device.host!;
    const findings = new Findings();
    const notes: string[] = [];
    for (const share of light ? SHARES.light : SHARES.usual) {
      const running = exec(device, SPIN, ["--cpu", share, "--timeout", "60s"], 120_000);
      const spinning = (): CageProcess | undefined => cageProcesses(host).find((one) => Number(/^Threads:\s+(\d+)/m.exec(text(`/proc/${one.pid}/status`))?.[1] ?? 0) > 16);
      if (!(await until(30_000, () => spinning() !== undefined))) {
        findings.check(`sixteen threads at ${share}`, false, JSON.stringify((await running).ended));
        continue;
      }
      const { pid } = spinning()!;
      await Bun.sleep(500);
      const before = counters(pid);
      await Bun.sleep((SECONDS - 2) * 1000);
      const after = counters(pid);
      const [used, periods] = [after.usedUs - before.usedUs, after.periods - before.periods];
      const allowed = periods * before.quotaUs;
      findings.check(`${share}: the quota is the one asked for`, Math.abs(before.quotaUs / before.periodUs - Number(share)) < 0.001, `${before.quotaUs} of ${before.periodUs}`);
      findings.check(`${share}: used within five percent of what was allowed`, used > 0 && used <= allowed * TOLERANCE, `${used} of ${allowed} us in ${periods} periods`);
      // One core of two may never be reached on a busy machine; the small shares always are.
      if (Number(share) <= 0.25) findings.check(`${share}: the limit was what held it`, after.throttled > before.throttled, `${after.throttled - before.throttled} of ${periods} periods throttled`);
      notes.push(`${share}: ${(used / allowed).toFixed(3)} of the quota in ${periods} periods, throttled in ${after.throttled - before.throttled}`);
      await running;
    }
    return findings.verdict(notes.join("; "));
  },
};
