//! Takes one request to one outcome.
//!
//! [`Handle`] is the only way to run anything: look up, check, plan, execute, decide, remember. Each run is a task of its own that
//! talks to its caller through one bounded channel; when the caller drops the receiving end, the run is cancelled.
//!
//! A run is finished when the program is gone, because its files and its usage are known only then. A tool that has answered gets
//! [`GRACE`] to go away by itself; after that the device ends it and the answer stands, without files.

mod audit;
mod collect;
mod egress;
mod error;
mod event;
pub mod for_fuzz;
mod guest;
mod log;
mod places;
mod prepare;
mod run;
mod schema;
mod sink;
mod sourcemap;
mod vouched;
mod weight;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aria_core::hot::Hot;
use aria_core::port::{EngineStatus, Execute, ExecuteError};
use aria_core::{Digest, InvocationId, Manifest, UnixMs};
use aria_store::{KvTable, Secrets, Store};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use aria_core::plan::DeviceLimits;
pub use audit::{Audit, REFUSALS_MAX};
pub use egress::{Egress, NetError, NetSettings, Resolve};
pub use error::InvokeError;
pub use event::{ExecCall, FileInput, Finished, InvokeCall, OutputStream, RunEvent, SessionChanges, SessionInput};
pub use guest::lease::Budget;
pub use places::PlacesMax;
pub use schema::SchemaError;

use places::Places;
use prepare::Manifests;
use schema::Schemas;
use vouched::Vouched;

use guest::lease::Leases;

/// How long a program may live after its answer. The harness leaves at once, so only code that resists needs it. Longer than the
/// engine takes to read its last output (1 s) and to see its cage empty (5 s), because until then a program that left looks alive.
pub const GRACE: Duration = Duration::from_secs(10);
/// How long a daemon that stops waits for a caller to take its last event.
const STOPPING_UNREAD_MAX: Duration = Duration::from_secs(2);
/// How long a caller may leave an event unread before its run is cancelled.
pub const UNREAD_MAX: Duration = Duration::from_secs(60);
/// Ephemeral bundles unpacked at the same time; it is work for one core and one disk.
const STAGING_MAX: usize = 2;
/// Runs in a chain of tools that call each other, the first counted.
const DEPTH_MAX: u32 = 4;
/// Writes a watcher may be behind before it has to look whether one was its own.
const KV_WRITTEN_MAX: usize = 256;
/// Searches through vectors at the same time; each reads a whole collection.
const SEARCHES_MAX: usize = 2;
/// Events on their way to one caller. Few, so that a slow reader slows its program and not the device's memory.
const EVENTS_MAX: usize = 8;

/// What the orchestrator needs to know of its device.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What one run may use.
    pub limits: DeviceLimits,
    /// How many run at a time.
    pub places: PlacesMax,
    /// What one run may ask of its resources.
    pub budget: Budget,
    /// The wall clock.
    pub clock: fn() -> UnixMs,
    /// The system's random source.
    pub random: fn() -> [u8; 16],
}

/// What runs reach the world with.
#[derive(Clone, Debug)]
pub struct Network {
    /// The proxy.
    pub egress: Arc<Egress>,
    /// What it adds for those who may.
    pub secrets: Secrets,
}

/// Runs things. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    config: Config,
    store: Store,
    execute: Arc<dyn Execute>,
    places: Arc<Places>,
    schemas: Schemas,
    manifests: Manifests,
    /// Tools that are called often.
    hot: Mutex<Hot>,
    /// Ephemeral bundles being unpacked.
    staging: Arc<Semaphore>,
    audit: Audit,
    network: Network,
    leases: Leases,
    vouched: Vouched,
    /// Rises when a log was written, for those who follow one.
    written: watch::Sender<u64>,
    searches: Semaphore,
    /// Key-value tables as they are written, for those who watch one.
    kv_written: broadcast::Sender<Arc<KvTable>>,
    stop: CancellationToken,
    runs: TaskTracker,
}

/// The run that calls a tool.
pub(crate) struct Parent {
    pub(crate) invocation: InvocationId,
    /// Runs above it.
    pub(crate) depth: u32,
}

/// Events of one run, the last is `Finished` or an error. Dropping it cancels the run.
pub type Events = mpsc::Receiver<Result<RunEvent, InvokeError>>;

impl Handle {
    /// For one store and one engine. Needs a tokio runtime.
    pub fn new(store: Store, execute: Arc<dyn Execute>, config: Config, network: Network) -> Self {
        Self(Arc::new(Inner {
            audit: Audit::start(store.clone(), config.clock),
            config,
            store,
            execute,
            places: Places::new(config.places),
            schemas: Schemas::default(),
            manifests: Manifests::default(),
            hot: Mutex::default(),
            staging: Arc::new(Semaphore::new(STAGING_MAX)),
            leases: Leases::default(),
            vouched: Vouched::default(),
            searches: Semaphore::new(SEARCHES_MAX),
            network,
            written: watch::Sender::new(0),
            kv_written: broadcast::Sender::new(KV_WRITTEN_MAX),
            stop: CancellationToken::new(),
            runs: TaskTracker::new(),
        }))
    }

    /// Calls one tool. Everything that can be refused is refused before a cage exists.
    pub async fn invoke(&self, call: InvokeCall) -> Result<Events, InvokeError> {
        let place = self.place(&call.owner)?;
        if call.bundle.is_some() {
            let (owner, subject) = (call.owner.clone(), format!("tool:{}", call.tool));
            return Ok(
                self.ephemeral(place, (owner, subject), None, move |inner, id| prepare::tool(inner, id, None, call))
            );
        }
        self.invoke_in(place, call, None).await
    }

    /// Calls one tool for a run that waits for it. It never waits for a place that its parent may have.
    pub(crate) async fn invoke_child(&self, call: InvokeCall, parent: Parent) -> Result<Events, InvokeError> {
        if parent.depth + 1 >= DEPTH_MAX {
            return Err(InvokeError::TooDeep);
        }
        if self.0.stop.is_cancelled() {
            return Err(InvokeError::Stopping);
        }
        let place = self.0.places.take_child(&call.owner).ok_or(InvokeError::QueueFull)?;
        self.invoke_in(place, call, Some(parent)).await
    }

    async fn invoke_in(
        &self,
        place: places::Place,
        call: InvokeCall,
        parent: Option<Parent>,
    ) -> Result<Events, InvokeError> {
        let inner = Arc::clone(&self.0);
        let id = InvocationId::from_random((self.0.config.random)());
        let (owner, subject) = (call.owner.clone(), format!("tool:{}", call.tool));
        let depth = parent.as_ref().map_or(0, |parent| parent.depth + 1);
        let prepared = {
            let id = id.clone();
            blocking(move || prepare::tool(&inner, id, parent.as_ref().map(|parent| &parent.invocation), call)).await
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.0.audit.refused_call(&id, &owner, subject, &error).await;
                return Err(error);
            }
        };
        Ok(self.start(place, id, depth, std::future::ready(Ok(prepared)), None))
    }

    /// Runs one program of an ephemeral bundle. It is unpacked when it is its turn, so that those who wait need no room.
    pub async fn exec(&self, mut call: ExecCall) -> Result<Events, InvokeError> {
        let place = self.place(&call.owner)?;
        let (stdin, whose) = (call.stdin.take(), (call.owner.clone(), "exec".to_owned()));
        Ok(self.ephemeral(place, whose, stdin, move |inner, id| prepare::program(inner, id, call)))
    }

    /// Starts what is unpacked for one run alone; few are at a time.
    fn ephemeral(
        &self,
        place: places::Place,
        (owner, subject): (String, String),
        stdin: Option<Box<dyn aria_core::port::ByteSource>>,
        prepare: impl FnOnce(&Inner, InvocationId) -> Result<prepare::Prepared, InvokeError> + Send + 'static,
    ) -> Events {
        let inner = Arc::clone(&self.0);
        let id = InvocationId::from_random((self.0.config.random)());
        let run = id.clone();
        let audit = self.0.audit.clone();
        let prepared = async move {
            let refused = id.clone();
            let staging = Arc::clone(&inner.staging).acquire_owned().await;
            let work = move || {
                // Kept while it works, though the caller may be gone by then.
                let _staging = staging;
                prepare(&inner, id)
            };
            let prepared = blocking(work).await;
            if let Err(error) = &prepared {
                audit.refused_call(&refused, &owner, subject, error).await;
            }
            prepared
        };
        self.start(place, run, 0, prepared, stdin)
    }

    fn place(&self, owner: &str) -> Result<places::Place, InvokeError> {
        if self.0.stop.is_cancelled() {
            return Err(InvokeError::Stopping);
        }
        self.0.places.take(owner).ok_or(InvokeError::QueueFull)
    }

    fn start(
        &self,
        place: places::Place,
        id: InvocationId,
        depth: u32,
        prepared: impl Future<Output = Result<prepare::Prepared, InvokeError>> + Send + 'static,
        stdin: Option<Box<dyn aria_core::port::ByteSource>>,
    ) -> Events {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        self.0.runs.spawn(run::run(Arc::clone(&self.0), place, id, depth, prepared, stdin, events));
        receiver
    }

    /// Whether every schema of a bundle can be compiled; asked before it is installed. Blocks.
    pub fn check_schemas(&self, manifest: &Manifest) -> Result<(), InvokeError> {
        for tool in &manifest.tools {
            for schema in [&tool.input, &tool.output] {
                self.0
                    .schemas
                    .get(schema)
                    .map_err(|source| InvokeError::Schema { tool: tool.name.to_string(), source })?;
            }
        }
        Ok(())
    }

    /// Cancels the running calls of every bundle the key vouches for; new ones are refused by the store's word, which comes first.
    pub fn signer_revoked(&self, key: &Digest) {
        self.0.vouched.revoke(key);
    }

    /// What the engine says of itself.
    pub async fn engine_status(&self) -> Result<EngineStatus, ExecuteError> {
        self.0.execute.status().await
    }

    /// Where refusals and steps are written.
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// Changes whenever a run's log has grown.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.0.written.subscribe()
    }

    /// Refuses new runs, cancels the others and waits until their ends are written.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.runs.close();
        self.0.runs.wait().await;
        self.0.audit.settle().await;
    }
}

/// Runs what blocks on the pool. A panic there is a bug, told as one.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, InvokeError> + Send + 'static,
) -> Result<T, InvokeError> {
    tokio::task::spawn_blocking(work).await.map_err(|_panicked| InvokeError::Bug { doing: "blocking work" })?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aria_core::port::{BoxFuture, ByteSource, Ended, EventSink, ExecuteRequest, Limits, Profile};

    use super::*;

    struct NoEngine;

    impl Execute for NoEngine {
        fn execute<'a>(
            &'a self,
            _request: ExecuteRequest,
            _stdin: Option<Box<dyn ByteSource>>,
            _door: Option<Box<dyn ByteSource>>,
            _sink: &'a mut dyn EventSink,
        ) -> BoxFuture<'a, Result<Ended, ExecuteError>> {
            Box::pin(std::future::pending())
        }

        fn status(&self) -> BoxFuture<'_, Result<EngineStatus, ExecuteError>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test]
    async fn a_program_that_waits_is_not_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), aria_store::Config::default()).unwrap();
        let limits = DeviceLimits { default: Limits::default(), max: Limits::default() };
        let places = PlacesMax { running: 1, total: 8, per_owner: 8 };
        let config = Config { limits, places, budget: Budget::default(), clock: || UnixMs(1), random: || [7; 16] };
        let egress = Egress::new(NetSettings::default()).unwrap();
        let network = Network { egress, secrets: Secrets::open(dir.path()).unwrap() };
        let handle = Handle::new(store, Arc::new(NoEngine), config, network);
        let mut other = handle.place("bob").unwrap();
        assert!(other.try_start());

        // Nobody put this bundle, which is found out when it is to be unpacked.
        let call = ExecCall {
            owner: "ann".into(),
            bundle: aria_core::Digest::new([7; 32]),
            args: vec![],
            env: BTreeMap::new(),
            tokens: vec![],
            limits: Limits::default(),
            profile: Profile::Tool,
            files: vec![],
            session: None,
            stdin: None,
        };
        let mut events = handle.exec(call).await.unwrap();
        assert!(matches!(events.recv().await, Some(Ok(RunEvent::Queued { .. }))));
        drop(other);
        assert!(matches!(events.recv().await, Some(Err(error)) if error.reason() == "BLOB_UNKNOWN"));
        assert!(events.recv().await.is_none());
    }
}
