//! From a configuration to a serving engine, and back to nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use aria_protocol::quilt::v1::sync_engine_server::SyncEngineServer;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use quilt_core::{Ledger, Setup};
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;

use crate::config::Config;
use crate::leases::Leases;
use crate::rules::Rules;
use crate::service::Service;
use crate::shared::Shared;
use crate::{direct, fence, socket};

/// Longest request: arguments, environment and a few door frames.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// Bytes a caller may send ahead on one Feed.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// For a whole connection: many stalled streams must not stall the others.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// Calls at once on one connection: executions, those that wait, and their feeds.
const STREAMS_MAX: u32 = 4096;
/// Stopping must be over before a service manager loses patience.
const STOP_MAX: Duration = Duration::from_secs(8);

/// Serves until SIGTERM, SIGINT or SIGHUP.
pub(crate) fn serve(config: Config) -> anyhow::Result<()> {
    // Whatever we were started with: what this process makes can be written by root alone. That includes the socket between
    // its creation and the moment it gets its group.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    raise_descriptor_limit();
    let lock = socket::lock(&config.socket)?;
    let fences = fence::reserve(&config.state_dir)?;
    let engine = Arc::new(quilt_sandbox::Engine::open(config.sandbox.clone()).context("open the engine")?);
    quilt_sandbox::adopt_orphans().context("adopt what launchers leave")?;
    // One thread moves all bytes: it never blocks, and an idle engine costs next to nothing. Building and removing cages is on
    // threads that come and go.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads((config.concurrent_max + config.child_max).saturating_mul(2).max(4))
        .thread_keep_alive(Duration::from_secs(10))
        .build()
        .context("start the runtime")?;
    let outcome = runtime.block_on(run(config, Arc::clone(&engine), fences, lock));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

fn raise_descriptor_limit() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "raise the limit of open files");
    }
}

async fn run(
    mut config: Config,
    engine: Arc<quilt_sandbox::Engine>,
    fences: std::ops::Range<u64>,
    lock: socket::InstanceLock,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("handle SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("handle SIGHUP")?;
    for layer in engine.layers() {
        tracing::info!(layer = layer.name, state = ?layer.state, required = layer.required, "cage layer");
    }
    let policy = std::mem::take(&mut config.policy);
    let shelves = config.shelf.map(|shelf| quilt_sandbox::Shelves::open(Arc::clone(&engine), shelf));
    let shelves = shelves.transpose().context("start the threads of the shelves")?;
    let rules = Rules::load(&config.state_dir, policy);
    let life = fences.start;
    let setup = Setup { policy: rules.policy(), bounds: config.bounds, capacity: config.capacity.clone(), fences };
    let leases = Arc::new(Leases::new(Ledger::new(setup), life));
    let shared = Arc::new(Shared::new(&config, engine, shelves, Arc::clone(&leases), rules));
    // Outlives all executions, so that a lease that is not renewed ends while the engine stops, too.
    let _watch = AbortOnDropHandle::new(tokio::spawn(async move { leases.watch().await }));
    let listener = socket::listen(&config.socket, &lock)?;
    let path = config.socket.path.clone();
    let doors = direct::listen(&config.socket, &lock)?;
    shared.tasks.spawn(direct::serve(doors, Arc::clone(&shared)));
    let (accepted, incoming) = socket::queue();
    shared.tasks.spawn(socket::accept(listener, config.socket, shared.stop.clone(), accepted));
    let service = SyncEngineServer::new(Service::new(Arc::clone(&shared))).max_decoding_message_size(REQUEST_BYTES_MAX);
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        // Our callers are trusted with the socket. That they cancel many executions at once is no attack on the connection, which
        // carries all the others.
        .http2_max_pending_accept_reset_streams(Some(STREAMS_MAX as usize))
        .http2_max_local_error_reset_streams(None)
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), shared.stop.clone().cancelled_owned());
    let server = tokio::spawn(server);
    tracing::info!(path = %path.display(), "serving");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
    tracing::info!("stopping");
    shared.stop.cancel();
    shared.tasks.close();
    let clean = async {
        shared.tasks.wait().await;
        // A caller that keeps its connection open does not keep us.
        drop(tokio::time::timeout(Duration::from_secs(1), server).await);
    };
    if tokio::time::timeout(STOP_MAX, clean).await.is_err() {
        tracing::error!("executions did not end in time; the next start removes what they left");
    }
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(%error, "remove the socket");
    }
    tracing::info!("stopped");
    Ok(())
}
