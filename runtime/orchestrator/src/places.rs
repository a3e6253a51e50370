//! How many runs at a time: so many run, so many more wait in order, the rest is told to come back.
//!
//! Counted per owner too, so that one owner can neither fill the queue nor run in every place.

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
    /// For runs that others wait for. Were they to wait for those, nobody would move.
    children: Arc<Semaphore>,
    taken: Mutex<HashMap<String, Owner>>,
}

/// One owner's part of it.
#[derive(Debug)]
struct Owner {
    count: usize,
    running: Arc<Semaphore>,
    children: Arc<Semaphore>,
}

/// A right to run or to wait for it; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    owner: String,
    own: Arc<Semaphore>,
    running: Option<Running>,
}

/// A right to run; given back when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Places {
    /// All free.
    pub(crate) fn new(max: PlacesMax) -> Arc<Self> {
        let semaphore = || Arc::new(Semaphore::new(max.running));
        Arc::new(Self { max, running: semaphore(), children: semaphore(), taken: Mutex::default() })
    }

    /// A place for a run that another run of this owner waits for; it runs at once or there is none.
    pub(crate) fn take_child(self: &Arc<Self>, owner: &str) -> Option<Place> {
        let mut place = self.take(owner)?;
        let own = {
            let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&taken.get(owner)?.children)
        };
        let (own, all) = (own.try_acquire_owned().ok()?, Arc::clone(&self.children).try_acquire_owned().ok()?);
        place.running = Some(Running { _own: own, _all: all });
        Some(place)
    }

    /// A place for one run of this owner; `None` when there is none.
    pub(crate) fn take(self: &Arc<Self>, owner: &str) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(owner).map_or(0, |own| own.count);
        if own >= self.max.per_owner || taken.values().map(|own| own.count).sum::<usize>() >= self.max.total {
            return None;
        }
        // A quarter is always left to others, where a quarter is a place.
        let running = self.max.running - self.max.running / 4;
        let semaphore = |count: usize| Arc::new(Semaphore::new(count.max(1)));
        let entry = taken.entry(owner.to_owned()).or_insert_with(|| Owner {
            count: 0,
            running: semaphore(running),
            children: semaphore(running),
        });
        entry.count += 1;
        let own = Arc::clone(&entry.running);
        Some(Place { places: Arc::clone(self), owner: owner.to_owned(), own, running: None })
    }
}

impl Place {
    /// Starts at once if nobody else is in the way.
    pub(crate) fn try_start(&mut self) -> bool {
        if self.running.is_some() {
            return true;
        }
        let permit = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_owned().ok();
        self.running =
            permit(&self.own).and_then(|own| permit(&self.places.running).map(|all| Running { _own: own, _all: all }));
        self.running.is_some()
    }

    /// Waits for its turn, first come first served, behind the owner's other runs and then behind everybody's.
    pub(crate) async fn start(&mut self) {
        // Never closed, so both are always given.
        let own = Arc::clone(&self.own).acquire_owned().await;
        let all = Arc::clone(&self.places.running).acquire_owned().await;
        self.running = own.ok().zip(all.ok()).map(|(own, all)| Running { _own: own, _all: all });
    }

    /// The right to run, which may end before the place does.
    pub(crate) fn running(&mut self) -> Option<Running> {
        self.running.take()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.owner) {
            own.count -= 1;
            if own.count == 0 {
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

    #[test]
    fn a_child_does_not_wait_for_those_who_wait_for_it() {
        let places = Places::new(PlacesMax { running: 2, total: 10, per_owner: 10 });
        let mut parents: Vec<_> = (0..2).map(|_| places.take("ann").unwrap()).collect();
        assert!(parents.iter_mut().filter_map(|parent| parent.try_start().then_some(())).count() > 0);
        let mut children: Vec<_> = (0..2).map(|_| places.take_child("ann").unwrap()).collect();
        assert!(children.iter_mut().all(Place::try_start));
        assert!(places.take_child("ann").is_none());
        children.pop();
        assert!(places.take_child("ann").is_some_and(|mut child| child.try_start()));
    }

    #[tokio::test]
    async fn one_owner_leaves_a_quarter_to_others() {
        let places = Places::new(PlacesMax { running: 4, total: 100, per_owner: 50 });
        let mut ann: Vec<_> = (0..5).map(|_| places.take("ann").unwrap()).collect();
        assert_eq!(ann.iter_mut().map(|place| usize::from(place.try_start())).sum::<usize>(), 3);
        let mut waiting = ann.pop().unwrap();
        let mut waits = Box::pin(waiting.start());
        assert!(is_pending(&mut waits).await);
        assert!(places.take("bob").unwrap().try_start());
        // The place stays taken when the right to run is given back.
        drop(ann[0].running());
        waits.await;
        assert_eq!(places.taken.lock().unwrap()["ann"].count, 5);
    }

    async fn is_pending(future: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        tokio::time::timeout(std::time::Duration::from_millis(20), future).await.is_err()
    }
}
