//! What all executions of this engine share: the cages, the ledger, the list of live executions and the slots.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quilt_core::{Bounds, Grant, LeaseRequest, Ledger, Policy, Refusal};
use quilt_sandbox::Engine;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::fault::Fault;
use crate::inbox::Inbox;
use crate::limits::LimitRange;
use crate::roots::CodeRoots;

/// Tokens one execution may ask for.
const TOKENS_MAX: usize = 64;

/// One per daemon, behind an `Arc`.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) roots: CodeRoots,
    pub(crate) limits: LimitRange,
    /// Cancelled when the daemon stops.
    pub(crate) stop: CancellationToken,
    /// Every execution is a task in here, so that stopping can wait for all of them.
    pub(crate) tasks: TaskTracker,
    pub(crate) cages: AtomicU32,
    started: Instant,
    ledger: Mutex<Ledger>,
    executions: Mutex<HashMap<String, Inbox>>,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    pub(crate) wait_max: Duration,
}

impl Shared {
    pub(crate) fn new(config: &Config, engine: Arc<Engine>, policy: Policy, fences: std::ops::Range<u64>) -> Self {
        let bounds = Bounds { leases_max: config.concurrent_max, tokens_max: TOKENS_MAX };
        Self {
            engine,
            roots: CodeRoots::new(config.code_roots.clone()),
            limits: config.limits,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            cages: AtomicU32::new(0),
            started: Instant::now(),
            ledger: Mutex::new(Ledger::new(policy, bounds, fences)),
            executions: Mutex::new(HashMap::new()),
            slots: Arc::new(Semaphore::new(config.concurrent_max)),
            waiting: AtomicUsize::new(0),
            waiting_max: config.waiting_max,
            wait_max: config.wait_max,
        }
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn executions(&self) -> MutexGuard<'_, HashMap<String, Inbox>> {
        self.executions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feeding side of a live execution.
    pub(crate) fn inbox(&self, execution_id: &str) -> Option<Inbox> {
        self.executions().get(execution_id).cloned()
    }
}

/// An execution id in use; dropping it makes the id free and ends its feeders.
pub(crate) struct Live {
    shared: Arc<Shared>,
    execution_id: String,
    over: CancellationToken,
}

impl Live {
    /// Takes the id, or says that it is taken.
    pub(crate) fn take(shared: &Arc<Shared>, execution_id: &str, inbox: Inbox) -> Result<Self, Fault> {
        let over = inbox.over.clone();
        let mut executions = shared.executions();
        if executions.contains_key(execution_id) {
            return Err(Fault::live(execution_id));
        }
        executions.insert(execution_id.to_owned(), inbox);
        Ok(Self { shared: Arc::clone(shared), execution_id: execution_id.to_owned(), over })
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.executions().remove(&self.execution_id);
        self.over.cancel();
    }
}

/// Tokens held; dropping it releases them, exactly once.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    pub(crate) grant: Grant,
}

impl Lease {
    pub(crate) fn take(shared: &Arc<Shared>, request: &LeaseRequest) -> Result<Self, Refusal> {
        let grant = shared.ledger().grant(request, shared.uptime())?;
        Ok(Self { shared: Arc::clone(shared), grant })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Err(error) = self.shared.ledger().release(self.grant.lease) {
            tracing::error!(%error, "a lease ended twice");
        }
    }
}

/// A place in the queue for a slot; dropping it leaves the queue.
pub(crate) struct Place {
    shared: Arc<Shared>,
}

/// The answer to somebody who wants to run.
pub(crate) enum Admission {
    Slot(OwnedSemaphorePermit),
    Wait(Place),
}

impl Shared {
    /// A slot at once, or a place in the queue if there is one left.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Admission, Fault> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(Admission::Slot(slot));
        }
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place { shared: Arc::clone(self) };
        if waiting >= self.waiting_max {
            return Err(Fault::queue_full(format!("every slot is taken and {waiting} executions wait already")));
        }
        Ok(Admission::Wait(place))
    }
}

impl Place {
    /// Waits for a slot, first come first served, a bounded time.
    pub(crate) async fn slot(self) -> Result<OwnedSemaphorePermit, Fault> {
        let slots = Arc::clone(&self.shared.slots).acquire_owned();
        match tokio::time::timeout(self.shared.wait_max, slots).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) => Err(Fault::shutdown()),
            Err(_) => Err(Fault::queue_full(format!("no slot within {} ms", self.shared.wait_max.as_millis()))),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
