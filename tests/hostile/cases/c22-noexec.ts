// case: C22-noexec
// attack: start any process at all in the profile that allows none
// accepts: line
// profiles: tool-noexec
// cost: light
// control: seccomp

import { Asm, elf } from "./_asm.ts";
import { Case } from "./_case.ts";
import { addressOf, cstr, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C22-noexec");
c.able("make raw calls", sys(NR.getpid) === process.pid);

// A child, where one is made, only exits.
const clone = (flags: bigint): number => new Asm().enter().sys(NR.clone, flags, 0, 0, 0, 0).jumpZero("child").leave().label("child").sys(NR.exit_group, 0).place()();
const SIGCHLD = 17n;
for (const [name, flags] of Object.entries({ fork: 0n, "CLONE_VM": 0x100n, "CLONE_VFORK": 0x4000n, "VM|VFORK": 0x4100n, "FS|FILES": 0x600n, parent: 0x8000n, SIGHAND: 0x900n, "high bits": 1n << 33n })) {
  for (const signal of [SIGCHLD, 0n]) c.filtered(`clone ${name} ${signal}`, clone(flags | signal));
}
for (const name of ["fork", "vfork"] as const) {
  const answer = new Asm().enter().sys(NR[name]).jumpZero("child").leave().label("child").sys(NR.exit_group, 0).place()();
  c.filtered(name, answer);
}
c.filtered("clone3", sys(NR.clone3, words(0, 0, 0, 0, 0xff, 0, 0, 0), 64));
const fd = sys(NR.memfd_create, "program", 0);
const program = elf(new Asm().sys(NR.exit_group, 42).code());
if (fd >= 0) sys(NR.write, fd, program, program.length);
const argv = words(addressOf(cstr("x")), 0);
for (const path of ["/nope", "", "/bin/bun", "/proc/self/exe", `/proc/self/fd/${fd}`, "/lib64/ld-linux-x86-64.so.2"]) {
  // A real program would replace this process where the cage does not hold.
  if (c.escapes > 0) break;
  c.filtered(`execve ${path}`, sys(NR.execve, path, argv, words(0)));
  c.filtered(`execveat ${path}`, sys(NR.execveat, -100, path, argv, words(0), 0));
}
c.filtered("execve with null pointers", sys(NR.execve, 0, 0, 0));
if (c.escapes === 0) c.filtered("execveat of a memfd", sys(NR.execveat, fd, "", argv, words(0), 0x1000));
c.throws("Bun.spawnSync", () => {
  const child = Bun.spawnSync([process.execPath, "-e", "1"]);
  if (child.exitCode !== 0) throw new Error("refused");
  return child.exitCode;
});
c.held("profile keeps threads", await new Promise((resolve) => {
  const worker = new Worker(URL.createObjectURL(new Blob(["postMessage(1)"])));
  worker.onmessage = () => { worker.terminate(); resolve(true); };
  worker.onerror = () => resolve(false);
}));
c.done();
