// case: C22-nojit
// attack: get machine code of its own to run where nothing may be made executable: by ffi, libraries, its own memory file, WebAssembly, children
// accepts: line
// profiles: tool-nojit
// cost: light
// control: seccomp
// limits: --timeout 30s

import { closeSync, copyFileSync, openSync, readSync, writeFileSync, writeSync } from "node:fs";
import { Case, list, readText } from "./_case.ts";

const c = new Case("C22-nojit");
const maps = (): string[] => (readText("/proc/self/maps") ?? "").split("\n").filter((line) => line !== "");
const executable = (): string[] => maps().filter((line) => line.split(" ")[1]?.includes("x"));
const known = /\/bin\/bun$|\/lib[^ ]*\/[^ /]+\.so[.0-9]*$|\[vdso\]$|\[vsyscall\]$/;
c.able("read its own maps", maps().length > 10 && executable().some((line) => line.endsWith("/bin/bun")));
const check = (after: string): void => {
  const odd = executable().filter((line) => !known.test(line));
  c.held(`only the runtime is executable after ${after}`, odd.length === 0, odd.slice(0, 3).join(" / "));
  const both = maps().filter((line) => /^\S+ .w.?x|^\S+ .wx/.test(line));
  c.held(`nothing is writable and executable after ${after}`, both.length === 0, both.slice(0, 3).join(" / "));
};
check("the start");

// Warm code, so that an engine with a compiler would compile it.
let sum = 0;
const hot = (n: number): number => {
  for (let i = 0; i < 1000; i++) sum = (sum * 31 + i * n) | 0;
  return sum;
};
for (let i = 0; i < 2000; i++) hot(i);
for (let i = 0; i < 2000; i++) /^(a|b)*c$/.test("abababababc");
check("hot code");

const attempts: [string, () => unknown][] = [
  ["bun:ffi calls a library", () => {
    const { dlopen } = require("bun:ffi") as typeof import("bun:ffi");
    return dlopen("libc.so.6", { getpid: { args: [], returns: "i32" } }).symbols.getpid();
  }],
  ["bun:ffi compiles C", () => (require("bun:ffi") as { cc(options: unknown): unknown }).cc({ source: writeSource(), symbols: { f: { args: [], returns: "i32" } } })],
  ["a library from /tmp", () => load("/tmp/x.node")],
  ["a library from /out", () => load("/out/x.node")],
  ["a child process", () => Bun.spawnSync([process.execPath, "-e", "1"]).exitCode],
  ["a worker process", () => (require("node:child_process") as typeof import("node:child_process")).execFileSync(process.execPath, ["-e", "1"])],
];
function writeSource(): string {
  writeFileSync("/tmp/f.c", "int f() { return 42; }");
  return "/tmp/f.c";
}
function load(path: string): never {
  const library = executable().map((line) => line.split(" ").at(-1)!).find((one) => one.includes("libc.so"))!;
  copyFileSync(library, path);
  try {
    process.dlopen({ exports: {} }, path);
  } catch (error) {
    // It was mapped, and only lacks what Bun looks for in it.
    if (/symbol|register/i.test(String(error)) && !/segment|map|permit/i.test(String(error))) throw new Error("mapped", { cause: "mapped" });
    throw error;
  }
  throw new Error("mapped", { cause: "mapped" });
}
for (const [what, attempt] of attempts) {
  let seen = "";
  try {
    seen = `gave ${String(attempt())}`;
  } catch (error) {
    if ((error as Error).cause === "mapped") seen = "was mapped";
  }
  c.held(what, seen === "", seen);
  check(what);
}

// The memory file writes to pages whatever their protection says; code there is the runtime's own.
const target = executable().find((line) => line.endsWith("/bin/bun"));
for (const path of ["/proc/self/mem", `/proc/${process.pid}/mem`, "/proc/thread-self/mem", `/proc/self/task/${list("/proc/self/task")[0]}/mem`]) {
  let seen = "";
  try {
    const fd = openSync(path, "r+");
    // The byte that is there already: nothing breaks, and it shows what could be written.
    const at = Number.parseInt(target!.split("-")[0]!, 16);
    const byte = new Uint8Array(1);
    readSync(fd, byte, 0, 1, at);
    seen = `opened, wrote ${writeSync(fd, byte, 0, 1, at)} byte of code`;
    closeSync(fd);
  } catch (error) {
    if (seen !== "" || !["EACCES", "EPERM", "ENOENT", "EROFS", "EIO"].includes((error as { code?: string }).code ?? "")) seen = String(error);
  }
  c.held(`write ${path}`, seen === "", seen);
}

// Without a compiler WebAssembly is interpreted or refused; it makes no code either way.
try {
  const bytes = Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 7, 1, 3, 97, 100, 100, 0, 0, 10, 9, 1, 7, 0, 32, 0, 32, 1, 106, 11]);
  const { add } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports as { add(a: number, b: number): number };
  for (let i = 0; i < 50_000; i++) add(i, 1);
} catch {
  // Refused.
}
check("WebAssembly");
c.done(`${executable().length} executable mappings`);
