//! The two doors: TCP with mutual TLS, and the Unix socket. Both give connections whose other end is known.
//!
//! A connection becomes one only after its handshake; before that it costs a socket and a place among at most
//! [`HANDSHAKES_MAX`], for at most [`HANDSHAKE_TIME`].

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::identity::spki_sha256;
use crate::peer::Peer;
use crate::shares::{Share, Shares};
use crate::trust::{Trust, Verifier};

/// Connections in their handshake at a time; the next ones are closed at once. One address gets three quarters of them, which is
/// more than the 1,000 idle connections nobody may be kept out by.
const HANDSHAKES_MAX: usize = 1400;
/// A handshake is three messages; who needs longer than this is not trying.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Connections at a time, idle ones included; one key gets three quarters of them. An idle one costs about 30 KiB, so this many
/// fit in a small board.
const CONNECTIONS_MAX: usize = 1400;
/// The same for the Unix socket, apart, so that no number of network clients keeps the administrator out.
const LOCAL_CONNECTIONS_MAX: usize = 64;
/// Accepted connections waiting for the server loop, which takes them at once.
const ACCEPTED_MAX: usize = 64;

/// One accepted connection.
pub(crate) struct Connection {
    stream: Stream,
    peer: Peer,
    _place: Share,
}

enum Stream {
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Takes connections from both doors.
pub(crate) type Incoming = mpsc::Receiver<io::Result<Connection>>;

/// The certificate new handshakes get; replaced while the daemon runs.
#[derive(Debug)]
pub(crate) struct ServerCertificate(RwLock<Arc<CertifiedKey>>);

impl ServerCertificate {
    pub(crate) fn new(key: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(key)))
    }

    pub(crate) fn replace(&self, key: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The TLS side of the TCP door.
pub(crate) fn acceptor(verifier: Verifier, certificate: Arc<ServerCertificate>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would skip the verifier, and with it expiry and revocation.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Opens the Unix socket: mode 0660, given to the group. A socket file nobody listens on is replaced.
pub(crate) fn open_socket(path: &Path, gid: Option<u32>) -> io::Result<UnixListener> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    if let Some(gid) = gid {
        if !crate::peer::is_member(gid) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("this user is not in group {gid}")));
        }
        std::os::unix::fs::chown(path, None, Some(gid))?;
    }
    Ok(listener)
}

/// Removes the socket file when the daemon stops.
pub(crate) struct SocketFile(pub(crate) PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing can be done about a file that is already gone.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Everything the doors need.
pub(crate) struct Doors {
    pub(crate) tcp: TcpListener,
    pub(crate) unix: UnixListener,
    pub(crate) tls: TlsAcceptor,
    pub(crate) trust: Arc<Trust>,
    pub(crate) socket_gid: Option<u32>,
}

/// Accepts on both until the returned receiver is dropped.
pub(crate) fn accept(doors: Doors) -> Incoming {
    let (sender, incoming) = mpsc::channel(ACCEPTED_MAX);
    let places = Shares::new(CONNECTIONS_MAX);
    let local_places = Shares::new(LOCAL_CONNECTIONS_MAX);
    tokio::spawn(accept_unix(doors.unix, doors.socket_gid, sender.clone(), local_places));
    tokio::spawn(accept_tcp(doors.tcp, doors.tls, doors.trust, sender, places));
    incoming
}

type Sender = mpsc::Sender<io::Result<Connection>>;

async fn accept_unix(listener: UnixListener, socket_gid: Option<u32>, sender: Sender, places: Arc<Shares>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let Some((stream, _)) = taken(accepted).await else { continue };
        let Ok(credentials) = stream.peer_cred() else { continue };
        let Some(place) = places.take(&credentials.uid().to_string()) else { continue };
        let peer = Peer::local(&credentials, socket_gid);
        let connection = Connection { stream: Stream::Unix(stream), peer, _place: place };
        if sender.send(Ok(connection)).await.is_err() {
            return;
        }
    }
}

async fn accept_tcp(listener: TcpListener, tls: TlsAcceptor, trust: Arc<Trust>, sender: Sender, places: Arc<Shares>) {
    let handshakes = Shares::new(HANDSHAKES_MAX);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let Some((stream, from)) = taken(accepted).await else { continue };
        let Some(handshake) = handshakes.take(&site(from.ip())) else { continue };
        let (tls, trust, sender, places) = (tls.clone(), Arc::clone(&trust), sender.clone(), Arc::clone(&places));
        // Owned by its own timeout: it ends by itself within HANDSHAKE_TIME and then hands over or drops the socket.
        tokio::spawn(async move {
            let _handshake = handshake;
            let done = tokio::time::timeout(HANDSHAKE_TIME, handshake_tls(stream, tls, &trust)).await;
            let Ok(Some((stream, peer, key_sha256))) = done else { return };
            let Some(place) = places.take(&key_sha256) else { return };
            // The receiver is gone only when the daemon stops.
            let _ = sender.send(Ok(Connection { stream: Stream::Tls(stream), peer, _place: place })).await;
        });
    }
}

async fn handshake_tls(
    stream: TcpStream,
    tls: TlsAcceptor,
    trust: &Trust,
) -> Option<(Box<TlsStream<TcpStream>>, Peer, String)> {
    // Without it small replies wait for acknowledgements; failing to set it only costs time.
    let _ = stream.set_nodelay(true);
    let stream = match tls.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "handshake refused");
            return None;
        }
    };
    let connection = stream.get_ref().1;
    if connection.alpn_protocol() != Some(b"h2") {
        return None;
    }
    let key_sha256 = spki_sha256(connection.peer_certificates()?.first()?)?;
    let peer = match trust.enrolled(&key_sha256) {
        Some(_) => Peer::Enrolled { key_sha256: key_sha256.clone() },
        None => Peer::EnrolKey { key_sha256: key_sha256.clone() },
    };
    Some((Box::new(stream), peer, key_sha256))
}

/// Where a connection comes from, as far as one party can choose: an IPv4 address, an IPv6 network.
fn site(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).to_string(),
    }
}

/// Out of descriptors is a state that passes; everything else concerns one connection only.
async fn taken<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(connection) => Some(connection),
        Err(error) => {
            tracing::warn!(%error, "accept");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: &str) {
        assert_eq!(site(address.parse().unwrap()), expected);
    }

    #[test]
    fn one_party_is_one_site() {
        check("192.0.2.1", "192.0.2.1");
        check("::ffff:192.0.2.1", "192.0.2.1");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("2001:db8:1:2::9", "2001:db8:1:2::");
    }
}
