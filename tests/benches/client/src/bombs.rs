//! One cage does its worst: what a neighbour notices, and how fast it is over at its deadline.
//!
//! Both go through the engine's socket. The neighbour is a cold TypeScript program again and again, one at a time; its times
//! with nothing beside it are the baseline of the same run.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use aria_protocol::quilt::v1 as pb;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cgroup;
use crate::sample::{Row, Sample, Samples};
use crate::socket::{Caller, Daemon, Socket, WALL_MS, request};
use crate::stand::{Payload, Stand};

/// How long a neighbour is watched beside each bomb, and alone.
const WATCH: Duration = Duration::from_secs(3);
/// Between two calls of the neighbour.
const PAUSE: Duration = Duration::from_millis(5);
/// A bomb has this long to get going.
const FUSE: Duration = Duration::from_millis(300);
/// Deadline of a bomb that is to be killed.
const DEADLINE_MS: u64 = 300;
/// How much earlier than the deadline the watch for the end begins, and how often it looks.
const WATCH_BEFORE: Duration = Duration::from_millis(2);
const LOOK: Duration = Duration::from_micros(200);
/// A cage that is not empty this long after its deadline never will be.
const EMPTY_MAX: Duration = Duration::from_secs(10);

/// One program that does its worst, bundled into `work/bombs/<name>/main.js`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bomb {
    name: String,
    /// May it start processes?
    spawn: bool,
    memory_bytes: u64,
}

impl Bomb {
    fn request(&self, bombs: &Path, wall_ms: u64) -> pb::ExecuteRequest {
        let argv =
            ["/bin/bun", "--no-install", "--env-file=/dev/null", "--config=/dev/null", "--no-orphans", "/app/main.js"];
        let mut request = request(argv.map(str::to_owned).to_vec(), &bombs.join(&self.name), wall_ms);
        if let Some(program) = &mut request.program {
            program.profile = if self.spawn { pb::Profile::Tool } else { pb::Profile::ToolNoexec }.into();
        }
        if let Some(limits) = &mut request.limits {
            limits.memory_bytes = self.memory_bytes;
        }
        request
    }
}

fn bombs(stand: &Stand) -> anyhow::Result<(PathBuf, Vec<Bomb>)> {
    let directory = stand.work.join("bombs");
    let list = std::fs::read(directory.join("list.json")).context("read the list of bombs")?;
    Ok((directory, serde_json::from_slice(&list).context("the list of bombs")?))
}

/// Neighbours' times alone, and beside each bomb.
pub(crate) fn neighbours(stand: &Stand) -> anyhow::Result<Value> {
    let app = stand.app()?;
    let daemon = Daemon::start(stand, "pool = 4")?;
    let (directory, list) = bombs(stand)?;
    let mut neighbour = Socket::new(&daemon, &app, Payload::Hello)?;
    watch(&mut neighbour)?;
    let mut alone = watch(&mut neighbour)?;
    let mut beside = Vec::new();
    for bomb in &list {
        let mut caller = daemon.caller()?;
        let over = AtomicBool::new(false);
        let (samples, exploded) = std::thread::scope(|scope| {
            let bomber = scope.spawn(|| explode(&mut caller, bomb, &directory, &over));
            std::thread::sleep(FUSE);
            let samples = watch(&mut neighbour);
            over.store(true, Ordering::Relaxed);
            let exploded = bomber.join().unwrap_or_else(|_| bail!("the bomber panicked"));
            anyhow::Ok((samples?, exploded?))
        })
        .with_context(|| format!("beside {}", bomb.name))?;
        beside.push(json!({ "bomb": bomb.name, "times": samples, "runs": exploded.0, "last_end": exploded.1 }));
        // The baseline ages with the machine: a part of it is taken between the bombs.
        alone.wall_us.extend(watch_for(&mut neighbour, WATCH / 3)?.wall_us);
    }
    Ok(json!({ "alone": alone, "beside": beside }))
}

fn watch(neighbour: &mut Socket) -> anyhow::Result<Samples> {
    watch_for(neighbour, WATCH)
}

fn watch_for(neighbour: &mut Socket, time: Duration) -> anyhow::Result<Samples> {
    let end = Instant::now() + time;
    let mut samples = Samples::default();
    while Instant::now() < end {
        samples.push(neighbour.run()?);
        std::thread::sleep(PAUSE);
    }
    Ok(samples)
}

/// The bomb again and again until told otherwise; how often it went off, and how it ended last.
fn explode(caller: &mut Caller, bomb: &Bomb, bombs: &Path, over: &AtomicBool) -> anyhow::Result<(usize, String)> {
    let wall_ms = u64::try_from((FUSE + WATCH).as_millis())?;
    let mut runs = 0;
    let mut end = String::new();
    while !over.load(Ordering::Relaxed) {
        let answer = caller.execute(bomb.request(bombs, wall_ms))?;
        ensure!(answer.end.reason() != pb::EndReason::Unspecified, "{} had no end", bomb.name);
        runs += 1;
        end = answer.end.reason().as_str_name().trim_start_matches("END_REASON_").to_owned();
    }
    Ok((runs, end))
}

/// From a bomb's deadline until its cgroup lists nobody: its program, its shim and its launcher are gone.
///
/// The deadline is counted from the moment the client hears that the program runs, a little after the engine starts counting.
pub(crate) fn kills(stand: &Stand) -> anyhow::Result<Value> {
    let daemon = Daemon::start(stand, "pool = 2")?;
    let (directory, list) = bombs(stand)?;
    let mut caller = daemon.caller()?;
    let mut latencies = Vec::new();
    for bomb in &list {
        let mut samples = Samples::default();
        for _ in 0..stand.rounds {
            if let Some(wall) = kill(&mut caller, daemon.cgroup(), bomb.request(&directory, DEADLINE_MS))? {
                samples.push(Sample { wall, cpu: None });
            }
        }
        latencies.push(json!({ "bomb": bomb.name, "times": samples }));
    }
    let alone = (0..stand.rounds.min(5)).try_for_each(|_| {
        let answer = caller.execute(request(Payload::True.argv(), &stand.app()?, WALL_MS))?;
        Payload::True.check(answer.end.exit_code, &answer.stdout)
    });
    alone.context("the engine works on after the kills")?;
    Ok(Value::Array(latencies))
}

/// `None` when the bomb ended before its deadline.
fn kill(caller: &mut Caller, cgroup: &str, request: pb::ExecuteRequest) -> anyhow::Result<Option<Duration>> {
    let mut watcher = None;
    let answer = caller.watch(request, |sandbox| {
        let leaf = cgroup::path("pids", cgroup).join(sandbox);
        let deadline = Instant::now() + Duration::from_millis(DEADLINE_MS);
        watcher = Some(std::thread::spawn(move || until_empty(&leaf, deadline)));
    })?;
    let Some(watcher) = watcher else { bail!("the bomb never started: {:?}", answer.end) };
    let latency = watcher.join().unwrap_or_else(|_| bail!("the watcher panicked"))?;
    Ok(latency.filter(|_| answer.end.reason() == pb::EndReason::Deadline))
}

fn until_empty(leaf: &Path, deadline: Instant) -> anyhow::Result<Option<Duration>> {
    std::thread::sleep(deadline.saturating_duration_since(Instant::now()).saturating_sub(WATCH_BEFORE));
    if cgroup::is_empty(leaf) {
        return Ok(None);
    }
    while !cgroup::is_empty(leaf) {
        ensure!(deadline.elapsed() < EMPTY_MAX, "{} is not empty {EMPTY_MAX:?} after its deadline", leaf.display());
        std::thread::sleep(LOOK);
    }
    Ok(Some(deadline.elapsed()))
}
