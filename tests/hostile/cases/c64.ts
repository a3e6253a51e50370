// case: C64
// attack: stop itself and every thread by SIGSTOP
// accepts: DEADLINE
// profiles: tool, tool-noexec
// cost: light
// control: seeded: the engine ends it, not a layer of the cage; the typed outcome is the proof
// limits: --timeout 2s
// within: 5s

import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const SIGSTOP = 19;
for (;;) sys(NR.kill, process.pid, SIGSTOP);
