//! What a client may send, and what happens to the rest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it found by failing"
)]

mod support;

use std::time::{Duration, Instant};

use aria_protocol::aria::v1 as pb;
use bytes::{Buf, BufMut};
use pb::upload_bundle_request::Part;
use support::client::{Client, connect_tls};
use support::{Daemon, blob, bundle, refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

/// Sends bytes as they are where a message should be.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

async fn raw(client: &Client, path: &'static str, message: &[u8]) -> Result<Vec<u8>, Status> {
    let mut grpc = tonic::client::Grpc::new(client.channel.clone());
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    let mut stream = grpc.server_streaming(Request::new(message.to_vec()), path, Raw).await?.into_inner();
    Ok(stream.message().await?.unwrap_or_default())
}

#[tokio::test]
async fn a09_messages_that_are_none_are_the_client_s_mistake() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    client.upload(&bundle("demo", "1.0.0")).await.unwrap();
    let field_one = |bytes: &[u8]| [&[0x0a, bytes.len() as u8], bytes].concat();
    let cases: [(&str, &'static str, Vec<u8>); 8] = [
        ("invalid UTF-8", "/aria.v1.Tools/GetTool", field_one(b"\xff\xfe")),
        ("a length beyond the end", "/aria.v1.Tools/GetTool", vec![0x0a, 0x7f, b'a']),
        ("an endless number", "/aria.v1.Tools/GetTool", vec![0xff; 32]),
        ("groups without end", "/aria.v1.Tools/Invoke", vec![0x0b; 100_000]),
        ("the wrong wire type", "/aria.v1.Tools/Invoke", vec![0x08, 0x01]),
        ("noise for an upload", "/aria.v1.Bundles/UploadBundle", vec![0xee; 64]),
        ("noise for a blob", "/aria.v1.Blobs/PutBlob", vec![0xee; 64]),
        ("noise for a program", "/aria.v1.Exec/Run", vec![0xee; 64]),
    ];
    for (what, path, message) in cases {
        let status = raw(&client, path, &message).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::InvalidArgument, "MESSAGE_INVALID".to_owned()), "{what}");
    }
    let status = raw(&client, "/aria.v1.Tools/GetTool", b"").await.unwrap_err();
    assert_eq!(refusal(&status), (Code::NotFound, "TOOL_UNKNOWN".to_owned()));
    let status = raw(&client, "/aria.v1.Tools/Nothing", b"").await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unimplemented, "RPC_NOT_BUILT".to_owned()));
    // Unknown fields are tomorrow's.
    assert!(raw(&client, "/aria.v1.Bundles/ListBundles", &[0xf8, 0x06, 0x01]).await.is_ok());
}

#[tokio::test]
async fn a01_messages_above_their_limit_are_not_read() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let status = client.invoke("demo.echo", &" ".repeat(5 << 20)).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::OutOfRange, "MESSAGE_TOO_LARGE".to_owned()));
    let status = client.put_as(blob(b""), &[]).await;
    assert!(status.is_ok());
    let part = pb::put_blob_request::Part::Chunk(vec![0; 2 << 20]);
    let messages =
        [pb::put_blob_request::Part::Start(blob(b"x")), part].map(|part| pb::PutBlobRequest { part: Some(part) });
    let status = client.blobs.clone().put_blob(tokio_stream::iter(messages)).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::OutOfRange, "MESSAGE_TOO_LARGE".to_owned()));
    assert!(client.node.clone().get_node(pb::GetNodeRequest {}).await.is_ok());
}

#[tokio::test]
async fn a08_headers_above_their_limit_are_refused() {
    let daemon = Daemon::start().await;
    let key = daemon.enrol("ann", "operator").await;
    let attempts = [("many", 10_000, 8), ("large", 1, 1 << 20), ("just above", 2, 10_000)];
    for (what, count, bytes) in attempts {
        let client = Client::tls(&daemon.listen, &key).await.unwrap();
        let mut request = Request::new(pb::GetNodeRequest {});
        for n in 0..count {
            let name = tonic::metadata::MetadataKey::from_bytes(format!("x-{n}").as_bytes()).unwrap();
            request.metadata_mut().insert(name, "v".repeat(bytes).parse().unwrap());
        }
        let refused = client.node.clone().get_node(request).await;
        assert!(refused.is_err(), "{what}");
    }
    let client = Client::tls(&daemon.listen, &key).await.unwrap();
    let mut request = Request::new(pb::GetNodeRequest {});
    request.metadata_mut().insert("x-a", "v".repeat(4000).parse().unwrap());
    assert!(client.node.clone().get_node(request).await.is_ok());
}

#[tokio::test]
async fn a05_an_upload_that_trickles_is_ended() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let good = bundle("demo", "1.0.0");
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut bundles = client.bundles.clone();
    let upload = tokio::spawn(async move { bundles.upload_bundle(ReceiverStream::new(receiver)).await });
    let begun = Instant::now();
    let start = Part::Start(pb::UploadStart { file: Some(blob(&good)), ..Default::default() });
    sender.send(pb::UploadBundleRequest { part: Some(start) }).await.unwrap();
    for byte in &good {
        let chunk = pb::UploadBundleRequest { part: Some(Part::Chunk(vec![*byte])) };
        if upload.is_finished() || sender.send(chunk).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(begun.elapsed() < Duration::from_secs(40));
    }
    let status = upload.await.unwrap().unwrap_err();
    assert_eq!(refusal(&status), (Code::DeadlineExceeded, "UPLOAD_IDLE".to_owned()));
    assert!(begun.elapsed() > Duration::from_secs(25));
    support::until("staging is empty", || daemon.entries("staging").is_empty()).await;
}

#[tokio::test]
async fn a12_idle_connections_do_not_keep_others_out() {
    let daemon = Daemon::start().await;
    let key = daemon.enrol("ann", "caller").await;
    let mut idle = Vec::new();
    // Some that never say hello, some that never say more.
    for _ in 0..200 {
        idle.push(tokio::net::TcpStream::connect(&daemon.listen).await.unwrap());
    }
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(connect_tls(&daemon.listen, &key).await.unwrap());
    }
    let begun = Instant::now();
    Client::tls(&daemon.listen, &key).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn one_address_does_not_take_every_handshake() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(4096), hard).unwrap();
    let daemon = Daemon::start().await;
    let key = daemon.enrol("ann", "caller").await;
    let (begun, mut idle) = (Instant::now(), Vec::new());
    for _ in 0..1500 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        idle.push(socket.connect(daemon.listen.parse().unwrap()).await.unwrap());
    }
    Client::tls(&daemon.listen, &key).await.expect("another address gets in");
    // Only who came too late was turned away. After five seconds nobody may be idle any more, and a busy machine may need them.
    let open = tokio::time::timeout(Duration::from_millis(10), idle[500].read(&mut [0; 1])).await;
    assert!(open.is_err() || begun.elapsed() > Duration::from_secs(4), "{open:?}");
    let last = idle.last_mut().unwrap();
    assert!(matches!(tokio::time::timeout(Duration::from_secs(20), last.read(&mut [0; 1])).await, Ok(Ok(0) | Err(_))));
}

#[tokio::test]
async fn a_program_without_its_first_message_is_ended() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let begun = Instant::now();
    let run = client.exec.clone().run(tokio_stream::pending()).await;
    assert_eq!(refusal(&run.unwrap_err()), (Code::DeadlineExceeded, "START_LATE".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(35));
}

#[tokio::test]
async fn a07_streams_reset_as_fast_as_possible_end_the_connection() {
    let daemon = Daemon::start().await;
    let key = daemon.enrol("ann", "caller").await;
    let mut stream = connect_tls(&daemon.listen, &key).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    // GET / of nobody: static table entries 2, 4, 6 (method, path, scheme), then reset.
    for id in (1..40_000_u32).step_by(2) {
        let pair = [frame(1, 0x5, id, &[0x82, 0x84, 0x86]), frame(3, 0, id, &[0, 0, 0, 8])].concat();
        if stream.write_all(&pair).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection is still open");
    let client = Client::tls(&daemon.listen, &key).await.unwrap();
    assert!(client.node.clone().get_node(pb::GetNodeRequest {}).await.is_ok());
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn noise_after_the_handshake_ends_the_connection_only() {
    let daemon = Daemon::start().await;
    let key = daemon.enrol("ann", "caller").await;
    for noise in [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), vec![0; 4096], vec![0xff; 4096]] {
        let mut stream = connect_tls(&daemon.listen, &key).await.unwrap();
        let _ = stream.write_all(&noise).await;
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "{:?}", &noise[..8]);
    }
    assert!(Client::tls(&daemon.listen, &key).await.is_ok());
}

#[tokio::test]
async fn a13_reflection_and_health_answer_those_who_are_known() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let health = HealthClient::new(client.channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status, 1);
    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut reflection = ServerReflectionClient::new(client.channel.clone());
    let mut answers = reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    for name in
        ["aria.v1.Tools", "aria.v1.Bundles", "aria.v1.Blobs", "aria.v1.Exec", "aria.v1.Node", "grpc.health.v1.Health"]
    {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    assert!(!names.iter().any(|name| name.starts_with("quilt.")), "{names:?}");
}

#[tokio::test]
async fn uploads_have_a_bound_and_say_so() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let good = bundle("demo", "1.0.0");
    let mut waiting = Vec::new();
    for _ in 0..6 {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let start = Part::Start(pb::UploadStart { file: Some(blob(&good)), ..Default::default() });
        sender.send(pb::UploadBundleRequest { part: Some(start) }).await.unwrap();
        let mut bundles = client.bundles.clone();
        waiting.push((sender, tokio::spawn(async move { bundles.upload_bundle(ReceiverStream::new(receiver)).await })));
    }
    support::until("all places are taken", || daemon.entries("staging").len() == 6).await;
    let status = client.upload(&good).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "QUEUE_FULL".to_owned()));
    // The last places are not for the one who has taken the others.
    daemon.local().await.upload(&good).await.unwrap();
    for (_, upload) in waiting {
        upload.abort();
    }
    support::until("staging is empty", || daemon.entries("staging").is_empty()).await;
    assert!(client.upload(&good).await.unwrap().already_present);
}

#[tokio::test]
async fn a_large_upload_takes_constant_memory() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    // Noise does not compress, so the file is as long as its content.
    let mut state = 88_172_645_463_325_252_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(12 << 20)
    .flatten()
    .collect();
    let mut parts = support::parts("large", "1.0.0");
    parts.files.push(("code/noise.bin".to_owned(), noise));
    parts.files.sort();
    let bytes = support::sign(&parts.listing_its_files(), &[1]);
    assert!(bytes.len() > 96 << 20);
    let installed = client.upload_as(blob(&bytes), &bytes, 1 << 20).await.unwrap();
    assert_eq!(installed.bundle.unwrap().size_bytes, bytes.len() as u64);
    let stored = client.put(&bytes).await.unwrap();
    assert!(client.get(&stored.sha256).await.unwrap() == bytes);
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < 80 << 10, "{peak}");
}
