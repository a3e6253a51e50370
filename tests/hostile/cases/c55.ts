// case: C55
// attack: take every descriptor: files, sockets, events, watches, memory; raise the limit
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: limits
// limits: --timeout 30s

import { Case, list } from "./_case.ts";
import { E, O, show, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C55");
const LIMIT = 1024;
const limit = new BigUint64Array(2);
sys(NR.prlimit64, 0, 7, 0, limit);
const pair = new Int32Array(2);
const makers: Record<string, () => number> = {
  open: () => sys(NR.open, "/bin/bun", O.RDONLY, 0), dup: () => sys(NR.fcntl, 1, 0, 0), socket: () => sys(NR.socket, 1, 1, 0), epoll: () => sys(NR.epoll_create1, 0),
  event: () => sys(NR.eventfd2, 0, 0), memfd: () => sys(NR.memfd_create, "x", 0), pair: () => (sys(NR.socketpair, 1, 1, 0, pair) < 0 ? -E.MFILE : pair[1]!), directory: () => sys(NR.open, "/", O.PATH, 0),
};
for (const [name, make] of Object.entries(makers)) {
  const held: number[] = [];
  let last = 0;
  while (held.length < 4 * LIMIT) {
    last = make();
    if (last < 0) break;
    held.push(last);
    if (name === "pair") held.push(pair[0]!);
  }
  c.able(`make ${name}`, held.length > 0);
  c.held(`${name} ends by EMFILE`, last === -E.MFILE, show(last));
  c.held(`${name} within the limit`, held.length < LIMIT && Math.max(...held) < LIMIT, `${held.length}, highest ${Math.max(...held)}`);
  for (const fd of held) sys(NR.close, fd);
}
c.held("hard limit", limit[1]! <= BigInt(LIMIT), String(limit[1]));
for (const [name, value] of [["more", 4096], ["infinity", -1]] as const) {
  c.refused(`prlimit64 to ${name}`, sys(NR.prlimit64, 0, 7, words(value, value), 0));
  c.refused(`setrlimit to ${name}`, sys(NR.setrlimit, 7, words(value, value)));
}
c.refused("a number above the limit", sys(NR.fcntl, 1, 0, LIMIT + 10));
c.refused("dup2 above the limit", sys(NR.dup2, 1, LIMIT + 10));
c.held("own descriptors are few again", list("/proc/self/fd").length < 64);
c.done();
