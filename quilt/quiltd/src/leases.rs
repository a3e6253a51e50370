//! The shell around the ledger: gives it the time, wakes who waits, and ends what is due.
//!
//! Every call locks the ledger, lets it decide, and passes on what follows while it still has the lock, so what a waiter reads
//! is never older than what the ledger knows. Nobody polls: a waiter sleeps until it is told, and [`Leases::watch`] until the
//! next moment at which something ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quilt_core::{Admission, Effect, Grant, LeaseId, LeaseRequest, Ledger, Refusal, Ticket};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// What a waiter is told.
#[derive(Clone, Debug)]
enum Word {
    /// It waits for this.
    Wait(String),
    Granted(Grant),
    Refused(Refusal),
}

struct State {
    ledger: Ledger,
    waiting: HashMap<Ticket, watch::Sender<Word>>,
    /// Why a lease was revoked, once it is.
    held: HashMap<LeaseId, watch::Sender<Option<String>>>,
    /// When [`Leases::watch`] wakes by itself.
    wakes: Option<Duration>,
}

/// One per daemon.
pub(crate) struct Leases {
    state: Mutex<State>,
    sooner: Notify,
    /// Number of the newest event.
    news: watch::Sender<u64>,
    started: Instant,
    started_unix: Duration,
    /// The first fence of this life; no other life has it.
    pub(crate) life: u64,
}

impl Leases {
    pub(crate) fn new(ledger: Ledger, life: u64) -> Self {
        let state = State { ledger, waiting: HashMap::new(), held: HashMap::new(), wakes: None };
        Self {
            state: Mutex::new(state),
            sooner: Notify::new(),
            news: watch::Sender::new(0),
            started: Instant::now(),
            started_unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            life,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the start; the ledger's clock.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// A moment of the ledger's clock as milliseconds since 1970.
    pub(crate) fn unix_ms(&self, at: Duration) -> u64 {
        millis(self.started_unix.saturating_add(at))
    }

    /// Looks at the ledger without changing it.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Ledger, Duration) -> T) -> T {
        look(&self.state().ledger, self.uptime())
    }

    /// Changes the ledger and passes on what follows.
    fn change<T>(&self, act: impl FnOnce(&mut State, Duration) -> T) -> T {
        let mut state = self.state();
        let answer = act(&mut state, self.uptime());
        for effect in state.ledger.take_effects() {
            state.pass_on(effect);
        }
        let end = state.ledger.next_end();
        if end.is_some_and(|end| state.wakes.is_none_or(|wakes| end < wakes)) {
            state.wakes = end;
            self.sooner.notify_one();
        }
        let last = state.ledger.events().last();
        drop(state);
        self.news.send_if_modified(|news| std::mem::replace(news, last) != last);
        answer
    }

    /// Uses other rules from now on.
    pub(crate) fn set_policy(&self, policy: quilt_core::Policy) {
        self.change(|state, _| state.ledger.set_policy(policy));
    }

    /// Wakes whenever there are events after the number it last saw.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Asks for a lease: it is there, or there is a seat to wait in.
    pub(crate) fn request(self: &Arc<Self>, request: &LeaseRequest) -> Result<Place, Refusal> {
        self.change(|state, now| match state.ledger.request(request, now)? {
            Admission::Granted(grant) => Ok(Place::Held(self.lease(state, grant))),
            Admission::Waiting { ticket, why } => {
                let (sender, words) = watch::channel(Word::Wait(why));
                state.waiting.insert(ticket, sender);
                Ok(Place::Waiting(Seat { leases: Arc::clone(self), ticket, words, taken: false }))
            }
        })
    }

    fn lease(self: &Arc<Self>, state: &mut State, grant: Grant) -> Lease {
        let revoked = state.held.entry(grant.lease).or_insert_with(|| watch::Sender::new(None)).subscribe();
        let is_empty = state.ledger.tokens(grant.lease).is_none_or(std::collections::BTreeSet::is_empty);
        Lease { leases: Arc::clone(self), grant, is_empty, revoked }
    }

    /// Ends what is due, for as long as the engine runs.
    pub(crate) async fn watch(&self) {
        loop {
            let wakes = self.change(|state, now| {
                state.ledger.tick(now);
                state.wakes = state.ledger.next_end();
                state.wakes
            });
            match wakes.and_then(|wakes| self.started.checked_add(wakes)) {
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.sooner.notified() => {}
                },
                None => self.sooner.notified().await,
            }
        }
    }
}

impl State {
    fn pass_on(&mut self, effect: Effect) {
        let (ticket, word) = match effect {
            Effect::Moved { ticket, why } => {
                if let Some(waiter) = self.waiting.get(&ticket) {
                    waiter.send_replace(Word::Wait(why));
                }
                return;
            }
            Effect::Revoked { lease, why } => {
                // Also before its holder has read that it was granted.
                self.held.entry(lease).or_insert_with(|| watch::Sender::new(None)).send_replace(Some(why));
                return;
            }
            Effect::Granted { ticket, grant } => (ticket, Word::Granted(grant)),
            Effect::Refused { ticket, refusal } => (ticket, Word::Refused(refusal)),
        };
        if let Some(waiter) = self.waiting.remove(&ticket) {
            waiter.send_replace(word);
        }
    }
}

/// The answer to a request that is not refused.
pub(crate) enum Place {
    Held(Lease),
    Waiting(Seat),
}

/// A place in the queue; dropping it leaves the queue, or gives back what it was granted meanwhile.
pub(crate) struct Seat {
    leases: Arc<Leases>,
    ticket: Ticket,
    words: watch::Receiver<Word>,
    taken: bool,
}

/// What a waiter hears next.
pub(crate) enum News {
    /// It waits, for this.
    Wait(String),
    Held(Lease),
    Refused(Refusal),
}

impl Seat {
    /// What stands in the way right now, or the end of the wait.
    pub(crate) fn now(&mut self) -> News {
        let word = self.words.borrow_and_update().clone();
        match word {
            Word::Wait(why) => News::Wait(why),
            Word::Refused(refusal) => News::Refused(refusal),
            Word::Granted(grant) => {
                self.taken = true;
                let leases = Arc::clone(&self.leases);
                News::Held(leases.lease(&mut leases.state(), grant))
            }
        }
    }

    /// Sleeps until there is something new to hear.
    pub(crate) async fn changed(&mut self) {
        // The sender is dropped with its last word, which counts as one that was not heard yet.
        if self.words.changed().await.is_err() && matches!(*self.words.borrow(), Word::Wait(_)) {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        self.leases.change(|state, now| {
            state.waiting.remove(&self.ticket);
            if state.ledger.cancel(self.ticket, now) {
                return;
            }
            let granted = self.words.borrow().clone();
            if let Word::Granted(grant) = granted {
                state.held.remove(&grant.lease);
                // It may have been revoked meanwhile; its slot is free now either way.
                let _ = state.ledger.vacate(grant.lease, now);
            }
        });
    }
}

/// Tokens and a slot. Dropping it says that nothing is left of what ran under it: the slot is free.
pub(crate) struct Lease {
    leases: Arc<Leases>,
    pub(crate) grant: Grant,
    is_empty: bool,
    revoked: watch::Receiver<Option<String>>,
}

impl Lease {
    /// Frees the tokens, once; the slot stays taken.
    pub(crate) fn release(&self) {
        // It may have been revoked before.
        let _ = self.leases.change(|state, now| state.ledger.release(self.grant.lease, now));
    }

    /// It holds no tokens, only a slot.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// What is left of it; `None` when it is over.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.leases.read(|ledger, now| ledger.left(self.grant.lease, now))
    }

    /// The lease holds longer; `None` when it is over.
    pub(crate) fn renew(&self) -> Option<Duration> {
        self.leases.change(|state, now| state.ledger.renew(self.grant.lease, now)).ok()
    }

    /// Waits until it is revoked and says why.
    pub(crate) async fn revoked(&self) -> String {
        let mut revoked = self.revoked.clone();
        let why = revoked.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.change(|state, now| {
            state.held.remove(&self.grant.lease);
            if let Err(error) = state.ledger.vacate(self.grant.lease, now) {
                tracing::error!(%error, "a lease ended twice");
            }
        });
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
