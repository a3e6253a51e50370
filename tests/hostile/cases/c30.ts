// case: C30
// attack: reach any network: raw calls and every client Bun has, to loopback, private, public and IPv6 addresses, TCP and UDP
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { createSocket } from "node:dgram";
import { lookup, resolve4 } from "node:dns/promises";
import { connect, createServer } from "node:net";
import { Case } from "./_case.ts";
import { sys } from "./_ffi.ts";
import { address, emptyNetwork } from "./_net.ts";
import { NR } from "./_nr.ts";

const c = new Case("C30");
emptyNetwork(c);
c.able("make raw calls", sys(NR.getpid) === process.pid);

const V6_LOOPBACK = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const mapped = (v4: readonly number[]): number[] => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...v4];
const V4: Record<string, readonly number[]> = {
  loopback: [127, 0, 0, 1], "loopback 2": [127, 1, 2, 3], any: [0, 0, 0, 0], "private 10": [10, 0, 2, 2], "private 172": [172, 17, 0, 1], "private 192": [192, 168, 1, 1],
  metadata: [169, 254, 169, 254], "documentation (public)": [192, 0, 2, 1], "documentation 2": [198, 51, 100, 7], multicast: [224, 0, 0, 251], broadcast: [255, 255, 255, 255],
};
const MSG_DONTWAIT = 0x40;
const payload = new Uint8Array([1]);
for (const type of [1, 2, 3, 5, 6, 10, 1 | 0o4000, 2 | 0o2000000]) {
  for (const family of [2, 10]) {
    for (const protocol of [0, 1, 6, 17, 58, 132, 136, 255, 262]) {
      let fd = -1;
      // The machine may pause this process for a moment; a call that really waits is slow every time.
      const immediate = Array.from({ length: 5 }).some(() => {
        if (fd >= 0) sys(NR.close, fd);
        const started = performance.now();
        fd = sys(NR.socket, family, type | 0o4000, protocol);
        return performance.now() - started < 50;
      });
      c.refused(`socket family ${family} type ${type} protocol ${protocol}`, fd);
      c.held("answer is immediate", immediate);
      if (fd < 0) continue;
      for (const [name, bytes] of Object.entries(V4)) {
        for (const port of [1, 53, 80, 443, 7600]) {
          const to = family === 2 ? address(4, bytes, port) : address(6, name === "loopback" ? V6_LOOPBACK : mapped(bytes), port);
          const sent = sys(NR.sendto, fd, payload, 1, MSG_DONTWAIT, to, to.length);
          c.held(`sendto ${name}:${port}`, sent < 0 || (type & 15) === 1, String(sent));
          c.held(`connect ${name}:${port}`, sys(NR.connect, fd, to, to.length) < 0);
        }
      }
      sys(NR.close, fd);
    }
  }
}

const hosts = ["127.0.0.1", "localhost", "::1", "10.0.2.2", "192.0.2.1", "169.254.169.254", "2001:db8::1", "aria.test", "gateway"];
for (const host of hosts) {
  const url = host.includes(":") ? `[${host}]` : host;
  await c.rejects(`fetch http://${host}`, () => fetch(`http://${url}:9/`, { signal: AbortSignal.timeout(3_000) }));
  await c.rejects(`fetch https://${host}`, () => fetch(`https://${url}:9/`, { signal: AbortSignal.timeout(3_000) }));
  await c.rejects(`net.connect ${host}`, () => new Promise((resolve, reject) => {
    const socket = connect({ host, port: 9 }, () => resolve(true));
    socket.on("error", reject);
    socket.setTimeout(3_000, () => { socket.destroy(); reject(new Error("timeout")); });
  }));
  await c.rejects(`Bun.connect ${host}`, () => Bun.connect({ hostname: host, port: 9, socket: { data() {}, open() {} } }));
  await c.rejects(`WebSocket ${host}`, () => new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${url}:9/`);
    socket.onopen = () => resolve(true);
    socket.onerror = () => reject(new Error("refused"));
  }));
}
for (const name of ["example.com", "localhost.localdomain", "host.docker.internal", "data.attacker.test"]) {
  await c.rejects(`dns.lookup ${name}`, () => lookup(name));
  await c.rejects(`dns.resolve4 ${name}`, () => resolve4(name));
}
await c.rejects("udp send", () => new Promise((resolve, reject) => {
  const socket = createSocket("udp4");
  socket.on("error", reject);
  socket.send("x", 9, "127.0.0.1", (error) => (error ? reject(error) : resolve(true)));
}));
await c.rejects("tcp listen", () => new Promise((resolve, reject) => {
  const server = createServer().listen(0, "127.0.0.1", () => resolve(true));
  server.on("error", reject);
}));
c.throws("Bun.serve on TCP", () => Bun.serve({ port: 0, fetch: () => new Response() }).stop());
c.done();
