// case: C64-tree
// attack: stop a whole tree of processes in their own groups
// accepts: DEADLINE
// profiles: tool
// cost: light
// control: seeded: the engine ends it, not a layer of the cage; the typed outcome is the proof
// limits: --timeout 2s
// within: 5s

import { fork } from "./_asm.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const SIGSTOP = 19;
// Each child has a child; all stop themselves, and stop again when somebody continues them.
for (let i = 0; i < 8; i++) {
  fork((asm) => void asm.sys(NR.setpgid, 0, 0).sys(NR.clone, 17, 0, 0, 0, 0).label("again").sys(NR.getpid).sys(NR.kill, "result", SIGSTOP).jump("again"));
}
for (;;) sys(NR.kill, process.pid, SIGSTOP);
