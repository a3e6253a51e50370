//! What happened to leases, in order: a bounded memory that anybody may read from any number on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::lease::{Asker, LeaseId};

/// Events that are remembered; who is further behind has lost some.
pub const EVENTS_MAX: usize = 4096;

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventKind {
    /// It waits.
    Queued,
    /// It has all its tokens.
    Granted,
    /// Its lease holds longer.
    Renewed,
    /// Its lease was ended from outside.
    Revoked,
    /// Its lease was not renewed in time.
    Expired,
    /// Its wait would have closed a cycle, so it does not wait.
    Deadlock,
    /// It was refused, or left the queue without a grant.
    Denied,
    /// Its lease ended as it should.
    Released,
}

impl EventKind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Queued => "queued",
            EventKind::Granted => "granted",
            EventKind::Renewed => "renewed",
            EventKind::Revoked => "revoked",
            EventKind::Expired => "expired",
            EventKind::Deadlock => "deadlock",
            EventKind::Denied => "denied",
            EventKind::Released => "released",
        }
    }
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Rises by one, from 1.
    pub seq: u64,
    /// When, on the clock the ledger is given.
    pub at: Duration,
    /// What.
    pub kind: EventKind,
    /// Whose.
    pub who: Arc<Asker>,
    /// Which lease, if there is one.
    pub lease: Option<LeaseId>,
    /// For people; may be empty.
    pub why: String,
}

/// The last [`EVENTS_MAX`] events.
#[derive(Clone, Debug, Default)]
pub struct EventLog {
    events: VecDeque<Event>,
    last: u64,
}

impl EventLog {
    pub(crate) fn record(
        &mut self,
        at: Duration,
        kind: EventKind,
        who: &Arc<Asker>,
        lease: Option<LeaseId>,
        why: String,
    ) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.last += 1;
        self.events.push_back(Event { seq: self.last, at, kind, who: Arc::clone(who), lease, why });
    }

    /// Number of the newest event; zero before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// At most `count` events from number `from` on, and whether some of those asked for are forgotten.
    #[must_use]
    pub fn from(&self, from: u64, count: usize) -> (bool, Vec<Event>) {
        let oldest = self.last + 1 - self.events.len() as u64;
        let skip = usize::try_from(from.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let lost = from.max(1) < oldest;
        (lost, self.events.iter().skip(skip).take(count).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: u64) -> EventLog {
        let (mut log, who) = (EventLog::default(), Arc::new(Asker::default()));
        (0..events).for_each(|_| log.record(Duration::ZERO, EventKind::Queued, &who, None, String::new()));
        log
    }

    #[track_caller]
    fn check(events: u64, from: u64, lost: bool, first: Option<u64>, count: usize) {
        let (was_lost, found) = log(events).from(from, usize::MAX);
        assert_eq!((was_lost, found.first().map(|event| event.seq), found.len()), (lost, first, count));
    }

    #[test]
    fn reading_begins_where_it_is_told_to() {
        check(0, 0, false, None, 0);
        check(3, 0, false, Some(1), 3);
        check(3, 1, false, Some(1), 3);
        check(3, 3, false, Some(3), 1);
        check(3, 4, false, None, 0);
        check(3, u64::MAX, false, None, 0);
    }

    #[test]
    fn what_is_forgotten_is_said() {
        let max = EVENTS_MAX as u64;
        check(max, 1, false, Some(1), EVENTS_MAX);
        check(max + 1, 1, true, Some(2), EVENTS_MAX);
        check(max + 1, 0, true, Some(2), EVENTS_MAX);
        check(max + 1, 2, false, Some(2), EVENTS_MAX);
    }
}
