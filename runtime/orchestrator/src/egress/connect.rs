//! From a target to a connection that can take one request.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aria_core::egress::{Scheme, Target};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::body::Upload;
use super::{Egress, NetError};

const RESOLVE_SECONDS: u64 = 10;
const CONNECT_SECONDS: u64 = 10;
/// Most addresses of one name that are tried.
const TRIES_MAX: usize = 4;
/// All headers of an answer together, bytes; they have to fit a frame of the guest door.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A connection of its own; dropping it closes it.
pub(super) struct Connection {
    pub(super) send: SendRequest<Upload>,
    pub(super) task: AbortOnDropHandle<()>,
}

/// TLS as the proxy speaks it: the public authorities and the operator's, HTTP/1.1, nothing remembered between connections.
pub(super) fn tls_config(authorities: Vec<CertificateDer<'static>>) -> Result<Arc<rustls::ClientConfig>, NetError> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for authority in authorities {
        roots.add(authority).map_err(|source| NetError::Authority { source })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| NetError::Authority { source })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Resolves, checks every address, and connects to one of those.
pub(super) async fn connect(egress: &Egress, target: &Target) -> Result<Connection, NetError> {
    let origin = target.origin();
    let resolved = within(RESOLVE_SECONDS, &origin, "resolve", (egress.resolve)(target.host.clone())).await?;
    let addresses = resolved.map_err(|error| {
        tracing::warn!(host = %target.host, %error, "resolve a name for a run");
        NetError::Unresolved { host: target.host.to_string() }
    })?;
    if addresses.is_empty() {
        return Err(NetError::Unresolved { host: target.host.to_string() });
    }
    egress.allowed.check(&target.host, &addresses)?;
    let tcp = within(CONNECT_SECONDS, &origin, "connect", dial(&addresses, target.port)).await?;
    let tcp = tcp.map_err(|source| NetError::Unreachable { origin: origin.clone(), source })?;
    // Small requests and pieces go out at once.
    let _ = tcp.set_nodelay(true);
    match target.scheme {
        Scheme::Http => handshake(tcp, &origin).await,
        Scheme::Https => {
            let tls_error = |source| NetError::Tls { origin: origin.clone(), source };
            let name = ServerName::try_from(target.host.to_string()).map_err(io::Error::other).map_err(tls_error)?;
            let greeting = TlsConnector::from(Arc::clone(&egress.tls)).connect(name, tcp);
            let tls = within(CONNECT_SECONDS, &origin, "agree on TLS", greeting).await?.map_err(tls_error)?;
            handshake(tls, &origin).await
        }
    }
}

async fn dial(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let each = Duration::from_secs(CONNECT_SECONDS) / u32::try_from(addresses.len().clamp(1, TRIES_MAX)).unwrap_or(1);
    for address in addresses.iter().take(TRIES_MAX) {
        match tokio::time::timeout(each, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_late) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

async fn handshake<S>(stream: S, origin: &str) -> Result<Connection, NetError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let made = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await;
    let (send, connection) = made.map_err(|source| NetError::Broken { origin: origin.to_owned(), source })?;
    let task = tokio::spawn(async move {
        // What goes wrong here is told to whoever waits for the answer.
        let _ = connection.await;
    });
    Ok(Connection { send, task: AbortOnDropHandle::new(task) })
}

/// Bounds a wait for the other side.
pub(super) async fn within<T>(
    seconds: u64,
    origin: &str,
    what: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, NetError> {
    let late = |_| NetError::Late { origin: origin.to_owned(), what, seconds };
    tokio::time::timeout(Duration::from_secs(seconds), work).await.map_err(late)
}
