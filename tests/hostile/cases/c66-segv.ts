// case: C66-segv
// attack: a null dereference
// accepts: SIGNALLED
// profiles: tool, tool-noexec
// cost: light
// control: seeded: about what the caller is told, driven by drivers/exits.ts
// limits: --timeout 20s

import { Asm } from "./_asm.ts";
import { sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

// The kernel's own action, not the handlers Bun installs.
for (const signal of [4, 5, 6, 7, 8, 11]) sys(NR.rt_sigaction, signal, words(0, 0, 0, 0), 0, 8);
// xor eax, eax; mov eax, [rax]
new Asm().raw(0x31, 0xc0, 0x8b, 0x00).place()();
