// case: C03
// attack: see, probe or signal processes that are not its own, through every call that takes a pid
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: pid-namespace, proc-options

import { Case, list, readText } from "./_case.ts";
import { E, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C03");
const own = new Set([1, process.pid, process.ppid]);
const visible = list("/proc").filter((name) => /^\d+$/.test(name)).map(Number);
c.able("list /proc", visible.includes(process.pid));
c.able("signal itself", sys(NR.kill, process.pid, 0) === 0);

const uid = process.getuid!();
for (const pid of visible) {
  if (own.has(pid)) continue;
  const status = readText(`/proc/${pid}/status`) ?? "";
  const parent = Number(/^PPid:\s*(\d+)/m.exec(status)?.[1] ?? -1);
  c.held(`process ${pid} is its own child`, parent === process.pid && new RegExp(`^Uid:\\s*${uid}\\s`, "m").test(status));
}
c.held("few processes", visible.length <= 3, `${visible.length} listed`);

// Signal 0 only asks whether the target exists and may be signalled; nobody is harmed where the cage does not hold.
const PIDS = 65_535;
const foreign = (pid: number): boolean => !own.has(pid) && sys(NR.tgkill, process.pid, pid, 0) !== 0;
const sweep = (what: string, reach: (pid: number) => number): void => {
  const reached: number[] = [];
  for (let pid = 1; pid <= PIDS && reached.length < 5; pid++) {
    const answer = reach(pid);
    if (answer >= 0 && foreign(pid)) reached.push(pid);
  }
  c.held(what, reached.length === 0, `reached ${reached.join(",")}`);
};
sweep("kill(pid, 0)", (pid) => sys(NR.kill, pid, 0));
// EPERM tells that a process exists although it may not be touched.
sweep("kill tells who exists", (pid) => (sys(NR.kill, pid, 0) === -E.SRCH ? -1 : 0));
sweep("kill(-pgrp, 0)", (pid) => (pid === 1 ? -1 : sys(NR.kill, -pid, 0) >= 0 && sys(NR.getpgid, 0) !== pid ? 0 : -1));
sweep("pidfd_open", (pid) => {
  const fd = sys(NR.pidfd_open, pid, 0);
  if (fd >= 0) sys(NR.close, fd);
  return fd;
});
for (let pid = 1; pid <= 4096; pid++) {
  if (!foreign(pid)) continue;
  const reached = [
    ["tkill", sys(NR.tkill, pid, 0)],
    ["tgkill", sys(NR.tgkill, pid, pid, 0)],
    ["prlimit64", sys(NR.prlimit64, pid, 7, null, new Uint8Array(16))],
    ["getsid", sys(NR.getsid, pid)],
    ["getpgid", sys(NR.getpgid, pid)],
    ["sched_getaffinity", sys(NR.sched_getaffinity, pid, 8, new Uint8Array(128))],
    ["get_robust_list", sys(NR.get_robust_list, pid, new Uint8Array(8), new Uint8Array(8))],
    ["ioprio_get", sys(NR.ioprio_get, 1, pid)],
    ["move_pages", sys(NR.move_pages, pid, 0, null, null, null, 0)],
  ].filter(([, answer]) => (answer as number) >= 0);
  if (reached.length > 0) {
    c.held(`pid ${pid}`, false, reached.map(([name]) => name).join(","));
    break;
  }
}
c.held("calls by pid swept", true);

// Paths that list processes by other names.
for (const path of ["/proc/sched_debug", "/proc/timer_list", "/proc/locks", "/proc/loadavg", "/proc/stat", "/proc/uptime"]) {
  c.held(path, readText(path) === null);
}
c.held("kill(-1, 0) reaches nobody but its own", sys(NR.kill, -1, 0) < 0 || visible.length <= 3);
c.done(`${visible.length} processes visible`);
