//! What all executions of this engine share: the cages, the leases, the rules and the list of live executions.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quilt_sandbox::{Engine, Shelves};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::direct::Doors;
use crate::fault::Fault;
use crate::inbox::Inbox;
use crate::leases::Leases;
use crate::limits::LimitRange;
use crate::roots::CodeRoots;
use crate::rules::Rules;

/// One per daemon, behind an `Arc`.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    /// Cages made before their call.
    pub(crate) shelves: Option<Shelves>,
    pub(crate) roots: CodeRoots,
    pub(crate) limits: LimitRange,
    /// Cancelled when the daemon stops.
    pub(crate) stop: CancellationToken,
    /// Every execution is a task in here, so that stopping can wait for all of them.
    pub(crate) tasks: TaskTracker,
    pub(crate) cages: AtomicU32,
    pub(crate) leases: Arc<Leases>,
    pub(crate) rules: Rules,
    /// Guest doors that wait to be taken.
    pub(crate) doors: Doors,
    executions: Mutex<HashMap<String, Inbox>>,
}

impl Shared {
    pub(crate) fn new(
        config: &Config,
        engine: Arc<Engine>,
        shelves: Option<Shelves>,
        leases: Arc<Leases>,
        rules: Rules,
    ) -> Self {
        Self {
            engine,
            shelves,
            roots: CodeRoots::new(config.code_roots.clone()),
            limits: config.limits,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            cages: AtomicU32::new(0),
            leases,
            rules,
            doors: Doors::default(),
            executions: Mutex::new(HashMap::new()),
        }
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
