//! Calls per second that can be kept up: one closed loop per core, every call served by something started for it alone, the
//! making of the next one included in the time. Bare workers and cages from the engine's shelves have turns, two each.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::{Value, json};

use crate::sample::micros;
use crate::shelf::{Loaded, READY_MAX, Remote, Served, Shelf, bare_worker};
use crate::socket::Daemon;
use crate::stand::Stand;
use crate::worker::{self, Call, Worker};

/// Until what stood ready at the start is used up and the loop is in its stride.
const WARM_UP: Duration = Duration::from_secs(3);

/// Turns each loop has; its time is divided among them.
const TURNS: usize = 2;

/// Calls that were answered after the warm-up.
#[derive(Debug, Default, Serialize)]
struct Answered {
    /// When, microseconds since the warm-up was over.
    at_us: Vec<f64>,
    wall_us: Vec<f64>,
    /// How many calls of all found something ready; 0 where nobody can tell.
    warm_share: f64,
}

/// `rounds` is the seconds of each loop.
pub(crate) fn measure(stand: &Stand) -> anyhow::Result<Value> {
    let app = stand.app()?;
    worker::write_tool(&app)?;
    let clients = std::thread::available_parallelism().map_or(1, usize::from);
    let time = Duration::from_secs(stand.rounds as u64) / u32::try_from(TURNS)?;
    let turns = (0..TURNS)
        .map(|_| {
            let bare = bare(stand, &app, clients, time)?;
            let engine = cages(stand, clients, time)?;
            let socket = remote(stand, clients, time)?;
            Ok(json!({ "bare": bare, "engine": engine, "socket": socket }))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(json!({ "clients": clients, "turn_seconds": time.as_secs_f64(), "turns": turns }))
}

/// `clients` threads that call as fast as they are answered.
fn closed_loop<C: FnMut(Call) -> anyhow::Result<Duration> + Send>(
    clients: Vec<C>,
    time: Duration,
) -> anyhow::Result<Answered> {
    let number = AtomicUsize::new(0);
    let begin = Instant::now() + WARM_UP;
    let end = begin + time;
    let run = |mut client: C| {
        let mut calls = Vec::new();
        while Instant::now() < end {
            let wall = client(Call::new(number.fetch_add(1, Ordering::Relaxed)))?;
            calls.push((Instant::now(), wall));
        }
        anyhow::Ok(calls)
    };
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = clients.into_iter().map(|client| scope.spawn(|| run(client))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<Vec<_>>>| {
            thread.join().unwrap_or_else(|_| bail!("a client panicked"))
        };
        threads.into_iter().map(join).collect::<anyhow::Result<Vec<_>>>()
    })?;
    let mut answered = Answered::default();
    for (at, wall) in all.into_iter().flatten().filter(|(at, _)| (begin..end).contains(at)) {
        answered.at_us.push(micros(at.saturating_duration_since(begin)));
        answered.wall_us.push(micros(wall));
    }
    Ok(answered)
}

fn cages(stand: &Stand, clients: usize, time: Duration) -> anyhow::Result<Answered> {
    let shelf = Shelf::open(stand, Shelf::engine(stand)?, Loaded::Tool)?;
    let served = Served::default();
    let warm = AtomicUsize::new(0);
    let client = || {
        |call| {
            let (wall, was_warm) = shelf.call(call, &served)?;
            warm.fetch_add(usize::from(was_warm), Ordering::Relaxed);
            anyhow::Ok(wall)
        }
    };
    let answered = closed_loop((0..clients).map(|_| client()).collect(), time)?;
    let warm_share = warm.load(Ordering::Relaxed) as f64 / served.count() as f64;
    Ok(Answered { warm_share, ..answered })
}

fn remote(stand: &Stand, clients: usize, time: Duration) -> anyhow::Result<Answered> {
    let daemon = Daemon::start(stand, "")?;
    let served = Served::default();
    let remotes =
        (0..clients).map(|_| Remote::new(stand, &daemon, Loaded::Tool)).collect::<anyhow::Result<Vec<_>>>()?;
    let client = |mut remote: Remote| {
        let served = &served;
        move |call| remote.call(call, served)
    };
    closed_loop(remotes.into_iter().map(client).collect(), time)
}

/// As many workers ready as a shelf has cages; a thread per core starts the next one as soon as one was taken.
fn bare(stand: &Stand, app: &Path, clients: usize, time: Duration) -> anyhow::Result<Answered> {
    let (started, ready) = sync_channel::<anyhow::Result<Worker>>(READY_MAX);
    let ready = Mutex::new(ready);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            let started = started.clone();
            scope.spawn(move || refill(stand, app, &started));
        }
        drop(started);
        let client = || {
            |call: Call| {
                let frame = call.frame(app);
                let start = Instant::now();
                let mut worker = next(&ready)?;
                let answer = worker.call(&frame)?;
                let wall = start.elapsed();
                call.check(&answer)?;
                anyhow::Ok(wall)
            }
        };
        let result = closed_loop((0..clients).map(|_| client()).collect(), time);
        // The makers end when nobody takes any more.
        let ready = std::mem::replace(&mut *ready.lock().unwrap_or_else(PoisonError::into_inner), sync_channel(0).1);
        drop(ready);
        result
    })
}

fn next(ready: &Mutex<Receiver<anyhow::Result<Worker>>>) -> anyhow::Result<Worker> {
    ready.lock().unwrap_or_else(PoisonError::into_inner).recv().context("the makers ended")?
}

fn refill(stand: &Stand, app: &Path, started: &SyncSender<anyhow::Result<Worker>>) {
    let make = || bare_worker(stand, app, Loaded::Tool)?.ready();
    while started.send(make()).is_ok() {}
}
