// case: C12
// attack: read or control the first process of the cage and its parent: everything below /proc/<pid>, ptrace, memory, descriptors
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: undumpable, proc-options

import { Case, list, readText } from "./_case.ts";
import { AT_FDCWD, E, O, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C12");
c.able("read its own environment", (readText("/proc/self/environ") ?? "").includes("HOME="));
c.able("read its own command line", (readText("/proc/self/cmdline") ?? "").includes("bun"));

const ALLOWED = new Set(["HOME", "PATH", "TMPDIR", "LANG", "TZ", "BUN_RUNTIME_TRANSPILER_CACHE_PATH", "PWD"]);
const INNER = ["environ", "maps", "smaps", "smaps_rollup", "numa_maps", "mem", "auxv", "stack", "syscall", "io", "personality", "pagemap", "wchan", "mountinfo", "mounts", "mountstats",
  "limits", "sched", "cmdline", "comm", "status", "stat", "statm", "oom_score", "oom_score_adj", "cgroup", "timers", "timerslack_ns", "patch_state", "coredump_filter",
  "uid_map", "gid_map", "setgroups", "loginuid", "sessionid", "autogroup", "clear_refs"];
const SECRET = new Set(["environ", "maps", "smaps", "smaps_rollup", "mem", "auxv", "stack", "syscall", "io", "personality", "pagemap", "mountinfo", "mounts", "cmdline", "numa_maps"]);
const LINKS = ["root", "cwd", "exe"];
const DIRECTORIES = ["fd", "fdinfo", "map_files", "ns", "task", "net", "attr"];

const others = [...new Set([1, process.ppid])].filter((pid) => pid > 0 && pid !== process.pid);
for (const pid of others) {
  for (const base of [`/proc/${pid}`, `/proc/self/../${pid}`, `/proc/self/root/proc/${pid}`, `/proc/${pid}/task/${pid}`]) {
    for (const name of INNER) {
      const path = `${base}/${name}`;
      if (SECRET.has(name)) c.held(`read ${path}`, (readText(path) ?? "") === "", "readable");
      for (const flags of [O.WRONLY, O.RDWR]) {
        const fd = sys(NR.open, path, flags | O.CLOEXEC, 0);
        c.refused(`open ${path} for writing`, fd);
        if (fd >= 0) sys(NR.close, fd);
      }
    }
    for (const name of LINKS) {
      c.refused(`readlink ${base}/${name}`, sys(NR.readlink, `${base}/${name}`, new Uint8Array(256), 256));
      c.refused(`open ${base}/${name}`, sys(NR.open, `${base}/${name}`, O.PATH | O.CLOEXEC, 0));
    }
    for (const name of DIRECTORIES) {
      if (name === "net" || name === "task" || name === "attr") continue;
      c.held(`list ${base}/${name}`, list(`${base}/${name}`).length === 0, list(`${base}/${name}`).join(" ").slice(0, 60));
    }
  }
  // SEIZE, not ATTACH: it does not stop its target, so nothing hangs where the cage does not hold.
  for (const [what, request] of Object.entries({ SEIZE: 0x4206, PEEKDATA: 2, GETREGS: 12, GETFPREGS: 14 })) {
    c.refused(`ptrace ${what} ${pid}`, sys(NR.ptrace, request, pid, 0, 0), [E.PERM, E.NOSYS, E.SRCH]);
  }
  if (c.escapes === 0) c.refused(`ptrace ATTACH ${pid}`, sys(NR.ptrace, 16, pid, 0, 0), [E.PERM, E.NOSYS, E.SRCH]);
  const local = words(0, 0);
  c.refused(`process_vm_readv ${pid}`, sys(NR.process_vm_readv, pid, local, 1, local, 1, 0), [E.PERM, E.NOSYS, E.SRCH]);
  c.refused(`process_vm_writev ${pid}`, sys(NR.process_vm_writev, pid, local, 1, local, 1, 0), [E.PERM, E.NOSYS, E.SRCH]);
  c.refused(`kcmp ${pid}`, sys(NR.kcmp, process.pid, pid, 0, 0, 0), [E.PERM, E.NOSYS, E.SRCH]);
  c.refused(`process_madvise ${pid}`, sys(NR.process_madvise, pid, local, 1, 4, 0));
  const pidfd = sys(NR.pidfd_open, pid, 0);
  if (pidfd >= 0) {
    for (let fd = 0; fd < 16; fd++) c.refused(`pidfd_getfd ${pid} ${fd}`, sys(NR.pidfd_getfd, pidfd, fd, 0));
    c.refused(`setns by pidfd ${pid}`, sys(NR.setns, pidfd, 0x20000));
    c.refused(`process_mrelease ${pid}`, sys(NR.process_mrelease, pidfd, 0));
  }
  const nsFd = sys(NR.openat, AT_FDCWD, `/proc/${pid}/ns/mnt`, O.RDONLY, 0);
  c.refused(`namespace of ${pid}`, nsFd);
}
c.held("the sweep of the first process ran", true);

// Whatever is first, its environment (this process's own, when it is first) names nothing beyond the documented list.
for (const path of ["/proc/self/environ", "/proc/1/environ", `/proc/${process.ppid}/environ`]) {
  const names = (readText(path) ?? "").split("\0").filter((entry) => entry !== "").map((entry) => entry.split("=")[0]!);
  c.held(`${path} names only the documented`, names.every((name) => ALLOWED.has(name)), names.filter((name) => !ALLOWED.has(name)).join(" "));
}
c.held("argv of the launcher is not visible", !/quilt|launcher|--policy|\/data\//.test(readText("/proc/1/cmdline") ?? ""), readText("/proc/1/cmdline") ?? "");
c.done(`pid ${process.pid}, parent ${process.ppid}`);
