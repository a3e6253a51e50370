// What is left on the machine: after ends of every kind, and after kill -9 of a daemon in the middle of runs, there is no process,
// cgroup, mount, IPC object or descriptor more than before, and both daemons serve again.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root, until } from "../../stand/host.ts";
import { exec } from "../device.ts";
import { type Driver, Findings } from "./driver.ts";
import { cageProcesses, type Footprint, footprint } from "./machine.ts";

const CASES = join(root, "tests/hostile/cases");
/** A connection or a ready launcher more or less is not a leak; one per run would be. */
const DESCRIPTOR_SLACK = 8;

/** A restarted ariad may listen on another port of the stand; its contexts follow. */
function followAddress(configDir: string, address: string): void {
  const path = join(configDir, "config.json");
  const config = JSON.parse(readFileSync(path, "utf8")) as { contexts: Record<string, { address: string }> };
  for (const context of Object.values(config.contexts)) context.address = address;
  writeFileSync(path, JSON.stringify(config));
}

export const residue: Driver = {
  name: "residue",
  attack: "leave processes, cgroups, mounts, IPC objects or descriptors behind; kill -9 the daemons in the middle",
  holds: "cgroup.kill, namespaces, recovery at start (engine)",
  where: "host",
  heavy: false,
  async run(device) {
    const host = device.host!;
    const findings = new Findings();
    const runs = (name: string, timeout: string): Promise<unknown> => exec(device, join(CASES, name), ["--timeout", timeout], 60_000, ["20000"]);
    await runs("_idle.ts", "1s");
    const settled = async (before: Footprint, when: string): Promise<void> => {
      await until(3_000, () => cageProcesses(host).length <= before.processes && footprint(host).leaves.length <= before.leaves.length);
      const now = footprint(host);
      findings.check(`${when}: processes`, now.processes <= before.processes, `${before.processes} to ${now.processes}`);
      findings.check(`${when}: cgroups`, now.leaves.length <= before.leaves.length, now.leaves.filter((leaf) => !before.leaves.includes(leaf)).slice(0, 4).join(" "));
      findings.check(`${when}: mounts`, now.mounts <= before.mounts, `${before.mounts} to ${now.mounts}`);
      findings.check(`${when}: IPC objects`, now.ipc <= before.ipc, `${before.ipc} to ${now.ipc}`);
      findings.check(`${when}: state`, now.state.length <= before.state.length, now.state.join(" "));
      for (const name of ["ariad", "quiltd"] as const) {
        findings.check(`${when}: descriptors of ${name}`, now.descriptors[name] <= before.descriptors[name] + DESCRIPTOR_SLACK, `${before.descriptors[name]} to ${now.descriptors[name]}`);
      }
    };
    await Bun.sleep(500);
    const before = footprint(host);
    for (const name of ["c65.ts", "c64-tree.ts", "c63.ts", "c19.ts", "c66-segv.ts", "c52-count.ts", "c42.ts"]) await runs(name, "2s");
    await settled(before, "after hostile ends");

    for (const daemon of ["quiltd", "ariad"] as const) {
      const during = [runs("_idle.ts", "30s"), runs("_idle.ts", "30s"), runs("c64-tree.ts", "30s")];
      const up = await until(15_000, () => cageProcesses(host).length > before.processes + 2);
      findings.check(`cages live before kill -9 of ${daemon}`, up);
      const started = performance.now();
      await host.restart(daemon, "SIGKILL");
      followAddress(host.configDir, host.listen);
      await Promise.all(during);
      findings.check(`callers are told within a minute of kill -9 of ${daemon}`, performance.now() - started < 60_000);
      const again = await exec(device, join(CASES, "_idle.ts"), ["--timeout", "10s"], 60_000, ["0"]);
      findings.check(`serves again after kill -9 of ${daemon}`, again.ended.kind === "succeeded", JSON.stringify(again.ended));
      await settled(before, `after kill -9 of ${daemon}`);
    }
    return findings.verdict();
  },
};
