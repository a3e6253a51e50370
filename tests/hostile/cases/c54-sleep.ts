// case: C54-sleep
// attack: a sleep in the kernel
// accepts: DEADLINE
// profiles: tool, tool-noexec
// cost: light
// control: seeded: the engine ends it, not a layer of the cage; the typed outcome is the proof
// limits: --timeout 2s
// within: 4s

import { sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

for (;;) sys(NR.nanosleep, words(1_000_000, 0), 0);
