//! The services. Each method: identity from the request, wire to domain, one call, domain to wire.

mod audit;
mod blobs;
mod bundles;
mod convert;
mod exec;
mod identities;
mod install;
mod leases;
mod node;
mod policy;
mod recipe;
mod runs;
mod secrets;
mod signers;
mod tools;
mod transfer;
mod versions;

use std::sync::Arc;
use std::time::Instant;

use aria_core::{Name, UnixMs};
use aria_orchestrator::Handle;
use aria_protocol::aria::v1 as pb;
use aria_store::{BundleRecord, Secrets, Store, StoreError};
use aria_token_api::TokenApi;
use aria_types::ErrorKind;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Response, Status};

use crate::identity::Identity;
use crate::shares::Shares;
use crate::status::refuse;
use crate::trust::Trust;

pub(crate) use transfer::UPLOADS_MAX;

/// A message that carries no bulk (A01).
const CONTROL_BYTES_MAX: usize = 4 << 20;
/// What a list may take on the wire: less than the 4 MiB usual clients accept.
const LIST_BYTES_MAX: usize = 3584 << 10;
/// A message with a chunk of at most 1 MiB, and its framing.
const CHUNK_MESSAGE_BYTES_MAX: usize = transfer::CHUNK_BYTES_MAX + 64;

/// What the services share.
pub(crate) struct Device {
    pub(crate) handle: Handle,
    pub(crate) store: Store,
    pub(crate) secrets: Secrets,
    /// The engine's rules, leases and events; runs go through `handle`.
    pub(crate) engine: Arc<TokenApi>,
    /// Changes whenever something happened to a lease.
    pub(crate) lease_changes: watch::Sender<u64>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) identity: Arc<Identity>,
    /// Held while an identity is changed.
    pub(crate) identities: tokio::sync::Mutex<()>,
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
    let policy = pb::policy_server::PolicyServer::new(policy::Policy(Arc::clone(device)));
    let audit = pb::audit_server::AuditServer::new(audit::Audit(Arc::clone(device)));
    let leases = pb::leases_server::LeasesServer::new(leases::Leases(Arc::clone(device)));
    let runs = pb::runs_server::RunsServer::new(runs::Runs(Arc::clone(device)));
    let signers = pb::trust_server::TrustServer::new(signers::Trust(Arc::clone(device)));
    let secrets = pb::secrets_server::SecretsServer::new(secrets::Secrets(Arc::clone(device)));
    Routes::new(bundles.max_decoding_message_size(CHUNK_MESSAGE_BYTES_MAX))
        .add_service(blobs.max_decoding_message_size(CHUNK_MESSAGE_BYTES_MAX))
        .add_service(tools.max_decoding_message_size(CONTROL_BYTES_MAX))
        .add_service(exec.max_decoding_message_size(CHUNK_MESSAGE_BYTES_MAX))
        .add_service(node.max_decoding_message_size(CONTROL_BYTES_MAX))
        .add_service(policy.max_decoding_message_size(CONTROL_BYTES_MAX))
        .add_service(audit.max_decoding_message_size(CONTROL_BYTES_MAX))
        .add_service(leases.max_decoding_message_size(CONTROL_BYTES_MAX))
        .add_service(runs.max_decoding_message_size(CONTROL_BYTES_MAX))
        .add_service(secrets.max_decoding_message_size(CONTROL_BYTES_MAX))
        .add_service(signers.max_decoding_message_size(CONTROL_BYTES_MAX))
}

/// A list in the making that fits into one answer.
struct List<T> {
    items: Vec<T>,
    left_bytes: usize,
    /// What to ask instead when it does not fit.
    instead: &'static str,
}

impl<T: prost::Message> List<T> {
    fn new(instead: &'static str) -> Self {
        Self { items: Vec::new(), left_bytes: LIST_BYTES_MAX, instead }
    }

    fn push(&mut self, item: T) -> Result<(), Status> {
        // Tag and length come before each item.
        self.left_bytes = self.left_bytes.checked_sub(item.encoded_len() + 8).ok_or_else(|| {
            let message = format!("the list is longer than one answer may be; use {}", self.instead);
            refuse(ErrorKind::Exhausted, "LIST_TOO_LARGE", message)
        })?;
        self.items.push(item);
        Ok(())
    }
}

/// The bundle as it is now (without a version: the one calls go to); `None` when it is not, or not any more.
fn listed(store: &Store, name: &Name, version: Option<&str>) -> Result<Option<BundleRecord>, Status> {
    match store.bundle(name, version) {
        Ok(record) => Ok(Some(record)),
        Err(StoreError::BundleUnknown(_)) => Ok(None),
        Err(error) => Err(crate::status::store(error)),
    }
}

/// The wall clock. Nothing below this crate reads it.
pub(crate) fn now() -> UnixMs {
    UnixMs::from_system(std::time::SystemTime::now())
}

/// Finishes a change though its caller may leave.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<Response<T>, Status> {
    match tokio::spawn(change).await {
        Ok(answer) => answer.map(Response::new),
        Err(error) => Err(crate::status::internal("make a change", &error)),
    }
}

/// Runs what blocks on the pool.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Status> + Send + 'static) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(crate::status::internal("blocking work", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_fits_into_one_answer_of_a_usual_client() {
        use prost::Message;
        let mut list = List::new("GetTool");
        let item = pb::Tool { description: "x".repeat(100_000), ..Default::default() };
        let refused = loop {
            if let Err(status) = list.push(item.clone()) {
                break status;
            }
            assert!(list.items.len() < 100);
        };
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message().contains("GetTool"));
        let whole = pb::ListToolsResponse { tools: list.items }.encoded_len();
        assert!(whole > 3 << 20 && whole <= LIST_BYTES_MAX, "{whole}");
    }
}
