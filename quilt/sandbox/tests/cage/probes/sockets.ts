// Every address family but Unix, stream, datagram and raw; and connecting by Bun's own means.
import * as net from "node:net";
import * as dgram from "node:dgram";
import { sys } from "./prelude.ts";

const refused: Record<string, number> = {};
for (let family = 0; family < 48; family++) {
  if (family === 1) continue;
  for (const type of [1, 2, 3, 5, 0x80801]) {
    refused[`socket ${family} ${type}`] = sys(41, family, type, 0);
    refused[`socket ${family} ${type} with high bits`] = sys(41, BigInt(family) | (1n << 32n), type, 0);
  }
  refused[`socketpair ${family}`] = sys(53, family, 1, 0, new Uint8Array(8));
}
const connect: Record<string, string> = {};
let slowest = 0;
const attempt = (host: string) =>
  new Promise<string>((done) => {
    try {
      const socket = net.connect({ host, port: 80 });
      socket.on("connect", () => done("connected"));
      socket.on("error", () => done("refused"));
    } catch {
      done("refused");
    }
  });
for (const host of ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "1.1.1.1", "169.254.169.254", "2606:4700:4700::1111", "0.0.0.0"]) {
  // The quickest of five: a wait for the network would be in all of them.
  let quickest = Infinity;
  for (let n = 0; n < 5; n++) {
    const begin = performance.now();
    connect[host] = await attempt(host);
    quickest = Math.min(quickest, performance.now() - begin);
  }
  slowest = Math.max(slowest, quickest);
}
connect.fetch = await fetch("http://127.0.0.1:1/").then(() => "connected", () => "refused");
connect.name = await fetch("http://data.attacker.test/").then(() => "connected", () => "refused");
connect.udp = await new Promise<string>((done) => {
  try {
    const socket = dgram.createSocket("udp4");
    socket.on("error", () => done("refused"));
    socket.send("x", 53, "127.0.0.1", (error) => done(error ? "refused" : "sent"));
  } catch {
    done("refused");
  }
});
try {
  Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  connect.listen = "listening";
} catch {
  connect.listen = "refused";
}
console.log(JSON.stringify({ control: sys(41, 1, 1, 0), refused, connect, connect_ms_max: slowest }));
process.exit(0);
