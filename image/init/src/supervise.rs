//! When to start, restart, stop and kill services: decisions only.
//!
//! Services form a line: each starts once the one before it offers its socket (or after a patience, since a broken neighbour must not hide the
//! API), and they stop in the opposite order, one at a time. A service that dies quickly is restarted ever more slowly; after
//! `QUICK_DEATHS_MAX` deaths in a row an alarm is raised and one attempt a minute remains, so that a device never spins and never gives up.

use std::time::Duration;

/// A life shorter than this counts as a quick death; a longer one clears the count.
const SETTLED: Duration = Duration::from_secs(60);
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
const QUICK_DEATHS_MAX: u32 = 10;
const SLOW_RETRY: Duration = Duration::from_secs(60);
/// How long the next service waits for the one before it.
const OFFER_PATIENCE: Duration = Duration::from_secs(5);

/// Index of a service in the line.
pub(crate) type Place = usize;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    Start(Place),
    Terminate(Place),
    Kill(Place),
    /// It keeps dying; said once per series of deaths.
    Alarm(Place),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Waiting { at: Duration },
    Running { since: Duration },
    Stopping { kill_at: Duration },
    Down,
}

struct Entry {
    phase: Phase,
    stop_patience: Duration,
    quick_deaths: u32,
    offers: bool,
}

/// The line of services. `now` is the monotonic clock.
pub(crate) struct Supervisor {
    entries: Vec<Entry>,
    stopping: bool,
}

impl Supervisor {
    /// One service per patience, in starting order; the patience is how long it may take to stop.
    pub(crate) fn new(stop_patience: &[Duration], now: Duration) -> Supervisor {
        let entry = |patience: &Duration| Entry {
            phase: Phase::Waiting { at: now },
            stop_patience: *patience,
            quick_deaths: 0,
            offers: false,
        };
        Supervisor { entries: stop_patience.iter().map(entry).collect(), stopping: false }
    }

    /// The service's socket is there: its neighbour may start.
    pub(crate) fn on_offer(&mut self, place: Place) {
        if let Some(entry) = self.entries.get_mut(place) {
            entry.offers = true;
        }
    }

    pub(crate) fn on_exit(&mut self, place: Place, now: Duration) -> Option<Action> {
        let stopping = self.stopping;
        let entry = self.entries.get_mut(place)?;
        entry.offers = false;
        let Phase::Running { since } = entry.phase else {
            entry.phase = Phase::Down;
            return None;
        };
        if stopping {
            entry.phase = Phase::Down;
            return None;
        }
        entry.quick_deaths = if now - since >= SETTLED { 1 } else { entry.quick_deaths + 1 };
        entry.phase = Phase::Waiting { at: now + delay(entry.quick_deaths) };
        (entry.quick_deaths == QUICK_DEATHS_MAX).then_some(Action::Alarm(place))
    }

    /// From now on nothing is started any more. Asking twice is asking once.
    pub(crate) fn on_stop(&mut self) {
        self.stopping = true;
        for entry in &mut self.entries {
            if matches!(entry.phase, Phase::Waiting { .. }) {
                entry.phase = Phase::Down;
            }
        }
    }

    /// What is due now; call again after acting, until nothing is.
    pub(crate) fn on_time(&mut self, now: Duration) -> Option<Action> {
        if self.stopping { self.next_stop(now) } else { self.next_start(now) }
    }

    pub(crate) fn all_down(&self) -> bool {
        self.entries.iter().all(|entry| entry.phase == Phase::Down)
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping
    }

    fn next_start(&mut self, now: Duration) -> Option<Action> {
        let due = (0..self.entries.len()).find(|place| self.startable(*place, now))?;
        self.entries[due].phase = Phase::Running { since: now };
        Some(Action::Start(due))
    }

    fn startable(&self, place: Place, now: Duration) -> bool {
        let due = matches!(self.entries[place].phase, Phase::Waiting { at } if at <= now);
        let Some(before) = place.checked_sub(1).map(|before| &self.entries[before]) else { return due };
        let clear = match before.phase {
            _ if before.offers || before.quick_deaths > 0 => true,
            Phase::Running { since } => now >= since + OFFER_PATIENCE,
            _ => false,
        };
        due && clear
    }

    fn next_stop(&mut self, now: Duration) -> Option<Action> {
        let last = self.entries.iter().rposition(|entry| entry.phase != Phase::Down)?;
        let entry = &mut self.entries[last];
        match entry.phase {
            Phase::Stopping { kill_at } if now >= kill_at => {
                // The kernel needs a moment to end it; killing again each patience is harmless.
                entry.phase = Phase::Stopping { kill_at: now + entry.stop_patience };
                Some(Action::Kill(last))
            }
            Phase::Running { .. } => {
                entry.phase = Phase::Stopping { kill_at: now + entry.stop_patience };
                Some(Action::Terminate(last))
            }
            _ => None,
        }
    }
}

fn delay(quick_deaths: u32) -> Duration {
    if quick_deaths >= QUICK_DEATHS_MAX {
        return SLOW_RETRY;
    }
    (BACKOFF_FIRST * (1 << quick_deaths.saturating_sub(1).min(16))).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUILTD: Place = 0;
    const ARIAD: Place = 1;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn line() -> Supervisor {
        Supervisor::new(&[ms(1000), ms(2000)], ms(0))
    }

    fn running() -> Supervisor {
        let mut line = line();
        assert_eq!(line.on_time(ms(0)), Some(Action::Start(QUILTD)));
        line.on_offer(QUILTD);
        assert_eq!(line.on_time(ms(0)), Some(Action::Start(ARIAD)));
        assert_eq!(line.on_time(ms(0)), None);
        line
    }

    #[test]
    fn the_second_starts_when_the_first_offers() {
        let mut line = line();
        assert_eq!(line.on_time(ms(0)), Some(Action::Start(QUILTD)));
        assert_eq!(line.on_time(ms(1)), None);
        line.on_offer(QUILTD);
        assert_eq!(line.on_time(ms(2)), Some(Action::Start(ARIAD)));
    }

    #[test]
    fn the_second_does_not_wait_for_ever() {
        let mut line = line();
        line.on_time(ms(0));
        assert_eq!(line.on_time(OFFER_PATIENCE - ms(1)), None);
        assert_eq!(line.on_time(OFFER_PATIENCE), Some(Action::Start(ARIAD)));
    }

    #[test]
    fn a_first_that_keeps_dying_does_not_hide_the_api() {
        let mut line = line();
        line.on_time(ms(0));
        line.on_exit(QUILTD, ms(1));
        assert_eq!(line.on_time(ms(2)), Some(Action::Start(ARIAD)));
    }

    #[test]
    fn deaths_are_answered_ever_more_slowly_and_then_once_a_minute() {
        let mut line = running();
        let (mut now, mut gaps, mut alarms) = (ms(0), Vec::new(), 0);
        for _ in 0..12 {
            alarms += usize::from(line.on_exit(ARIAD, now) == Some(Action::Alarm(ARIAD)));
            let died = now;
            while line.on_time(now).is_none() {
                now += ms(100);
            }
            gaps.push((now - died).as_millis());
        }
        assert_eq!(gaps, [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 60000, 60000, 60000]);
        assert_eq!(alarms, 1);
    }

    #[test]
    fn a_long_life_clears_the_count() {
        let mut line = running();
        let mut now = ms(0);
        for _ in 0..5 {
            line.on_exit(ARIAD, now);
            now += BACKOFF_MAX;
            assert_eq!(line.on_time(now), Some(Action::Start(ARIAD)));
        }
        now += SETTLED;
        line.on_exit(ARIAD, now);
        assert_eq!(line.on_time(now + BACKOFF_FIRST), Some(Action::Start(ARIAD)));
    }

    #[test]
    fn stopping_goes_backwards_one_at_a_time() {
        let mut line = running();
        line.on_stop();
        assert_eq!(line.on_time(ms(10)), Some(Action::Terminate(ARIAD)));
        assert_eq!(line.on_time(ms(11)), None);
        line.on_exit(ARIAD, ms(12));
        assert_eq!(line.on_time(ms(12)), Some(Action::Terminate(QUILTD)));
        assert!(!line.all_down());
        line.on_exit(QUILTD, ms(13));
        assert!(line.all_down());
        assert_eq!(line.on_time(ms(14)), None);
    }

    #[test]
    fn what_does_not_stop_is_killed() {
        let mut line = running();
        line.on_stop();
        line.on_time(ms(0));
        assert_eq!(line.on_time(ms(1999)), None);
        assert_eq!(line.on_time(ms(2000)), Some(Action::Kill(ARIAD)));
        assert_eq!(line.on_time(ms(2001)), None);
    }

    #[test]
    fn nothing_is_restarted_while_stopping() {
        let mut line = running();
        line.on_exit(ARIAD, ms(5));
        line.on_stop();
        line.on_stop();
        line.on_exit(QUILTD, ms(6));
        assert!(line.all_down());
        assert_eq!(line.on_time(ms(60_000)), None);
    }
}
