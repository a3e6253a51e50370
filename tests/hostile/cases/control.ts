// case: control
// attack: none: does real work, so that a cage (or a runner) that lets nothing happen cannot look safe
// accepts: line
// profiles: tool, tool-noexec, tool-nojit
// cost: light
// control: seeded: it is the control itself
// limits: --timeout 30s

import { Database } from "bun:sqlite";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { Case } from "./_case.ts";
import { E, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("control");

const primes = new Uint8Array(1_000_000).fill(1);
for (let i = 2; i * i < primes.length; i++) if (primes[i]) for (let k = i * i; k < primes.length; k += i) primes[k] = 0;
c.held("compute", primes.reduce((sum, p, i) => (i >= 2 ? sum + p : sum), 0) === 78_498);

const bytes = randomBytes(3 * 1024 * 1024);
mkdirSync("/tmp/control");
writeFileSync("/tmp/control/data", bytes);
const digest = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");
c.held("file in /tmp", digest(readFileSync("/tmp/control/data")) === digest(bytes) && statSync("/tmp/control/data").size === bytes.length);

const db = new Database("/tmp/control/db.sqlite");
db.run("create table t (n integer)");
db.run("insert into t values (1), (2), (39)");
c.held("sqlite", (db.query("select sum(n) as n from t").get() as { n: number }).n === 42);
db.close();

const worker = new Worker(URL.createObjectURL(new Blob(["onmessage = (e) => postMessage(e.data * 2)"], { type: "text/javascript" })));
const doubled = await new Promise((resolve) => {
  worker.onmessage = (event: MessageEvent) => resolve(event.data);
  worker.onerror = (event: ErrorEvent) => resolve(event.message);
  worker.postMessage(21);
});
worker.terminate();
c.held("worker", doubled === 42, String(doubled));

const server = Bun.serve({ unix: "/tmp/control/sock", fetch: async (request) => new Response((await request.text()).toUpperCase()) });
const answer = await fetch("http://unix/", { unix: "/tmp/control/sock", method: "POST", body: "hello" }).then((r) => r.text(), String);
c.held("fetch over a Unix socket of its own", answer === "HELLO", answer);
await server.stop(true);

c.held("stdin reaches its end", (await Bun.stdin.text()) !== undefined);
// Where nothing may be made executable there are no raw calls, and so no child that a case could make either.
const noCode = process.env.BUN_JSC_useJIT === "0";
let pid = 0;
try {
  pid = sys(NR.getpid);
} catch {
  // Refused.
}
c.held("raw system call as the profile says", noCode ? pid === 0 : pid === process.pid);

// A child process works in profile `tool` and is refused, typed, in the others.
let child: string;
try {
  child = Bun.spawnSync([process.execPath, "-e", "process.stdout.write(String(6*7))"]).stdout.toString();
} catch (error) {
  child = (error as { code?: string }).code ?? String(error);
}
const noExec = noCode || sys(NR.execve, "/nope", 0, 0) !== -E.NOENT;
c.held("child process as the profile says", noExec ? child !== "42" : child === "42", child.slice(0, 80));

rmSync("/tmp/control", { recursive: true });
c.done(`profile ${noCode ? "tool-nojit" : noExec ? "tool-noexec" : "tool"}`);
