//! Which tools are called often enough that cages with their code loaded are worth their memory.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::UnixMs;

/// Two calls within this time make a tool hot.
const RECENT: Duration = Duration::from_secs(60);
/// Calls that are remembered; on a device with more of them the rare ones are forgotten early.
const CALLS_MAX: usize = 512;

/// The last calls of one device.
#[derive(Clone, Debug, Default)]
pub struct Hot {
    calls: VecDeque<(String, UnixMs)>,
}

impl Hot {
    /// Notes a call of what `key` stands for, and says whether there was another one not long ago.
    pub fn note(&mut self, key: &str, now: UnixMs) -> bool {
        let oldest = now.minus(RECENT);
        // A clock that was set back makes old calls look new for a while; that costs a cage, not a wrong answer.
        while self.calls.front().is_some_and(|(_, at)| *at < oldest) {
            self.calls.pop_front();
        }
        let again = self.calls.iter().any(|(known, _)| known == key);
        if self.calls.len() == CALLS_MAX {
            self.calls.pop_front();
        }
        self.calls.push_back((key.to_owned(), now));
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(calls: &[(&str, u64)], expected: bool) {
        let mut hot = Hot::default();
        let last = calls.iter().map(|(key, at)| hot.note(key, UnixMs(*at))).last();
        assert_eq!(last, Some(expected));
    }

    #[test]
    fn the_second_call_within_a_minute_is_hot() {
        check(&[("a", 100_000)], false);
        check(&[("a", 100_000), ("a", 160_000)], true);
        check(&[("a", 100_000), ("a", 160_001)], false);
    }

    #[test]
    fn others_do_not_count() {
        check(&[("a", 100_000), ("b", 100_001)], false);
        check(&[("a", 100_000), ("b", 100_001), ("a", 100_002)], true);
    }

    #[test]
    fn memory_is_bounded() {
        let mut hot = Hot::default();
        for call in 0..10_000 {
            hot.note(&call.to_string(), UnixMs(5));
        }
        assert_eq!(hot.calls.len(), CALLS_MAX);
    }
}
