//! How many runs at a time: so many run, so many more wait in order, the rest is told to come back.
//!
//! Counted per owner too, so that one owner cannot take every place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds on runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PlacesMax {
    /// Running at a time.
    pub running: usize,
    /// Running and waiting, all owners.
    pub total: usize,
    /// Running and waiting, one owner.
    pub per_owner: usize,
}

/// The places of one device.
#[derive(Debug)]
pub(crate) struct Places {
    max: PlacesMax,
    running: Arc<Semaphore>,
    taken: Mutex<HashMap<String, usize>>,
}

/// A right to run or to wait for it; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    owner: String,
    running: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// All free.
    pub(crate) fn new(max: PlacesMax) -> Arc<Self> {
        Arc::new(Self { max, running: Arc::new(Semaphore::new(max.running)), taken: Mutex::default() })
    }

    /// A place for one run of this owner; `None` when there is none.
    pub(crate) fn take(self: &Arc<Self>, owner: &str) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(owner).copied().unwrap_or(0);
        if own >= self.max.per_owner || taken.values().sum::<usize>() >= self.max.total {
            return None;
        }
        taken.insert(owner.to_owned(), own + 1);
        Some(Place { places: Arc::clone(self), owner: owner.to_owned(), running: None })
    }
}

impl Place {
    /// Starts at once if nobody else is in the way.
    pub(crate) fn try_start(&mut self) -> bool {
        self.running = Arc::clone(&self.places.running).try_acquire_owned().ok();
        self.running.is_some()
    }

    /// Waits for its turn, first come first served.
    pub(crate) async fn start(&mut self) {
        // Never closed, so this is never `None`.
        self.running = Arc::clone(&self.places.running).acquire_owned().await.ok();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_per_owner() {
        let places = Places::new(PlacesMax { running: 1, total: 3, per_owner: 2 });
        let mut first = places.take("ann").unwrap();
        let mut second = places.take("ann").unwrap();
        assert!(places.take("ann").is_none());
        let third = places.take("bob").unwrap();
        assert!(places.take("bob").is_none());
        assert!(first.try_start());
        assert!(!second.try_start());
        drop((first, third));
        assert!(second.try_start());
        assert!(places.take("bob").is_some());
        drop(second);
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
