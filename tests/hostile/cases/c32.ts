// case: C32
// attack: odd sockets: every family and type, with protocol variants, high bits and flags, by socket and socketpair
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { Case } from "./_case.ts";
import { E, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C32");
const pair = new Int32Array(2);
c.able("open an AF_UNIX socket", sys(NR.socket, 1, 1, 0) >= 0);
c.able("make an AF_UNIX pair", sys(NR.socketpair, 1, 1, 0, pair) === 0);

const AF_UNIX = 1;
const TYPES = [0, 1, 2, 3, 4, 5, 6, 10, 15];
const REFUSED = [E.PERM, E.AFNOSUPPORT, E.NOSYS, E.ACCES];
const close = (fd: number): void => void (fd >= 0 && sys(NR.close, fd));
for (let family = 0; family <= 64; family++) {
  if (family === AF_UNIX) continue;
  for (const type of TYPES) {
    for (const flags of [0, 0o4000, 0o2000000, 0o2004000]) {
      const fd = sys(NR.socket, family, type | flags, 0);
      c.refused(`socket(${family}, ${type}|${flags})`, fd, REFUSED);
      close(fd);
    }
    // The kernel takes an int: the upper half of the register must not matter.
    for (const high of [1n << 32n, 0xffffffffn << 32n, 1n << 63n]) {
      const fd = sys(NR.socket, BigInt(family) | high, type, 0);
      c.refused(`socket(${family} with high bits, ${type})`, fd, REFUSED);
      close(fd);
    }
    c.refused(`socketpair(${family}, ${type})`, sys(NR.socketpair, family, type, 0, pair), REFUSED);
  }
}
const NETLINK = 16;
for (let protocol = 0; protocol < 24; protocol++) {
  for (const type of [2, 3]) {
    const fd = sys(NR.socket, NETLINK, type, protocol);
    c.refused(`netlink protocol ${protocol} type ${type}`, fd, REFUSED);
    close(fd);
  }
}
for (const [name, family, type, protocol] of [["packet all", 17, 3, 0x0300], ["packet dgram", 17, 2, 0x0008], ["icmp ping", 2, 2, 1], ["raw icmp", 2, 3, 1], ["mptcp", 2, 1, 262], ["vsock stream", 40, 1, 0],
  ["vsock dgram", 40, 2, 0], ["alg", 38, 5, 0], ["hci", 31, 3, 1], ["can raw", 29, 3, 1], ["can bcm", 29, 2, 2], ["xdp", 44, 3, 0], ["tipc", 30, 5, 0], ["kcm", 41, 2, 0], ["smc", 43, 1, 0], ["qipcrtr", 42, 2, 0],
  ["rxrpc", 33, 2, 2], ["ppp", 24, 2, 0], ["key", 15, 3, 2], ["x25", 9, 5, 0], ["mctp", 45, 2, 0], ["nfc", 39, 3, 1], ["phonet", 35, 2, 0], ["ieee802154", 36, 3, 0], ["caif", 37, 5, 0]] as const) {
  const fd = sys(NR.socket, family, type, protocol);
  c.refused(name, fd, REFUSED);
  close(fd);
}
// A negative family is not AF_UNIX either; AF_UNIX with high bits may work and is harmless.
for (const family of [-1, -2, 0x7fffffff, 0x80000001, 257]) c.refused(`socket(${family})`, sys(NR.socket, family, 1, 0));
// Unix sockets must not be able to do what only root may ask of them.
for (const [name, level, option, value] of [["SO_RCVBUFFORCE", 1, 33, 1 << 28], ["SO_SNDBUFFORCE", 1, 32, 1 << 28], ["SO_MARK", 1, 36, 1], ["SO_ATTACH_BPF", 1, 50, -1], ["SO_PRIORITY high", 1, 12, 7]] as const) {
  c.refused(name, sys(NR.setsockopt, pair[0]!, level, option, new Int32Array([value]), 4));
}
c.done();
