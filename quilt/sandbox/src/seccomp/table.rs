//! Which calls a program may make. Data: a line here is a decision, reviewed when Bun is upgraded.
//!
//! Found by tracing Bun over all its API areas and removing one call at a time; the reasons for single lines stand
//! beside them.

use std::collections::BTreeMap;

use libc::{EPERM, c_long};

use super::Answer;
use crate::Profile;

/// A condition on the arguments of an allowed call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rule {
    /// The low half of `argument` is one of `values`, or the call answers `otherwise`.
    OneOf { argument: u32, values: &'static [u32], otherwise: i32 },
    /// None of `bits` in the low half of `argument`, or EPERM.
    NoBits { argument: u32, bits: u32 },
    /// `clone` flags: none of `forbidden`, all of `needed` (one bit), or EPERM.
    ThreadsOnly { forbidden: u32, needed: u32 },
    /// `mmap` of a file may be executable if it is not writable too; all other executable memory is EPERM, and so are huge pages.
    FilesOnlyExecutable,
    /// The first two arguments are the two secret addresses, or EPERM.
    SecretPointers,
}

/// Every `CLONE_NEW*` that fits `clone`'s flags.
pub(crate) const CLONE_NEW_ANY: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

const CLONE: Rule = Rule::NoBits { argument: 0, bits: CLONE_NEW_ANY };
const CLONE_THREADS: Rule = Rule::ThreadsOnly { forbidden: CLONE_NEW_ANY, needed: libc::CLONE_THREAD as u32 };
const UNIX_ONLY: Rule = Rule::OneOf { argument: 0, values: &[libc::AF_UNIX as u32], otherwise: EPERM };
/// Questions and flags only: no terminal input, no console, no device control.
const IOCTL: Rule = Rule::OneOf {
    argument: 1,
    values: &[
        libc::TCGETS as u32,
        libc::FIONREAD as u32,
        libc::FIONBIO as u32,
        libc::FIOCLEX as u32,
        libc::FIONCLEX as u32,
        libc::TIOCGWINSZ as u32,
        libc::FICLONE as u32,
    ],
    otherwise: EPERM,
};
const PRCTL: Rule = Rule::OneOf {
    argument: 0,
    values: &[
        libc::PR_SET_NAME as u32,
        libc::PR_SET_VMA as u32,
        libc::PR_GET_DUMPABLE as u32,
        libc::PR_GET_NO_NEW_PRIVS as u32,
        libc::PR_SET_NO_NEW_PRIVS as u32,
        libc::PR_SET_PDEATHSIG as u32,
    ],
    otherwise: EPERM,
};
/// Its own limits only: another process of the same uid would be the shim.
const OWN_LIMITS: Rule = Rule::OneOf { argument: 0, values: &[0], otherwise: EPERM };

/// Huge pages come from a pool of the machine and are not charged to anybody.
const NO_HUGE_PAGES: Rule = Rule::NoBits { argument: 3, bits: libc::MAP_HUGETLB as u32 };
const NO_HUGE_FILES: Rule = Rule::NoBits { argument: 1, bits: libc::MFD_HUGETLB };

/// Nothing becomes executable after it was mapped.
const NEVER_EXECUTABLE: Rule = Rule::NoBits { argument: 2, bits: libc::PROT_EXEC as u32 };

macro_rules! numbers {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// Allowed in every profile whatever the arguments.
#[rustfmt::skip]
const ALLOWED: &[c_long] = numbers![
    SYS_accept4 SYS_bind SYS_brk SYS_chdir SYS_clock_gettime SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect
    SYS_copy_file_range SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait2 SYS_eventfd2 SYS_exit SYS_exit_group
    SYS_fadvise64 SYS_fallocate SYS_fchmod SYS_fchown SYS_fcntl SYS_fdatasync SYS_fstat SYS_fsync SYS_ftruncate SYS_futex
    SYS_getcwd SYS_getdents64 SYS_geteuid SYS_getgid SYS_getgroups SYS_getpeername SYS_getpid SYS_getpriority
    SYS_getrandom SYS_getrusage SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid
    SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch SYS_kill SYS_listen SYS_lseek SYS_madvise
    SYS_mkdirat SYS_mprotect SYS_munmap SYS_nanosleep SYS_newfstatat SYS_openat SYS_pread64
    SYS_preadv2 SYS_pwrite64 SYS_pwritev SYS_read SYS_readv SYS_recvfrom SYS_recvmsg SYS_restart_syscall SYS_rseq
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigsuspend SYS_sched_getaffinity SYS_sched_yield
    SYS_sendmmsg SYS_sendto SYS_set_robust_list SYS_set_tid_address SYS_setpgid SYS_setpriority SYS_setsockopt
    SYS_shutdown SYS_sigaltstack SYS_statfs SYS_statx SYS_sysinfo SYS_tgkill SYS_timer_create SYS_timer_settime
    SYS_truncate SYS_umask SYS_uname SYS_unlinkat SYS_utimensat SYS_wait4 SYS_write SYS_writev
];

/// The same for calls only x86-64 still has, and what libc uses in their place elsewhere.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[c_long] = numbers![
    SYS_access SYS_arch_prctl SYS_chmod SYS_dup2 SYS_epoll_wait SYS_link SYS_lstat SYS_mkdir SYS_open SYS_poll SYS_readlink SYS_rename
    SYS_stat SYS_symlink SYS_unlink
];
#[cfg(target_arch = "aarch64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[c_long] = numbers![
    SYS_dup3 SYS_epoll_pwait SYS_faccessat SYS_fchmodat SYS_linkat SYS_ppoll SYS_readlinkat SYS_renameat SYS_renameat2
    SYS_symlinkat
];

/// What starting child processes needs on top.
const SPAWN: &[c_long] = numbers![SYS_execve SYS_pidfd_open SYS_waitid];
#[cfg(target_arch = "x86_64")]
const SPAWN_HERE: &[c_long] = numbers![SYS_vfork];
#[cfg(target_arch = "aarch64")]
const SPAWN_HERE: &[c_long] = &[];

/// Allowed on a condition, in every profile that does not say otherwise.
const CONDITIONAL: &[(c_long, Rule)] = &[
    (libc::SYS_ioctl, IOCTL),
    (libc::SYS_memfd_create, NO_HUGE_FILES),
    (libc::SYS_mmap, NO_HUGE_PAGES),
    (libc::SYS_prctl, PRCTL),
    (libc::SYS_prlimit64, OWN_LIMITS),
    (libc::SYS_socket, UNIX_ONLY),
    (libc::SYS_socketpair, UNIX_ONLY),
];

/// Known and dangerous: a clear "no" instead of "unknown". Newer or unlisted calls answer ENOSYS.
#[rustfmt::skip]
const REFUSED: &[c_long] = numbers![
    SYS_acct SYS_add_key SYS_adjtimex SYS_bpf SYS_capset SYS_chroot SYS_clock_adjtime SYS_clock_settime SYS_delete_module
    SYS_execveat SYS_fanotify_init SYS_fanotify_mark SYS_fchownat SYS_finit_module SYS_fsconfig SYS_fsmount SYS_fsopen
    SYS_fspick SYS_get_mempolicy SYS_init_module SYS_ioprio_set SYS_kcmp SYS_kexec_file_load SYS_kexec_load SYS_keyctl
    SYS_lookup_dcookie SYS_mbind SYS_migrate_pages SYS_mknodat SYS_mount SYS_mount_setattr SYS_move_mount SYS_move_pages
    SYS_mq_open SYS_mq_unlink SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_name_to_handle_at SYS_nfsservctl
    SYS_open_by_handle_at SYS_open_tree SYS_perf_event_open SYS_personality SYS_pidfd_getfd SYS_pidfd_send_signal
    SYS_pivot_root SYS_process_madvise SYS_process_mrelease SYS_process_vm_readv SYS_process_vm_writev SYS_ptrace
    SYS_quotactl SYS_reboot SYS_request_key SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_sched_setaffinity
    SYS_sched_setattr SYS_sched_setparam SYS_sched_setscheduler SYS_semctl SYS_semget SYS_semop SYS_semtimedop
    SYS_set_mempolicy SYS_setdomainname SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_sethostname SYS_setns
    SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid SYS_settimeofday SYS_setuid SYS_shmat SYS_shmctl SYS_shmdt
    SYS_shmget SYS_swapoff SYS_swapon SYS_syslog SYS_umount2 SYS_unshare SYS_userfaultfd SYS_vhangup
];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const REFUSED_HERE: &[c_long] = numbers![
    SYS__sysctl SYS_chown SYS_ioperm SYS_iopl SYS_lchown
    SYS_mknod SYS_modify_ldt SYS_sysfs SYS_uselib SYS_ustat
];
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: &[c_long] = &[];

/// What the shim does after it has started the program: wait, report, end.
const SHIM: &[c_long] = numbers![SYS_exit SYS_exit_group SYS_restart_syscall SYS_rt_sigreturn SYS_wait4 SYS_write];

/// The table of a profile, sorted by number.
pub(crate) fn answers(profile: Profile) -> Vec<(u32, Answer)> {
    let mut table = BTreeMap::new();
    let mut set = |number: c_long, answer: Answer| table.insert(number as u32, answer);
    for number in [REFUSED, REFUSED_HERE].concat() {
        set(number, Answer::Errno(EPERM));
    }
    for number in [ALLOWED, ALLOWED_HERE].concat() {
        set(number, Answer::Allow);
    }
    for (number, rule) in CONDITIONAL {
        set(*number, Answer::Rule(*rule));
    }
    match profile {
        Profile::Tool => {
            for number in [SPAWN, SPAWN_HERE].concat() {
                set(number, Answer::Allow);
            }
            set(libc::SYS_clone, Answer::Rule(CLONE));
        }
        Profile::ToolNoexec | Profile::ToolNojit => {
            set(libc::SYS_execve, Answer::Rule(Rule::SecretPointers));
            set(libc::SYS_clone, Answer::Rule(CLONE_THREADS));
        }
    }
    if profile == Profile::ToolNojit {
        set(libc::SYS_mmap, Answer::Rule(Rule::FilesOnlyExecutable));
        set(libc::SYS_mprotect, Answer::Rule(NEVER_EXECUTABLE));
        // A writable file on a mount that is not `noexec`: it would be a way around the two rules above.
        set(libc::SYS_memfd_create, Answer::Errno(EPERM));
    }
    table.into_iter().collect()
}

/// The shim's table, sorted by number.
pub(crate) fn shim_answers() -> Vec<(u32, Answer)> {
    let mut table: Vec<_> = SHIM.iter().map(|number| (*number as u32, Answer::Allow)).collect();
    table.sort_by_key(|(number, _)| *number);
    table
}
