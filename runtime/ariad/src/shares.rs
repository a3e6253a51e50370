//! A number of places, of which one subject can never take all: whoever is slow or greedy leaves room for others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places.
#[derive(Debug)]
pub(crate) struct Shares {
    total_max: usize,
    subject_max: usize,
    taken: Mutex<HashMap<String, usize>>,
}

/// One taken place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    subject: String,
}

impl Shares {
    /// `total_max` places; one subject gets at most three quarters of them, at least one.
    pub(crate) fn new(total_max: usize) -> Arc<Self> {
        let subject_max = (total_max - total_max / 4).max(1);
        Arc::new(Self { total_max, subject_max, taken: Mutex::default() })
    }

    /// A place for this subject, if there is one.
    pub(crate) fn take(self: &Arc<Self>, subject: &str) -> Option<Share> {
        let mut taken = self.taken();
        let own = taken.get(subject).copied().unwrap_or(0);
        if own >= self.subject_max || taken.values().sum::<usize>() >= self.total_max {
            return None;
        }
        taken.insert(subject.to_owned(), own + 1);
        Some(Share { shares: Arc::clone(self), subject: subject.to_owned() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        // Every change is one step, so a panic elsewhere leaves it whole.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        if let Some(count) = taken.get_mut(&self.subject) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_subject_leaves_room_for_others() {
        let shares = Shares::new(4);
        let greedy: Vec<_> = (0..3).map(|_| shares.take("ann").unwrap()).collect();
        assert!(shares.take("ann").is_none());
        let other = shares.take("bob").unwrap();
        assert!(shares.take("bob").is_none());
        drop((greedy, other));
        assert!(shares.taken().is_empty());
        assert!(Shares::new(1).take("ann").is_some());
    }
}
