// case: C67
// attack: leave a thousand dead children unreaped, its own and orphaned ones, until no process can be made
// accepts: line
// profiles: tool
// cost: light
// control: seeded: the first process of the cage reaps, and there is no cage without it
// limits: --timeout 30s

import { fork, reap } from "./_asm.ts";
import { Case, list, readText } from "./_case.ts";
import { E, show, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C67");
const PIDS = 64;
const ORPHANS = 1_000;
const processes = (): number => list("/proc").filter((name) => /^\d+$/.test(name)).length;
c.able("see its processes", processes() > 0 && readText("/proc/self/stat") !== null);

// Orphans: the child ends at once and is reaped here, the grandchild ends later and is whoever-reaps-orphans' business.
let refused = 0;
for (let i = 0; i < ORPHANS; i++) {
  const pid = fork((asm) => void asm.sys(NR.clone, 17, 0, 0, 0, 0).sys(NR.exit_group, 0));
  if (pid > 0) reap(sys, pid);
  else {
    refused += 1;
    Bun.sleepSync(5);
  }
}
// A grandchild may be dead and not yet reaped for a moment; for good it would stop everything after sixty of them.
c.held("orphans are reaped", refused < ORPHANS / 10, `${refused} of ${ORPHANS} refused`);
let rest = processes();
for (let i = 0; i < 100 && rest > 2; i++, rest = processes()) Bun.sleepSync(20);
c.held("no orphan is left", rest <= 2, `${rest} processes`);

// Its own dead children count against its own limit only, and come back when they are waited for.
const dead: number[] = [];
let last = 0;
while (dead.length < 4 * PIDS) {
  last = fork((asm) => void asm.sys(NR.exit_group, 0));
  if (last < 0) break;
  dead.push(last);
}
c.held("its own dead children are limited", last === -E.AGAIN && dead.length < PIDS, `${dead.length}, ${show(last)}`);
for (const pid of dead) reap(sys, pid);
const again = fork((asm) => void asm.sys(NR.exit_group, 0));
c.held("pids come back", again > 0, show(again));
if (again > 0) reap(sys, again);
c.done(`${ORPHANS - refused} orphans, ${dead.length} dead children`);
