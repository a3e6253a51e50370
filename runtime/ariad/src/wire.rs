//! Puts the parts together, says when calls are accepted, and takes them apart again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use aria_core::plan::DeviceLimits;
use aria_core::port::Limits;
use aria_orchestrator::{Egress, Handle, Network, PlacesMax};
use aria_store::{Secrets, Store};
use aria_token_api::TokenApi;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Device};
use crate::auth::AuthLayer;
use crate::config::{Config, Enrol};
use crate::identity::Identity;
use crate::lease_events;
use crate::listen::{self, Doors, ServerCertificate, SocketFile};
use crate::server;
use crate::shares::Shares;
use crate::trust::{self, Trust, Verifier};

const MIB: u64 = 1 << 20;
/// What one run may use. The engine has its own, which hold whatever is asked here.
const LIMITS: DeviceLimits = DeviceLimits {
    default: Limits {
        memory_bytes: 256 * MIB,
        pids: 64,
        cpu_millis: 1000,
        disk_bytes: 64 * MIB,
        wall_ms: 30_000,
        output_bytes: 64 * MIB,
    },
    max: Limits {
        memory_bytes: 2048 * MIB,
        pids: 512,
        cpu_millis: 16_000,
        disk_bytes: 1024 * MIB,
        wall_ms: 3_600_000,
        output_bytes: 1024 * MIB,
    },
};
/// Runs that wait, per run that may run.
const WAITING_PER_RUNNING: usize = 16;
/// Both stops together stay below the five seconds a supervisor waits.
const STOP_RUNS: Duration = Duration::from_millis(3000);
const STOP_CONNECTIONS: Duration = Duration::from_millis(1000);
/// How often things that grow old are looked at. A clock that was set is noticed this late.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// Starts logging to the journal or stderr.
pub(crate) fn start_log(level: &str) {
    aria_telemetry::init(level, "ariad");
}

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn serve(config: &Config, ready_file: Option<&Path>) -> anyhow::Result<()> {
    // Before anything is announced, so that a stop that comes early is clean too.
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    raise_descriptor_limit();
    let running = start(config).await?;
    announce(&running, ready_file)?;
    let stop = running.stop.clone();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stop.cancelled() => {}
    }
    running.stop().await
}

struct Running {
    device: Arc<Device>,
    listen: SocketAddr,
    socket: SocketFile,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
}

async fn start(config: &Config) -> anyhow::Result<Running> {
    let data_dir = &config.node.data_dir;
    let (store, recovered) = open_store(config).context("open the store")?;
    if recovered != aria_store::Recovered::default() {
        tracing::warn!(?recovered, "the store was repaired");
    }
    let at = OffsetDateTime::from(api::now().to_system());
    let identity =
        Identity::open(data_dir, config.node.id.as_deref(), &config.api.names, at).context("open the identity")?;
    let identity = Arc::new(identity);
    let trust = Arc::new(known_keys(&store, config.api.enrol.as_ref())?);
    let certificate = ServerCertificate::new(identity.server(at)?);
    let verifier = Verifier::new(identity.ca_der(), Arc::clone(&trust)).context("prepare TLS")?;
    let tls = listen::acceptor(verifier, Arc::clone(&certificate)).context("prepare TLS")?;

    let secrets = Secrets::open(data_dir).context("open the secrets")?;
    let settings = config.net.settings().context("read [net]")?;
    let egress = Egress::new(settings).context("prepare the egress proxy")?;
    let network = Network { egress, secrets: secrets.clone() };
    let unix = listen::open_socket(&config.api.socket, config.api.socket_gid)
        .with_context(|| format!("open the socket {:?}", config.api.socket))?;
    let socket = SocketFile(config.api.socket.clone());
    let tcp = TcpListener::bind(config.api.listen).await.with_context(|| format!("listen on {}", config.api.listen))?;
    let listen = tcp.local_addr().context("read the listening address")?;

    let stop = CancellationToken::new();
    let engine = Arc::new(TokenApi::new(config.quilt.socket.clone()));
    let device = Arc::new(Device {
        handle: orchestrator(config, &store, Arc::clone(&engine), network),
        secrets,
        engine,
        lease_changes: watch::Sender::new(0),
        store,
        trust: Arc::clone(&trust),
        identity,
        identities: tokio::sync::Mutex::new(()),
        bundle_bytes_max: config.api.bundle_bytes_max,
        exec: config.api.exec,
        listen: reachable(listen).to_string(),
        started: Instant::now(),
        stop: stop.clone(),
        uploads: Shares::new(api::UPLOADS_MAX),
    });
    let routes = server::with_standard_services(api::routes(&device)).await?;
    let incoming =
        listen::accept(Doors { tcp, unix, tls, trust: Arc::clone(&trust), socket_gid: config.api.socket_gid });
    let auth = AuthLayer::new(trust, device.handle.audit().clone(), config.api.inflight_max);
    let server = tokio::spawn(server::serve(routes, incoming, auth, stop.clone()));
    tokio::spawn(keep_house(Arc::clone(&device), certificate, at));
    tokio::spawn(lease_events::follow(Arc::clone(&device)));
    Ok(Running { device, listen, socket, stop, server })
}

fn open_store(config: &Config) -> Result<(Store, aria_store::Recovered), aria_store::StoreError> {
    // Bundles are what the device is for; blobs pass through.
    let half = config.api.storage_bytes_max / 2;
    let defaults = aria_store::Config::default();
    let bounds = aria_store::Config {
        bundles_bytes_max: half,
        blobs_bytes_max: half,
        blob_bytes_max: defaults.blob_bytes_max.min(half),
        // What tools keep comes on top: an eighth, of which one owner has at most a quarter.
        state: aria_store::StateLimits {
            bytes_max: (half / 4).min(defaults.state.bytes_max),
            owner_bytes_max: (half / 16).min(defaults.state.owner_bytes_max),
            ..defaults.state
        },
        ..defaults
    };
    Store::open(&config.node.data_dir, bounds)
}

fn orchestrator(config: &Config, store: &Store, execute: Arc<TokenApi>, network: Network) -> Handle {
    let api = &config.api;
    let places = PlacesMax {
        running: api.runs_max,
        total: api.runs_max.saturating_mul(1 + WAITING_PER_RUNNING),
        per_owner: api.runs_per_owner_max,
    };
    let bounds =
        aria_orchestrator::Config { limits: LIMITS, places, budget: config.budget.whole(), clock: api::now, random };
    Handle::new(store.clone(), execute, bounds, network)
}

fn known_keys(store: &Store, enrol: Option<&Enrol>) -> anyhow::Result<Trust> {
    let known = store.credentials().context("read the enrolled keys")?;
    let known: HashMap<_, _> = known
        .into_iter()
        .map(|credential| {
            let revoked = credential.revoked_at.is_some();
            (credential.spki.hex(), trust::Credential { subject: credential.subject, role: credential.role, revoked })
        })
        .collect();
    let door = enrol.map(|enrol| (enrol.key_sha256.clone(), Instant::now() + Duration::from_secs(enrol.window_s)));
    Ok(Trust::new(known, door))
}

/// An address that means "everywhere" is reached on this machine through the loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(address) if address.ip().is_unspecified() => ([127, 0, 0, 1], address.port()).into(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            (std::net::Ipv6Addr::LOCALHOST, address.port()).into()
        }
        other => other,
    }
}

fn announce(running: &Running, ready_file: Option<&Path>) -> anyhow::Result<()> {
    use std::io::Write;
    let identity = &running.device.identity;
    let ca_sha256 = identity.ca_sha256();
    tracing::info!(node_id = identity.node_id(), listen = %running.listen, %ca_sha256, "serving");
    if let Some(path) = ready_file {
        let facts = serde_json::json!({
            "listen": running.listen.to_string(),
            "socket": running.socket.0,
            "node_id": identity.node_id(),
            "ca_sha256": ca_sha256,
        });
        // Whoever waits for the file finds it whole.
        let draft = path.with_extension("new");
        std::fs::write(&draft, format!("{facts}\n"))
            .and_then(|()| std::fs::rename(&draft, path))
            .with_context(|| format!("write {path:?}"))?;
    }
    // A closed stdout is not a reason to stop serving.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "ready {}", running.listen).and_then(|()| out.flush());
    Ok(())
}

impl Running {
    /// New connections stop, runs end with `cancelled{by: shutdown}` and their callers are told, then the connections close.
    async fn stop(self) -> anyhow::Result<()> {
        tracing::info!("stopping");
        self.stop.cancel();
        if tokio::time::timeout(STOP_RUNS, self.device.handle.stop()).await.is_err() {
            tracing::warn!("runs are left behind");
        }
        match tokio::time::timeout(STOP_CONNECTIONS, self.server).await {
            Ok(Ok(served)) => served.context("serve"),
            Ok(Err(panicked)) => Err(anyhow::Error::new(panicked).context("serve")),
            // Clients that keep their connection open; they were told (GOAWAY) and lose nothing.
            Err(_late) => Ok(()),
        }
    }
}

/// Drops unused blobs and renews the certificate.
async fn keep_house(device: Arc<Device>, certificate: Arc<ServerCertificate>, mut issued: OffsetDateTime) {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = device.stop.cancelled() => return,
        }
        let store = device.store.clone();
        match tokio::task::spawn_blocking(move || store.collect_garbage(api::now())).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(dropped)) => tracing::info!(dropped, "unused blobs dropped"),
            Ok(Err(error)) => tracing::error!(error = %crate::status::chain(&error), "drop unused blobs"),
        }
        let at = OffsetDateTime::from(api::now().to_system());
        if Identity::server_is_due(issued, at) {
            match device.identity.server(at) {
                Ok(fresh) => {
                    certificate.replace(fresh);
                    issued = at;
                }
                Err(error) => tracing::error!(error = %crate::status::chain(&error), "renew the server certificate"),
            }
        }
    }
}

/// 1,400 connections and as many handshakes need more than the usual 1,024 descriptors.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // Linux gives random bytes at any time after boot; without them ids repeat and nothing can be told apart.
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "no random bytes");
        std::process::abort();
    }
    bytes
}
