// case: C15
// attack: type into or take over a terminal: TIOCSTI, TIOCLINUX, TIOCSCTTY and relatives on every descriptor; open terminals
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { isatty } from "node:tty";
import { Case, list } from "./_case.ts";
import { O, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C15");
const FIONREAD = 0x541b;
const FIOCLEX = 0x5451;
const pipe = new Int32Array(2);
c.able("ioctl at all", sys(NR.ioctl, 1, FIOCLEX, 0) === 0 || (sys(NR.pipe2, pipe, 0) === 0 && sys(NR.ioctl, pipe[0]!, FIONREAD, new Int32Array(1)) === 0));
sys(NR.fcntl, 1, 2, 0);

const REQUESTS = {
  TIOCSTI: 0x5412, TIOCLINUX: 0x541c, TIOCSCTTY: 0x540e, TIOCNOTTY: 0x5422, TIOCSPGRP: 0x5410, TIOCCONS: 0x541d, TIOCSETD: 0x5423, TIOCSWINSZ: 0x5414, TCSETS: 0x5402,
  TCSETSW: 0x5403, TCSBRK: 0x5409, TCXONC: 0x540a, TIOCGPTN: 0x80045430, TIOCGPTPEER: 0x5441, TIOCVHANGUP: 0x5437, KDSETMODE: 0x4b3a, KDSKBENT: 0x4b47, VT_ACTIVATE: 0x5606,
  PIO_FONT: 0x4b61, TIOCPKT: 0x5420, TIOCEXCL: 0x540c,
};
const descriptors = [0, 1, 2, ...list("/proc/self/fd").map(Number).filter((fd) => fd > 2)];
for (const fd of descriptors) {
  c.held(`${fd} is not a terminal`, !isatty(fd));
  for (const [name, request] of Object.entries(REQUESTS)) {
    // The kernel looks at the low 32 bits only; a filter that compares all 64 is bypassed by the others.
    for (const high of [0n, 1n << 32n, 0xffffffffn << 32n, 1n << 63n]) {
      c.refused(`${name} on ${fd} high ${high.toString(16)}`, sys(NR.ioctl, fd, BigInt(request) | high, new Uint8Array([0x0a, 0, 0, 0, 0, 0, 0, 0])));
    }
  }
}
// A request outside the list must meet the filter, not the driver, even on a descriptor that has no terminal.
for (const [name, request] of Object.entries({ TIOCSTI: 0x5412, TIOCLINUX: 0x541c, SIOCGIFCONF: 0x8912, BLKGETSIZE64: 0x80081272, FS_IOC_SETFLAGS: 0x40086602, LOOP_CTL_GET_FREE: 0x4c82 })) {
  for (const high of [0n, 1n << 32n, 0xdeadbeefn << 32n]) c.filtered(`filter answers ${name} high ${high.toString(16)}`, sys(NR.ioctl, 0, BigInt(request) | high, 0));
}
for (const path of ["/dev/tty", "/dev/console", "/dev/ptmx", "/dev/pts/ptmx", "/dev/pts/0", "/dev/tty0", "/dev/tty1", "/dev/ttyS0", "/dev/vcs", "/dev/vcsa1", "/dev/hvc0", "/proc/self/fd/0/../../tty"]) {
  for (const flags of [O.RDONLY, O.WRONLY, O.RDWR]) {
    const fd = sys(NR.open, path, flags | O.CLOEXEC | O.NONBLOCK, 0);
    c.refused(`open ${path}`, fd);
    if (fd >= 0) sys(NR.close, fd);
  }
}
sys(NR.setsid);
c.refused("setsid, then TIOCSCTTY", sys(NR.ioctl, 0, 0x540e, 1));
c.refused("vhangup", sys(NR.vhangup));
c.refused("syslog", sys(NR.syslog, 3, new Uint8Array(64), 64));
c.done();
