// case: C52-count
// attack: fork until refused, counting
// accepts: line
// profiles: tool
// cost: light
// control: pids
// limits: --timeout 30s

import { fork, reap } from "./_asm.ts";
import { Case } from "./_case.ts";
import { E, show, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C52-count");
const PIDS = 64;
c.able("fork and reap a child", reap(sys, fork((asm) => void asm.sys(NR.open, 0, 0)))?.code === E.FAULT);
const children: number[] = [];
let last = 0;
while (children.length < 4 * PIDS) {
  last = fork((asm) => void asm.label("wait").sys(NR.poll, 0, 0, 1000).jump("wait"));
  if (last < 0) break;
  children.push(last);
}
c.held("ends by EAGAIN", last === -E.AGAIN, show(last));
c.held("within the limit", children.length <= PIDS, String(children.length));
c.held("the limit leaves room to work", children.length >= 8, String(children.length));
// vfork and Bun's own spawn meet the same end.
c.throws("Bun.spawnSync at the limit", () => {
  const child = Bun.spawnSync([process.execPath, "-e", "1"]);
  if (child.exitCode !== 0) throw new Error("refused");
  return child.exitCode;
});
for (const pid of children) sys(NR.kill, pid, 9);
for (const pid of children) reap(sys, pid);
const again = fork((asm) => void asm.sys(NR.open, 0, 0));
c.held("room comes back", again > 0 && reap(sys, again)?.code === E.FAULT, show(again));
c.done(`${children.length} children`);
