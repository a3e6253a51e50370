// case: C01
// attack: keep or regain privileges: capabilities, set-id calls, raised limits, dropped no_new_privs
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { Case, readText } from "./_case.ts";
import { E, show, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C01");
const status = readText("/proc/self/status") ?? "";
const field = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1]?.trim() ?? "missing";
c.able("read /proc/self/status", field("Pid") === String(process.pid));
c.able("make raw calls", sys(NR.getpid) === process.pid);

for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) c.held(set, /^0+$/.test(field(set)), field(set));
c.held("NoNewPrivs", field("NoNewPrivs") === "1", field("NoNewPrivs"));
c.held("Seccomp", field("Seccomp") === "2", field("Seccomp"));
c.held("uid is not 0 in any form", field("Uid").split(/\s+/).every((uid) => uid !== "0"), field("Uid"));
c.held("gid is not 0 in any form", field("Gid").split(/\s+/).every((gid) => gid !== "0"), field("Gid"));
c.held("no supplementary group 0", !field("Groups").split(/\s+/).includes("0"), field("Groups"));

// Other threads must be as confined as the main one: a filter put on one thread only is a hole.
for (const tid of await Array.fromAsync(new Bun.Glob("*/status").scan({ cwd: "/proc/self/task" }))) {
  const text = readText(`/proc/self/task/${tid}`) ?? "Seccomp:\t2\nCapEff:\t0\nNoNewPrivs:\t1";
  const holds = /^Seccomp:\t2$/m.test(text) && /^CapEff:\t0+$/m.test(text) && /^NoNewPrivs:\t1$/m.test(text);
  c.held(`thread ${tid}`, holds);
}

// Limits, hard value last.
const RLIMITS = { NOFILE: [7, 1024], CORE: [4, 0], MEMLOCK: [8, 65_536], SIGPENDING: [11, 1024], MSGQUEUE: [12, 0], NICE: [13, 0], RTPRIO: [14, 0] } as const;
for (const [name, [resource, most]] of Object.entries(RLIMITS)) {
  const now = new BigUint64Array(2);
  const got = sys(NR.prlimit64, 0, resource, null, now);
  c.able(`read RLIMIT_${name}`, got === 0);
  c.held(`RLIMIT_${name} hard`, now[1]! <= BigInt(most), String(now[1]));
  const raised = words(most + 1, most + 1);
  c.refused(`raise RLIMIT_${name} by prlimit64`, sys(NR.prlimit64, 0, resource, raised, null));
  c.refused(`raise RLIMIT_${name} by prlimit64 on own pid`, sys(NR.prlimit64, process.pid, resource, raised, null));
  c.refused(`raise RLIMIT_${name} by setrlimit`, sys(NR.setrlimit, resource, raised));
}

// The identity calls: none may be answered by success with an id this process does not have. Own ids are a no-op and prove nothing.
const ID = 0;
for (const name of ["setuid", "setgid", "setfsuid", "setfsgid"] as const) {
  const answer = sys(NR[name], ID);
  if (name.startsWith("setfs")) c.held(`${name}(0) changed nothing`, answer < 0 || sys(NR[name], -1) !== 0, show(answer));
  else c.refused(`${name}(0)`, answer);
}
for (const name of ["setreuid", "setregid"] as const) c.refused(`${name}(0,0)`, sys(NR[name], ID, ID));
for (const name of ["setresuid", "setresgid"] as const) c.refused(`${name}(0,0,0)`, sys(NR[name], ID, ID, ID));
c.refused("setgroups([0])", sys(NR.setgroups, 1, new Uint32Array([0])));
c.refused("setgroups([])", sys(NR.setgroups, 0, null));

// capset with every capability; three header versions, own pid and 0.
for (const version of [0x19980330, 0x20071026, 0x20080522]) {
  for (const pid of [0, process.pid]) {
    const all = new Uint32Array(6).fill(0xffffffff);
    c.refused(`capset v${version.toString(16)} pid ${pid}`, sys(NR.capset, new Uint32Array([version, pid]), all));
  }
}

const PR = { SET_DUMPABLE: 4, SET_KEEPCAPS: 8, SET_SECCOMP: 22, CAPBSET_READ: 23, SET_SECUREBITS: 28, SET_TIMERSLACK: 29, SET_MM: 35,
  SET_CHILD_SUBREAPER: 36, SET_NO_NEW_PRIVS: 38, CAP_AMBIENT: 47, SET_PTRACER: 0x59616d61, SET_IO_FLUSHER: 57, SCHED_CORE: 62, SYSCALL_USER_DISPATCH: 59 };
c.refused("clear no_new_privs", sys(NR.prctl, PR.SET_NO_NEW_PRIVS, 0, 0, 0, 0));
c.refused("clear no_new_privs, high bits", sys(NR.prctl, BigInt(PR.SET_NO_NEW_PRIVS) | (1n << 32n), 0, 0, 0, 0));
for (const [name, args] of [
  ["SET_SECUREBITS", [0]], ["SET_KEEPCAPS", [1]], ["CAP_AMBIENT", [2, 21, 0, 0]], ["SET_MM", [1, 0]], ["SET_SECCOMP", [0]],
  ["SET_PTRACER", [-1]], ["SET_IO_FLUSHER", [1, 0, 0, 0]], ["SET_DUMPABLE", [2]],
] as const) {
  const code = PR[name];
  c.refused(`prctl ${name}`, sys(NR.prctl, code, ...args));
  c.refused(`prctl ${name} with high bits`, sys(NR.prctl, BigInt(code) | (0xffn << 40n), ...args));
}
for (let capability = 0; capability < 64; capability++) {
  c.held(`bounding set ${capability}`, sys(NR.prctl, PR.CAPBSET_READ, capability, 0, 0, 0) <= 0);
}

// Priority and real time.
c.refused("nice -20", sys(NR.setpriority, 0, 0, -20));
for (const policy of [1, 2, 6]) c.refused(`sched_setscheduler ${policy}`, sys(NR.sched_setscheduler, 0, policy, new Int32Array([1, 0])));
c.refused("sched_setattr deadline", sys(NR.sched_setattr, 0, new Uint32Array([48, 6, 0, 0, 0, 0, 1e6, 0, 2e6, 0, 3e6, 0]), 0));
c.refused("ioprio_set real time", sys(NR.ioprio_set, 1, 0, (1 << 13) | 0));
c.refused("mlockall", sys(NR.mlockall, 7), [E.PERM, E.NOMEM, E.NOSYS]);
c.refused("keepalive as vhangup", sys(NR.vhangup));
c.refused("iopl", sys(NR.iopl, 3), [E.PERM, E.NOSYS]);
c.refused("ioperm", sys(NR.ioperm, 0x80, 1, 1), [E.PERM, E.NOSYS]);
c.done();
