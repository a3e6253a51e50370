//! How many cages a shelf keeps ready, from when it was asked for.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back calls count towards the rate.
const RECENT: Duration = Duration::from_secs(1);
/// Calls that are remembered; a faster shelf is at its bound anyway.
const CALLS_MAX: usize = 256;
/// Of the calls in [`RECENT`], one in so many comes before the cage it took has been replaced.
const CALLS_PER_READY: usize = 20;

/// Bounds of one shelf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShelfBounds {
    /// Cages at most.
    pub max: usize,
    /// Without a call for this long it keeps none.
    pub idle: Duration,
}

/// The calls of one shelf, as far as they matter. Times are since any fixed moment.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    calls: VecDeque<Duration>,
}

impl Demand {
    /// One call at `now`.
    pub fn note(&mut self, now: Duration) {
        if self.calls.len() == CALLS_MAX {
            self.calls.pop_front();
        }
        self.calls.push_back(now);
    }

    /// The time of the last call.
    pub fn last(&self) -> Option<Duration> {
        self.calls.back().copied()
    }

    /// Cages to keep ready at `now`: one for a shelf that is in use, more the faster the calls come.
    pub fn wanted(&self, bounds: ShelfBounds, now: Duration) -> usize {
        let since = |call: Duration| now.saturating_sub(call);
        if self.last().is_none_or(|last| since(last) >= bounds.idle) {
            return 0;
        }
        let recent = self.calls.iter().filter(|call| since(**call) < RECENT).count();
        (1 + recent / CALLS_PER_READY).min(bounds.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: ShelfBounds = ShelfBounds { max: 4, idle: Duration::from_secs(60) };

    #[track_caller]
    fn check(calls_ms: &[u64], now_ms: u64, expected: usize) {
        let mut demand = Demand::default();
        calls_ms.iter().for_each(|call| demand.note(Duration::from_millis(*call)));
        assert_eq!(demand.wanted(BOUNDS, Duration::from_millis(now_ms)), expected);
    }

    #[test]
    fn a_shelf_nobody_asked_for_is_empty() {
        check(&[], 5, 0);
    }

    #[test]
    fn one_call_keeps_one_until_the_shelf_is_idle() {
        check(&[100], 100, 1);
        check(&[100], 60_099, 1);
        check(&[100], 60_100, 0);
    }

    #[test]
    fn a_higher_rate_keeps_more_up_to_the_bound() {
        let every = |ms: u64| (0..1000).step_by(ms as usize).collect::<Vec<u64>>();
        check(&every(100), 999, 1);
        check(&every(50), 999, 2);
        check(&every(25), 999, 3);
        check(&every(1), 999, 4);
        check(&every(1), 3_000, 1);
    }

    #[test]
    fn a_bound_of_none_is_none() {
        let mut demand = Demand::default();
        demand.note(Duration::ZERO);
        assert_eq!(demand.wanted(ShelfBounds { max: 0, ..BOUNDS }, Duration::ZERO), 0);
    }

    #[test]
    fn memory_of_calls_is_bounded() {
        let mut demand = Demand::default();
        (0..10_000).for_each(|call| demand.note(Duration::from_millis(call)));
        assert_eq!(demand.calls.len(), CALLS_MAX);
    }
}
