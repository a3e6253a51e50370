// case: C21-x32-high
// attack: an x32 number no table has
// accepts: SECCOMP
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { Case } from "./_case.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";
import { x32 } from "./_wrongarch.ts";

const c = new Case("C21-x32-high");
c.able("make native calls", sys(NR.getpid) === process.pid);
// The filter ends the process here. Whatever comes back, an answer or ENOSYS, means the call was not stopped.
const answer = x32(0x3ff)();
c.held("an x32 number no table has", false, String(answer));
c.done();
