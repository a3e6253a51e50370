//! The engine: opens the machine, keeps launchers ready, and turns one into a cage per call.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::home::Home;
use crate::launcher::{Launcher, at, await_started};
use crate::pool::{Haste, Pool, Recipe};
use crate::sandbox::{Parts, Sandbox};
use crate::sys::mount::{self, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY};
use crate::uids::{Lease, Uids};
use crate::wire::{self, Descriptors, Order};
use crate::{Access, Config, Io, Layer, Limits, OpenError, Origin, Profile, SpawnError, Spec, Workspace};
use crate::{init, probe, spec, steps, workspace};

/// What launchers are made for before there was a call.
const EXPECTED: Limits = Limits { memory_bytes: 256 << 20, pids: 64, cpu_millis: 1000, disk_bytes: 64 << 20 };
/// Inodes of `/tmp` and of `/out`.
const INODES: u64 = 16_384;
/// Inodes of `/workspace`: what a tree may hold, and its root.
const WORKSPACE_INODES: u64 = workspace::ENTRIES_MAX as u64 + 1;
/// An `/app` that is filled later: root's, for everybody to read.
const APP_OPTIONS: &[(&std::ffi::CStr, &std::ffi::CStr)] =
    &[(c"size", c"5m"), (c"nr_inodes", c"600"), (c"mode", c"0755")];
/// How the runtime is told to interpret only.
const NO_JIT: (&str, &str) = ("BUN_JSC_useJIT", "0");
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

impl Engine {
    /// Probes the machine's layers, removes everything a previous life left below `cgroup_name` and the trees of dead engines beside
    /// it, and proves the set-up by parking a first launcher. Blocks, for up to some tens of milliseconds.
    pub fn open(config: Config) -> Result<Engine, OpenError> {
        let rootfs = spec::check_config(&config)?;
        let home = Home::take(&config.cgroup_name)?;
        let cgroup = home.cgroup.clone();
        let mut layers = probe::layers(cgroup.as_ref());
        probe::require(&layers)?;
        home.recover()?;
        home.sweep();
        let life = random().map_err(|source| OpenError::Config { what: format!("no random numbers: {source}") })?;
        let recipe =
            Recipe { cgroup, init: config.init, rootfs, life, made: AtomicU64::new(0), limits: Mutex::new(EXPECTED) };
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
        self.spawn_from(spec, Code::Given, Haste::Call)
    }

    /// The same for a program that is started ahead of its call, from launchers no call is waiting for.
    pub(crate) fn spawn_ahead(&self, spec: Spec, code: Code) -> Result<(Sandbox, Io), SpawnError> {
        self.spawn_from(spec, code, Haste::Ahead)
    }

    fn spawn_from(&self, spec: Spec, code: Code, haste: Haste) -> Result<(Sandbox, Io), SpawnError> {
        spec::check(&spec)?;
        let inner = &self.inner;
        let lease = inner.uids.take().ok_or(SpawnError::NoUid { uid_count: inner.uids.count() })?;
        let mut launcher = inner.pool.take(haste)?;
        match start(&mut launcher, &lease, &spec, code) {
            Ok((kept, io)) => {
                if haste == Haste::Call {
                    inner.pool.expect(spec.limits);
                }
                let parts = Parts { launcher, lease, kept, _engine: inner.clone() };
                let origin = match (haste, code) {
                    (Haste::Call, _) => Origin::New,
                    (Haste::Ahead, Code::Later) => Origin::Generic,
                    (Haste::Ahead, Code::Given) => Origin::Own,
                };
                Ok((Sandbox::new(parts, origin), io))
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

/// When `/app` gets its content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Code {
    /// It is what the spec says, from the start.
    Given,
    /// It is empty until `Sandbox::give` fills it.
    Later,
}

/// What stays with the sandbox.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The way to write to an `/app` that is filled later.
    pub(crate) app: Option<OwnedFd>,
    /// The program's wait status comes here.
    pub(crate) status: OwnedFd,
    pub(crate) tmp: OwnedFd,
    pub(crate) out: Option<OwnedFd>,
    /// One that the program may write to, with the tree it was made from.
    pub(crate) workspace: Option<(OwnedFd, OwnedFd)>,
}

fn start(launcher: &mut Launcher, lease: &Lease, spec: &Spec, code: Code) -> Result<(Kept, Io), SpawnError> {
    launcher.limit(&spec.limits).map_err(at("cgroup-limits"))?;
    let order = order(spec, lease.uid(), code);
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
    let disk = spec.limits.disk_bytes;
    let tmp = scratch(lease.uid(), disk, INODES).map_err(at("tmp-mount"))?;
    let out = spec.out.then(|| scratch(lease.uid(), disk, INODES)).transpose().map_err(at("out-mount"))?;
    let room = |_: &Workspace| scratch(lease.uid(), disk, WORKSPACE_INODES);
    let workspace = spec.workspace.as_ref().map(room).transpose().map_err(at("workspace-mount"))?;
    let given = |fd: &OwnedFd| mount::detached_bind(fd.as_fd(), GIVEN);
    let app = match code {
        Code::Given => spec.app.as_ref().map(given).transpose(),
        Code::Later => mount::detached(c"tmpfs", APP_OPTIONS, SCRATCH).map(Some),
    };
    let app = app.map_err(at("app-mount"))?;
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
        workspace: workspace.as_ref().map(AsFd::as_fd),
        tree: spec.workspace.as_ref().map(|workspace| workspace.tree.as_fd()),
        files: files.iter().map(AsFd::as_fd).collect(),
    };
    wire::send_order(launcher.control(), &text, descriptors).map_err(at("order"))?;
    drop((started_theirs, status_theirs, stdout_theirs, stderr_theirs, stdin_theirs, door_theirs));
    outcome_of_start(await_started(started), launcher).map_err(|error| unpacked(error, spec))?;
    for fd in [Some(&stdout), Some(&stderr), stdin.as_ref(), door.as_ref()].into_iter().flatten() {
        nonblocking(fd).map_err(at("pipes"))?;
    }
    let exit = status.try_clone().map_err(at("pipes"))?;
    let workspace = keep(spec, workspace).map_err(at("workspace"))?;
    let app = app.filter(|_| code == Code::Later);
    Ok((Kept { app, status, tmp, out, workspace }, Io { stdin, stdout, stderr, door, exit }))
}

/// A cage too small for its own start is a program killed for memory, not a failed start.
fn outcome_of_start(started: Result<(), SpawnError>, launcher: &Launcher) -> Result<(), SpawnError> {
    match started {
        Err(SpawnError::Died { .. }) if launcher.leaf.cgroup().counters(launcher.leaf.name()).oom_kills > 0 => Ok(()),
        other => other,
    }
}

/// The step that unpacks a tree fails because of the tree, unless the machine is ill.
fn unpacked(error: SpawnError, spec: &Spec) -> SpawnError {
    let SpawnError::Step { step: steps::FILES, source } = error else { return error };
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC) => SpawnError::WorkspaceFull { bytes_max: spec.limits.disk_bytes },
        Some(Errno::EBADMSG | Errno::EEXIST | Errno::ENOENT | Errno::ENOTDIR) => SpawnError::WorkspaceMalformed(source),
        _ => SpawnError::Step { step: steps::FILES, source },
    }
}

/// What is needed to find the changes later.
fn keep(spec: &Spec, mount: Option<OwnedFd>) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
    match (mount, &spec.workspace) {
        (Some(mount), Some(Workspace { tree, access: Access::ReadWrite, .. })) => Ok(Some((mount, tree.try_clone()?))),
        _ => Ok(None),
    }
}

fn order(spec: &Spec, uid: u32, code: Code) -> Order {
    let Limits { disk_bytes, memory_bytes, .. } = spec.limits;
    Order {
        argv: spec.argv.clone(),
        env: environment(spec),
        profile: spec.profile,
        uid,
        // This limit also holds for memory files. It must not speak before the file system (no space) and the memory
        // limit do: their answers say what really ran out.
        file_bytes_max: disk_bytes.saturating_add(memory_bytes),
        stdin: spec.stdin,
        door: spec.door,
        app: code == Code::Later || spec.app.is_some(),
        app_later: code == Code::Later,
        out: spec.out,
        workspace: spec.workspace.as_ref().map(|workspace| workspace.access),
        files: spec.files.iter().map(|(name, _)| name.clone()).collect(),
    }
}

/// Without machine code of its own the runtime must not try to make any.
fn environment(spec: &Spec) -> Vec<String> {
    let forced = (spec.profile == Profile::ToolNojit).then_some(NO_JIT);
    let asked = spec.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let rest = asked.filter(|(name, _)| forced.is_none_or(|(forced, _)| *name != forced));
    rest.chain(forced).map(|(name, value)| format!("{name}={value}")).collect()
}

fn scratch(uid: u32, bytes_max: u64, inodes: u64) -> io::Result<OwnedFd> {
    let text = |value: u64| crate::sys::exec::c_string(&value.to_string());
    let (size, inodes, owner) = (text(bytes_max)?, text(inodes)?, text(uid.into())?);
    let options = [
        (c"size", size.as_c_str()),
        (c"nr_inodes", inodes.as_c_str()),
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

fn random() -> io::Result<u32> {
    crate::sys::random_u64().map(|value| value as u32)
}
