//! The host's side of one quilt-init: started, placed in its leaf, parked, and taken down.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::cgroup::{self, Cgroup};
use crate::wire::{self, RECORD_BYTES, Record, Start};
use crate::{Limits, SpawnError, steps, sys};

/// Longest wait for a template or a start. Normally it is a few milliseconds; a machine this slow is broken.
const WAIT_MAX: Duration = Duration::from_secs(20);
const REAP_WAIT_MAX: Duration = Duration::from_secs(10);

/// A cgroup leaf, removed when dropped.
#[derive(Debug)]
pub(crate) struct Leaf {
    cgroup: Arc<dyn Cgroup>,
    name: String,
    removed: bool,
}

impl Leaf {
    fn create(cgroup: &Arc<dyn Cgroup>, name: String) -> io::Result<Leaf> {
        cgroup.create(&name)?;
        Ok(Leaf { cgroup: cgroup.clone(), name, removed: false })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn cgroup(&self) -> &dyn Cgroup {
        self.cgroup.as_ref()
    }

    /// Kills what is in it and removes it.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        if !self.removed {
            cgroup::destroy(self.cgroup.as_ref(), &self.name)?;
            self.removed = true;
        }
        Ok(())
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // Left over only if its processes cannot die; the next engine's start tries again.
        let _ = self.remove();
    }
}

/// A quilt-init of ours. Dropping it kills and reaps it and all it started.
#[derive(Debug)]
pub(crate) struct Launcher {
    // Dropped in this order: the child is reaped before its leaf is removed.
    child: Reaped,
    pub(crate) leaf: Leaf,
    control: OwnedFd,
    /// CPU time spent before there was a program, microseconds.
    pub(crate) cpu_us_before: u64,
    /// What its leaf is limited to.
    limits: Limits,
}

/// A child process that is killed and waited for when dropped.
#[derive(Debug)]
struct Reaped {
    child: Child,
    pidfd: OwnedFd,
}

impl Reaped {
    /// Kills and reaps; the bound is for a process the kernel cannot end.
    fn end(&mut self) {
        let _ = sys::pidfd_kill(self.pidfd.as_fd());
        if readable(self.pidfd.as_fd(), REAP_WAIT_MAX).unwrap_or(false) {
            let _ = self.child.wait();
        }
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        self.end();
    }
}

/// Names a failed step.
pub(crate) fn at(step: &'static str) -> impl Fn(io::Error) -> SpawnError {
    move |source| SpawnError::Step { step, source }
}

/// Waits until `fd` is readable or hung up; `false` when the time is over.
pub(crate) fn readable(fd: BorrowedFd<'_>, wait_max: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + wait_max;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(fd, PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Launcher {
    /// Starts one, in its own leaf before it does anything, and waits until it is parked. Call it only from a thread that
    /// lives as long as the engine: the launcher dies with the thread that made it.
    pub(crate) fn start(
        cgroup: &Arc<dyn Cgroup>,
        name: String,
        init: &Path,
        rootfs: &str,
        limits: Limits,
    ) -> Result<Launcher, SpawnError> {
        let leaf = Leaf::create(cgroup, name).map_err(at("leaf"))?;
        let (control, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|error| at("control-socket")(error.into()))?;
        let child = execute(init, theirs).map_err(at("quilt-init"))?;
        let pidfd = match sys::pidfd_open(child.id()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                // Without a start message it ends as soon as it sees our socket close.
                drop(control);
                let mut child = child;
                let _ = child.wait();
                return Err(at("pidfd")(error));
            }
        };
        let pid = child.id();
        let mut launcher = Launcher { child: Reaped { child, pidfd }, leaf, control, cpu_us_before: 0, limits };
        cgroup.limit(launcher.leaf.name(), &limits).map_err(at("cgroup-limits"))?;
        cgroup.enter(launcher.leaf.name(), pid).map_err(at("enter-leaf"))?;
        let start = Start { rootfs: rootfs.into(), parent: std::process::id() };
        wire::send_start(launcher.control.as_fd(), &start).map_err(at("start-message"))?;
        launcher.await_template()?;
        launcher.cpu_us_before = cgroup.counters(launcher.leaf.name()).cpu_us;
        Ok(launcher)
    }

    fn await_template(&self) -> Result<(), SpawnError> {
        if !readable(self.control.as_fd(), WAIT_MAX).map_err(at("template"))? {
            return Err(at("template")(io::ErrorKind::TimedOut.into()));
        }
        let mut bytes = [0; RECORD_BYTES];
        let got = nix::unistd::read(&self.control, &mut bytes).map_err(|error| at("template")(error.into()))?;
        match Record::decode(&bytes[..got]) {
            Some(Record::Done) => Ok(()),
            Some(Record::Failed { step, errno }) => Err(at(steps::name(step))(io::Error::from_raw_os_error(errno))),
            None => Err(SpawnError::Died { step: "template" }),
        }
    }

    /// Whether it is still parked.
    pub(crate) fn alive(&self) -> bool {
        readable(self.child.pidfd.as_fd(), Duration::ZERO).is_ok_and(|ended| !ended)
    }

    /// Replaces the limits of the leaf; those it has cost nothing.
    pub(crate) fn limit(&mut self, limits: &Limits) -> io::Result<()> {
        let had = self.limits;
        if *limits == (Limits { disk_bytes: limits.disk_bytes, ..had }) {
            return Ok(());
        }
        if *limits == (Limits { disk_bytes: limits.disk_bytes, cpu_millis: limits.cpu_millis, ..had }) {
            self.leaf.cgroup().limit_cpu(self.leaf.name(), limits.cpu_millis)?;
        } else {
            self.leaf.cgroup().limit(self.leaf.name(), limits)?;
        }
        self.limits = *limits;
        Ok(())
    }

    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Waits until the launcher has ended. The kernel ends a pid namespace before its first process is reaped, and the
    /// launcher ends after it has reaped the shim or in the same kill; so then the counters of the leaf tell the rest.
    pub(crate) fn wait_empty(&self, wait_max: Duration) -> bool {
        let deadline = Instant::now() + wait_max;
        if !readable(self.child.pidfd.as_fd(), wait_max).unwrap_or(false) {
            return false;
        }
        while !self.leaf.cgroup().is_empty(self.leaf.name()) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Kills and reaps the launcher and removes the leaf with all that is in it.
    pub(crate) fn destroy(&mut self) -> io::Result<()> {
        let _ = self.leaf.cgroup().kill(self.leaf.name());
        self.child.end();
        self.leaf.remove()
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Kill the whole leaf at once, so that the reaping below never waits for a living cage.
        let _ = self.leaf.cgroup().kill(self.leaf.name());
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that starts quilt-init")]
fn execute(init: &Path, control: OwnedFd) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    Command::new(init)
        .arg0("quilt-init")
        .env_clear()
        .stdin(Stdio::from(control))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Waits for the start pipe to close: empty-handed it means the program has been executed.
pub(crate) fn await_started(pipe: OwnedFd) -> Result<(), SpawnError> {
    let deadline = Instant::now() + WAIT_MAX;
    let mut pipe = File::from(pipe);
    let mut bytes = Vec::with_capacity(2 * RECORD_BYTES);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if !readable(pipe.as_fd(), left).map_err(at("start"))? {
            return Err(at("start")(io::ErrorKind::TimedOut.into()));
        }
        let mut chunk = [0; 4 * RECORD_BYTES];
        match pipe.read(&mut chunk) {
            Ok(0) => break,
            // Three processes write one record each at most.
            Ok(got) if bytes.len() < chunk.len() => bytes.extend_from_slice(&chunk[..got]),
            Ok(_) => return Err(at("start")(io::ErrorKind::InvalidData.into())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(at("start")(error)),
        }
    }
    let records: Vec<_> = bytes.chunks(RECORD_BYTES).filter_map(Record::decode).collect();
    for record in &records {
        if let Record::Failed { step, errno } = record {
            return Err(at(steps::name(*step))(io::Error::from_raw_os_error(*errno)));
        }
    }
    if records.is_empty() { Err(SpawnError::Died { step: "start" }) } else { Ok(()) }
}
