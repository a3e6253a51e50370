// case: C18
// attack: make or enter namespaces: unshare, clone with every flag, clone3, setns by path, by pidfd and by descriptor
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { Asm } from "./_asm.ts";
import { Case } from "./_case.ts";
import { E, O, show, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C18");
c.able("make raw calls", sys(NR.getpid) === process.pid);
c.able("start a thread", await new Promise((resolve) => {
  const worker = new Worker(URL.createObjectURL(new Blob(["postMessage(1)"])));
  worker.onmessage = () => { worker.terminate(); resolve(true); };
  worker.onerror = () => resolve(false);
}));

const NEW = { TIME: 0x80, NS: 0x20000, CGROUP: 0x02000000, UTS: 0x04000000, IPC: 0x08000000, USER: 0x10000000, PID: 0x20000000, NET: 0x40000000 } as const;
const flags = Object.entries(NEW);
const combinations: [string, number][] = [];
for (let bits = 1; bits < 1 << flags.length; bits++) {
  const chosen = flags.filter((_, i) => (bits >> i) & 1);
  combinations.push([chosen.map(([name]) => name).join("|"), chosen.reduce((sum, [, value]) => sum + value, 0)]);
}
for (const [name, value] of combinations) {
  for (const high of [0n, 1n << 32n, 0xffn << 48n]) c.filtered(`unshare ${name} high ${high.toString(16)}`, sys(NR.unshare, BigInt(value) | high));
}
for (const [name, value] of Object.entries({ FS: 0x200, FILES: 0x400, SYSVSEM: 0x40000 })) c.filtered(`unshare ${name}`, sys(NR.unshare, value));

// clone: the child, where one is made, only exits. CLONE_NEWTIME is not a clone flag: its bit is part of the exit signal.
const child = (clone: bigint, stack = 0): number =>
  new Asm().enter().sys(NR.clone, clone, stack, 0, 0, 0).jumpZero("child").leave().label("child").sys(NR.exit, 0).place()();
const SIGCHLD = 17n;
for (const [name, value] of combinations.filter(([, flag]) => (flag & NEW.TIME) === 0)) {
  for (const high of [0n, 1n << 32n, 0xffffffffn << 32n]) {
    const answer = child(BigInt(value) | SIGCHLD | high);
    c.filtered(`clone ${name} high ${high.toString(16)}`, answer);
    if (answer > 0) sys(NR.wait4, answer, 0, 0, 0);
  }
}
for (const [name, value] of flags.filter(([name]) => name !== "TIME")) {
  // With the flags a real thread or vfork uses, so that a filter which looks for exact values is met too.
  for (const extra of [0x100, 0x4000 | 0x100, 0x800, 0x8000, 0x80000000, 0x2000]) {
    const answer = child(BigInt(value | 0) & 0xffffffffn | BigInt(extra) & 0xffffffffn | SIGCHLD);
    c.filtered(`clone ${name}|${extra.toString(16)}`, answer);
    if (answer > 0) sys(NR.wait4, answer, 0, 0x40000000, 0);
  }
}

// clone3 must look absent, so that libc falls back to clone.
for (const [name, value] of [["nothing", 0], ...flags] as [string, number][]) {
  for (const size of [64, 80, 88]) {
    const args = words(value, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    // An impossible exit signal: the call fails with EINVAL, and makes nothing, wherever it is let through.
    args[32] = 0xff;
    c.refused(`clone3 ${name} size ${size}`, sys(NR.clone3, args, size), [E.NOSYS]);
  }
}
c.refused("clone3 null", sys(NR.clone3, 0, 0), [E.NOSYS]);

for (const name of ["mnt", "net", "pid", "pid_for_children", "user", "uts", "ipc", "cgroup", "time", "time_for_children"]) {
  for (const pid of ["self", "1", "thread-self", String(process.ppid)]) {
    const fd = sys(NR.open, `/proc/${pid}/ns/${name}`, O.RDONLY | O.CLOEXEC, 0);
    if (fd < 0) continue;
    for (const type of [0, ...Object.values(NEW)]) c.filtered(`setns ${pid}/${name} ${type}`, sys(NR.setns, fd, type));
    // NS_GET_USERNS and NS_GET_PARENT walk up the tree of namespaces.
    for (const request of [0xb701, 0xb702, 0xb703, 0xb704]) c.filtered(`ioctl ns ${name} ${request.toString(16)}`, sys(NR.ioctl, fd, request, new Uint8Array(8)));
    sys(NR.close, fd);
  }
}
for (const type of [0, ...Object.values(NEW)]) c.filtered(`setns on nothing ${type}`, sys(NR.setns, -1, type));
const pidfd = sys(NR.pidfd_open, process.pid, 0);
for (const flag of Object.values(NEW)) c.filtered(`setns by pidfd ${flag}`, sys(NR.setns, pidfd, flag));
c.done(`${combinations.length} combinations, pidfd ${show(pidfd)}`);
