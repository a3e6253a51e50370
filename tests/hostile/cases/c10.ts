// case: C10
// attack: open kernel settings for writing through many aliases of /proc, remount it, or use the old sysctl call
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: uid, user-namespace, proc-options, landlock

import { Case, list } from "./_case.ts";
import { O, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C10");
const own = sys(NR.open, "/proc/self/comm", O.WRONLY | O.CLOEXEC, 0);
c.able("open a file of its own below /proc", sys(NR.open, "/proc/self/status", O.RDONLY | O.CLOEXEC, 0) >= 0);
if (own >= 0) sys(NR.close, own);

const SETTINGS = [
  "sys/kernel/core_pattern", "sys/kernel/core_pipe_limit", "sys/kernel/modprobe", "sys/kernel/hotplug", "sys/kernel/poweroff_cmd", "sys/kernel/usermodehelper/bset",
  "sys/kernel/sysrq", "sys/kernel/randomize_va_space", "sys/kernel/kptr_restrict", "sys/kernel/dmesg_restrict", "sys/kernel/perf_event_paranoid",
  "sys/kernel/unprivileged_bpf_disabled", "sys/kernel/yama/ptrace_scope", "sys/kernel/hostname", "sys/kernel/domainname", "sys/kernel/ns_last_pid",
  "sys/kernel/shmmax", "sys/kernel/sem", "sys/kernel/msgmax", "sys/kernel/keys/maxkeys", "sys/kernel/panic", "sys/kernel/threads-max", "sys/kernel/pid_max",
  "sys/vm/overcommit_memory", "sys/vm/drop_caches", "sys/vm/panic_on_oom", "sys/vm/mmap_min_addr", "sys/fs/suid_dumpable", "sys/fs/protected_symlinks", "sys/fs/file-max",
  "sys/fs/binfmt_misc/register", "sys/fs/binfmt_misc/status", "sys/fs/mqueue/msg_max", "sys/net/ipv4/ip_forward", "sys/net/ipv4/ping_group_range", "sys/net/core/somaxconn",
  "sys/net/unix/max_dgram_qlen", "sys/user/max_user_namespaces", "sys/debug/exception-trace", "sysrq-trigger", "kcore", "kmsg", "timer_list", "bus/pci", "mtrr",
  "irq/default_smp_affinity", "scsi/scsi", "acpi/wakeup", "latency_stats", "dynamic_debug/control", "driver/rtc", "sysvipc/shm", "config.gz",
  "self/net/../../../sys/kernel/core_pattern",
];
const cwd = process.cwd();
const PREFIXES = [
  "/proc/", "//proc//", "/proc/./", "/proc/self/../", `/proc/${process.pid}/../`, "/proc/thread-self/../../../", `/proc/self/task/${process.pid}/../../../`,
  "/proc/self/root/proc/", `/proc/${process.pid}/root/proc/`, "/proc/thread-self/root/proc/", `/proc/self/task/${process.pid}/root/proc/`, "/proc/self/cwd/../proc/",
  "/proc/1/root/proc/", "/proc/1/cwd/../proc/", `${cwd}/../proc/`, "/dev/../proc/", "/tmp/link/", "/dev/fd/../../",
];
sys(NR.symlink, "/proc", "/tmp/link");
const FLAGS = { O_WRONLY: O.WRONLY, O_RDWR: O.RDWR, "O_WRONLY|O_TRUNC": O.WRONLY | O.TRUNC, "O_WRONLY|O_APPEND": O.WRONLY | O.APPEND };

const close = (fd: number): void => void (fd >= 0 && sys(NR.close, fd));
const proc = sys(NR.open, "/proc", O.PATH | O.DIRECTORY | O.CLOEXEC, 0);
const self = sys(NR.open, "/proc/self", O.RDONLY | O.DIRECTORY | O.CLOEXEC, 0);
for (const setting of SETTINGS) {
  for (const prefix of PREFIXES) {
    for (const [name, flags] of Object.entries(FLAGS)) {
      const fd = sys(NR.open, prefix + setting, flags | O.CLOEXEC, 0);
      c.refused(`open ${prefix}${setting} ${name}`, fd);
      close(fd);
    }
    c.refused(`creat ${prefix}${setting}`, sys(NR.creat, prefix + setting, 0));
  }
  for (const [what, fd] of [
    ["openat from /proc", sys(NR.openat, proc, setting, O.WRONLY | O.CLOEXEC, 0)],
    ["openat from /proc/self", sys(NR.openat, self, `../${setting}`, O.WRONLY | O.CLOEXEC, 0)],
    ["openat2", sys(NR.openat2, proc, setting, words(O.WRONLY, 0, 0), 24)],
    ["openat with high flag bits", sys(NR.openat, proc, setting, BigInt(O.WRONLY) | (1n << 40n), 0)],
  ] as const) {
    c.refused(`${what} ${setting}`, fd);
    close(fd);
  }
  // O_PATH needs no right to the file; reopening it must.
  const path = sys(NR.open, `/proc/${setting}`, O.PATH | O.CLOEXEC, 0);
  if (path >= 0) {
    const fd = sys(NR.open, `/proc/self/fd/${path}`, O.WRONLY, 0);
    c.refused(`reopen ${setting}`, fd);
    close(fd);
    close(path);
  }
}

// A fresh procfs, by every way to mount one.
sys(NR.mkdir, "/tmp/proc", 0o700);
for (const type of ["proc", "sysfs", "tmpfs", "debugfs", "tracefs", "binfmt_misc", "securityfs", "configfs"]) {
  c.refused(`mount ${type}`, sys(NR.mount, type, "/tmp/proc", type, 0, 0));
  c.refused(`fsopen ${type}`, sys(NR.fsopen, type, 0));
}
// MS_BIND of /proc; MS_REMOUNT dropping subset=pid.
c.refused("bind /proc", sys(NR.mount, "/proc", "/tmp/proc", 0, 0x1000, 0));
c.refused("remount /proc", sys(NR.mount, "proc", "/proc", "proc", 0x20, "subset="));
c.refused("sysctl(2)", sys(NR._sysctl, 0));
c.held("no /proc/sys", list("/proc/sys").length === 0);

// Writable files of its own must not change another's oom score or limits.
for (const name of ["oom_score_adj", "oom_adj"]) {
  const fd = sys(NR.open, `/proc/self/${name}`, O.WRONLY | O.CLOEXEC, 0);
  if (fd >= 0) {
    c.refused(`lower its own ${name}`, sys(NR.write, fd, "-1000", 5));
    close(fd);
  }
}
for (const name of ["uid_map", "gid_map", "projid_map", "setgroups"]) {
  const fd = sys(NR.open, `/proc/self/${name}`, O.WRONLY | O.CLOEXEC, 0);
  if (fd >= 0) {
    c.refused(`write ${name}`, sys(NR.write, fd, name === "setgroups" ? "allow" : "0 0 1", 5));
    close(fd);
  }
}
c.done();
