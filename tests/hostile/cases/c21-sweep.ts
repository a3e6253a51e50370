// case: C21-sweep
// attack: every number through the x32 and i386 gates, each in a child of its own that must die by SIGSYS
// accepts: line
// profiles: tool
// cost: light
// control: seccomp

import { fork, reap } from "./_asm.ts";
import { Case } from "./_case.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C21-sweep");
const SIGSYS = 31;
const plain = fork((asm) => void asm.sys(NR.getpid).raw(0x31, 0xc0));
c.able("fork and reap a child", reap(sys, plain)?.signal === 0);

const died = (what: string, pid: number): void => {
  const end = reap(sys, pid);
  c.held(what, end?.signal === SIGSYS, JSON.stringify(end));
};
for (let nr = 0; nr < 560; nr += 3) died(`x32 ${nr}`, fork((asm) => void asm.sys(0x40000000 | nr, -1, -1, -1, -1, -1, -1)));
// Numbers whose call would end, stop or replicate the child are left out on the i386 side: 1 exit, 2 fork, 29 pause, 190 vfork, 252 exit_group.
const SKIP = new Set([1, 2, 29, 72, 119, 120, 173, 179, 190, 252]);
for (let nr = 0; nr < 470; nr += 3) {
  if (SKIP.has(nr)) continue;
  // mov eax, nr; mov ebx, -1; int 0x80
  died(`i386 ${nr}`, fork((asm) => void asm.raw(0xb8, nr & 255, nr >> 8, 0, 0, 0xbb, 255, 255, 255, 255, 0xcd, 0x80)));
}
c.done();
