// case: C21-i386-open
// attack: an i386 call whose number is a harmless one in the native table
// accepts: SECCOMP
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { Case } from "./_case.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";
import { i386 } from "./_wrongarch.ts";

const c = new Case("C21-i386-open");
c.able("make native calls", sys(NR.getpid) === process.pid);
// The filter ends the process here. Whatever comes back, an answer or ENOSYS, means the call was not stopped.
const answer = i386(1000)();
c.held("an i386 call whose number is a harmless one in the native table", false, String(answer));
c.done();
