// case: C66-core
// attack: crash and leave a core file
// accepts: line
// profiles: tool
// cost: light
// control: limits
// limits: --timeout 20s

import { fork } from "./_asm.ts";
import { Case, list } from "./_case.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C66-core");
const WCOREDUMP = 0x80;
for (const signal of [3, 4, 5, 6, 7, 8, 11, 24, 25, 31]) {
  const pid = fork((asm) => void asm.label("wait").sys(NR.poll, 0, 0, 1000).jump("wait"));
  sys(NR.kill, pid, signal);
  Bun.sleepSync(2);
  sys(NR.kill, pid, 9);
  const status = new Int32Array(1);
  c.able("reap a child", sys(NR.wait4, pid, status, 0, 0) === pid);
  c.held(`signal ${signal} dumps no core`, (status[0]! & WCOREDUMP) === 0, String(status[0]));
}
for (const directory of ["/tmp", "/out", "/", process.cwd()]) c.held(`no core in ${directory}`, !list(directory).some((name) => name.startsWith("core")));
c.done();
