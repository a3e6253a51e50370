//! Our rows without a socket: the engine in this process, its launchers parked, one fresh cage per round.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::UsageWho;
use nix::sys::stat::Mode;
use quilt_sandbox::{Config, Engine, Exit, Limits, Profile, Spec};

use crate::sample::{Row, Sample, cpu};
use crate::stand::{CPU_MILLIS, DISK_BYTES, MEMORY_BYTES, PIDS, Payload, Stand};

/// Host uids of one engine, so its cages at once.
const UIDS: u32 = 128;

/// Name of the cgroup directory of the engine in this process.
pub(crate) fn cgroup_name() -> String {
    format!("aria-bench-cage-{}", Stand::number())
}

/// Opens an engine of its own beside whatever else runs on this machine.
pub(crate) fn open_engine(stand: &Stand, pool: usize) -> anyhow::Result<Engine> {
    let config = Config {
        rootfs: stand.root.clone(),
        init: stand.init.clone(),
        cgroup_name: cgroup_name(),
        uid_base: 500_000_000 + (Stand::number() % 1_000_000) * UIDS,
        uid_count: UIDS,
        pool,
    };
    Engine::open(config).context("open the engine")
}

/// A program with the limits of every row.
pub(crate) fn spec(argv: Vec<String>, app: Option<OwnedFd>, door: bool) -> Spec {
    Spec {
        argv,
        env: BTreeMap::from([("HOME".to_owned(), "/tmp".to_owned()), ("PATH".to_owned(), "/bin".to_owned())]),
        profile: Profile::ToolNoexec,
        app,
        files: Vec::new(),
        out: false,
        workspace: None,
        door,
        stdin: false,
        limits: Limits { memory_bytes: MEMORY_BYTES, pids: PIDS, cpu_millis: CPU_MILLIS, disk_bytes: DISK_BYTES },
    }
}

pub(crate) fn directory(path: &Path) -> anyhow::Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .with_context(|| format!("open {}", path.display()))
}

/// One payload in a cage per round.
pub(crate) struct Cage {
    engine: Arc<Engine>,
    app: OwnedFd,
    payload: Payload,
}

impl Cage {
    pub(crate) fn new(engine: &Arc<Engine>, app: &Path, payload: Payload) -> anyhow::Result<Self> {
        Ok(Self { engine: engine.clone(), app: directory(app)?, payload })
    }
}

impl Row for Cage {
    fn name(&self) -> String {
        format!("{}/cage", self.payload.name())
    }

    fn run(&mut self) -> anyhow::Result<Sample> {
        let app = self.app.try_clone().context("clone the directory descriptor")?;
        let spec = spec(self.payload.argv(), Some(app), false);
        let before = cpu(UsageWho::RUSAGE_SELF)?;
        let start = Instant::now();
        let (mut sandbox, io) = self.engine.spawn(spec).context("spawn")?;
        let stdout = read_to_end(io.stdout).context("read stdout")?;
        let exit = sandbox.exit();
        let wall = start.elapsed();
        let ours = cpu(UsageWho::RUSAGE_SELF)?.saturating_sub(before);
        let Exit::Code(code) = exit else { bail!("the cage ended as {exit:?}") };
        self.payload.check(code, &stdout)?;
        let usage = sandbox.destroy().context("destroy")?;
        Ok(Sample { wall, cpu: Some(ours + usage.cpu) })
    }
}

/// Reads a non-blocking descriptor to its end.
fn read_to_end(fd: OwnedFd) -> anyhow::Result<Vec<u8>> {
    let mut file = File::from(fd);
    let mut all = Vec::new();
    let mut piece = [0_u8; 4096];
    loop {
        poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        match file.read(&mut piece) {
            Ok(0) => return Ok(all),
            Ok(n) => all.extend_from_slice(piece.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}
