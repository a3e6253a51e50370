//! Launchers kept ready, made by threads that live as long as the engine.
//!
//! A launcher dies with the thread that made it, so callers never make one: they take a ready one or wait for the next.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cgroup::{Cgroup, LEAF_PREFIX};
use crate::launcher::{Launcher, at};
use crate::{Limits, SpawnError};

/// Threads that make launchers. Making one is mostly waiting for the kernel to move it into its leaf.
const MAKERS: usize = 2;
/// Pause after a failure nobody was waiting for.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// While nobody waits, refilling can wait until the call that took one has had the processor to itself.
const REFILL_PAUSE: Duration = Duration::from_millis(10);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How to make a launcher.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) cgroup: Arc<dyn Cgroup>,
    pub(crate) init: PathBuf,
    pub(crate) rootfs: String,
    /// Distinguishes this life of the engine from all others in leaf names.
    pub(crate) life: u32,
    pub(crate) made: AtomicU64,
    /// Those of the last call: the next one is likely to have the same.
    pub(crate) limits: Mutex<Limits>,
}

impl Recipe {
    fn make(&self) -> Result<Launcher, SpawnError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("{LEAF_PREFIX}{:08x}-{number}", self.life);
        let limits = *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        Launcher::start(&self.cgroup, name, &self.init, &self.rootfs, limits)
    }
}

/// Who wants a launcher.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Haste {
    /// A call that waits for it.
    Call,
    /// Somebody who makes a cage ahead of its call: only from those above the pool's size, so that calls find theirs.
    Ahead,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Launcher>,
    failed: VecDeque<SpawnError>,
    making: usize,
    waiting: usize,
    /// Of them, those that wait for a surplus.
    ahead: usize,
    closing: bool,
}

impl State {
    /// A launcher for this haste, if there is one.
    fn pop(&mut self, haste: Haste, size: usize) -> Option<Launcher> {
        let calls = self.waiting - self.ahead;
        let kept = if haste == Haste::Ahead { size + calls } else { 0 };
        if self.ready.len() > kept { self.ready.pop_front() } else { None }
    }
}

#[derive(Debug)]
struct Shared {
    recipe: Recipe,
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool and its threads. Dropping it ends both.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    makers: Vec<JoinHandle<()>>,
}

impl Pool {
    pub(crate) fn open(recipe: Recipe, size: usize) -> Result<Pool, SpawnError> {
        let shared = Arc::new(Shared { recipe, size, state: Mutex::new(State::default()), changed: Condvar::new() });
        let mut pool = Pool { shared, makers: Vec::new() };
        for number in 0..MAKERS {
            let shared = pool.shared.clone();
            let thread = std::thread::Builder::new().name(format!("quilt-pool-{number}"));
            pool.makers.push(thread.spawn(move || keep_filled(&shared)).map_err(at("pool-thread"))?);
        }
        Ok(pool)
    }

    /// Makes sure that a launcher comes up here; it stays parked if the pool keeps any.
    pub(crate) fn prove(&self) -> Result<(), SpawnError> {
        let launcher = self.take(Haste::Call)?;
        let mut state = self.shared.lock();
        if self.shared.size > 0 {
            state.ready.push_back(launcher);
        }
        Ok(())
    }

    /// A parked launcher, at once when one is ready.
    pub(crate) fn take(&self, haste: Haste) -> Result<Launcher, SpawnError> {
        let deadline = Instant::now() + WAIT_MAX;
        let mut state = self.shared.lock();
        if let Some(launcher) = state.pop(haste, self.shared.size).filter(Launcher::alive) {
            self.shared.changed.notify_all();
            return Ok(launcher);
        }
        state.waiting += 1;
        state.ahead += usize::from(haste == Haste::Ahead);
        self.shared.changed.notify_all();
        let result = loop {
            if state.closing {
                break Err(SpawnError::Closing);
            }
            match state.pop(haste, self.shared.size) {
                Some(launcher) if launcher.alive() => break Ok(launcher),
                // Somebody ended it while it was parked; its leaf goes with it.
                Some(dead) => {
                    drop(state);
                    drop(dead);
                    state = self.shared.lock();
                    continue;
                }
                None => {}
            }
            if let Some(error) = state.failed.pop_front() {
                break Err(error);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(at("launcher")(std::io::ErrorKind::TimedOut.into()));
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.waiting -= 1;
        state.ahead -= usize::from(haste == Haste::Ahead);
        self.shared.changed.notify_all();
        result
    }

    /// Launchers are made for these limits from now on.
    pub(crate) fn expect(&self, limits: Limits) {
        *self.shared.recipe.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// How many are parked right now.
    pub(crate) fn ready(&self) -> usize {
        self.shared.lock().ready.len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let parked = {
            let mut state = self.shared.lock();
            state.closing = true;
            self.shared.changed.notify_all();
            std::mem::take(&mut state.ready)
        };
        drop(parked);
        for maker in self.makers.drain(..) {
            // A maker that panicked has nothing more to say.
            let _ = maker.join();
        }
        // What was being made when we closed.
        self.shared.lock().ready.clear();
    }
}

fn keep_filled(shared: &Shared) {
    let mut state = shared.lock();
    let mut rest_until = None;
    while !state.closing {
        let wanted = shared.size + state.waiting;
        if state.ready.len() + state.making >= wanted {
            rest_until = None;
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let now = Instant::now();
        let left = rest_until.get_or_insert_with(|| now + REFILL_PAUSE).saturating_duration_since(now);
        if state.waiting == 0 && !left.is_zero() {
            state = shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        rest_until = None;
        state.making += 1;
        drop(state);
        let made = shared.recipe.make();
        state = shared.lock();
        state.making -= 1;
        match made {
            Ok(launcher) => state.ready.push_back(launcher),
            Err(error) if state.failed.len() < state.waiting => state.failed.push_back(error),
            Err(_) => {
                state = shared.changed.wait_timeout(state, RETRY_PAUSE).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        shared.changed.notify_all();
    }
}
