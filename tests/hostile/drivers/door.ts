// C37, T03: what a guest does with its door leaves nothing with the daemons, and a descriptor that outlives its run opens nothing.

import { join } from "node:path";
import { root, until } from "../../stand/host.ts";
import { exec, type ExecResult } from "../device.ts";
import { type Driver, Findings } from "./driver.ts";
import { footprint, resident, residue } from "./machine.ts";

const CASES = join(root, "tests/hostile/cases");
const GROWTH_BYTES_MAX = 16 << 20;

export const door: Driver = {
  name: "C37 T03 door",
  attack: "fill the daemons through the door: passed descriptors, floods, bombs; write through a door whose run has ended",
  holds: "the door's reader: bounds, no descriptors taken (engine)",
  where: "host",
  heavy: false,
  async run(device) {
    const host = device.host!;
    const findings = new Findings();
    const go = (name: string, tokens: string[], args: string[] = []): Promise<ExecResult> =>
      exec(device, join(CASES, `${name}.ts`), [...tokens.flatMap((token) => ["--token", token]), "--timeout", "60s"], 120_000, args);
    const read = async (table: string): Promise<string> => /TABLE (.*)/.exec((await go("_read", [`kv:${table}:ro`], [table])).head)?.[1] ?? "nothing said";
    await go("c37", ["kv:hostile:ro"]);
    await Bun.sleep(500);
    const before = footprint(host);
    const memory = { ariad: resident(host.pids().ariad), quiltd: resident(host.pids().quiltd) };
    for (const [name, token] of [["c37", "kv:hostile:ro"], ["c37", "kv:hostile:ro"], ["t02-flood", "kv:hostile-flood:rw"], ["t02-bomb", "kv:hostile:ro"], ["t03-close", "kv:hostile:ro"]] as const) await go(name, [token]);
    await until(5_000, () => residue(before, footprint(host)).length === 0);
    for (const more of residue(before, footprint(host))) findings.check("nothing is left", false, more);
    for (const name of ["ariad", "quiltd"] as const) {
      const grown = resident(host.pids()[name]) - memory[name];
      findings.check(`${name} does not keep what it was sent`, grown < GROWTH_BYTES_MAX, `${grown} bytes more`);
    }

    const orphan = await go("_orphan-writer", ["kv:hostile-orphan:rw"]);
    findings.check("the run with an orphan ends", orphan.ended.kind === "succeeded", JSON.stringify(orphan.ended));
    findings.check("it wrote while it ran", orphan.head.includes("EARLY ok"), orphan.head);
    await Bun.sleep(1_500);
    const table = await read("hostile-orphan");
    findings.check("what it wrote is there", table.includes("early"), table);
    findings.check("what was written after its end is not", !table.includes("late"), table);
    return findings.verdict();
  },
};
