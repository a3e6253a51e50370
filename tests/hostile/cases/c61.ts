// case: C61
// attack: end in every way: all exit codes and fatal signals of children must be reported exactly
// accepts: line
// profiles: tool
// cost: light
// control: seeded: about what the caller is told, driven by drivers/exits.ts
// limits: --timeout 60s

import { fork, reap } from "./_asm.ts";
import { Case } from "./_case.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

// The program's own exit codes and signals, as the caller sees them, are driven from the host by drivers/exits.ts.
const c = new Case("C61");
for (let code = 0; code <= 255; code++) {
  const end = reap(sys, fork((asm) => void asm.sys(NR.exit_group, code)));
  c.held(`exit ${code}`, end?.code === code && end.signal === 0, JSON.stringify(end));
}
for (const signal of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31, 34, 64]) {
  const pid = fork((asm) => void asm.label("wait").sys(NR.poll, 0, 0, 1000).jump("wait"));
  // Bun ignores some signals and a child inherits that; SIGKILL ends the rest.
  sys(NR.kill, pid, signal);
  const status = new Int32Array(1);
  let reaped = 0;
  for (let tries = 0; tries < 100 && reaped !== pid; tries++) {
    reaped = sys(NR.wait4, pid, status, 1, 0);
    if (reaped !== pid) Bun.sleepSync(2);
  }
  if (reaped === pid) c.held(`signal ${signal}`, (status[0]! & 0x7f) === signal, String(status[0]));
  else {
    sys(NR.kill, pid, 9);
    c.held(`signal ${signal} ignored, then SIGKILL`, reap(sys, pid)?.signal === 9);
  }
}
c.done();
