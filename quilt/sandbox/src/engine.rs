//! The engine: opens the machine, keeps launchers ready, and turns one into a cage per call.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::cgroup::{self, Cgroup};
use crate::launcher::{Launcher, at, await_started};
use crate::pool::{Pool, Recipe};
use crate::sandbox::{Parts, Sandbox};
use crate::sys::mount::{self, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY};
use crate::uids::{Lease, Uids};
use crate::wire::{self, Descriptors, Order};
use crate::{Config, Io, Layer, Limits, OpenError, Profile, SpawnError, Spec, init, probe, spec};

/// Inodes of `/tmp` and of `/out`.
const INODES: &std::ffi::CStr = c"16384";
/// Read-only things of the caller: nothing on them may be run.
const GIVEN: u64 = READ_ONLY | NO_SUID | NO_DEV | NO_EXEC;
/// Writable things of the program.
const SCRATCH: u64 = NO_SUID | NO_DEV | NO_EXEC;

/// Builds cages. One per daemon and `cgroup_name`; share it behind an `Arc`. Launchers and threads live until the engine
/// and the last of its sandboxes are dropped.
#[derive(Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What the engine and all its sandboxes share. Fields are dropped in this order.
#[derive(Debug)]
pub(crate) struct Inner {
    pool: Pool,
    uids: Uids,
    layers: Vec<Layer>,
    _home: Home,
}

/// Our cgroup directory, locked against a second engine and removed in the end.
#[derive(Debug)]
struct Home {
    cgroup: Arc<dyn Cgroup>,
    _lock: Flock<File>,
}

impl Drop for Home {
    fn drop(&mut self) {
        self.cgroup.close();
    }
}

impl Engine {
    /// Probes the machine's layers, removes everything a previous life left below `cgroup_name`, and proves the set-up by
    /// parking a first launcher. Blocks, for up to some tens of milliseconds.
    pub fn open(config: Config) -> Result<Engine, OpenError> {
        let rootfs = spec::check_config(&config)?;
        let cgroup: Arc<dyn Cgroup> = Arc::from(cgroup::detect(&config.cgroup_name)?);
        let home = Home { _lock: lock(cgroup.home())?, cgroup: cgroup.clone() };
        let mut layers = probe::layers(cgroup.as_ref());
        probe::require(&layers)?;
        recover(cgroup.as_ref())?;
        let life = random().map_err(|source| OpenError::Config { what: format!("no random numbers: {source}") })?;
        let recipe = Recipe { cgroup, init: config.init, rootfs, life, made: AtomicU64::new(0) };
        let pool = Pool::open(recipe, config.pool).map_err(OpenError::Launcher)?;
        // The first launcher proves namespaces, mounts and pivot.
        pool.prove().map_err(OpenError::Launcher)?;
        layers.extend(probe::proved());
        let uids = Uids::new(config.uid_base, config.uid_count);
        Ok(Engine { inner: Arc::new(Inner { pool, uids, layers, _home: home }) })
    }

    /// Starts one program in a cage of its own. Blocks for a few milliseconds when a launcher is ready, until the program
    /// has been executed or a step failed; a failure leaves nothing.
    pub fn spawn(&self, spec: Spec) -> Result<(Sandbox, Io), SpawnError> {
        spec::check(&spec)?;
        let inner = &self.inner;
        let lease = inner.uids.take().ok_or(SpawnError::NoUid { uid_count: inner.uids.count() })?;
        let mut launcher = inner.pool.take()?;
        match start(&launcher, &lease, &spec) {
            Ok((kept, io)) => {
                let parts = Parts { launcher, lease, kept, _engine: inner.clone() };
                Ok((Sandbox::new(parts), io))
            }
            Err(error) => {
                // The uid is free again only when nothing runs under it any more.
                let _ = launcher.destroy();
                Err(error)
            }
        }
    }

    /// What this machine gives every cage.
    pub fn layers(&self) -> Vec<Layer> {
        self.inner.layers.clone()
    }

    /// Launchers parked right now.
    pub fn ready(&self) -> usize {
        self.inner.pool.ready()
    }
}

/// What stays with the sandbox.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The program's wait status comes here.
    pub(crate) status: OwnedFd,
    pub(crate) tmp: OwnedFd,
    pub(crate) out: Option<OwnedFd>,
}

fn start(launcher: &Launcher, lease: &Lease, spec: &Spec) -> Result<(Kept, Io), SpawnError> {
    launcher.leaf.cgroup().limit(launcher.leaf.name(), &spec.limits).map_err(at("cgroup-limits"))?;
    let order = order(spec, lease.uid());
    let text = match init::encode(&order).map_err(at("order"))? {
        Some(text) => text,
        None => {
            let what = format!("arguments and environment are more than {} bytes", wire::MESSAGE_BYTES_MAX);
            return Err(SpawnError::Spec { what });
        }
    };
    let (started, started_theirs) = pipe()?;
    let (status, status_theirs) = pipe()?;
    let (stdout, stdout_theirs) = pipe()?;
    let (stderr, stderr_theirs) = pipe()?;
    let (stdin_theirs, stdin) =
        if spec.stdin { pipe().map(|(read, write)| (Some(read), Some(write)))? } else { (None, None) };
    let (door, door_theirs) = if spec.door { door().map(|(a, b)| (Some(a), Some(b)))? } else { (None, None) };
    let tmp = scratch(lease.uid(), &spec.limits).map_err(at("tmp-mount"))?;
    let out = spec.out.then(|| scratch(lease.uid(), &spec.limits)).transpose().map_err(at("out-mount"))?;
    let given = |fd: &OwnedFd| mount::detached_bind(fd.as_fd(), GIVEN);
    let app = spec.app.as_ref().map(given).transpose().map_err(at("app-mount"))?;
    let files = spec.files.iter().map(|(_, fd)| given(fd)).collect::<io::Result<Vec<_>>>().map_err(at("in-mount"))?;
    let descriptors = Descriptors {
        started: started_theirs.as_fd(),
        status: status_theirs.as_fd(),
        stdout: stdout_theirs.as_fd(),
        stderr: stderr_theirs.as_fd(),
        tmp: tmp.as_fd(),
        stdin: stdin_theirs.as_ref().map(AsFd::as_fd),
        door: door_theirs.as_ref().map(AsFd::as_fd),
        app: app.as_ref().map(AsFd::as_fd),
        out: out.as_ref().map(AsFd::as_fd),
        files: files.iter().map(AsFd::as_fd).collect(),
    };
    wire::send_order(launcher.control(), &text, descriptors).map_err(at("order"))?;
    drop((started_theirs, status_theirs, stdout_theirs, stderr_theirs, stdin_theirs, door_theirs));
    outcome_of_start(await_started(started), launcher)?;
    for fd in [Some(&stdout), Some(&stderr), stdin.as_ref(), door.as_ref()].into_iter().flatten() {
        nonblocking(fd).map_err(at("pipes"))?;
    }
    let exit = status.try_clone().map_err(at("pipes"))?;
    Ok((Kept { status, tmp, out }, Io { stdin, stdout, stderr, door, exit }))
}

/// A cage too small for its own start is a program killed for memory, not a failed start.
fn outcome_of_start(started: Result<(), SpawnError>, launcher: &Launcher) -> Result<(), SpawnError> {
    match started {
        Err(SpawnError::Died { .. }) if launcher.leaf.cgroup().counters(launcher.leaf.name()).oom_kills > 0 => Ok(()),
        other => other,
    }
}

fn order(spec: &Spec, uid: u32) -> Order {
    let Limits { disk_bytes, memory_bytes, .. } = spec.limits;
    Order {
        argv: spec.argv.clone(),
        env: spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        noexec: spec.profile == Profile::ToolNoexec,
        uid,
        // This limit also holds for memory files. It must not speak before the file system (no space) and the memory
        // limit do: their answers say what really ran out.
        file_bytes_max: disk_bytes.saturating_add(memory_bytes),
        stdin: spec.stdin,
        door: spec.door,
        app: spec.app.is_some(),
        out: spec.out,
        files: spec.files.iter().map(|(name, _)| name.clone()).collect(),
    }
}

fn scratch(uid: u32, limits: &Limits) -> io::Result<OwnedFd> {
    let text = |value: u64| crate::sys::exec::c_string(&value.to_string());
    let (size, owner) = (text(limits.disk_bytes)?, text(uid.into())?);
    let options = [
        (c"size", size.as_c_str()),
        (c"nr_inodes", INODES),
        (c"mode", c"0700"),
        (c"uid", owner.as_c_str()),
        (c"gid", owner.as_c_str()),
    ];
    mount::detached(c"tmpfs", &options, SCRATCH)
}

/// Read end, write end.
fn pipe() -> Result<(OwnedFd, OwnedFd), SpawnError> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| at("pipes")(error.into()))
}

fn door() -> Result<(OwnedFd, OwnedFd), SpawnError> {
    socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|error| at("door")(error.into()))
}

fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL)?);
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

fn lock(home: &Path) -> Result<Flock<File>, OpenError> {
    let directory = File::open(home).map_err(|source| OpenError::Cgroup { path: home.into(), source })?;
    Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => OpenError::InUse { path: home.into() },
        error => OpenError::Cgroup { path: home.into(), source: error.into() },
    })
}

/// Ends and removes every leaf there is: they can only be from before.
fn recover(cgroup: &dyn Cgroup) -> Result<(), OpenError> {
    let failed = |source| OpenError::Recover { path: cgroup.home().into(), source };
    for leaf in cgroup.leaves().map_err(failed)? {
        cgroup::destroy(cgroup, &leaf).map_err(failed)?;
    }
    Ok(())
}

fn random() -> io::Result<u32> {
    crate::sys::random_u64().map(|value| value as u32)
}
