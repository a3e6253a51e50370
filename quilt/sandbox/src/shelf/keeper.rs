//! The threads behind the shelves: they make what is wanted, and destroy what is not, when nobody waits for it.

use std::collections::VecDeque;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::make::Recipe;
use super::{SETTLE, Shared, Shelf, ShelfConfig, State};

/// Making a cage is work for one core and waiting for the kernel in turn, so two of them keep two cores busy.
pub(super) const KEEPERS: usize = 2;
/// How often idle shelves and the memory of the host are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often while calls come, so that none has to wake a keeper.
const BUSY_TICK: Duration = Duration::from_millis(10);
/// Calls come when the last one was less than this long ago.
const BUSY: Duration = Duration::from_secs(1);
/// A program that did not get ready is tried again after so long.
const FAILED_PAUSE: Duration = Duration::from_secs(30);

/// Runs until the shelves close.
pub(super) fn keep(shared: &Shared) {
    let mut looked = None;
    let mut state = shared.lock();
    while !state.closing {
        let now = shared.now();
        if looked.is_none_or(|looked| now.saturating_sub(looked) >= TICK) {
            looked = Some(now);
            drop(state);
            let pressed = available_bytes().is_some_and(|bytes| bytes < shared.config.host_bytes_min);
            state = shared.lock();
            state.pressed = pressed;
            shrink(&mut state, &shared.config, now);
        }
        slow_down(&mut state, now);
        state = match (state.waste.pop(), next(&state, &shared.config, now)) {
            (Some(sandbox), _) => {
                drop(state);
                // What cannot be removed now, the next start of the engine removes.
                drop(sandbox);
                shared.lock()
            }
            (None, Next::Make(at)) => make(shared, state, at),
            (None, Next::Wait(time)) => {
                let time = settles(&state).map_or(time, |end| time.min(end.saturating_sub(now)));
                shared.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

enum Next {
    /// One for the shelf at this place.
    Make(usize),
    /// Nothing, for so long.
    Wait(Duration),
}

/// What to do now: the shelf that lacks most gets the next cage.
fn next(state: &State, config: &ShelfConfig, now: Duration) -> Next {
    let all: usize = state.shelves.iter().map(|shelf| shelf.ready.len() + shelf.making).sum();
    let bytes: u64 = state.shelves.iter().flat_map(|shelf| &shelf.ready).map(|ready| ready.memory_bytes).sum();
    if state.pressed || all >= config.total_max || bytes >= config.memory_bytes_max {
        return Next::Wait(TICK);
    }
    let lacking = |shelf: &Shelf| {
        let paused = shelf.failed_until.is_some_and(|until| now < until);
        let has = shelf.ready.len() + shelf.making;
        if paused { 0 } else { wanted(shelf, config, now).saturating_sub(has) }
    };
    let (at, shelf) = match state.shelves.iter().enumerate().max_by_key(|(_, shelf)| lacking(shelf)) {
        Some((at, shelf)) if lacking(shelf) > 0 => (at, shelf),
        _ => return Next::Wait(if busy(state, now) { BUSY_TICK } else { TICK }),
    };
    match shelf.rest_until {
        Some(until) if now < until => Next::Wait(until - now),
        _ => Next::Make(at),
    }
}

fn busy(state: &State, now: Duration) -> bool {
    let last = state.shelves.iter().filter_map(|shelf| shelf.demand.last()).max();
    last.is_some_and(|last| now.saturating_sub(last) < BUSY)
}

fn wanted(shelf: &Shelf, config: &ShelfConfig, now: Duration) -> usize {
    let bounds = if shelf.id.own.is_some() { config.own } else { config.generic };
    shelf.demand.wanted(bounds, now)
}

fn make<'a>(shared: &'a Shared, mut state: MutexGuard<'a, State>, at: usize) -> MutexGuard<'a, State> {
    let Some(shelf) = state.shelves.get_mut(at) else { return state };
    shelf.making += 1;
    shelf.rest_until = None;
    let recipe = Recipe::of(shelf);
    drop(state);
    let made = recipe.make(&shared.engine);
    let mut state = shared.lock();
    let closing = state.closing;
    let found = state.shelves.iter_mut().find(|shelf| shelf.id == recipe.id);
    match (made, found) {
        (Ok(mut ready), Some(shelf)) if !closing => {
            ready.settled = shelf.id.own.is_some().then(|| shared.now() + SETTLE);
            shelf.making -= 1;
            shelf.failed_until = None;
            shelf.ready.push_back(ready);
        }
        (Err(_), Some(shelf)) => {
            shelf.making -= 1;
            // Nobody is told: a call of this shelf gets a cage of its own, and with it its own error.
            shelf.failed_until = Some(shared.now() + FAILED_PAUSE);
        }
        (Ok(ready), _) => state.waste.push(ready.sandbox),
        (Err(_), None) => {}
    }
    state
}

/// Throws away what is not wanted any more, and forgets shelves nobody asks for.
fn shrink(state: &mut State, config: &ShelfConfig, now: Duration) {
    let pressed = state.pressed;
    let State { shelves, waste, .. } = state;
    shelves.retain_mut(|shelf| {
        let wanted = wanted(shelf, config, now) > 0;
        let (keep, waste_now): (VecDeque<_>, VecDeque<_>) =
            shelf.ready.drain(..).partition(|ready| wanted && !pressed && ready.waits());
        shelf.ready = keep;
        waste.extend(waste_now.into_iter().map(|ready| ready.sandbox));
        wanted || shelf.making > 0
    });
}

/// Takes the processor from own cages that have had their time to settle; one that keeps it is thrown away.
fn slow_down(state: &mut State, now: Duration) {
    let State { shelves, waste, .. } = state;
    for shelf in shelves.iter_mut().filter(|shelf| shelf.id.own.is_some()) {
        for mut ready in std::mem::take(&mut shelf.ready) {
            if ready.settled.is_none_or(|end| now < end) || ready.slow_down().is_ok() {
                shelf.ready.push_back(ready);
            } else {
                waste.push(ready.sandbox);
            }
        }
    }
}

/// When the next own cage has settled.
fn settles(state: &State) -> Option<Duration> {
    state.shelves.iter().flat_map(|shelf| &shelf.ready).filter_map(|ready| ready.settled).min()
}

/// Memory the host could hand out without swapping.
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
