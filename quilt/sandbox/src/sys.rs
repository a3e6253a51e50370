//! The system calls no safe wrapper covers, each behind a safe signature.
//!
//! All `unsafe` of the crate is in this module and its children. Nothing here decides anything.

#![allow(unsafe_code, reason = "raw system calls; every block says why it is sound")]

pub(crate) mod exec;
pub(crate) mod landlock;
pub(crate) mod mount;

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::ForkResult;

/// `Err(errno)` for -1, the value otherwise.
pub(crate) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes ownership of a descriptor the kernel has just made.
pub(crate) fn own(result: libc::c_long) -> io::Result<OwnedFd> {
    let raw = check(result)? as RawFd;
    // SAFETY: the kernel returned `raw` to this call as a new descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Forks. Only for `quilt-init` and the weak launcher, which have one thread.
pub(crate) fn fork() -> io::Result<ForkResult> {
    // SAFETY: the process has one thread (quilt-init starts none), so no lock can be held by a thread that is lost.
    Ok(unsafe { nix::unistd::fork() }?)
}

/// Ends the process without running destructors or exit handlers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any value and does not return.
    unsafe { libc::_exit(code) }
}

/// Waits for any child, also one made without SIGCHLD: its pid and raw wait status.
pub(crate) fn wait_any() -> io::Result<(i32, i32)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        match check(pid.into()) {
            Ok(pid) => return Ok((pid as i32, status)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Moves `fd` onto `number`, without close-on-exec.
pub(crate) fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        // SAFETY: F_SETFD takes an integer and touches no memory.
        check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into())?;
        return Ok(());
    }
    // SAFETY: both are plain integers; whoever owned `number` in this process is about to be replaced by `execve`.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into())?;
    Ok(())
}

/// A close-on-exec copy of `fd` numbered `lowest` or higher.
pub(crate) fn duplicate_above(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and makes a new descriptor.
    own(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) }.into())
}

/// Marks every descriptor from `first` up close-on-exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: only flags change.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Closes every descriptor from `first` to `last`. The caller owns none of them as a value any more.
pub(crate) fn close_from(first: RawFd, last: u32) -> io::Result<()> {
    // SAFETY: called where no live `OwnedFd` names a descriptor in the range.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}

/// Borrows a descriptor known by its number, for 0, 1, 2 and 3 as laid out by the parent.
pub(crate) fn borrow(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the caller names a descriptor it was handed at exec and that stays open for the life of the process.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// `prctl` with integer arguments.
pub(crate) fn prctl(option: i32, first: libc::c_ulong, second: libc::c_ulong) -> io::Result<libc::c_long> {
    let zero: libc::c_ulong = 0;
    // SAFETY: only used with options whose arguments are integers.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::c_ulong::from(option as u32), first, second, zero, zero) })
}

/// Joins a new anonymous session keyring.
pub(crate) fn new_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_ulong = 1;
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name is allowed.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, anonymous) })?;
    Ok(())
}

/// Empties the effective, permitted and inheritable capability sets.
pub(crate) fn clear_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: VERSION_3, pid: 0 };
    let data = [0u32; 6];
    // SAFETY: version 3 reads one header and two three-word entries; both outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

/// Installs a seccomp filter on this thread. `no_new_privs` is already set.
pub(crate) fn load_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // The kernel only reads the program; the field is `*mut` by an accident of the header.
    let header = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `header` points to `len` instructions that outlive the call; the kernel copies them.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
            0 as libc::c_ulong,
            &raw const header,
        )
    })?;
    Ok(())
}

/// Whether the kernel knows a seccomp return action.
pub(crate) fn filter_action_known(action: u32) -> bool {
    // SAFETY: SECCOMP_GET_ACTION_AVAIL reads one u32.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_ulong::from(libc::SECCOMP_GET_ACTION_AVAIL),
            0 as libc::c_ulong,
            &raw const action,
        )
    };
    result == 0
}

/// Gives every signal its default action and unblocks all of them, also the two libc keeps for itself.
pub(crate) fn reset_signals() -> io::Result<()> {
    const SET_BYTES: usize = 8;
    // The kernel's structure: handler, flags, restorer, mask. All zero is the default action.
    let default = [0u64; 4];
    for number in 1..=64 {
        if number == libc::SIGKILL || number == libc::SIGSTOP {
            continue;
        }
        let none = std::ptr::null::<u64>();
        // SAFETY: `default` outlives the call; the kernel reads 32 bytes at most and writes nothing.
        check(unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), none, SET_BYTES) })?;
    }
    let empty = 0u64;
    let none = std::ptr::null::<u64>();
    // SAFETY: `empty` outlives the call and is eight bytes long.
    check(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const empty, none, SET_BYTES) })?;
    Ok(())
}

/// A descriptor for process `pid`, a child that has not been reaped.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: integers only.
    own(unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_ulong::from(pid), 0 as libc::c_ulong) })
}

/// Makes this process the one that orphans of its descendants go to, and every child of it vanish when it ends: one kill
/// ends a launcher and its shim together, and a stranger's init might leave the shim a zombie for seconds.
///
/// For a daemon that waits for no child by its exit status. What it executes starts with the usual handling.
pub fn adopt_orphans() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)?;
    let vanish = SigAction::new(SigHandler::SigDfl, SaFlags::SA_NOCLDWAIT, SigSet::empty());
    // SAFETY: no handler of ours is installed, only the default one.
    unsafe { sigaction(Signal::SIGCHLD, &vanish) }?;
    Ok(())
}

/// SIGKILL to the process behind `pidfd`.
pub(crate) fn pidfd_kill(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, none, 0) })?;
    Ok(())
}

/// Opens `name` below `dir` for reading without following a link, leaving the directory or crossing a mount.
pub(crate) fn open_beneath(dir: BorrowedFd<'_>, name: &CStr, flags: i32) -> io::Result<OwnedFd> {
    make_beneath(dir, name, flags, 0)
}

/// The same with the mode of a file that `flags` make.
pub(crate) fn make_beneath(dir: BorrowedFd<'_>, name: &CStr, flags: i32, mode: u64) -> io::Result<OwnedFd> {
    // SAFETY: all-zero is a valid `open_how`; the type cannot be built by name because it may grow.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = flags as u64;
    how.mode = mode;
    how.resolve =
        libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_XDEV;
    // SAFETY: `name` and `how` outlive the call and the size is that of `how`.
    own(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            dir.as_fd().as_raw_fd(),
            name.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    })
}

/// Writes an extended attribute of an open file.
pub(crate) fn set_attribute(file: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: `name` ends with a NUL, `value` is as long as said, and the kernel only reads both.
    check(unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) }.into())?;
    Ok(())
}

/// Whether an open file has an extended attribute of this name.
pub(crate) fn has_attribute(file: BorrowedFd<'_>, name: &CStr) -> bool {
    // SAFETY: with a length of zero the kernel writes nothing and answers with the value's length.
    unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), std::ptr::null_mut(), 0) >= 0 }
}

/// Eight bytes from the kernel's generator.
pub(crate) fn random_u64() -> io::Result<u64> {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is eight bytes long; a request this small is never cut short.
    check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } as libc::c_long)?;
    Ok(u64::from_ne_bytes(bytes))
}
