//! The services. Each method: identity from the request, wire to domain, one call, domain to wire.

mod blobs;
mod bundles;
mod convert;
mod exec;
mod node;
mod tools;
mod transfer;

use std::sync::Arc;
use std::time::Instant;

use aria_core::UnixMs;
use aria_orchestrator::Handle;
use aria_protocol::aria::v1 as pb;
use aria_store::Store;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;

use crate::identity::Identity;
use crate::shares::Shares;
use crate::trust::Trust;

pub(crate) use transfer::UPLOADS_MAX;

/// A message that carries no bulk (A01).
const CONTROL_BYTES_MAX: usize = 4 << 20;
/// A message with a chunk of at most 1 MiB, and its framing.
const CHUNK_MESSAGE_BYTES_MAX: usize = transfer::CHUNK_BYTES_MAX + 64;

/// What the services share.
pub(crate) struct Device {
    pub(crate) handle: Handle,
    pub(crate) store: Store,
    pub(crate) trust: Arc<Trust>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) bundle_bytes_max: u64,
    pub(crate) exec: bool,
    /// Where TCP clients reach the device.
    pub(crate) listen: String,
    pub(crate) started: Instant,
    /// Long streams end when it is cancelled.
    pub(crate) stop: CancellationToken,
    /// Uploads at a time; see `transfer`.
    pub(crate) uploads: Arc<Shares>,
}

/// All services on one router.
pub(crate) fn routes(device: &Arc<Device>) -> Routes {
    let bundles = pb::bundles_server::BundlesServer::new(bundles::Bundles(Arc::clone(device)));
    let blobs = pb::blobs_server::BlobsServer::new(blobs::Blobs(Arc::clone(device)));
    let tools = pb::tools_server::ToolsServer::new(tools::Tools(Arc::clone(device)));
    let exec = pb::exec_server::ExecServer::new(exec::Exec(Arc::clone(device)));
    let node = pb::node_server::NodeServer::new(node::Node(Arc::clone(device)));
    Routes::new(bundles.max_decoding_message_size(CHUNK_MESSAGE_BYTES_MAX))
        .add_service(blobs.max_decoding_message_size(CHUNK_MESSAGE_BYTES_MAX))
        .add_service(tools.max_decoding_message_size(CONTROL_BYTES_MAX))
        .add_service(exec.max_decoding_message_size(CHUNK_MESSAGE_BYTES_MAX))
        .add_service(node.max_decoding_message_size(CONTROL_BYTES_MAX))
}

/// The wall clock. Nothing below this crate reads it.
pub(crate) fn now() -> UnixMs {
    UnixMs::from_system(std::time::SystemTime::now())
}

/// Runs what blocks on the pool.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Status> + Send + 'static) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(crate::status::internal("blocking work", &error)),
    }
}
