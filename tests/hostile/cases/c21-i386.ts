// case: C21-i386
// attack: an i386 call by int 0x80
// accepts: SECCOMP
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { Case } from "./_case.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";
import { i386 } from "./_wrongarch.ts";

const c = new Case("C21-i386");
c.able("make native calls", sys(NR.getpid) === process.pid);
// The filter ends the process here. Whatever comes back, an answer or ENOSYS, means the call was not stopped.
const answer = i386(20)();
c.held("an i386 call by int 0x80", false, String(answer));
c.done();
