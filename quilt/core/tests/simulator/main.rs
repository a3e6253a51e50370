//! Random histories against the ledger, each beside the simplest model of it: requests, children, renewals, ends, cancels, time
//! and engine crashes. After every step the ledger holds, queues and tells exactly what the model does, and the invariants hold
//! by themselves.
//!
//! `SIM_SECONDS=60` plays for a minute (default 3), `SEEDS=1000000` so many histories, `SEED=7` the one that failed.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test they are assertions"
)]

mod model;
mod world;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}

/// Plays one history; the message of a failure names its seed.
fn play(seed: u64) {
    let played = std::panic::catch_unwind(|| world::play(seed));
    if let Err(cause) = played {
        let why =
            cause.downcast_ref::<String>().cloned().or_else(|| cause.downcast_ref::<&str>().map(ToString::to_string));
        panic!(
            "history {seed} broke: {}\nagain: SEED={seed} cargo test -p quilt-core --test simulator",
            why.unwrap_or_default()
        );
    }
}

#[test]
fn no_history_breaks_the_ledger() {
    if let Some(seed) = number("SEED") {
        return world::play(seed);
    }
    let (next, broken) = (AtomicU64::new(1), AtomicBool::new(false));
    let last = number("SEEDS").unwrap_or(u64::MAX);
    let end = match std::env::var("SEEDS") {
        Ok(_) => None,
        Err(_) => Some(Instant::now() + Duration::from_secs(number("SIM_SECONDS").unwrap_or(3))),
    };
    let work = || {
        while !broken.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > last {
                break;
            }
            if seed.is_multiple_of(100_000) {
                println!("history {seed}");
            }
            let guard = Guard(&broken);
            play(seed);
            std::mem::forget(guard);
        }
    };
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, usize::from)).for_each(|_| drop(scope.spawn(work)))
    });
    println!("{} histories", next.load(Ordering::Relaxed).saturating_sub(1).min(last));
}

/// Stops the other threads when this one fails.
struct Guard<'a>(&'a AtomicBool);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
