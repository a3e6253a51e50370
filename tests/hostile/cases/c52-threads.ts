// case: C52-threads
// attack: make threads until refused
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: pids
// limits: --timeout 30s

import { thread } from "./_asm.ts";
import { Case } from "./_case.ts";
import { E, pages, show, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C52-threads");
const PIDS = 64;
const STACK = 16_384;
c.able("make raw calls", sys(NR.getpid) === process.pid);
let made = 0;
let last = 0;
while (made < 4 * PIDS) {
  last = thread(pages(STACK).address + STACK - 64, (asm) => void asm.label("wait").sys(NR.poll, 0, 0, 1000).jump("wait"));
  if (last < 0) break;
  made += 1;
}
c.able("make a thread", made > 0);
c.held("ends by EAGAIN", last === -E.AGAIN, show(last));
c.held("within the limit", made <= PIDS, String(made));
c.done(`${made} threads`);
