//! Our row: the engine in this process, its launchers parked, one fresh cage per round.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use quilt_sandbox::{Config, Engine, Exit, Limits, Profile, Spec};

use crate::{EXPECTED, MEMORY_BYTES, PIDS, Row};

/// The engine and what it runs.
pub(crate) struct Cage {
    engine: Engine,
    app: OwnedFd,
}

impl Cage {
    /// Opens an engine of its own beside whatever else runs on this machine.
    pub(crate) fn new(root: &Path, init: &Path, work: &Path) -> anyhow::Result<Self> {
        let pid = std::process::id();
        let config = Config {
            rootfs: std::fs::canonicalize(root).context("tool root")?,
            init: std::fs::canonicalize(init).context("quilt-init")?,
            cgroup_name: format!("aria-bench-cage-{pid}"),
            uid_base: 500_000_000 + (pid % 1_000_000) * 64,
            uid_count: 64,
            pool: 2,
        };
        let engine = Engine::open(config).context("open the engine")?;
        let app = open(work, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .context("open the program's directory")?;
        Ok(Self { engine, app })
    }
}

impl Row for Cage {
    fn name(&self) -> &'static str {
        "cage"
    }

    fn run(&mut self) -> anyhow::Result<u64> {
        let spec = Spec {
            argv: ["/bin/bun", "/app/hello.ts"].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("HOME".to_owned(), "/tmp".to_owned()), ("PATH".to_owned(), "/bin".to_owned())]),
            profile: Profile::ToolNoexec,
            app: Some(self.app.try_clone().context("clone the directory descriptor")?),
            files: Vec::new(),
            out: false,
            door: false,
            stdin: false,
            limits: Limits { memory_bytes: MEMORY_BYTES, pids: PIDS, cpu_millis: 1000, disk_bytes: 64 << 20 },
        };
        let start = Instant::now();
        let (mut sandbox, io) = self.engine.spawn(spec).context("spawn")?;
        let answer = read_to_end(io.stdout).context("read stdout")?;
        let exit = sandbox.exit();
        let micros = start.elapsed().as_micros();
        ensure!(answer == EXPECTED && exit == Exit::Code(0), "the cage answered {answer:?}, {exit:?}");
        sandbox.destroy().context("destroy")?;
        Ok(u64::try_from(micros)?)
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
