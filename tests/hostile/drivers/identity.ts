// C02: whatever a cage believes it is, on the machine it is an unprivileged uid that no other live cage has.
// C16 in passing: its mounts are what the cage documents, each time.

import { join } from "node:path";
import { root, until } from "../../stand/host.ts";
import { exec } from "../device.ts";
import { type Driver, Findings } from "./driver.ts";
import { type CageProcess, cageProcesses, namespaces, text } from "./machine.ts";

const CAGES = 4;
const IDLE = join(root, "tests/hostile/cases/_idle.ts");

export const identity: Driver = {
  name: "C02 identity",
  attack: "be root, or the same user as another cage, on the machine itself",
  holds: "uid, user-namespace, capabilities, no-new-privileges, seccomp",
  where: "host",
  heavy: false,
  async run(device) {
    const host = device.host!;
    const findings = new Findings();
    const runs = Array.from({ length: CAGES }, () => exec(device, IDLE, ["--timeout", "60s"], 120_000, ["6000"]));
    const programs = (): CageProcess[] => cageProcesses(host).filter((one) => text(`/proc/${one.pid}/comm`).startsWith("bun"));
    const up = await until(30_000, () => new Set(programs().map((one) => one.uids[0])).size >= CAGES);
    const live = programs();
    findings.check(`${CAGES} cages live at once`, up, live.length);
    const own = namespaces(process.pid);
    const byUid = new Map<number, CageProcess[]>();
    for (const one of live) {
      findings.check(`pid ${one.pid} has one uid in every form`, new Set(one.uids).size === 1, one.uids.join(","));
      findings.check(`pid ${one.pid} is not root`, !one.uids.includes(0));
      const lines = one.uidMap.split("\n").map((line) => line.trim().split(/\s+/).map(Number));
      findings.check(`pid ${one.pid} has a one-line map`, lines.length === 1, one.uidMap);
      for (const [, outside, length] of lines) findings.check(`pid ${one.pid} maps to itself alone`, outside === one.uids[0] && length === 1 && outside !== 0, one.uidMap);
      findings.check(`pid ${one.pid} may not change groups`, text(`/proc/${one.pid}/setgroups`).trim() === "deny");
      const inside = namespaces(one.pid);
      for (const [name, id] of Object.entries(inside)) findings.check(`pid ${one.pid} has a ${name} namespace of its own`, id !== "" && id !== own[name], id);
      const status = text(`/proc/${one.pid}/status`);
      for (const line of ["NoNewPrivs:\t1", "Seccomp:\t2"]) findings.check(`pid ${one.pid} ${line}`, status.includes(line));
      findings.check(`pid ${one.pid} has no capability`, [...status.matchAll(/^Cap\w+:\s+([0-9a-f]+)$/gm)].every((match) => /^0+$/.test(match[1]!)));
      byUid.set(one.uids[0]!, [...(byUid.get(one.uids[0]!) ?? []), one]);
    }
    // Two cages never share a uid: all processes of one uid live in one pid namespace.
    for (const [uid, group] of byUid) {
      findings.check(`uid ${uid} belongs to one cage`, new Set(group.map((one) => namespaces(one.pid).pid)).size === 1);
    }
    const shapes = new Set(live.map((one) => mountShape(one.pid)));
    findings.check("every cage has the same mounts", shapes.size === 1, [...shapes].join(" / ").slice(0, 600));
    for (const shape of shapes) findings.check("only documented mount points", shape.split(" ").every((point) => /^(\/|\/tmp|\/out|\/app|\/in(\/\S+)?|\/dev(\/\S+)?|\/proc|\/lib\S*|\/bin)$/.test(point)), shape);
    for (const result of await Promise.all(runs)) findings.check("the idle program ended", result.ended.kind === "succeeded", JSON.stringify(result.ended));
    return findings.verdict(`uids ${[...byUid.keys()].join(" ")}`);
  },
};

function mountShape(pid: number): string {
  return [...new Set(text(`/proc/${pid}/mountinfo`).trim().split("\n").map((line) => line.split(" ")[4] ?? ""))].sort().join(" ");
}
