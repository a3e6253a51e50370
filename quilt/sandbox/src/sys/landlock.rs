//! Landlock's three calls.

#![allow(unsafe_code, reason = "raw system calls; every block says why it is sound")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{check, own};

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// What a rule set handles; zero in the last two for older kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Handled {
    pub(crate) access_fs: u64,
    pub(crate) access_net: u64,
    pub(crate) scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// The kernel's ABI; an error where Landlock is not built in or not enabled.
pub(crate) fn abi() -> io::Result<u32> {
    let none = std::ptr::null::<Handled>();
    // SAFETY: a null attribute of size 0 is what the version query takes.
    let version =
        check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, CREATE_RULESET_VERSION) })?;
    Ok(version as u32)
}

/// A rule set; `size_bytes` is how much of `handled` this ABI knows.
pub(crate) fn create(handled: &Handled, size_bytes: usize) -> io::Result<OwnedFd> {
    debug_assert!(size_bytes <= size_of::<Handled>());
    // SAFETY: `handled` outlives the call and is at least `size_bytes` long.
    own(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::from_ref(handled), size_bytes, 0) })
}

/// Allows `access` on everything below `beneath`.
pub(crate) fn allow(rules: BorrowedFd<'_>, beneath: BorrowedFd<'_>, access: u64) -> io::Result<()> {
    let rule = PathBeneath { allowed_access: access, parent_fd: beneath.as_raw_fd() };
    // SAFETY: `rule` outlives the call and has the layout of this rule type.
    check(unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, rules.as_raw_fd(), RULE_PATH_BENEATH, &raw const rule, 0)
    })?;
    Ok(())
}

/// Puts this thread under the rules, for good.
pub(crate) fn restrict(rules: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) })?;
    Ok(())
}
