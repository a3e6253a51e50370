// case: C20
// attack: the kernel's surface: every system call number outside the documented list, with arguments that do nothing
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { Case, readText } from "./_case.ts";
import { E, show, sys, words } from "./_ffi.ts";
import { NR, type CallName } from "./_nr.ts";

const c = new Case("C20");
c.able("make raw calls", sys(NR.getpid) === process.pid && sys(NR.open, "/nope", 0, 0) === -E.NOENT);

// The documented profile. What is not here must be answered by the filter, with EPERM or ENOSYS, whatever the arguments.
const DOCUMENTED = new Set<CallName>(`accept4 access arch_prctl bind brk chdir chmod clock_gettime clock_nanosleep clone close close_range connect copy_file_range dup2
  epoll_create1 epoll_ctl epoll_pwait2 epoll_wait eventfd2 execve exit exit_group fadvise64 fallocate fchmod fchown fcntl fdatasync fstat fsync ftruncate futex getcwd getdents64 geteuid
  getgid getgroups getpeername getpid getpriority getrandom getrusage getsockname getsockopt gettid gettimeofday getuid inotify_add_watch inotify_init1 inotify_rm_watch ioctl
  kill link listen lseek lstat madvise memfd_create mkdir mkdirat mmap mprotect munmap nanosleep newfstatat open openat pidfd_open poll prctl pread64 preadv2 prlimit64 pwrite64
  pwritev read readlink readv recvfrom recvmsg rename renameat restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend sched_getaffinity sched_yield
  sendmmsg sendto set_robust_list set_tid_address setpgid setpriority setsockopt shutdown sigaltstack socket socketpair stat statfs statx symlink sysinfo tgkill timer_create
  timer_settime truncate umask uname unlink unlinkat utimensat vfork wait4 waitid write writev`.split(/\s+/) as CallName[]);
// Harmless relatives that libc or Bun use instead of a listed one; each stays inside the process, its files or its own pipes.
const RELATIVES = new Set<CallName>(`chown lchown fchmodat fchownat faccessat faccessat2 readlinkat linkat symlinkat renameat2 getegid getppid getpgid getpgrp getsid setsid setpgid
  dup dup3 pipe pipe2 preadv pwritev2 epoll_pwait epoll_create ppoll pselect6 select sendmsg recvmmsg accept sched_setaffinity sched_getparam sched_getscheduler
  sched_get_priority_max sched_get_priority_min getrlimit getresuid getresgid mremap msync mincore membarrier munlock mlock mlock2 munlockall timerfd_create timerfd_settime timerfd_gettime timer_delete
  timer_gettime timer_getoverrun getitimer setitimer alarm pause clock_getres time times fchdir rmdir getdents fstatfs sync_file_range flock fallocate utime utimes futimesat
  sendfile splice tee vmsplice signalfd4 eventfd inotify_init getcpu rt_sigpending rt_sigtimedwait rt_sigqueueinfo tkill get_robust_list creat readahead capget ftruncate
  pidfd_send_signal futex_waitv futex_wait futex_wake futex_requeue getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr mseal fork openat2 statmount
  cachestat syncfs sync memfd_secret map_shadow_stack rt_tgsigqueueinfo fchmodat2`.split(/\s+/) as CallName[]);
// Calls that never return, or end or stop this process when let through; their refusal is shown by other cases.
const SKIP = new Set<CallName>(["exit", "exit_group", "rt_sigreturn", "vfork", "fork", "clone", "pause", "rt_sigsuspend", "restart_syscall", "uretprobe", "uprobe", "clone3"]);

// Pointers that are not null and not valid, descriptors that are not open: nothing can happen, whoever answers.
const BAD = -1;
for (const [name, nr] of Object.entries(NR) as [CallName, number][]) {
  if (DOCUMENTED.has(name) || RELATIVES.has(name) || SKIP.has(name)) continue;
  if (name === "vhangup" || name === "sync" || name === "munlockall" || name === "setsid" || name === "inotify_init") {
    if (readText("/proc/self/status")?.includes("Seccomp:\t2")) c.filtered(name, sys(nr));
    continue;
  }
  c.filtered(name, sys(nr, BAD, BAD, BAD, BAD, BAD, BAD));
}
// Numbers no kernel has yet, and the gap above the old table, must look absent.
for (let nr = 387; nr <= 423; nr++) c.refused(`number ${nr}`, sys(nr, BAD, BAD, BAD, BAD, BAD, BAD), [E.NOSYS, E.PERM]);
for (let nr = 470; nr < 1024; nr++) c.refused(`number ${nr}`, sys(nr, BAD, BAD, BAD, BAD, BAD, BAD), [E.NOSYS]);
// Without bit 30, which would make it an x32 number and end the process (c21).
for (const nr of [1n << 20n, 0x3fffffffn, (1n << 32n) | 1024n]) c.refused(`number ${nr}`, sys(nr, BAD), [E.NOSYS, E.PERM]);

// The named ones again with arguments that would be accepted where the call is let through, but change nothing or are undone.
const attr = new Uint8Array(136);
const named: Record<string, number> = {
  "mount tmpfs": sys(NR.mount, "none", "/tmp", "tmpfs", 0, 0), "mount nothing": sys(NR.mount, 0, 0, 0, 0, 0), "umount2 missing": sys(NR.umount2, "/nope", 0),
  "pivot_root missing": sys(NR.pivot_root, "/nope", "/nope"), "chroot missing": sys(NR.chroot, "/nope"), "bpf map": sys(NR.bpf, 0, attr, 72), "bpf prog": sys(NR.bpf, 5, attr, 72),
  "perf software": sys(NR.perf_event_open, new Uint32Array([1, 112, 0, ...new Array(30).fill(0)]), 0, -1, -1, 0), userfaultfd: sys(NR.userfaultfd, 1), "userfaultfd kernel": sys(NR.userfaultfd, 0),
  io_uring_setup: sys(NR.io_uring_setup, 1, new Uint8Array(120)), io_uring_enter: sys(NR.io_uring_enter, -1, 0, 0, 0, 0, 0), io_uring_register: sys(NR.io_uring_register, -1, 0, 0, 0),
  "keyctl session": sys(NR.keyctl, 1, 0), "ptrace traceme": sys(NR.ptrace, 0x4206, -1, 0, 0), "ptrace peek self": sys(NR.ptrace, 2, process.pid, 0, 0),
  process_vm_readv: sys(NR.process_vm_readv, process.pid, words(0, 0), 1, words(0, 0), 1, 0), process_vm_writev: sys(NR.process_vm_writev, process.pid, words(0, 0), 0, words(0, 0), 0, 0),
  kexec_load: sys(NR.kexec_load, 0, 1, BAD, BAD), kexec_file_load: sys(NR.kexec_file_load, -1, -1, 0, 0, 0), init_module: sys(NR.init_module, BAD, 0, ""), finit_module: sys(NR.finit_module, -1, "", 0),
  delete_module: sys(NR.delete_module, "aria-hostile-none", 0o4000), "reboot bad magic": sys(NR.reboot, 1, 2, 3, 0), "swapon missing": sys(NR.swapon, "/nope", 0), "swapoff missing": sys(NR.swapoff, "/nope"),
  "settimeofday bad": sys(NR.settimeofday, words(0, 9_999_999), 0), "sethostname too long": sys(NR.sethostname, "x", 1 << 20), "setdomainname too long": sys(NR.setdomainname, "x", 1 << 20),
  open_by_handle_at: sys(NR.open_by_handle_at, -1, BAD, 0), name_to_handle_at: sys(NR.name_to_handle_at, -1, "", BAD, BAD, 0), fanotify_init: sys(NR.fanotify_init, 0, 0),
  "fanotify_init fid": sys(NR.fanotify_init, 0x200, 0), fanotify_mark: sys(NR.fanotify_mark, -1, 0, 0, -1, 0), "personality query": sys(NR.personality, 0xffffffff),
  "personality no randomisation": sys(NR.personality, 0x0040000), "personality 32": sys(NR.personality, 8), seccomp: sys(NR.seccomp, 0, 1, 0), "seccomp listener": sys(NR.seccomp, 1, 8, BAD),
  landlock_create_ruleset: sys(NR.landlock_create_ruleset, 0, 0, 1), landlock_restrict_self: sys(NR.landlock_restrict_self, -1, 0), acct: sys(NR.acct, "/nope"), quotactl: sys(NR.quotactl, 0x80000700, 0, 0, 0),
  iopl: sys(NR.iopl, 3), ioperm: sys(NR.ioperm, 0, 1, 1), modify_ldt: sys(NR.modify_ldt, 0, new Uint8Array(16), 16), "modify_ldt write": sys(NR.modify_ldt, 1, new Uint8Array(16), 16), syslog: sys(NR.syslog, 10, 0, 0),
  lookup_dcookie: sys(NR.lookup_dcookie, 0, BAD, 0), move_pages: sys(NR.move_pages, 0, 0, 0, 0, 0, 0), mbind: sys(NR.mbind, 0, 0, 0, 0, 0, 0), set_mempolicy: sys(NR.set_mempolicy, 0, 0, 0),
  migrate_pages: sys(NR.migrate_pages, 0, 0, 0, 0), pkey_alloc: sys(NR.pkey_alloc, 0, 0), kcmp: sys(NR.kcmp, process.pid, process.pid, 0, 0, 1), pidfd_getfd: sys(NR.pidfd_getfd, -1, 0, 0),
  process_madvise: sys(NR.process_madvise, -1, 0, 0, 0, 0), remap_file_pages: sys(NR.remap_file_pages, 0, 0, 0, 0, 0), io_setup: sys(NR.io_setup, 1, words(0)), fsopen: sys(NR.fsopen, "tmpfs", 0),
  fsmount: sys(NR.fsmount, -1, 0, 0), move_mount: sys(NR.move_mount, -1, "", -1, "", 0), open_tree: sys(NR.open_tree, -100, "/tmp", 1), mount_setattr: sys(NR.mount_setattr, -1, "", 0, BAD, 32),
  listmount: sys(NR.listmount, BAD, BAD, 1, 0), lsm_list_modules: sys(NR.lsm_list_modules, BAD, BAD, 0), setfsuid: sys(NR.setfsuid, 0),
};
for (const [name, answer] of Object.entries(named)) c.filtered(name, answer);

// Filters that compare only half of an argument: prlimit64 on another pid, prctl with high bits.
c.refused("prlimit64 on pid 1", sys(NR.prlimit64, process.pid === 1 ? 2 : 1, 7, 0, 0));
c.refused("prlimit64 on itself with high bits", sys(NR.prlimit64, (1n << 32n) | 5n, 7, 0, 0));
for (const option of [1, 3, 4, 8, 15, 16, 22, 27, 28, 35, 36, 38, 47, 53, 57, 59, 62, 65, 66, 71, 0x41555856, 0x59616d61]) {
  if ([1, 3, 4, 15, 16, 38].includes(option)) continue;
  c.filtered(`prctl ${option}`, sys(NR.prctl, option, BAD, BAD, BAD, BAD));
}
// 0x1011 only tells whether cpuid is allowed.
for (const request of [0x1001, 0x1002, 0x1012, 0x2001, 0x4001, 0x5001]) {
  if (request === 0x1002) continue;
  const answer = sys(NR.arch_prctl, request, BAD);
  c.held(`arch_prctl ${request.toString(16)} changes nothing of others`, answer <= 0, show(answer));
}
c.done(`${Object.keys(NR).length} known numbers`);
