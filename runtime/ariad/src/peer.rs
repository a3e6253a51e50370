//! The other end of a connection, as its transport proved it.

use std::fs;

use nix::unistd::{getgroups, getuid};
use tokio::net::unix::UCred;

/// Fixed for the life of a connection. What it may do is decided per request (`auth`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Peer {
    /// A process of this machine, on the Unix socket.
    Local { uid: u32, trusted: bool },
    /// It holds the key of an enrolled certificate.
    Enrolled { key_sha256: String },
    /// It holds the key the device was told to expect.
    EnrolKey { key_sha256: String },
}

impl Peer {
    /// Root, the daemon's own user, and members of the configured group are trusted.
    pub(crate) fn local(credentials: &UCred, socket_gid: Option<u32>) -> Self {
        let (uid, gid) = (credentials.uid(), credentials.gid());
        let trusted = uid == 0
            || uid == getuid().as_raw()
            || socket_gid.is_some_and(|wanted| gid == wanted || supplementary(credentials, wanted));
        Self::Local { uid, trusted }
    }
}

/// The group lists the socket's own mode already let in; this reads the list of the process that connected, and only counts while
/// that process is still the same user.
fn supplementary(credentials: &UCred, wanted: u32) -> bool {
    let Some(pid) = credentials.pid() else { return false };
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let numbers = |key: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    numbers("Uid:").get(1) == Some(&credentials.uid()) && numbers("Groups:").contains(&wanted)
}

/// May this process give files to that group?
pub(crate) fn is_member(gid: u32) -> bool {
    getuid().is_root()
        || nix::unistd::getegid().as_raw() == gid
        || getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
}
