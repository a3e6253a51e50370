//! Host uids of live cages: each is given to one cage at a time, the longest unused first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// The uids of one engine.
#[derive(Debug)]
pub(crate) struct Uids {
    free: Arc<Mutex<VecDeque<u32>>>,
    count: u32,
}

/// One uid in use; free again when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    uid: u32,
    free: Arc<Mutex<VecDeque<u32>>>,
}

impl Uids {
    pub(crate) fn new(base: u32, count: u32) -> Uids {
        Uids { free: Arc::new(Mutex::new((base..base.saturating_add(count)).collect())), count }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn take(&self) -> Option<Lease> {
        let uid = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        Some(Lease { uid, free: self.free.clone() })
    }
}

impl Lease {
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_leases_share_a_uid_and_a_returned_one_comes_last() {
        let uids = Uids::new(100, 3);
        let leases: Vec<_> = (0..3).filter_map(|_| uids.take()).collect();
        assert_eq!(leases.iter().map(Lease::uid).collect::<Vec<_>>(), [100, 101, 102]);
        assert!(uids.take().is_none());
        drop(leases);
        assert_eq!(uids.take().map(|lease| lease.uid()), Some(100));
    }
}
