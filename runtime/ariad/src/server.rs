//! HTTP/2 and its bounds, and the one router everything is behind.

use std::time::Duration;

use prost::Message;
use prost_types::FileDescriptorSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::auth::AuthLayer;
use crate::listen::Incoming;

/// Streams of one connection at a time. A browser-like client needs a few; 128 calls at once from one peer is already a load test.
const STREAMS_MAX: u32 = 128;
/// All headers of one request together (A08).
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// What a peer may have in flight unread: per stream enough for 4 GB/s on a local network (1 ms round trip), per connection twice
/// that. Together with `api::transfer`'s bound on uploads this is at most 32 MiB of unread upload on the whole device.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// A dead peer is noticed within 40 s, so that what it held is let go within A06's minute.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(25);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(15);
/// Streams reset before they were served, and resets we had to send, after which a connection is ended (A07).
const RESETS_PENDING_MAX: usize = 20;
const RESETS_LOCAL_MAX: usize = 512;

/// The descriptors of what this daemon serves; the engine's contract is not part of it.
pub(crate) fn descriptors() -> Result<FileDescriptorSet, prost::DecodeError> {
    let mut set = FileDescriptorSet::decode(aria_protocol::DESCRIPTOR)?;
    set.file.retain(|file| !file.package().starts_with("quilt."));
    for file in &mut set.file {
        // Comments are most of the set and nobody asks reflection for them.
        file.source_code_info = None;
    }
    Ok(set)
}

/// Adds reflection (both versions in use) and health.
pub(crate) async fn with_standard_services(routes: Routes) -> anyhow::Result<Routes> {
    let reflection = || {
        anyhow::Ok(
            tonic_reflection::server::Builder::configure()
                .register_file_descriptor_set(descriptors()?)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET),
        )
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    // The empty name is the server as a whole, which is what probes ask for.
    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    Ok(routes.add_service(reflection()?.build_v1()?).add_service(reflection()?.build_v1alpha()?).add_service(health))
}

/// Serves until `stop`, then ends connections as their streams end.
pub(crate) async fn serve(
    routes: Routes,
    incoming: Incoming,
    auth: AuthLayer,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_pending_accept_reset_streams(Some(RESETS_PENDING_MAX))
        .http2_max_local_error_reset_streams(Some(RESETS_LOCAL_MAX))
        .layer(auth)
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop.cancelled_owned())
        .await
}
