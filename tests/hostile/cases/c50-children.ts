// case: C50-children
// attack: spread an allocation over many processes, each below the limit
// accepts: OOM_KILLED
// profiles: tool
// cost: heavy
// control: memory
// limits: --memory 128M --timeout 60s

import { Asm, fork, reap } from "./_asm.ts";
import { Case } from "./_case.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C50-children");
c.able("fork and reap a child", reap(sys, fork((asm: Asm) => void asm.sys(NR.open, 0, 0)))?.code === 14);
const LIMIT = 128 << 20;
const EACH = 32 << 20;
const children: number[] = [];
for (let i = 0; i < 16; i++) {
  // mmap(MAP_POPULATE), then wait for ever.
  const pid = fork((asm) => void asm.sys(NR.mmap, 0, EACH, 3, 0x8022, -1, 0).jumpNegative("end").label("wait").sys(NR.poll, 0, 0, 1000).jump("wait").label("end"));
  if (pid > 0) children.push(pid);
}
await Bun.sleep(3_000);
// Still here: then the kernel ended the children. Whoever lives must fit the limit.
const WNOHANG = 1;
const alive = children.filter((pid) => sys(NR.wait4, pid, new Int32Array(1), WNOHANG, 0) === 0);
c.held("living children fit the limit", alive.length * EACH <= LIMIT, `${alive.length} of ${children.length} hold ${EACH} bytes each`);
for (const pid of alive) sys(NR.kill, pid, 9);
c.done(`${alive.length} of ${children.length} children alive`);
