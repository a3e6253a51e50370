//! The proxy against real servers on the loopback, which is opened for it by name of the operator's list.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use aria_core::egress::{Scheme, Target};
use aria_types::ResourceToken;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

const LOOPBACK: &str = "127.0.0.1/32";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
/// Requests one server remembers; no test makes more.
const REQUESTS_MAX: usize = 64;
const SECRET: &str = "sk_live_canary_0123456789";

/// A server that takes each connection's request up to the end of its body and answers with the same bytes.
struct Server {
    port: u16,
    requests: mpsc::Receiver<String>,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

impl Server {
    async fn start(answer: impl Into<Vec<u8>>) -> Self {
        Self::with(answer, None).await
    }

    async fn with(answer: impl Into<Vec<u8>>, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let answer = Arc::new(answer.into());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, answer, tls) = (sender.clone(), Arc::clone(&answer), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &sender, &answer).await;
                            }
                        }
                        None => serve(stream, &sender, &answer).await,
                    }
                });
            }
        });
        Self { port, requests, _task: tokio_util::task::AbortOnDropHandle::new(task) }
    }

    /// The next request as it came; what was cut off ends with `<cut>`.
    async fn request(&mut self) -> String {
        self.requests.recv().await.unwrap()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: &mpsc::Sender<String>, answer: &[u8]) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !whole(&String::from_utf8_lossy(&bytes)) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => {
                bytes.extend(b"<cut>");
                break;
            }
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    let _ = seen.try_send(String::from_utf8_lossy(&bytes).into_owned());
    let _ = stream.write_all(answer).await;
    let _ = stream.flush().await;
    if !answer.ends_with(b"<close>") {
        // The proxy closes.
        let _ = stream.read(&mut buffer).await;
    }
}

fn whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    match head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()) {
        Some(length) => body.len() >= length.parse().unwrap(),
        None => !head.contains("transfer-encoding: chunked") || body.ends_with("0\r\n\r\n"),
    }
}

fn to(addresses: &'static [&'static str]) -> Resolve {
    Arc::new(move |_| Box::pin(async move { Ok(addresses.iter().map(|text| text.parse().unwrap()).collect()) }))
}

fn egress(allowed: &[&str], resolve: Resolve, budget: Budget) -> Arc<Egress> {
    let allowed = AllowedAddresses::new(allowed.iter().map(|range| range.parse().unwrap()).collect());
    Egress::with_resolver(allowed, resolve, Vec::new(), budget).unwrap()
}

fn session() -> Session {
    Session::new(egress(&[LOOPBACK], to(&["127.0.0.1"]), Budget::default()))
}

fn target(scheme: Scheme, port: u16) -> Target {
    Target { scheme, host: HostName::parse("a.test").unwrap(), port }
}

fn get(port: u16) -> Asked {
    Asked {
        target: target(Scheme::Http, port),
        method: "GET".into(),
        path: "/x?y=1".into(),
        headers: vec![],
        body: AskedBody::None,
    }
}

fn tokens(port: u16) -> Vec<ResourceToken> {
    vec![format!("net:a.test:{port}").parse().unwrap()]
}

fn injected(value: &str) -> Vec<Injected> {
    vec![Injected { header: "authorization".into(), value: value.to_owned().into(), secret: SECRET.to_owned().into() }]
}

async fn open(session: &Session, stream: u32, asked: Asked, port: u16) -> Result<Option<Head>, NetError> {
    session.open(stream, asked, &tokens(port), vec![]).await
}

async fn body(session: &Session, stream: u32) -> Result<Vec<u8>, NetError> {
    let mut all = Vec::new();
    loop {
        let piece = session.read(stream).await?;
        assert!(piece.bytes.len() <= PIECE_BYTES_MAX);
        all.extend_from_slice(&piece.bytes);
        if piece.end {
            return Ok(all);
        }
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, NetError>, reason: &str) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.reason(), reason, "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_request_goes_out_and_its_answer_comes_back() {
    let mut server = Server::start(
        "HTTP/1.1 201 Made Up\r\nX-A: 1\r\nX-a: 2\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    )
    .await;
    let session = session();
    let asked = Asked {
        method: "POST".into(),
        headers: vec![("Content-Type".into(), "text/plain".into()), ("Connection".into(), "keep-alive".into())],
        body: AskedBody::Whole(b"ping".to_vec()),
        ..get(server.port)
    };
    let head = open(&session, 1, asked, server.port).await.unwrap().unwrap();
    assert_eq!((head.status, head.status_text.as_str()), (201, "Made Up"));
    let pairs: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("x-a", "1"), ("x-a", "2"), ("content-length", "5")]);
    assert_eq!(body(&session, 1).await.unwrap(), b"hello");
    let request = server.request().await;
    let expected = format!(
        "POST /x?y=1 HTTP/1.1\r\nhost: a.test:{}\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nping",
        server.port
    );
    assert_eq!(request, expected);
    refused(session.read(1).await, "EGRESS_STREAM");
}

#[tokio::test]
async fn what_no_token_reaches_is_not_even_looked_up() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let resolve: Resolve = Arc::new(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) })
    });
    let session = Session::new(egress(&[LOOPBACK], resolve, Budget::default()));
    let message = refused(session.open(1, get(443 + 1), &tokens(443), vec![]).await, "EGRESS_DENIED");
    assert!(message.contains("net:a.test:444"), "{message}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn addresses_that_are_not_public_are_not_connected_to() {
    let server = Server::start(OK).await;
    for addresses in [
        &["127.0.0.1"][..],
        &["169.254.169.254"],
        &["::1"],
        &["10.0.0.1"],
        &["::ffff:127.0.0.1"],
        &["93.184.216.34", "127.0.0.1"],
        &["0.0.0.0"],
    ] {
        let session = Session::new(egress(&[], to(addresses), Budget::default()));
        let message = refused(open(&session, 1, get(server.port), server.port).await, "EGRESS_DENIED");
        assert!(message.contains("a.test") && !message.contains("127.0"), "{message}");
    }
    let mut requests = server.requests;
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_checked_each_time_and_asked_once_per_request() {
    let mut server = Server::start(OK).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let resolve: Resolve = Arc::new(move |_| {
        let address = if counter.fetch_add(1, Ordering::SeqCst) == 0 { [127, 0, 0, 1] } else { [127, 0, 0, 2] };
        Box::pin(async move { Ok(vec![IpAddr::from(address)]) })
    });
    let session = Session::new(egress(&[LOOPBACK], resolve, Budget::default()));
    open(&session, 1, get(server.port), server.port).await.unwrap();
    assert!(server.request().await.starts_with("GET "));
    refused(open(&session, 2, get(server.port), server.port).await, "EGRESS_DENIED");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_name_without_an_address_or_a_server_says_so() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    refused(open(&session(), 1, get(nobody), nobody).await, "EGRESS_UNREACHABLE");
    let none = Session::new(egress(&[LOOPBACK], to(&[]), Budget::default()));
    refused(open(&none, 1, get(80), 80).await, "EGRESS_UNRESOLVED");
    let broken: Resolve = Arc::new(|_| Box::pin(async { Err(io::Error::other("10.9.8.7 does not answer")) }));
    let broken = Session::new(egress(&[LOOPBACK], broken, Budget::default()));
    let message = refused(open(&broken, 1, get(80), 80).await, "EGRESS_UNRESOLVED");
    assert!(!message.contains("10.9.8.7"), "{message}");
}

#[tokio::test]
async fn a_redirect_is_passed_on_and_not_followed() {
    let mut inner = Server::start(OK).await;
    let answer =
        format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: 0\r\n\r\n", inner.port);
    let server = Server::start(answer).await;
    let session = session();
    let head = open(&session, 1, get(server.port), server.port).await.unwrap().unwrap();
    assert_eq!(head.status, 302);
    assert!(inner.requests.try_recv().is_err());
    // The next hop is a request like any other.
    let hop = Asked {
        target: Target { host: HostName::parse("127.0.0.1").unwrap(), ..target(Scheme::Http, inner.port) },
        ..get(inner.port)
    };
    refused(open(&session, 2, hop, server.port).await, "EGRESS_DENIED");
}

#[tokio::test]
async fn every_request_has_a_connection_of_its_own() {
    let mut server = Server::start(OK).await;
    let session = session();
    for stream in 1..=3 {
        open(&session, stream, get(server.port), server.port).await.unwrap();
        assert_eq!(body(&session, stream).await.unwrap(), b"hello");
        // The server reads one request per connection.
        server.request().await;
    }
}

#[tokio::test]
async fn a_number_stands_for_one_request() {
    let server = Server::start("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel").await;
    let session = session();
    open(&session, 7, get(server.port), server.port).await.unwrap();
    refused(open(&session, 7, get(server.port), server.port).await, "EGRESS_STREAM");
    refused(session.read(8).await, "EGRESS_STREAM");
    session.close(7);
    session.close(7);
    refused(session.read(7).await, "EGRESS_STREAM");
}

#[tokio::test]
async fn a_body_in_pieces_is_counted_against_its_length() {
    let mut server = Server::start(OK).await;
    let session = session();
    let asked = |length: &str| Asked {
        method: "PUT".into(),
        headers: vec![("content-length".into(), length.into())],
        body: AskedBody::Pieces,
        ..get(server.port)
    };
    assert!(open(&session, 1, asked("6"), server.port).await.unwrap().is_none());
    assert_eq!(session.write(1, b"abc".to_vec(), false).await.unwrap(), Written::Taken);
    assert_eq!(session.write(1, b"def".to_vec(), true).await.unwrap(), Written::Taken);
    assert_eq!(session.head(1).await.unwrap().status, 200);
    assert!(server.request().await.ends_with("content-length: 6\r\n\r\nabcdef"));

    let port = server.port;
    let asked = |length: &str| Asked {
        method: "PUT".into(),
        headers: vec![("content-length".into(), length.into())],
        body: AskedBody::Pieces,
        ..get(port)
    };
    assert!(open(&session, 2, asked("2"), port).await.unwrap().is_none());
    refused(session.write(2, b"abc".to_vec(), false).await, "EGRESS_REQUEST");
    assert!(open(&session, 3, asked("4"), port).await.unwrap().is_none());
    refused(session.write(3, b"abc".to_vec(), true).await, "EGRESS_REQUEST");
    let whole = Asked { body: AskedBody::Whole(b"abc".to_vec()), ..asked("4") };
    refused(open(&session, 4, whole, port).await, "EGRESS_REQUEST");
}

#[tokio::test]
async fn a_body_of_unknown_length_that_is_cut_off_never_looks_whole() {
    let mut server = Server::start(OK).await;
    let session = session();
    let asked = || Asked { method: "POST".into(), body: AskedBody::Pieces, ..get(server.port) };
    assert!(open(&session, 1, asked(), server.port).await.unwrap().is_none());
    session.write(1, b"abc".to_vec(), false).await.unwrap();
    session.write(1, Vec::new(), true).await.unwrap();
    session.head(1).await.unwrap();
    let first = asked();
    assert!(server.request().await.ends_with("3\r\nabc\r\n0\r\n\r\n"));

    let port = server.port;
    assert!(open(&session, 2, first, port).await.unwrap().is_none());
    session.write(2, b"abc".to_vec(), false).await.unwrap();
    session.close(2);
    let cut = server.request().await;
    assert!(cut.ends_with("<cut>") && !cut.contains("\r\n0\r\n"), "{cut}");
}

#[tokio::test]
async fn a_server_that_answers_early_ends_the_upload() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut some = [0; 1024];
        let _ = stream.read(&mut some).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.unwrap();
    });
    let session = session();
    let asked = Asked { method: "POST".into(), body: AskedBody::Pieces, ..get(port) };
    assert!(open(&session, 1, asked, port).await.unwrap().is_none());
    session.write(1, vec![b'x'; 1000], false).await.unwrap();
    server.await.unwrap();
    // However many more pieces it takes until the proxy has seen it, the answer is there in the end.
    assert_eq!(session.head(1).await.unwrap().status, 413);
    let mut last = Written::Taken;
    for _ in 0..64 {
        last = session.write(1, vec![b'x'; 1000], false).await.unwrap();
        if last == Written::NotWanted {
            break;
        }
    }
    assert_eq!(last, Written::NotWanted);
}

#[tokio::test]
async fn what_would_change_the_request_on_its_way_is_refused_and_nothing_is_sent() {
    let mut server = Server::start(OK).await;
    let session = session();
    let port = server.port;
    for asked in [
        Asked { headers: vec![("x".into(), "a\r\nHost: b".into())], ..get(port) },
        Asked { headers: vec![("x\r\ny".into(), "a".into())], ..get(port) },
        Asked { headers: vec![("host".into(), "b.test".into())], ..get(port) },
        Asked { path: "/a HTTP/1.1\r\nHost: b\r\n\r\nGET /".into(), ..get(port) },
        Asked { path: "http://b.test/".into(), ..get(port) },
        Asked { method: "GET / HTTP/1.1\r\nX".into(), ..get(port) },
        Asked { method: "TRACE".into(), ..get(port) },
    ] {
        refused(open(&session, 1, asked, port).await, "EGRESS_REQUEST");
    }
    refused(open(&session, 1, Asked { method: "CONNECT".into(), ..get(port) }, port).await, "UNSUPPORTED");
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_run_has_bounds_on_bytes_requests_and_both_at_a_time() {
    let server = Server::start(format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", "x".repeat(100))).await;
    let budget = Budget { requests_max: 6, concurrent_max: 2, up_bytes_max: 10, down_bytes_max: 150 };
    let session = Session::new(egress(&[LOOPBACK], to(&["127.0.0.1"]), budget));
    let port = server.port;
    open(&session, 1, get(port), port).await.unwrap();
    open(&session, 2, get(port), port).await.unwrap();
    refused(open(&session, 3, get(port), port).await, "EGRESS_BUDGET");
    assert_eq!(body(&session, 1).await.unwrap().len(), 100);
    refused(body(&session, 2).await, "EGRESS_BUDGET");
    let large = Asked { method: "POST".into(), body: AskedBody::Whole(vec![0; 11]), ..get(port) };
    refused(open(&session, 4, large, port).await, "EGRESS_BUDGET");
    for stream in 5..=7 {
        open(&session, stream, get(port), port).await.unwrap();
        session.close(stream);
    }
    let message = refused(open(&session, 8, get(port), port).await, "EGRESS_BUDGET");
    assert!(message.contains("requests (6)"), "{message}");
}

#[tokio::test]
async fn answers_that_are_not_whole_or_not_http_are_told_apart_from_good_ones() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(80 << 10));
    for answer in [
        "<close>",
        "SSH-2.0-OpenSSH<close>",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n<close>",
        &long,
    ] {
        let server = Server::start(answer).await;
        refused(open(&session(), 1, get(server.port), server.port).await, "EGRESS_BROKEN");
    }
    let server = Server::start("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n").await;
    refused(open(&session(), 1, get(server.port), server.port).await, "EGRESS_BROKEN");
    let server = Server::start("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nhello<close>").await;
    let session = session();
    open(&session, 1, get(server.port), server.port).await.unwrap();
    refused(body(&session, 1).await, "EGRESS_BROKEN");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let message = refused(open(&session(), 1, get(port), port).await, "EGRESS_TIMEOUT");
    assert!(message.contains("begin its answer"), "{message}");
    let tls = Asked { target: target(Scheme::Https, port), ..get(port) };
    let message = refused(open(&session(), 1, tls, port).await, "EGRESS_TIMEOUT");
    assert!(message.contains("TLS"), "{message}");
    let stuck: Resolve = Arc::new(|_| Box::pin(std::future::pending()));
    let stuck = Session::new(egress(&[], stuck, Budget::default()));
    refused(open(&stuck, 1, get(port), port).await, "EGRESS_TIMEOUT");
}

#[tokio::test]
async fn closing_ends_a_wait_and_frees_its_place() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let budget = Budget { concurrent_max: 1, ..Budget::default() };
    let session = Session::new(egress(&[LOOPBACK], to(&["127.0.0.1"]), budget));
    let close = async {
        let (stream, _) = listener.accept().await.unwrap();
        session.close(1);
        stream
    };
    let (opened, stream) = tokio::join!(open(&session, 1, get(port), port), close);
    refused(opened, "EGRESS_STREAM");
    drop(stream);
    let close = async { drop(listener.accept().await) };
    let (opened, ()) = tokio::join!(open(&session, 2, get(port), port), close);
    refused(opened, "EGRESS_BROKEN");
}

mod with_tls {
    use super::*;

    struct Authority {
        der: CertificateDer<'static>,
        issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    }

    fn authority() -> Authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().clone();
        Authority { der, issuer: rcgen::Issuer::new(params, key) }
    }

    fn acceptor(authority: &Authority, name: &str) -> tokio_rustls::TlsAcceptor {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority.issuer).unwrap().der().clone();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Arc::new(config).into()
    }

    fn trusting(authorities: Vec<CertificateDer<'static>>) -> Session {
        let allowed = AllowedAddresses::new(vec![LOOPBACK.parse().unwrap()]);
        Session::new(Egress::with_resolver(allowed, to(&["127.0.0.1"]), authorities, Budget::default()).unwrap())
    }

    fn https(port: u16) -> Asked {
        Asked { target: target(Scheme::Https, port), ..get(port) }
    }

    #[tokio::test]
    async fn the_granted_name_must_be_proven_by_a_known_authority() {
        let known = authority();
        let mut server = Server::with(OK, Some(acceptor(&known, "a.test"))).await;
        let session = trusting(vec![known.der.clone()]);
        open(&session, 1, https(server.port), server.port).await.unwrap();
        assert_eq!(body(&session, 1).await.unwrap(), b"hello");
        assert!(server.request().await.contains(&format!("host: a.test:{}", server.port)));
        refused(open(&trusting(vec![]), 1, https(server.port), server.port).await, "EGRESS_TLS");
        let other = Server::with(OK, Some(acceptor(&known, "b.test"))).await;
        refused(open(&session, 2, https(other.port), other.port).await, "EGRESS_TLS");
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = plain.local_addr().unwrap().port();
        let answer = async {
            let (mut stream, _) = plain.accept().await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            stream
        };
        let (opened, _stream) = tokio::join!(open(&session, 3, https(port), port), answer);
        refused(opened, "EGRESS_TLS");
    }

    #[tokio::test]
    async fn a_secret_goes_out_once_and_never_comes_back() {
        let known = authority();
        let echo = format!(
            "HTTP/1.1 200 {SECRET}\r\nX-Echo: Bearer {SECRET}\r\nTransfer-Encoding: chunked\r\n\r\n\
            10\r\nyou said sk_live\r\n15\r\n_canary_0123456789 ok\r\n0\r\n\r\n"
        );
        let mut server = Server::with(echo, Some(acceptor(&known, "a.test"))).await;
        let session = trusting(vec![known.der.clone()]);
        let mut asked = https(server.port);
        asked.headers = vec![("Authorization".into(), "Bearer mine".into()), ("accept-encoding".into(), "gzip".into())];
        let value = format!("Bearer {SECRET}");
        let head = session.open(1, asked, &tokens(server.port), injected(&value)).await.unwrap().unwrap();
        let request = server.request().await;
        assert_eq!(request.matches("authorization: ").count(), 1, "{request}");
        assert!(
            request.contains(&format!("authorization: Bearer {SECRET}\r\n"))
                && request.contains("accept-encoding: identity\r\n")
        );
        let text = String::from_utf8(body(&session, 1).await.unwrap()).unwrap();
        assert_eq!(text, format!("you said {} ok", "*".repeat(SECRET.len())));
        assert!(!format!("{head:?}").contains(SECRET) && head.headers[0].1.contains("Bearer ***"), "{head:?}");
    }

    #[tokio::test]
    async fn an_answer_that_cannot_be_searched_is_not_passed_on() {
        let known = authority();
        let zipped = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx";
        let server = Server::with(zipped, Some(acceptor(&known, "a.test"))).await;
        let session = trusting(vec![known.der.clone()]);
        let opened = session.open(1, https(server.port), &tokens(server.port), injected("Bearer x")).await;
        refused(opened, "EGRESS_BROKEN");
        assert!(open(&session, 2, https(server.port), server.port).await.is_ok());
    }
}
