// case: C54-sleep
// attack: a sleep in the kernel
// accepts: DEADLINE
// profiles: tool, tool-noexec
// cost: light
// control: supervisor
// limits: --timeout 2s
// within: 4s

import { sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

for (;;) sys(NR.nanosleep, words(1_000_000, 0), 0);
