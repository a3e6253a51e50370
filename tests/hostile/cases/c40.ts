// case: C40
// attack: look for secrets in the environment of every visible process and on its own stack
// accepts: line
// profiles: tool, tool-noexec, tool-nojit
// cost: light
// control: seeded-env

import { Case, list, readText } from "./_case.ts";

const c = new Case("C40");
// The last one is what Bun makes of its own --no-orphans.
const ALLOWED = new Set(["HOME", "PATH", "TMPDIR", "LANG", "TZ", "BUN_RUNTIME_TRANSPILER_CACHE_PATH", "BUN_FEATURE_FLAG_NO_ORPHANS", "BUN_JSC_useJIT"]);
const EXACT: Record<string, string> = { HOME: "/tmp", PATH: "/bin", TMPDIR: "/tmp", LANG: "C.UTF-8", TZ: "UTC", BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" };
c.able("read its own environment", process.env.HOME !== undefined && (readText("/proc/self/environ") ?? "").includes("HOME="));

const check = (where: string, entries: string[]): void => {
  for (const entry of entries) {
    const name = entry.split("=")[0]!;
    c.held(`${where}: ${name}`, ALLOWED.has(name), "not on the list");
    if (EXACT[name] !== undefined) c.held(`${where}: value of ${name}`, entry === `${name}=${EXACT[name]}`, entry.slice(0, 80));
  }
};
check("process.env", Object.entries(process.env).map(([name, value]) => `${name}=${value}`));
for (const pid of ["self", "thread-self", ...list("/proc").filter((name) => /^\d+$/.test(name))]) {
  check(`/proc/${pid}/environ`, (readText(`/proc/${pid}/environ`) ?? "").split("\0").filter((entry) => entry !== ""));
  for (const tid of list(`/proc/${pid}/task`)) check(`/proc/${pid}/task/${tid}/environ`, (readText(`/proc/${pid}/task/${tid}/environ`) ?? "").split("\0").filter((entry) => entry !== ""));
}
const worker = new Worker(URL.createObjectURL(new Blob(["postMessage({ ...process.env })"])));
const inherited = await new Promise<Record<string, string>>((resolve) => {
  worker.onmessage = (event: MessageEvent) => resolve(event.data);
  worker.onerror = () => resolve({});
});
worker.terminate();
check("a worker's environment", Object.entries(inherited).map(([name, value]) => `${name}=${value}`));
const words = process.argv.join(" ") + process.execArgv.join(" ");
c.held("arguments name no secret", !/(key|token|secret|password)=/i.test(words), words.slice(0, 100));
c.done();
