//! Calls served by something that was started ahead of them, good for one call each: a cage from a shelf of the engine in this
//! process, the same through a quiltd, or a bare worker.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use aria_protocol::quilt::v1 as pb;
use quilt_sandbox::{Ask, Engine, OwnShelf, ShelfBounds, ShelfConfig, Shelves};

use crate::engine::{directory, open_engine, spec};
use crate::socket::{Caller, Daemon, WALL_MS, request};
use crate::stand::Stand;
use crate::worker::{self, Call, Door, Worker};

/// Cages of one shelf, and workers that stand in for them.
pub(crate) const READY_MAX: usize = 8;
/// A shelf that has nothing ready for this long never will.
const READY_WAIT_MAX: Duration = Duration::from_secs(10);

/// What has been loaded before the call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Loaded {
    /// The tool's module.
    Tool,
    /// Nothing of any tool.
    Nothing,
}

impl Loaded {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Loaded::Tool => "imported",
            Loaded::Nothing => "generic",
        }
    }
}

/// Ids of sandboxes that have served; each may come once.
#[derive(Debug, Default)]
pub(crate) struct Served(Mutex<HashSet<String>>);

impl Served {
    pub(crate) fn once(&self, id: &str) -> anyhow::Result<()> {
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        ensure!(new && !id.is_empty(), "sandbox {id:?} served two calls");
        Ok(())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Shelves of an engine in this process.
pub(crate) struct Shelf {
    engine: Arc<Engine>,
    shelves: Shelves,
    app: OwnedFd,
    loaded: Loaded,
}

impl Shelf {
    pub(crate) fn open(stand: &Stand, engine: Arc<Engine>, loaded: Loaded) -> anyhow::Result<Shelf> {
        let bounds = ShelfBounds { max: READY_MAX, idle: Duration::from_secs(600) };
        let config = ShelfConfig {
            generic: bounds,
            own: bounds,
            total_max: READY_MAX,
            memory_bytes_max: 1 << 30,
            host_bytes_min: 64 << 20,
        };
        let shelves = Shelves::open(engine.clone(), config).context("open the shelves")?;
        Ok(Shelf { engine, shelves, app: directory(&stand.app()?)?, loaded })
    }

    pub(crate) fn engine(stand: &Stand) -> anyhow::Result<Arc<Engine>> {
        Ok(Arc::new(open_engine(stand, READY_MAX)?))
    }

    /// Waits until something stands ready.
    pub(crate) fn wait(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WAIT_MAX;
        loop {
            let (generic, own) = self.shelves.ready();
            let ready = if self.loaded == Loaded::Tool { own } else { generic };
            if ready > 0 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "nothing got ready on the shelf");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// One call, from a cage that waits or, without one, from a cage made for it. Returns the time and whether it was warm.
    pub(crate) fn call(&self, call: Call, served: &Served) -> anyhow::Result<(Duration, bool)> {
        let app = Path::new("/app");
        let (generic, own) = (worker::prepare(None), worker::prepare(Some(app)));
        let own = OwnShelf { owner: "bench", key: "bench", prepare: &own };
        let own = (self.loaded == Loaded::Tool).then_some(own);
        let frame = call.frame(app);
        let start = Instant::now();
        let directory = self.app.try_clone().context("clone the directory descriptor")?;
        let spec = spec(worker::harness(Path::new("/")), Some(directory), true);
        let taken = self.shelves.take(Ask { spec: &spec, prepare: &generic, own });
        let warm = taken.is_some();
        let (sandbox, mut io) = match taken {
            Some(taken) => taken,
            None => self.engine.spawn(spec).context("spawn")?,
        };
        let mut door = Door::new(io.door.take().context("no door")?)?;
        door.send(&frame)?;
        let answer = door.receive()?;
        let wall = start.elapsed();
        call.check(&answer)?;
        served.once(sandbox.id())?;
        sandbox.destroy().context("destroy")?;
        Ok((wall, warm))
    }
}

/// The same through a quiltd.
pub(crate) struct Remote {
    caller: Caller,
    app: PathBuf,
    loaded: Loaded,
}

impl Remote {
    pub(crate) fn new(stand: &Stand, daemon: &Daemon, loaded: Loaded) -> anyhow::Result<Remote> {
        Ok(Remote { caller: daemon.caller()?, app: stand.app()?, loaded })
    }

    pub(crate) fn call(&mut self, call: Call, served: &Served) -> anyhow::Result<Duration> {
        let mut request = request(worker::harness(Path::new("/")), &self.app, WALL_MS);
        if let Some(program) = &mut request.program {
            program.guest_door = true;
            program.door_frames = vec![call.frame(Path::new("/app"))];
            program.warm = true;
            program.prepare = worker::prepare(None);
            if self.loaded == Loaded::Tool {
                program.shelf = "bench".to_owned();
                program.prepare_shelf = worker::prepare(Some(Path::new("/app")));
            }
        }
        let answer = self.caller.execute(request)?;
        let Some((wall, frame)) = answer.frame else {
            bail!("no answer: {:?} {}", pb::EndReason::try_from(answer.end.reason), answer.end.detail)
        };
        call.check(&frame)?;
        served.once(&answer.sandbox)?;
        Ok(wall)
    }
}

/// A worker without a cage, as ready as the shelf is.
pub(crate) fn bare_worker(stand: &Stand, app: &Path, loaded: Loaded) -> anyhow::Result<Worker> {
    Worker::start(&stand.root, &worker::prepare((loaded == Loaded::Tool).then_some(app)))
}
