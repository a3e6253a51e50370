// case: C52-bomb
// attack: processes that fork for ever, orphaned and in their own sessions
// accepts: PIDS_LIMIT, DEADLINE
// profiles: tool
// cost: heavy
// control: seeded: without its limit it would take the machine; c52-count fires in its place
// limits: --timeout 5s
// within: 30s

import { fork } from "./_asm.ts";
import { NR } from "./_nr.ts";

// Every process of the bomb forks without end; none of them ever waits or exits.
for (let i = 0; i < 8; i++) fork((asm) => void asm.sys(NR.setpgid, 0, 0).label("again").sys(NR.clone, 17, 0, 0, 0, 0).jump("again"));
for (;;) await Bun.sleep(1000);
