//! The floor of every round trip: a frame through a socket pair to another thread and back, both blocking.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::sample::{Sample, Samples};

/// About what a small call is long.
const FRAME_BYTES: usize = 128;

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
