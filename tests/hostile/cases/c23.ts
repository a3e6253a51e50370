// case: C23
// attack: set or skew any clock
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { Case } from "./_case.ts";
import { O, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C23");
const now = Date.now();
c.able("read a clock", sys(NR.clock_gettime, 0, new Uint8Array(16)) === 0);

// Impossible nanoseconds: where a call is let through, the kernel answers EINVAL and no clock moves.
const impossible = words(0, 2_000_000_000);
for (const clock of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, -6, -13, 0x7fffffff]) c.filtered(`clock_settime ${clock}`, sys(NR.clock_settime, clock, impossible));
c.filtered("settimeofday", sys(NR.settimeofday, words(0, 2_000_000), 0));
c.filtered("settimeofday zone", sys(NR.settimeofday, 0, new Int32Array([99_999, 0])));
const timex = (modes: number): Uint8Array => {
  const bytes = new Uint8Array(208);
  new DataView(bytes.buffer).setUint32(0, modes, true);
  // ADJ_SETOFFSET with impossible microseconds, so nothing moves.
  new DataView(bytes.buffer).setBigInt64(80, 2_000_000_000n, true);
  return bytes;
};
for (const modes of [0, 0x0100, 0x8001 & 0x0100, 0x2100]) {
  c.filtered(`adjtimex ${modes.toString(16)}`, sys(NR.adjtimex, timex(modes)));
  for (const clock of [0, 1, 11]) c.filtered(`clock_adjtime ${clock} ${modes.toString(16)}`, sys(NR.clock_adjtime, clock, timex(modes)));
}
c.filtered("unshare time namespace", sys(NR.unshare, 0x80));
for (const path of ["/dev/rtc", "/dev/rtc0", "/dev/ptp0", "/dev/hpet", "/proc/self/timens_offsets", "/dev/misc/rtc"]) {
  const fd = sys(NR.open, path, O.WRONLY | O.CLOEXEC, 0);
  if (path.includes("timens")) {
    if (fd >= 0) c.refused("write timens_offsets", sys(NR.write, fd, "monotonic 1 0", 13));
  } else c.refused(`open ${path}`, fd);
  if (fd >= 0) sys(NR.close, fd);
}
// An alarm timer would wake a sleeping machine.
for (const clock of [8, 9]) {
  const id = sys(NR.timer_create, clock, 0, new Int32Array(1));
  c.refused(`alarm timer ${clock}`, id);
  c.refused(`timerfd alarm ${clock}`, sys(NR.timerfd_create, clock, 0));
}
const drift = Date.now() - now;
c.held("the clock went on as before", drift >= 0 && drift < 60_000, `${drift} ms`);
c.done();
