// case: C65
// attack: leave orphans behind: double fork, own group, holding stdout and ignoring signals
// accepts: line
// profiles: tool
// cost: light
// control: seeded: the engine ends it, not a layer of the cage; the typed outcome is the proof
// limits: --timeout 20s
// within: 10s

import { fork, reap } from "./_asm.ts";
import { Case } from "./_case.ts";
import { addressOf, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C65");
const ignore = addressOf(words(1, 0, 0, 0));
let orphans = 0;
for (let i = 0; i < 6; i++) {
  const pid = fork((asm) => void asm
    .sys(NR.clone, 17, 0, 0, 0, 0).jumpZero("orphan").sys(NR.exit_group, 0)
    .label("orphan").sys(NR.setsid).sys(NR.setpgid, 0, 0)
    .sys(NR.rt_sigaction, 1, ignore, 0, 8).sys(NR.rt_sigaction, 13, ignore, 0, 8).sys(NR.rt_sigaction, 15, ignore, 0, 8)
    .label("wait").sys(NR.poll, 0, 0, 1000).jump("wait"));
  if (pid > 0 && reap(sys, pid)?.code === 0) orphans += 1;
}
c.able("make orphans", orphans === 6);
// The orphans hold this process's stdout. The caller must still get the answer when this process ends; the runner checks the time.
c.held("left orphans behind", true);
c.done(`${orphans} orphans`);
