//! One call to something ready, good for one call: from the shelves of the engine, through its socket, and without a cage.
//!
//! Timed is the call alone: from before the shelf is asked until the answer has been read. Refill and teardown happen in the
//! pause. Beside it in the same rounds: a socket round trip of two threads, and a cold program in bubblewrap.

use std::path::PathBuf;
use std::time::Instant;

use crate::echo;
use crate::peers;
use crate::sample::{Row, Sample, interleave};
use crate::shelf::{Loaded, Remote, Served, Shelf, bare_worker};
use crate::socket::Daemon;
use crate::stand::{Payload, Stand};
use crate::worker::{self, Call, Worker};

/// Round trips of the floor in one round.
const ECHOES: usize = 20;

pub(crate) fn measure(stand: &Stand) -> anyhow::Result<serde_json::Value> {
    let app = stand.app()?;
    worker::write_tool(&app)?;
    let engine = Shelf::engine(stand)?;
    let daemon = Daemon::start(stand, "")?;
    let mut rows: Vec<Box<dyn Row>> = vec![Box::new(Echo), Box::new(peers::bubblewrap(stand, &app, Payload::Hello)?)];
    for loaded in [Loaded::Tool, Loaded::Nothing] {
        let shelf = Shelf::open(stand, engine.clone(), loaded)?;
        let name = |kind: &str| format!("{}/{kind}", loaded.name());
        rows.push(Box::new(Caged { name: name("engine"), shelf, served: Served::default() }));
        let remote = Remote::new(stand, &daemon, loaded)?;
        rows.push(Box::new(Remoted { name: name("socket"), remote, served: Served::default() }));
        let root = Bare { name: name("bare"), stand: stand.clone(), app: app.clone(), loaded, next: None, served: 0 };
        rows.push(Box::new(root));
    }
    Ok(serde_json::to_value(interleave(&mut rows, stand.rounds)?)?)
}

/// The middle of a few round trips: one alone is too short to time.
struct Echo;

impl Row for Echo {
    fn name(&self) -> String {
        "echo".to_owned()
    }

    fn run(&mut self) -> anyhow::Result<Sample> {
        echo::median(ECHOES)
    }
}

struct Caged {
    name: String,
    shelf: Shelf,
    served: Served,
}

impl Row for Caged {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn run(&mut self) -> anyhow::Result<Sample> {
        let call = Call::new(self.served.count());
        // The first call makes the shelf known; from then on something is waited for, off the clock.
        if self.served.count() > 0 {
            self.shelf.wait()?;
        }
        let (wall, warm) = self.shelf.call(call, &self.served)?;
        anyhow::ensure!(warm || self.served.count() == 1, "the shelf was empty");
        Ok(Sample { wall, cpu: None })
    }
}

struct Remoted {
    name: String,
    remote: Remote,
    served: Served,
}

impl Row for Remoted {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn run(&mut self) -> anyhow::Result<Sample> {
        let wall = self.remote.call(Call::new(self.served.count()), &self.served)?;
        Ok(Sample { wall, cpu: None })
    }
}

/// A new worker is made ready after every call, off the clock.
struct Bare {
    name: String,
    stand: Stand,
    app: PathBuf,
    loaded: Loaded,
    next: Option<Worker>,
    served: usize,
}

impl Row for Bare {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn run(&mut self) -> anyhow::Result<Sample> {
        let mut worker = match self.next.take() {
            Some(worker) => worker,
            None => bare_worker(&self.stand, &self.app, self.loaded)?.ready()?,
        };
        let call = Call::new(self.served);
        self.served += 1;
        let frame = call.frame(&self.app);
        let start = Instant::now();
        let answer = worker.call(&frame)?;
        let wall = start.elapsed();
        call.check(&answer)?;
        drop(worker);
        self.next = Some(bare_worker(&self.stand, &self.app, self.loaded)?.ready()?);
        Ok(Sample { wall, cpu: None })
    }
}
