// case: C51-pipes
// attack: hide memory in pipes: new ones, named ones, its own streams made larger and filled through other descriptors
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seccomp
// limits: --memory 128M --timeout 30s

import { Case } from "./_case.ts";
import { O, show, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C51-pipes");
const [F_SETPIPE_SZ, F_GETPIPE_SZ] = [1031, 1032];
const PIPE_MOST = 1 << 20;
const pair = new Int32Array(2);
c.filtered("pipe", sys(NR.pipe, pair));
c.filtered("pipe2", sys(NR.pipe2, pair, 0));
c.filtered("pipe2 packets", sys(NR.pipe2, pair, 0o40000));
c.filtered("a fifo", sys(NR.mknod, "/tmp/fifo", 0o010600, 0));
c.filtered("a fifo at", sys(NR.mknodat, -100, "/tmp/fifo-at", 0o010600, 0));
c.refused("open a fifo", sys(NR.open, "/tmp/fifo", O.RDWR, 0));
c.filtered("tee", sys(NR.tee, 0, 1, 65_536, 2));
c.filtered("splice", sys(NR.splice, 0, 0, 1, 0, 65_536, 2));
c.filtered("vmsplice", sys(NR.vmsplice, 1, new BigUint64Array(2), 1, 2));
c.filtered("sendfile", sys(NR.sendfile, 1, 0, 0, 65_536));

// The streams it was given are pipes; neither end may be made to hold more than a megabyte, from any alias.
for (const fd of [0, 1, 2]) {
  for (const [name, size] of [["16 MiB", 1 << 24], ["2 GiB - 1", 0x7fffffff], ["one more", PIPE_MOST + 1]] as const) {
    const answer = sys(NR.fcntl, fd, F_SETPIPE_SZ, size);
    c.held(`descriptor ${fd} to ${name}`, answer < 0 || answer <= PIPE_MOST, show(answer));
  }
  const alias = sys(NR.open, `/proc/self/fd/${fd}`, O.RDWR | O.NONBLOCK, 0);
  if (alias >= 0) {
    const answer = sys(NR.fcntl, alias, F_SETPIPE_SZ, 1 << 24);
    c.held(`alias of ${fd}`, answer < 0 || answer <= PIPE_MOST, show(answer));
    sys(NR.close, alias);
  }
  c.held(`descriptor ${fd} is no large pipe`, sys(NR.fcntl, fd, F_GETPIPE_SZ, 0) <= PIPE_MOST);
}
c.able("make raw calls", sys(NR.getpid) === process.pid);
c.done();
