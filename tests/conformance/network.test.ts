// What runs reach over the network, through the real daemons: exactly the granted hosts, with the web's own fetch and Node's own
// http, and secrets that go out with their requests and come back to nobody. The "network" is this machine's loopback, which the
// test's device is told to allow by name.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run, startHost, type Host, type Run } from "../stand/host.ts";

const CANARY = "sk_live_canary_5f0c9b1e7a";
const scratch = mkdtempSync(join(tmpdir(), "network-"));
chmodSync(scratch, 0o755);

interface Seen {
  readonly host: string | null;
  readonly path: string;
  readonly authorization: string | null;
}

let host: Host;
let plain: ReturnType<typeof Bun.serve>;
let secure: ReturnType<typeof Bun.serve>;
let seen: Seen[] = [];

/** One server for all cases; `answer` says what each path gives. */
async function answer(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  seen.push({ host: request.headers.get("host"), path: pathname, authorization: request.headers.get("authorization") });
  switch (pathname) {
    case "/echo":
      return Response.json({ method: request.method, body: await request.text(), headers: Object.fromEntries(request.headers) }, { headers: { "x-echo": request.headers.get("authorization") ?? "" } });
    case "/large":
      return new Response(new Uint8Array(3_000_000).fill(7));
    case "/gzip":
      return new Response(Bun.gzipSync(new TextEncoder().encode("small and zipped")), { headers: { "content-encoding": "gzip" } });
    case "/never":
      return new Promise(() => undefined);
    case "/count":
      return new Response(String((await request.arrayBuffer()).byteLength));
    case "/teapot":
      return new Response("short and stout", { status: 418 });
    case "/status":
      return new Response(null, { status: 204 });
    default:
      return pathname.startsWith("/to/") ? new Response(null, { status: 302, headers: { location: decodeURIComponent(pathname.slice(4)) } }) : new Response("hello");
  }
}

async function openssl(...words: string[]): Promise<void> {
  const done = await run(["openssl", ...words], { cwd: scratch });
  if (done.code !== 0) throw new Error(done.stderr);
}

beforeAll(async () => {
  await openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority", "-days", "2");
  await openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=api.test");
  writeFileSync(join(scratch, "names"), "subjectAltName=DNS:api.test,DNS:other.test");
  await openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.pem", "-days", "2", "-extfile", "names");
  plain = Bun.serve({ hostname: "127.0.0.1", port: 0, idleTimeout: 0, fetch: answer });
  secure = Bun.serve({ hostname: "127.0.0.1", port: 0, idleTimeout: 0, fetch: answer, tls: { cert: readFileSync(join(scratch, "server.pem")), key: readFileSync(join(scratch, "server.key")) } });
  host = await startHost({
    ariaToml: `
[net]
allow_addresses = ["127.0.0.1/32"]
ca_file = "${scratch}/ca.pem"
[net.hosts]
"api.test" = "127.0.0.1"
"other.test" = "127.0.0.1"
"loop.test" = "127.0.0.2"
"metadata.test" = "169.254.169.254"
"inner.test" = "10.0.0.1"
"six.test" = "::1"
"mapped.test" = "::ffff:127.0.0.1"`,
    quiltToml: `[[policy]]\nname = "the network is for everybody on this stand"\nkinds = ["net", "secret"]\n`,
  });
}, 120_000);

afterAll(async () => {
  await host?.stop();
  await plain?.stop(true);
  await secure?.stop(true);
  rmSync(scratch, { recursive: true, force: true });
});

const http = (path: string, name = "api.test"): string => `http://${name}:${plain.port}${path}`;
const https = (path: string, name = "api.test"): string => `https://${name}:${secure.port}${path}`;
const tokens = (...names: string[]): string[] => names.flatMap((name) => [`net:${name}:${plain.port}`, `net:${name}:${secure.port}`]);

function exec(held: readonly string[], source: string): Promise<Run> {
  const file = join(scratch, `p-${crypto.randomUUID()}.ts`);
  writeFileSync(file, source);
  return host.arc(["exec", file, ...held.flatMap((token) => ["--token", token])]);
}

/** Runs the body of an async function; what it returns comes back. */
async function answered(held: readonly string[], body: string, imports = ""): Promise<unknown> {
  const done = await exec(held, `${imports}
async function main(): Promise<unknown> { ${body} }
console.log(JSON.stringify(await main()));`);
  expect(done.code, done.stdout + done.stderr).toBe(0);
  return JSON.parse(done.stdout);
}

/** How one fetch ends. */
const TRY = `async function how(url: string, init?: RequestInit) {
  try { const r = await fetch(url, init); return { status: r.status, text: await r.text() }; }
  catch (error) { return { name: error.constructor.name, code: error.cause?.code ?? error.code, message: error.message }; }
}`;

async function ends(held: readonly string[], url: string, init = "undefined"): Promise<{ name?: string; code?: string; message?: string; status?: number; text?: string }> {
  return (await answered(held, `return how(${JSON.stringify(url)}, ${init});`, TRY)) as object;
}

describe("fetch", () => {
  test("reaches the granted host, in the clear and under TLS", async () => {
    expect(await ends(tokens("api.test"), http("/a"))).toEqual({ status: 200, text: "hello" });
    expect(await ends(tokens("api.test"), https("/a"))).toEqual({ status: 200, text: "hello" });
  });

  test("reaches nothing else, and says which token would", async () => {
    for (const url of [http("/", "other.test"), https("/", "other.test"), "https://api.test/", "http://127.0.0.1:1/", "https://example.com/"]) {
      const { name, code, message } = await ends(tokens("api.test"), url);
      expect([name, code]).toEqual(["TypeError", "EGRESS_DENIED"]);
      const { hostname, port, protocol } = new URL(url);
      expect(message).toContain(`net:${hostname}:${port || (protocol === "http:" ? 80 : 443)}`);
    }
    expect((await ends(tokens("api.test"), "https://[::1]/")).code).toBe("EGRESS_DENIED");
  });

  test("never reaches an address that is not public, whatever name it has", async () => {
    for (const name of ["loop.test", "metadata.test", "inner.test", "six.test", "mapped.test"]) {
      const { code, message } = await ends(tokens(name), https("/", name));
      expect([name, code]).toEqual([name, "EGRESS_DENIED"]);
      expect(message).toContain(name);
    }
    expect((await ends(["net:169.254.169.254:80"], "http://169.254.169.254/latest/meta-data/")).code).toBe("EGRESS_DENIED");
  });

  test("follows redirects to where it may go, and is denied at the hop where it may not", async () => {
    const to = (target: string): string => http(`/to/${encodeURIComponent(target)}`);
    expect(await ends(tokens("api.test"), to("/a"))).toMatchObject({ status: 200, text: "hello" });
    seen = [];
    for (const target of ["http://169.254.169.254/latest/", "http://127.0.0.1:1/", http("/a", "other.test"), "https://example.com/", http("/a", "inner.test")]) {
      expect((await ends(tokens("api.test"), to(target))).code).toBe("EGRESS_DENIED");
    }
    expect(seen.filter(({ path }) => path === "/a")).toEqual([]);
    expect((await ends([...tokens("api.test"), ...tokens("inner.test")], to(http("/a", "inner.test")))).code).toBe("EGRESS_DENIED");
    expect((await ends(tokens("api.test"), to("file:///etc/passwd"))).name).toBe("TypeError");
    expect((await ends(tokens("api.test"), to(to("/a")), `{ redirect: "error" }`)).name).toBe("TypeError");
    expect((await ends(tokens("api.test"), to("/a"), `{ redirect: "manual" }`)).status).toBe(302);
    // A loop ends.
    expect((await ends(tokens("api.test"), to("?again"))).message).toContain("more than 10 times");
  });

  test("keeps credentials from other origins and changes a POST as the standard says", async () => {
    seen = [];
    const target = https("/echo", "other.test");
    const init = `{ method: "POST", body: "text", headers: { authorization: "Bearer mine", "x-own": "1" } }`;
    const { text } = await ends([...tokens("api.test"), ...tokens("other.test")], http(`/to/${encodeURIComponent(target)}`), init);
    const echo = JSON.parse(text ?? "") as { method: string; body: string; headers: Record<string, string> };
    expect([echo.method, echo.body, echo.headers["authorization"], echo.headers["content-type"], echo.headers["x-own"]]).toEqual(["GET", "", undefined, undefined, "1"]);
    expect(seen.map(({ host }) => host)).toEqual([`api.test:${plain.port}`, `other.test:${secure.port}`]);
  });

  test("carries bodies both ways, whole, in pieces and as streams, and unpacks them", async () => {
    const found = await answered(tokens("api.test"), `
      const base = ${JSON.stringify(http(""))};
      const large = await (await fetch(base + "/large")).bytes();
      const sent = new Uint8Array(1_000_000).fill(3);
      const pieces = new ReadableStream({ start(c) { for (let i = 0; i < 50; i++) c.enqueue(new Uint8Array(10_000)); c.close(); } });
      const form = new FormData(); form.set("a", "b");
      const echo = await (await fetch(new Request(base + "/echo", { method: "PUT", body: form }))).json();
      const empty = await fetch(base + "/status");
      return [
        large.length, large.every((b) => b === 7),
        await (await fetch(base + "/count", { method: "POST", body: sent })).text(),
        await (await fetch(base + "/count", { method: "POST", body: pieces, duplex: "half" })).text(),
        await (await fetch(base + "/gzip")).text(),
        echo.headers["content-type"].startsWith("multipart/form-data"),
        empty.status, empty.body, (await fetch(base + "/a")).url === base + "/a",
        await (await fetch("data:text/plain,here")).text(),
      ];`);
    expect(found).toEqual([3_000_000, true, "1000000", "500000", "small and zipped", true, 204, null, true, "here"]);
  });

  test("is aborted while it waits and while it reads", async () => {
    const found = await answered(tokens("api.test"), `
      const slow = fetch(${JSON.stringify(http("/never"))}, { signal: AbortSignal.timeout(200) }).then(() => "answered", (e) => e.name);
      const control = new AbortController();
      const response = await fetch(${JSON.stringify(http("/large"))}, { signal: control.signal });
      control.abort();
      return [await slow, await response.bytes().then(() => "whole", (e) => e.name)];`);
    expect(found).toEqual(["TimeoutError", "AbortError"]);
  });

  test("runs many requests at a time and none after its bound", async () => {
    const found = await answered(tokens("api.test"), `
      const url = ${JSON.stringify(http("/a"))};
      const many = await Promise.all(Array.from({ length: 16 }, async () => (await fetch(url)).text()));
      const stuck = Array.from({ length: 17 }, () => fetch(${JSON.stringify(http("/never"))}, { signal: AbortSignal.timeout(1000) }).then(() => "", (e) => e.cause?.code ?? e.name));
      return [many.every((text) => text === "hello"), (await Promise.all(stuck)).filter((end) => end === "EGRESS_BUDGET").length];`);
    expect(found).toEqual([true, 1]);
  });
});

describe("node:http", () => {
  test("request and get work as clients use them", async () => {
    const found = await answered(tokens("api.test"), `
      const read = async (r) => { let text = ""; for await (const piece of r) text += piece; return text; };
      const got = await new Promise((done, fail) => http.get(${JSON.stringify(http("/a"))}, done).on("error", fail));
      const posted = await new Promise((done, fail) => {
        const request = https.request({ hostname: "api.test", port: ${secure.port}, path: "/echo", method: "POST", headers: { "X-Own": "1", "Content-Type": "text/plain" } }, done);
        request.on("error", fail); request.write("two "); request.end("parts");
      });
      const echo = JSON.parse(await read(posted));
      const big = await new Promise((done, fail) => {
        const request = http.request(${JSON.stringify(http("/count"))}, { method: "POST" }, done).on("error", fail);
        Readable.from(Array.from({ length: 40 }, () => Buffer.alloc(20_000))).pipe(request);
      });
      return [got.statusCode, await read(got), got.complete, echo.method, echo.body, echo.headers["x-own"], await read(big)];`,
      `import http from "node:http"; import https from "node:https"; import { Readable } from "node:stream";`);
    expect(found).toEqual([200, "hello", true, "POST", "two parts", "1", "800000"]);
  });

  test("a denial is an error event with its code, and names are not looked up", async () => {
    const found = await answered(tokens("api.test"), `
      const request = await new Promise((done) => get("http://other.test/").on("error", done));
      const lookup = await new Promise((done) => dns.lookup("secret-data.attacker.test", done));
      const resolved = await promises.resolve4("secret-data.attacker.test").catch((e) => e);
      let socket; try { new WebSocket("wss://api.test/"); } catch (e) { socket = e; }
      const timeout = await new Promise((done) => { const r = get(${JSON.stringify(http("/never"))}, { timeout: 100 }); r.on("timeout", () => { r.destroy(); done("timeout"); }); r.on("error", () => undefined); });
      return [request.code, lookup.code, resolved.code, socket.code, timeout];`,
      `import { get } from "node:http"; import dns, { promises } from "node:dns";`);
    expect(found).toEqual(["EGRESS_DENIED", "EGRESS_DENIED", "EGRESS_DENIED", "UNSUPPORTED", "timeout"]);
  });
});

describe("packages of others, as they are published", () => {
  /** What each does: read JSON, send JSON, read in the clear and under TLS, meet a status that is an error, and a host that was not granted. */
  const PACKAGES: Record<string, { imports: string; get: string; post: string; failed: string }> = {
    axios: {
      imports: `import axios from "axios";`,
      get: "(url) => axios.get(url).then((r) => r.data)",
      post: "(url, body) => axios.post(url, body).then((r) => r.data)",
      failed: "(e) => e.response?.status ?? e.code ?? e.cause?.code",
    },
    ky: {
      imports: `import ky from "ky";`,
      get: "(url) => ky.get(url, { retry: 0 }).then(async (r) => { const text = await r.text(); try { return JSON.parse(text); } catch { return text; } })",
      post: "(url, body) => ky.post(url, { json: body, retry: 0 }).json()",
      failed: "(e) => e.response?.status ?? e.code ?? e.cause?.code ?? e.cause?.cause?.code",
    },
    got: {
      imports: `import got from "got";`,
      get: "(url) => got(url, { retry: { limit: 0 } }).text().then((text) => { try { return JSON.parse(text); } catch { return text; } })",
      post: "(url, body) => got.post(url, { json: body, retry: { limit: 0 } }).json()",
      failed: "(e) => e.response?.statusCode ?? e.code ?? e.cause?.code",
    },
  };

  beforeAll(() => symlinkSync(join(import.meta.dir, "../node_modules"), join(scratch, "node_modules")));

  for (const [name, { imports, get, post, failed }] of Object.entries(PACKAGES)) {
    test(name, async () => {
      seen = [];
      const found = await answered(tokens("api.test"), `
        const get = ${get}; const post = ${post}; const failed = ${failed};
        const echo = await post(${JSON.stringify(https("/echo"))}, { n: 1, text: "ü" });
        return [
          await get(${JSON.stringify(http("/a"))}), await get(${JSON.stringify(https("/a"))}), echo.method, JSON.parse(echo.body), echo.headers["content-type"].split(";")[0],
          await get(${JSON.stringify(http("/gzip"))}), await get(${JSON.stringify(http(`/to/${encodeURIComponent(https("/a"))}`))}),
          await get(${JSON.stringify(http("/teapot"))}).then(() => "no error", failed), await get(${JSON.stringify(http("/a", "other.test"))}).then(() => "answered", failed),
        ];`, imports);
      expect(found).toEqual(["hello", "hello", "POST", { n: 1, text: "ü" }, "application/json", "small and zipped", "hello", 418, "EGRESS_DENIED"]);
      expect(seen.every(({ host }) => host?.startsWith("api.test:"))).toBe(true);
    }, 60_000);
  }
});

test("every denial is a row of the audit", async () => {
  const before = await audit();
  await ends(tokens("api.test"), https("/", "audited.test"));
  const rows = (await audit()).slice(before.length);
  expect(rows.map(({ reason, detail }) => [reason, detail.origin])).toEqual([["EGRESS_DENIED", `https://audited.test:${secure.port}`]]);
});

async function audit(): Promise<{ reason: string; detail: { origin?: string } }[]> {
  const done = await host.arc(["audit", "--kind", "egress.denied", "--json", "--limit", "10000"]);
  expect(done.code, done.stderr).toBe(0);
  return done.stdout.trim().split("\n").filter((line) => line !== "").map((line) => JSON.parse(line)).filter((row) => row.type === "audit");
}

test("without a net token there is no way out and no door to ask", async () => {
  const found = (await answered([], `return [process.env.ARIA_DOOR, await fetch(${JSON.stringify(http("/a"))}).then(() => "answered", () => "failed")];`)) as unknown[];
  expect(found).toEqual([null, "failed"]);
});

describe("secrets", () => {
  const held = (): string[] => [...tokens("api.test"), ...tokens("other.test"), "secret:stripe"];

  test("are set without showing, listed without values, and sealed on the disk", async () => {
    const set = await host.arc(["secret", "set", "stripe", "--host", `api.test:${secure.port}`], { stdin: `${CANARY}\n` });
    expect([set.code, set.stderr]).toEqual([0, ""]);
    const list = await host.arc(["secret", "ls", "--json"]);
    expect(JSON.parse(list.stdout).data).toMatchObject([{ name: "stripe", hosts: [`api.test:${secure.port}`], header: "authorization: Bearer {}" }]);
    expect(set.stdout + list.stdout).not.toContain(CANARY);
  });

  test("go out to their host alone, under TLS alone, for whoever holds the token", async () => {
    seen = [];
    const echo = (await ends(held(), https("/echo"))).text ?? "";
    await ends(held(), http("/plain"));
    await ends(held(), https("/elsewhere", "other.test"));
    await ends(tokens("api.test"), https("/unheld"));
    expect(seen.map(({ path, authorization }) => [path, authorization])).toEqual([["/echo", `Bearer ${CANARY}`], ["/plain", null], ["/elsewhere", null], ["/unheld", null]]);
    // What the server echoes does not reach the program either.
    expect(echo).toContain(`Bearer ${"*".repeat(CANARY.length)}`);
    expect(echo).not.toContain(CANARY);
  });

  test("take the place of what the program put there, also after a redirect", async () => {
    seen = [];
    const init = `{ headers: { authorization: secret("stripe") } }`;
    const program = `return how(${JSON.stringify(https(`/to/${encodeURIComponent(https("/away", "other.test"))}`))}, ${init});`;
    await answered(held(), program, `import { secret } from "@aria/sdk";\n${TRY}`);
    expect(seen.map(({ authorization }) => authorization)).toEqual([`Bearer ${CANARY}`, null]);
  });

  test("a secret that is held and not stored is told before anything is sent", async () => {
    seen = [];
    const { code, message } = await ends([...tokens("api.test"), "secret:absent"], https("/a"));
    expect([code, seen]).toEqual(["SECRET_UNKNOWN", []]);
    expect(message).toContain("arc secret set absent");
  });

  test("tools get their hosts and secrets as the manifest names them", async () => {
    seen = [];
    const dir = join(scratch, "shop");
    mkdirSync(join(dir, "src"), { recursive: true });
    writeFileSync(join(dir, "arc.toml"), `[bundle]\nname = "shop"\nversion = "1.0.0"\ndescription = ""\nlicense = "Apache-2.0"\nauthors = []\n`);
    writeFileSync(join(dir, "tsconfig.json"), `{ "extends": "./.arc/tsconfig.json", "include": ["src"] }`);
    writeFileSync(join(dir, "src/shop.ts"), `import { defineTool } from "@aria/sdk";
/** Asks the shop. */
export const ask = defineTool({
  egress: ["api.test:${secure.port}"],
  secrets: ["stripe"],
  async run(input: { path: string }): Promise<{ status: number; echoed: string }> {
    const response = await fetch("https://api.test:${secure.port}" + input.path);
    return { status: response.status, echoed: response.headers.get("x-echo") ?? "" };
  },
});
/** Asks somebody else. */
export const stray = defineTool({
  egress: ["api.test:${secure.port}"],
  async run(input: { host: string }): Promise<string> {
    return await fetch("https://" + input.host + ":${secure.port}/").then(() => "answered", (error) => String(error.cause.code));
  },
});
`);
    const file = join(scratch, "shop.aria");
    for (const args of [["build", dir, "--out", file], ["upload", file]]) {
      const done = await host.arc(args);
      expect(done.code, done.stdout + done.stderr).toBe(0);
    }
    const asked = await host.arc(["invoke", "shop.ask", "--input", '{"path":"/echo"}']);
    expect(asked.code, asked.stderr).toBe(0);
    expect(JSON.parse(asked.stdout)).toEqual({ status: 200, echoed: `Bearer ${"*".repeat(CANARY.length)}` });
    expect(seen.map(({ authorization }) => authorization)).toEqual([`Bearer ${CANARY}`]);
    const stray = await host.arc(["invoke", "shop.stray", "--input", '{"host":"other.test"}']);
    expect([stray.code, JSON.parse(stray.stdout)]).toEqual([0, "EGRESS_DENIED"]);
  });

  test("are nowhere a program, a reader of logs or a copy of the disk could find them", async () => {
    const dump = await exec(held(), `
import { readdirSync, readFileSync } from "node:fs";
await fetch(${JSON.stringify(https("/echo"))}).then((r) => r.text());
console.log(JSON.stringify(process.env));
for (const pid of readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name))) {
  for (const part of ["environ", "cmdline", "maps"]) { try { console.log(readFileSync("/proc/" + pid + "/" + part, "utf8")); } catch {} }
}
`);
    expect(dump.code, dump.stderr).toBe(0);
    const audited = await host.arc(["audit", "--json", "--limit", "10000"]);
    expect(audited.stdout).toContain("secret.set");
    const logs = readdirSync(host.dir).filter((name) => name.endsWith(".log")).map((name) => readFileSync(join(host.dir, name), "utf8"));
    for (const text of [dump.stdout, dump.stderr, audited.stdout, ...logs]) expect(text).not.toContain(CANARY);
    const stored = await run(["grep", "-rlaF", CANARY, join(host.dir, "aria"), join(host.dir, "quilt")]);
    expect(stored.stdout).toBe("");
    expect(statSync(join(host.dir, "aria/secrets/key")).mode & 0o777).toBe(0o600);
  });

  test("are forgotten once removed, also over a restart", async () => {
    await host.restart("ariad");
    seen = [];
    await ends(held(), https("/after-restart"));
    expect(seen[0]?.authorization).toBe(`Bearer ${CANARY}`);
    expect((await host.arc(["secret", "rm", "stripe"])).code).toBe(0);
    expect((await host.arc(["secret", "rm", "stripe"])).code).not.toBe(0);
    expect((await ends(held(), https("/a"))).code).toBe("SECRET_UNKNOWN");
  });

  test("what is no secret is refused with its reason", async () => {
    for (const [words, stdin, said] of [
      [["UPPER", "--host", "api.test"], CANARY, "SECRET_INVALID"],
      [["a", "--host", "api.test"], "short", "SECRET_INVALID"],
      [["a", "--host", "api.test"], "", "ARC2082"],
      [["a"], CANARY, "ARC2080"],
      [["a", "--host", "api.test", "--header", "Host: {}"], CANARY, "SECRET_INVALID"],
    ] as const) {
      const refused = await host.arc(["secret", "set", ...words], { stdin });
      expect(refused.code).not.toBe(0);
      expect(refused.stderr).toContain(said);
      expect(refused.stderr).not.toContain(CANARY);
    }
  });
});
