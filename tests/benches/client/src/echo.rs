//! The floor of every round trip: a frame through a socket pair to another thread and back, both blocking.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::sample::{Sample, Samples};

/// About what a small call is long.
const FRAME_BYTES: usize = 128;

/// The middle one of a few.
pub(crate) fn median(count: usize) -> anyhow::Result<Sample> {
    let mut times = round_trips(count)?.wall_us;
    times.sort_by(f64::total_cmp);
    let middle = times.get(times.len() / 2).context("no round trips")?;
    Ok(Sample { wall: Duration::from_secs_f64(middle / 1e6), cpu: None })
}

pub(crate) fn round_trips(count: usize) -> anyhow::Result<Samples> {
    let (mut ours, mut theirs) = UnixStream::pair().context("socket pair")?;
    let echo = std::thread::spawn(move || {
        let mut frame = [0; FRAME_BYTES];
        // Ends when our side is closed.
        while theirs.read_exact(&mut frame).is_ok() && theirs.write_all(&frame).is_ok() {}
    });
    let mut samples = Samples::default();
    let mut frame = [7; FRAME_BYTES];
    for _ in 0..count {
        let start = Instant::now();
        ours.write_all(&frame).context("send")?;
        ours.read_exact(&mut frame).context("receive")?;
        samples.push(Sample { wall: start.elapsed(), cpu: None });
    }
    drop(ours);
    if echo.join().is_err() {
        bail!("the echo thread panicked");
    }
    Ok(samples)
}
