// C16: many starts while another cage flips links in its own places: the mounts of each new cage stay what they are, and nothing
// is mounted on the machine.

import { join } from "node:path";
import { root } from "../../stand/host.ts";
import { exec } from "../device.ts";
import { type Driver, Findings } from "./driver.ts";
import { text } from "./machine.ts";

const CASES = join(root, "tests/hostile/cases");
const STARTS = 50;
const STARTS_FULL = 1_000;
const AT_ONCE = 2;

export const starts: Driver = {
  name: "C16 starts",
  attack: "race the set-up of a neighbour by flipping links at every mount point's name",
  holds: "mount-namespace; mount points in no tree a tool can write",
  where: "host",
  heavy: true,
  async run(device, { full }) {
    const findings = new Findings();
    const mounts = (): number => text("/proc/self/mountinfo").split("\n").length;
    const before = mounts();
    const total = full ? STARTS_FULL : STARTS;
    const flipper = exec(device, join(CASES, "_flip.ts"), ["--timeout", `${full ? 1_200 : 240}s`], full ? 1_300_000 : 300_000, [String((full ? 1_100 : 200) * 1000)]);
    const shapes = new Map<string, number>();
    let done = 0;
    const worker = async (): Promise<void> => {
      while (done < total) {
        done += 1;
        const result = await exec(device, join(CASES, "_mounts.ts"), ["--timeout", "30s"], 60_000);
        const shape = /MOUNTS (\S+)/.exec(result.head)?.[1] ?? `none: ${JSON.stringify(result.ended)}`;
        shapes.set(shape, (shapes.get(shape) ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    findings.check("one shape in every start", shapes.size === 1, JSON.stringify([...shapes]).slice(0, 600));
    for (const shape of shapes.keys()) findings.check("a shape was seen", !shape.startsWith("none"), shape);
    findings.check("nothing mounted on the machine", mounts() <= before, `${before} to ${mounts()}`);
    await device.host!.restart("quiltd");
    await flipper;
    return findings.verdict(`${total} starts`);
  },
};
