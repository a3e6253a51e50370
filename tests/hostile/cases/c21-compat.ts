// case: C21-compat
// attack: int 0x80 from a 32-bit code segment
// accepts: SECCOMP
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { Case } from "./_case.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";
import { compat } from "./_wrongarch.ts";

const c = new Case("C21-compat");
c.able("make native calls", sys(NR.getpid) === process.pid);
// The filter ends the process here. Whatever comes back, an answer or ENOSYS, means the call was not stopped.
const answer = compat([0xcd, 0x80])();
c.held("int 0x80 from a 32-bit code segment", false, String(answer));
c.done();
