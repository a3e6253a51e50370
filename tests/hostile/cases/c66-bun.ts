// case: C66-bun
// attack: crash with the runtime's own crash handler in place
// accepts: SIGNALLED, EXITED
// profiles: tool, tool-noexec
// cost: light
// control: seeded: about what the caller is told, driven by drivers/exits.ts
// limits: --timeout 20s

import { Asm } from "./_asm.ts";

new Asm().raw(0x31, 0xc0, 0x8b, 0x00).place()();
