//! A sandbox from nothing: `/bin/true` and a TypeScript program, bare, in bubblewrap, in crun, in our cage, interleaved.
//!
//! Before t0 runs: for us the engine and its parked launchers (no program, no tool); for bubblewrap a helper that already
//! sits in a leaf with our limits; for crun nothing.

use std::sync::Arc;

use crate::sample::{Row, interleave};
use crate::socket::{Daemon, Socket};
use crate::stand::{Payload, Stand};
use crate::{engine, peers};

/// Parked launchers of each of the two engines.
const POOL: usize = 2;

pub(crate) fn measure(stand: &Stand) -> anyhow::Result<serde_json::Value> {
    let app = stand.app()?;
    let engine = Arc::new(engine::open_engine(stand, POOL)?);
    let daemon = Daemon::start(stand, &format!("pool = {POOL}"))?;
    let mut rows: Vec<Box<dyn Row>> = Vec::new();
    for payload in [Payload::True, Payload::Hello] {
        rows.push(Box::new(peers::bare(stand, &app, payload)?));
        rows.push(Box::new(peers::bubblewrap(stand, &app, payload)?));
        rows.push(Box::new(peers::crun(stand, &app, payload)?));
        rows.push(Box::new(engine::Cage::new(&engine, &app, payload)?));
        rows.push(Box::new(Socket::new(&daemon, &app, payload)?));
    }
    Ok(serde_json::to_value(interleave(&mut rows, stand.rounds)?)?)
}

/// What any start of a process costs now, for sections whose own floor would not notice a busy machine.
pub(crate) fn floor(stand: &Stand) -> anyhow::Result<serde_json::Value> {
    let mut rows: Vec<Box<dyn Row>> = vec![Box::new(peers::bare(stand, &stand.app()?, Payload::True)?)];
    Ok(serde_json::to_value(interleave(&mut rows, stand.rounds)?)?)
}
