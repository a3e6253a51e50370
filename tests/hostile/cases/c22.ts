// case: C22
// attack: run a program of its own: from /tmp, /out, memfd, by loader, script, descriptor, library or executable map
// accepts: line
// profiles: tool
// cost: light
// control: noexec

import { dlopen } from "bun:ffi";
import { chmodSync, writeFileSync } from "node:fs";
import { Asm, elf, fork, reap } from "./_asm.ts";
import { Case, readText } from "./_case.ts";
import { addressOf, AT_FDCWD, cstr, E, O, show, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C22");
const RAN = 42;
c.able("fork and reap a child", reap(sys, fork((asm) => void asm.sys(NR.open, 0, 0)))?.code === E.FAULT);

// exit(42): running at all is seen by the code.
const program = elf(new Asm().sys(NR.exit_group, RAN).code());
const argv = words(addressOf(cstr("program")), 0);
const execs = (path: string): number => {
  const pid = fork((asm) => void asm.sys(NR.execve, addressOf(cstr(path)), addressOf(argv), addressOf(words(0))));
  return reap(sys, pid)?.code ?? -1;
};
/** The exit code of a child that asked for execveat: RAN, or the error. */
const execsAt = (fd: number, path: string, flags: number): number =>
  reap(sys, fork((asm) => void asm.sys(NR.execveat, fd, addressOf(cstr(path)), addressOf(argv), addressOf(words(0)), flags)))?.code ?? -1;
c.able("execve of the runtime's own binary is possible", Bun.spawnSync([process.execPath, "-e", "process.exit(42)"]).exitCode === RAN);

for (const directory of ["/tmp", "/out"]) {
  for (const mode of [0o755, 0o6777]) {
    const path = `${directory}/program-${mode.toString(8)}`;
    writeFileSync(path, program);
    chmodSync(path, mode);
    c.held(`execve ${path}`, execs(path) !== RAN);
    c.held(`execve through /proc/self/root ${path}`, execs(`/proc/self/root${path}`) !== RAN);
    const fd = sys(NR.open, path, O.RDONLY, 0);
    c.held(`execve by descriptor ${path}`, execs(`/proc/self/fd/${fd}`) !== RAN);
    c.held(`execveat ${path}`, execsAt(AT_FDCWD, path, 0) !== RAN);
    c.held(`execveat of a descriptor of ${path}`, execsAt(fd, "", 0x1000) !== RAN);
    c.refused(`executable map of ${path}`, sys(NR.mmap, 0, 4096, 5, 2, fd, 0));
    const map = sys(NR.mmap, 0, 4096, 1, 2, fd, 0);
    if (map > 0) c.refused(`make a map of ${path} executable`, sys(NR.mprotect, map, 4096, 5));
    let spawned: number | null = null;
    try {
      spawned = Bun.spawnSync([path]).exitCode;
    } catch {
      // Refused, as it should be.
    }
    c.held(`Bun.spawn ${path}`, spawned !== RAN);
    // The loader is an interpreter: it maps what it is given, which noexec must stop too.
    const loaded = Bun.spawnSync(["/lib64/ld-linux-x86-64.so.2", path]);
    c.held(`loader runs ${path}`, loaded.exitCode !== RAN, String(loaded.exitCode));
  }
  const script = `${directory}/script`;
  writeFileSync(script, "#!/bin/bun\nprocess.exit(42)\n");
  chmodSync(script, 0o755);
  c.held(`script ${script}`, execs(script) !== RAN);
  const library = `${directory}/lib.so`;
  writeFileSync(library, new Uint8Array(await Bun.file("/lib/x86_64-linux-gnu/libdl.so.2").arrayBuffer()));
  c.throws(`dlopen ${library}`, () => dlopen(library, {}).symbols);
}

// An anonymous file can be executed in this profile; what runs must have no more rights than its parent.
const probes: Record<string, (asm: Asm) => void> = {
  "socket(AF_INET)": (asm) => void asm.sys(NR.socket, 2, 1, 0),
  "unshare(NEWUSER)": (asm) => void asm.sys(NR.unshare, 0x10000000),
  "ptrace(TRACEME)": (asm) => void asm.sys(NR.ptrace, 0, 0, 0, 0),
  "setuid(0)": (asm) => void asm.sys(NR.setuid, 0),
  "keyctl": (asm) => void asm.sys(NR.keyctl, 0, -3, 0, 0, 0),
  "open /bin for writing": (asm) => void asm.sys(NR.open, addressOf(cstr("/")), O.TMPFILE | O.RDWR, 0o600),
};
const allowed: number[] = [E.PERM, E.NOSYS, E.ACCES, E.ROFS, E.FAULT];
for (const [name, body] of Object.entries(probes)) {
  for (const flags of [0, 2]) {
    const fd = sys(NR.memfd_create, "program", flags);
    if (fd < 0) continue;
    const asm = new Asm();
    body(asm);
    const bytes = elf(asm.raw(0x48, 0xf7, 0xd8).sys(NR.exit_group, "result").code());
    sys(NR.write, fd, bytes, bytes.length);
    const code = execs(`/proc/self/fd/${fd}`);
    c.held(`${name} from a memfd program`, allowed.includes(code), show(-code));
    c.held("execveat of a memfd", [E.PERM, E.NOSYS].includes(execsAt(fd, "", 0x1000) as 1));
    sys(NR.close, fd);
  }
}
c.refused("uselib", sys(NR.uselib, "/tmp/program-755"), [E.PERM, E.NOSYS]);
const child = Bun.spawnSync([process.execPath, "-e", "process.stdout.write(require('fs').readFileSync('/proc/self/status','utf8'))"]).stdout.toString();
for (const line of ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"]) c.held(`a child has ${line}`, child.includes(line));
c.held("a child has the same uid", /^Uid:.*$/m.exec(child)?.[0] === /^Uid:.*$/m.exec(readText("/proc/self/status") ?? "")?.[0]);
c.done();
