//! What a round yields, and rounds of several rows interleaved so that noise hits all of them alike.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Serialize;

/// Rounds that are not recorded: they fill the page cache and the pools.
const WARM_UP: usize = 3;
/// Teardown and refill are off the path; every row gets this pause after it.
const PAUSE: Duration = Duration::from_millis(20);

/// One round of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    /// User and system time of everything the round started and of what started it; `None` where nobody can tell.
    pub(crate) cpu: Option<Duration>,
}

/// All rounds of one row, microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Samples {
    pub(crate) wall_us: Vec<f64>,
    pub(crate) cpu_us: Vec<f64>,
}

impl Samples {
    pub(crate) fn push(&mut self, sample: Sample) {
        self.wall_us.push(micros(sample.wall));
        self.cpu_us.extend(sample.cpu.map(micros));
    }
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// One thing to time: from before its start until its answer was read and the program was gone.
pub(crate) trait Row {
    /// Name in the result.
    fn name(&self) -> String;
    /// One round.
    fn run(&mut self) -> anyhow::Result<Sample>;
}

/// A B C A B C …, with a pause after each.
pub(crate) fn interleave(rows: &mut [Box<dyn Row>], rounds: usize) -> anyhow::Result<BTreeMap<String, Samples>> {
    let mut results: Vec<Samples> = vec![Samples::default(); rows.len()];
    for round in 0..rounds + WARM_UP {
        for (row, samples) in rows.iter_mut().zip(&mut results) {
            let sample = row.run().with_context(|| format!("row {}", row.name()))?;
            if round >= WARM_UP {
                samples.push(sample);
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(rows.iter().map(|row| row.name()).zip(results).collect())
}

/// User and system time of this process, or of its children that were waited for.
pub(crate) fn cpu(who: UsageWho) -> anyhow::Result<Duration> {
    let usage = getrusage(who).context("getrusage")?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}
