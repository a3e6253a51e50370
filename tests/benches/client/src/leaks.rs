//! What is left of many sandboxes: the engine's descriptors, memory, processes and leaves, the machine's mounts, and whether
//! the last ones still start as fast as the first.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::cgroup;
use crate::sample::Samples;
use crate::sample::{Row, Sample};
use crate::socket::{Daemon, Socket};
use crate::stand::{Payload, Stand};

/// Sandboxes before anything is counted: the allocator and the page cache reach their size.
const WARM_UP: usize = 100;
/// What goes away by itself (a leaf, a network namespace) has this long to do so.
const SETTLE_MAX: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Residue {
    descriptors: usize,
    children: usize,
    leaves: usize,
    mounts: usize,
}

pub(crate) fn measure(stand: &Stand) -> anyhow::Result<serde_json::Value> {
    let app = stand.app()?;
    let daemon = Daemon::start(stand, "pool = 2")?;
    let mut row = Socket::new(&daemon, &app, Payload::True)?;
    for _ in 0..WARM_UP {
        row.run()?;
    }
    let before = settled(&daemon, None)?;
    let rss_before = rss_bytes(&daemon)?;
    let tenth = stand.rounds / 10;
    ensure!(tenth > 0, "at least ten sandboxes");
    let (mut first, mut last) = (Samples::default(), Samples::default());
    for number in 0..stand.rounds {
        let sample: Sample = row.run()?;
        match number {
            _ if number < tenth => first.push(sample),
            _ if number >= stand.rounds - tenth => last.push(sample),
            _ => {}
        }
    }
    let after = settled(&daemon, Some(before))?;
    let more = |after: usize, before: usize| after as i64 - before as i64;
    Ok(json!({
        "count": stand.rounds, "first": first, "last": last,
        "descriptors": more(after.descriptors, before.descriptors), "children": more(after.children, before.children),
        "leaves": more(after.leaves, before.leaves), "mounts": more(after.mounts, before.mounts),
        "rss_before_bytes": rss_before, "rss_after_bytes": rss_bytes(&daemon)?,
    }))
}

/// What there is when nothing changes any more, or when it is what it was before.
fn settled(daemon: &Daemon, wanted: Option<Residue>) -> anyhow::Result<Residue> {
    let deadline = Instant::now() + SETTLE_MAX;
    let mut last = residue(daemon)?;
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = residue(daemon)?;
        let quiet = wanted.map_or(now == last, |wanted| now == wanted);
        if quiet || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}

fn residue(daemon: &Daemon) -> anyhow::Result<Residue> {
    let own = PathBuf::from(format!("/proc/{}", daemon.pid()));
    let count =
        |path: PathBuf| fs::read_dir(&path).map(Iterator::count).with_context(|| format!("list {}", path.display()));
    let threads = fs::read_dir(own.join("task")).context("list threads")?.flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mounts = fs::read_to_string(own.join("mountinfo")).context("read mountinfo")?.lines().count();
    Ok(Residue {
        descriptors: count(own.join("fd"))?,
        children: children.map(|list| list.split_whitespace().count()).sum(),
        leaves: cgroup::cages(daemon.cgroup()),
        mounts,
    })
}

fn rss_bytes(daemon: &Daemon) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).context("read the engine's status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
