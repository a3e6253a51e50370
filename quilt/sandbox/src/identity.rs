//! The steps that take away every right, in the only order in which each can still be taken.
//!
//! Entering a user namespace resets the bounding set and securebits, so they are dropped after it; leaving root clears
//! the death signal and the dumpable flag, so those are set last.

use std::io;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid, setresgid, setresuid};

use crate::build::{Cage, Template};
use crate::sys;

/// Who the program is inside.
const INNER_ID: u32 = 1000;
/// noroot, no-setuid-fixup and no-ambient-raise set, and all four bits locked.
const SECUREBITS: libc::c_ulong = 0xef;
const PR_SET_SECUREBITS: i32 = 28;
const PR_CAPBSET_DROP: i32 = 24;

pub(crate) fn groups(_: &mut Template) -> io::Result<()> {
    Ok(nix::unistd::setgroups(&[])?)
}

/// An empty session keyring instead of the daemon's. A kernel without keyrings has none to inherit.
pub(crate) fn keyring(_: &mut Template) -> io::Result<()> {
    match sys::new_session_keyring() {
        Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}

fn become_id(id: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setresgid(gid, gid, gid)?;
    Ok(setresuid(uid, uid, uid)?)
}

/// The host uid and gid of this cage alone.
pub(crate) fn uid(cage: &mut Cage) -> io::Result<()> {
    if cage.order.uid == 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    become_id(cage.order.uid)
}

/// A user namespace of one id, mapped by ourselves: needs no privilege and nobody else.
pub(crate) fn user_namespace(_: &mut Cage) -> io::Result<()> {
    let outer = (Uid::effective().as_raw(), Gid::effective().as_raw());
    // Leaving root made us undumpable, and then our own map files belong to root.
    nix::sys::prctl::set_dumpable(true)?;
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{INNER_ID} {} 1", outer.0))?;
    std::fs::write("/proc/self/gid_map", format!("{INNER_ID} {} 1", outer.1))?;
    become_id(INNER_ID)
}

pub(crate) fn capabilities(_: &mut Cage) -> io::Result<()> {
    sys::prctl(PR_SET_SECUREBITS, SECUREBITS, 0)?;
    for capability in 0..64 {
        match sys::prctl(PR_CAPBSET_DROP, capability, 0) {
            Ok(_) => {}
            // Past the last one this kernel has.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && capability > 0 => break,
            Err(error) => return Err(error),
        }
    }
    sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0)?;
    sys::clear_capabilities()
}

pub(crate) fn no_new_privileges(_: &mut Cage) -> io::Result<()> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

/// With `hidepid=invisible` this is what makes the shim's `/proc/1` not exist for the program.
pub(crate) fn undumpable(_: &mut Cage) -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(false)?)
}

/// The shim goes when the launcher goes, and with it, as pid 1, everything in the cage.
pub(crate) fn death_signal(_: &mut Cage) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    // The launcher may have died a moment ago. It dies when the engine does, and then our socket has hung up.
    let control = sys::borrow(crate::init::CONTROL);
    let mut polled = [PollFd::new(control.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO)?;
    let gone = polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP));
    if gone { Err(io::Error::from_raw_os_error(libc::ESRCH)) } else { Ok(()) }
}
