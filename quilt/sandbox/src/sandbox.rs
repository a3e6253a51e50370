//! One cage from its start to the last trace of it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;

use crate::cgroup::Counters;
use crate::engine::{Inner, Kept};
use crate::launcher::{Launcher, readable};
use crate::uids::Lease;
use crate::{
    Changes, CollectError, DestroyError, Exit, Limits, Origin, OutFile, OutLimits, Usage, collect, give, workspace,
};

const STATUS_BYTES: usize = 4;
/// How long the processes of a cage may take to be gone after the kill.
const EMPTY_WAIT_MAX: Duration = Duration::from_secs(5);

/// What a sandbox is made of. Fields are dropped in this order: the uid is free only when nothing runs under it.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) launcher: Launcher,
    pub(crate) kept: Kept,
    pub(crate) lease: Lease,
    pub(crate) _engine: Arc<Inner>,
}

/// One cage. Dropping it destroys it, and blocks for that as `destroy` does.
#[derive(Debug)]
pub struct Sandbox {
    parts: Parts,
    origin: Origin,
    ended: Option<Exit>,
    killed: AtomicBool,
}

impl Sandbox {
    pub(crate) fn new(parts: Parts, origin: Origin) -> Sandbox {
        Sandbox { parts, origin, ended: None, killed: AtomicBool::new(false) }
    }

    /// Unique among all cages of this machine, also across restarts.
    pub fn id(&self) -> &str {
        self.parts.launcher.leaf.name()
    }

    /// Whether it was made for its call or ahead of it.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The host uid everything in the cage runs under; no other live cage of this engine has it.
    pub fn uid(&self) -> u32 {
        self.parts.lease.uid()
    }

    /// How the program ended. Does not block once `Io.exit` is readable; before that it waits. The answer never changes.
    pub fn exit(&mut self) -> Exit {
        if let Some(exit) = self.ended {
            return exit;
        }
        let status = self.read_status();
        let exit = decide(status, self.counters().oom_kills > 0, self.killed.load(Ordering::SeqCst));
        self.ended = Some(exit);
        exit
    }

    /// Waits for the shim's report; `None` when it ended without one.
    fn read_status(&self) -> Option<i32> {
        let status = &self.parts.kept.status;
        let mut bytes = [0; STATUS_BYTES];
        loop {
            // The caller may have made its copy non-blocking, and that is this one too: wait before every read.
            if !readable(status.as_fd(), Duration::from_secs(3600)).ok()? {
                continue;
            }
            match nix::unistd::read(status, &mut bytes) {
                // One write of four bytes arrives whole.
                Ok(STATUS_BYTES) => return Some(i32::from_le_bytes(bytes)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                _ => return None,
            }
        }
    }

    /// Ends every process in the cage, whatever it does about it; harmless after the end. Does not wait.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        let leaf = &self.parts.launcher.leaf;
        // Fails only when the leaf is gone, which only `destroy` does.
        let _ = leaf.cgroup().kill(leaf.name());
    }

    /// Whether the program itself can act right now: it is neither frozen nor stopped, and not at its end. Its children do not count.
    pub fn can_act(&self) -> bool {
        let leaf = &self.parts.launcher.leaf;
        crate::pulse::can_act(leaf.cgroup(), leaf.name())
    }

    /// What was used until now is no call's: it was used before there was one.
    pub(crate) fn begin(&mut self) {
        self.parts.launcher.cpu_us_before = self.counters().cpu_us;
    }

    /// Replaces the limits that the kernel keeps for the cage as a whole; those it has cost nothing.
    pub(crate) fn limit(&mut self, limits: &Limits) -> io::Result<()> {
        self.parts.launcher.limit(limits)
    }

    /// What the cage is charged for at this moment.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let leaf = &self.parts.launcher.leaf;
        leaf.cgroup().memory_bytes(leaf.name())
    }

    /// Fills an `/app` that was left empty with a copy of `code`, once; from then on nobody can.
    pub(crate) fn give(&mut self, code: BorrowedFd<'_>) -> io::Result<()> {
        let app = self.parts.kept.app.take().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        give::copy(code, app.as_fd())
    }

    fn counters(&self) -> Counters {
        let leaf = &self.parts.launcher.leaf;
        leaf.cgroup().counters(leaf.name())
    }

    /// What the cage has used so far.
    pub fn usage(&self) -> Usage {
        let counters = self.counters();
        let kept = &self.parts.kept;
        let full = |fd: &OwnedFd| {
            nix::sys::statvfs::fstatvfs(fd).is_ok_and(|stat| stat.blocks_free() == 0 || stat.files_free() == 0)
        };
        Usage {
            cpu: Duration::from_micros(counters.cpu_us.saturating_sub(self.parts.launcher.cpu_us_before)),
            memory_peak_bytes: counters.memory_peak_bytes,
            pids_limit_hit: counters.pids_refused > 0,
            disk_full: full(&kept.tmp)
                || kept.out.as_ref().is_some_and(full)
                || kept.workspace.as_ref().is_some_and(|(mount, _)| full(mount)),
        }
    }

    /// The files in `/out`. Only after the program's end; ends whatever it left behind first.
    pub fn collect_out(&mut self, limits: OutLimits) -> Result<Vec<OutFile>, CollectError> {
        let Some(out) = &self.parts.kept.out else { return Err(CollectError::NoOut { place: "/out" }) };
        self.nobody_left()?;
        collect::collect(out.as_fd(), limits)
    }

    /// What the program changed in a workspace it may write to. Only after the program's end; ends whatever it left behind
    /// first. Compares every file, so it takes as long as reading the workspace once.
    pub fn changes(&mut self) -> Result<Changes, CollectError> {
        let Some((mount, tree)) = &self.parts.kept.workspace else {
            return Err(CollectError::NoOut { place: "/workspace" });
        };
        self.nobody_left()?;
        let (mount, tree) = (mount.try_clone(), tree.try_clone());
        workspace::find(mount.map_err(CollectError::Read)?, tree.map_err(CollectError::Read)?.into())
    }

    /// Ends what the program left behind.
    fn nobody_left(&self) -> Result<(), CollectError> {
        if self.ended.is_none()
            && !readable(self.parts.kept.status.as_fd(), Duration::ZERO).map_err(CollectError::Read)?
        {
            return Err(CollectError::Running);
        }
        let launcher = &self.parts.launcher;
        let _ = launcher.leaf.cgroup().kill(launcher.leaf.name());
        if !launcher.wait_empty(EMPTY_WAIT_MAX) {
            return Err(CollectError::Running);
        }
        Ok(())
    }

    /// Kills, reaps, removes the cgroups and releases the uid. Blocks, normally for a few milliseconds.
    pub fn destroy(mut self) -> Result<Usage, DestroyError> {
        let usage = self.usage();
        let id = self.id().to_owned();
        self.parts.launcher.destroy().map_err(|source| DestroyError::Cgroup { id, source })?;
        Ok(usage)
    }
}

/// How the program ended, from the shim's report, the leaf's counters and what we did.
fn decide(status: Option<i32>, oom_killed: bool, killed: bool) -> Exit {
    // One process killed for memory is the end of the cage's result, whichever process it was: on cgroup v2 the
    // kernel ends the whole group, and both must mean the same.
    if oom_killed {
        return Exit::OomKilled;
    }
    let Some(status) = status else { return Exit::Killed };
    if libc::WIFEXITED(status) {
        return Exit::Code(libc::WEXITSTATUS(status));
    }
    match libc::WTERMSIG(status) {
        libc::SIGSYS => Exit::Seccomp,
        libc::SIGKILL if killed => Exit::Killed,
        signal => Exit::Signal(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_decided_from_report_counters_and_deed() {
        assert_eq!(decide(Some(7 << 8), false, false), Exit::Code(7));
        assert_eq!(decide(Some(7 << 8), false, true), Exit::Code(7));
        assert_eq!(decide(Some(libc::SIGSEGV | 0x80), false, false), Exit::Signal(libc::SIGSEGV));
        assert_eq!(decide(Some(libc::SIGSYS), false, false), Exit::Seccomp);
        assert_eq!(decide(Some(libc::SIGKILL), false, false), Exit::Signal(libc::SIGKILL));
        assert_eq!(decide(Some(libc::SIGKILL), false, true), Exit::Killed);
        assert_eq!(decide(Some(libc::SIGKILL), true, false), Exit::OomKilled);
        assert_eq!(decide(None, true, true), Exit::OomKilled);
        assert_eq!(decide(None, false, true), Exit::Killed);
    }
}
