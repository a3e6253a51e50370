//! Asks Quilt to run something and relays what happens.
//!
//! One call of [`Execute::execute`] is one `SyncEngine.Execute` stream, which is the lease: dropping the future drops the
//! stream, and the engine kills, cleans and releases. Nothing is retried here.

mod convert;
mod direct;
mod engine;
mod error;
mod execute;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aria_core::port::{BoxFuture, ByteSource, Ended, EngineStatus, EventSink, Execute, ExecuteError, ExecuteRequest};
use aria_protocol::quilt::v1::StatusRequest;
use aria_protocol::quilt::v1::sync_engine_client::SyncEngineClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

pub use engine::{Blocker, Capacity, EngineEvent, EngineEvents, Held, Leases, Rule, Rules, Waiting};

/// A Unix socket answers at once or not at all.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// `Status` is answered from memory.
const STATUS_MAX: Duration = Duration::from_secs(5);
/// What one execution may send ahead of a slow sink.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// All executions share one connection: many stalled sinks must not stall the others.
const CONNECTION_WINDOW_BYTES: u32 = 256 << 20;
/// Dropped streams whose late frames are quietly discarded.
const STREAMS_REMEMBERED_MAX: usize = 1024;
/// A frame of 1 MiB or a piece of output, with room to spare.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

type Client = SyncEngineClient<Channel>;

/// The client of one engine. Connects when it is first used, and again whenever the connection is gone.
#[derive(Debug)]
pub struct TokenApi {
    socket: PathBuf,
    client: Mutex<Option<Client>>,
}

impl TokenApi {
    /// A client for the engine at `socket`; nothing is connected yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), client: Mutex::new(None) }
    }

    /// The shared connection; needs a tokio runtime, which every caller of a port has.
    fn client(&self) -> Client {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.get_or_insert_with(|| connect_lazily(self.socket.clone())).clone()
    }
}

fn connect_lazily(socket: PathBuf) -> Client {
    // The address only fills the authority of the requests; the connector goes to the socket.
    let endpoint = Endpoint::from(Uri::from_static("http://quilt"))
        .connect_timeout(CONNECT_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        // A dropped execution leaves frames on their way to a stream that is no more. That is the ordinary end of a flood here
        // and no attack; counted as one, it would one day close the connection under every other execution.
        .http2_max_concurrent_reset_streams(STREAMS_REMEMBERED_MAX)
        .http2_max_local_error_reset_streams(None);
    let connector = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    SyncEngineClient::new(endpoint.connect_with_connector_lazy(connector))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

impl Execute for TokenApi {
    fn execute<'a>(
        &'a self,
        request: ExecuteRequest,
        stdin: Option<Box<dyn ByteSource>>,
        door: Option<Box<dyn ByteSource>>,
        sink: &'a mut dyn EventSink,
    ) -> BoxFuture<'a, Result<Ended, ExecuteError>> {
        Box::pin(execute::execute(self.client(), &self.socket, request, stdin, door, sink))
    }

    fn status(&self) -> BoxFuture<'_, Result<EngineStatus, ExecuteError>> {
        let mut client = self.client();
        Box::pin(async move {
            let answer = tokio::time::timeout(STATUS_MAX, client.status(StatusRequest {})).await;
            let answer = answer.map_err(|_| error::down("it does not answer"))?;
            answer.map(|status| convert::status(status.into_inner())).map_err(|status| error::from_status(&status))
        })
    }
}
