// case: C51-sockets
// attack: hide memory in socket buffers and in descriptors that are in flight
// accepts: OOM_KILLED, line
// profiles: tool, tool-noexec
// cost: heavy
// control: memory
// limits: --memory 128M --timeout 60s

import { Case } from "./_case.ts";
import { addressOf, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C51-sockets");
const LIMIT = 128 << 20;
// Enough to show that the limit is not one; no reason to take a whole machine where there is none.
const MOST = 3 * LIMIT;
const block = new Uint8Array(65_536).fill(0x5a);
const pair = new Int32Array(2);
let bytes = 0;
const fill = (fd: number): void => {
  sys(NR.setsockopt, fd, 1, 7, new Int32Array([1 << 28]), 4);
  for (let sent = 1; sent > 0; ) {
    sent = sys(NR.sendto, fd, block, block.length, 0x40, 0, 0);
    if (sent > 0) bytes += sent;
  }
};
// As many as the descriptor limit allows, each filled to its own limit.
const open: number[] = [];
for (let type = 1; open.length < 1000 && bytes <= MOST; type = type === 1 ? 2 : 1) {
  if (sys(NR.socketpair, 1, type | 0o4000, 0, pair) < 0) break;
  fill(pair[0]!);
  fill(pair[1]!);
  open.push(pair[0]!, pair[1]!);
}
c.able("fill a socket", bytes > 65_536);
c.held("socket buffers within the limit", bytes <= LIMIT, `${bytes} bytes in ${open.length} sockets`);
for (const fd of open.splice(0)) sys(NR.close, fd);

// A descriptor in flight is open without a number: fill a pair, send it over another, close it, again.
bytes = 0;
let inFlight = 0;
let carriers = 0;
const F_SEND = (carrier: number, fd: number): number => {
  const control = new Uint8Array(24);
  const view = new DataView(control.buffer);
  view.setBigUint64(0, 20n, true);
  view.setInt32(8, 1, true);
  view.setInt32(12, 1, true);
  view.setInt32(16, fd, true);
  const io = words(addressOf(new Uint8Array([1])), 1);
  const message = words(0, 0, addressOf(io), 1, addressOf(control), 24, 0, 0);
  return sys(NR.sendmmsg, carrier, message, 1, 0x40);
};
outer: for (; carriers < 400; carriers++) {
  const carrier = new Int32Array(2);
  if (sys(NR.socketpair, 1, 2 | 0o4000, 0, carrier) < 0) break;
  for (let i = 0; i < 64; i++) {
    if (sys(NR.socketpair, 1, 1 | 0o4000, 0, pair) < 0) break outer;
    fill(pair[0]!);
    const sent = F_SEND(carrier[0]!, pair[1]!);
    sys(NR.close, pair[0]!);
    sys(NR.close, pair[1]!);
    if (sent < 1) break;
    inFlight += 1;
    if (bytes > MOST) break outer;
  }
}
c.held("descriptors in flight are bounded", inFlight <= 4096, `${inFlight} in flight over ${carriers} carriers`);
c.held("memory in flight within the limit", inFlight * 200_000 <= 2 * LIMIT || bytes <= LIMIT, `${bytes} bytes`);
c.done(`${inFlight} in flight`);
