//! Who gets in, as whom, and for how long.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it found by failing"
)]

mod support;

use std::time::Duration;

use aria_protocol::aria::v1 as pb;
use prost::Message;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair};
use support::client::{Client, Key, client_params, connect_anonymous, connect_tls};
use support::{Daemon, refusal};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

#[tokio::test]
async fn an_enrolled_key_is_served_over_tls_as_itself() {
    let daemon = Daemon::start().await;
    let key = daemon.enrol("ann", "caller").await;
    let client = Client::tls(&daemon.listen, &key).await.unwrap();
    let node = client.node.clone().get_node(pb::GetNodeRequest {}).await.unwrap().into_inner();
    assert_eq!((node.subject.as_str(), node.role.as_str()), ("ann", "caller"));
    assert_eq!(node.node_id, daemon.node_id);
    assert!(node.quilt_up && node.exec_enabled);
    assert_eq!(node.sandbox_layers, ["script: on"]);
}

#[tokio::test]
async fn the_socket_belongs_to_the_administrator() {
    let daemon = Daemon::start().await;
    let node = daemon.local().await.node.get_node(pb::GetNodeRequest {}).await.unwrap().into_inner();
    assert_eq!((node.subject.as_str(), node.role.as_str()), ("uid:0", "admin"));
    let mode = std::fs::metadata(daemon.dir.path().join("api.sock")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o660);
}

/// The handshake fails: nothing the client sends after it is answered.
async fn check_refused(daemon: &Daemon, what: &str, key: &Key) {
    let refused = Client::tls(&daemon.listen, key).await;
    assert!(refused.is_err(), "{what} got in");
}

#[tokio::test]
async fn a03_every_other_certificate_is_refused_in_the_handshake() {
    let daemon = Daemon::start().await;
    let day = time::Duration::days(1);
    let now = OffsetDateTime::now_utc();
    check_refused(&daemon, "a self-signed certificate", &Key::new()).await;

    let other_ca = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key = Key::new();
    let issuer = rcgen::Issuer::new(client_params("other CA"), other_ca);
    let certificate = client_params("ann").signed_by(&key.pair, &issuer).unwrap().der().clone();
    check_refused(&daemon, "another authority", &Key { certificate, ..key }).await;

    let data = daemon.data();
    check_refused(&daemon, "an unenrolled key", &Key::new().forged(&data, |_| {})).await;
    // The rest hold an enrolled key, so only the certificate is wrong.
    let enrolled = daemon.enrol("ann", "caller").await.forged(&data, |params| params.not_after = now - day);
    check_refused(&daemon, "an expired certificate", &enrolled).await;
    let enrolled = enrolled.forged(&data, |params| params.not_before = now + day);
    check_refused(&daemon, "a certificate of tomorrow", &enrolled).await;
    let enrolled =
        enrolled.forged(&data, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    check_refused(&daemon, "a server's certificate", &enrolled).await;
    let certificate = client_params("ann").self_signed(&enrolled.pair).unwrap().der().clone();
    let enrolled = Key { certificate, ..enrolled };
    check_refused(&daemon, "an enrolled key in an envelope of its own", &enrolled).await;
    let enrolled = enrolled.forged(&data, |_| {});
    assert!(Client::tls(&daemon.listen, &enrolled).await.is_ok());
}

#[tokio::test]
async fn no_certificate_and_no_tls_are_refused() {
    let daemon = Daemon::start().await;
    // TLS 1.3: the client is done before the server has seen that there is no certificate.
    if let Ok(mut stream) = connect_anonymous(&daemon.listen).await {
        let mut answer = Vec::new();
        assert!(stream.read_to_end(&mut answer).await.is_err());
        assert_eq!(answer, b"");
    }
    let mut plain = tokio::net::TcpStream::connect(&daemon.listen).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.windows(4).any(|window| window == b"grpc"), "{answer:?}");
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_ended() {
    let daemon = Daemon::start().await;
    let mut idle = tokio::net::TcpStream::connect(&daemon.listen).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(8), idle.read(&mut [0; 1])).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
}

#[tokio::test]
async fn revocation_bites_on_the_live_connection_and_in_the_next_handshake() {
    let mut daemon = Daemon::start().await;
    let key = daemon.enrol("ann", "operator").await;
    let client = Client::tls(&daemon.listen, &key).await.unwrap();
    let request = pb::RevokeRequest { key_sha256: key.sha256(), subject: String::new() };
    let above = daemon.enrol("root", "admin").await;
    let admin = pb::RevokeRequest { key_sha256: above.sha256(), subject: String::new() };
    let status = client.node.clone().revoke(admin).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "ROLE".to_owned()));
    let revoked = daemon.local().await.node.revoke(request).await.unwrap().into_inner();
    assert_eq!(revoked.key_sha256, [key.sha256()]);
    let status = client.node.clone().get_node(pb::GetNodeRequest {}).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unauthenticated, "CREDENTIAL_REVOKED".to_owned()));
    check_refused(&daemon, "a revoked key", &key).await;
    daemon.stop().await;
    daemon.again().await;
    check_refused(&daemon, "a revoked key after a restart", &key).await;
    let unknown = pb::RevokeRequest { key_sha256: String::new(), subject: "nobody".to_owned() };
    let status = daemon.local().await.node.revoke(unknown).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::NotFound, "CREDENTIAL_UNKNOWN".to_owned()));
}

/// The status a stream ends with, which is not `OK`.
async fn end_of<T>(stream: &mut tonic::Streaming<T>) -> tonic::Status {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended as if it were whole"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn revocation_ends_what_is_being_answered() {
    let daemon = Daemon::start().await;
    let key = daemon.enrol("ann", "operator").await;
    let client = Client::tls(&daemon.listen, &key).await.unwrap();
    client.upload(&support::bundle("demo", "1.0.0")).await.unwrap();
    let follow = pb::StreamLogsRequest { follow: true, ..Default::default() };
    let mut logs = client.node.clone().stream_logs(follow).await.unwrap().into_inner();
    let call = pb::InvokeRequest { tool: "demo.lingers".to_owned(), input_json: "{}".to_owned(), ..Default::default() };
    let mut run = client.tools.clone().invoke(call).await.unwrap().into_inner();
    support::until("it runs", || daemon.engine.alive() == 1).await;
    // A program that never says what it is: the handler itself waits.
    let silent = client.exec.clone();
    let waiting = tokio::spawn(async move { silent.clone().run(tokio_stream::pending()).await.map(drop) });

    let request = pb::RevokeRequest { key_sha256: key.sha256(), subject: String::new() };
    daemon.local().await.node.revoke(request).await.unwrap();
    let expected = (Code::Unauthenticated, "CREDENTIAL_REVOKED".to_owned());
    let ended = async {
        assert_eq!(refusal(&end_of(&mut logs).await), expected);
        assert_eq!(refusal(&end_of(&mut run).await), expected);
        assert_eq!(refusal(&waiting.await.unwrap().unwrap_err()), expected);
    };
    tokio::time::timeout(Duration::from_secs(2), ended).await.expect("streams end at once");
    support::until("the cage is gone", || daemon.engine.alive() == 0).await;
}

/// All methods of the device, from the descriptor, with the standard ones.
fn methods() -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(aria_protocol::DESCRIPTOR).unwrap();
    let mut paths = Vec::new();
    for file in set.file.iter().filter(|file| file.package() == "aria.v1") {
        for service in &file.service {
            let path =
                |method: &prost_types::MethodDescriptorProto| format!("/aria.v1.{}/{}", service.name(), method.name());
            paths.extend(service.method.iter().map(path));
        }
    }
    assert!(paths.len() >= 15, "{paths:?}");
    for version in ["v1", "v1alpha"] {
        paths.push(format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"));
    }
    paths
        .extend(["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/no.Such/Method"].map(str::to_owned));
    paths
}

/// Calls a method with an empty message.
async fn call(client: &Client, path: &str) -> Result<(), tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(client.channel.clone());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = http::uri::PathAndQuery::try_from(path).unwrap();
    grpc.server_streaming(tonic::Request::new(()), path, codec).await.map(drop)
}

#[tokio::test]
async fn a02_every_method_needs_a_credential() {
    let daemon = Daemon::start().await;
    let key = daemon.enrol("ann", "admin").await;
    let client = Client::tls(&daemon.listen, &key).await.unwrap();
    let request = pb::RevokeRequest { key_sha256: key.sha256(), subject: String::new() };
    daemon.local().await.node.revoke(request).await.unwrap();
    for path in methods() {
        let status = call(&client, &path).await.unwrap_err();
        assert_eq!(refusal(&status).0, Code::Unauthenticated, "{path}");
    }
}

/// Set for the copy of this program that runs as another user.
const FOREIGN_SOCKET: &str = "ARIAD_TEST_FOREIGN_SOCKET";

#[tokio::test]
async fn a_foreign_user_on_the_socket_is_nobody() {
    if let Ok(socket) = std::env::var(FOREIGN_SOCKET) {
        let client = Client::local(socket.as_ref()).await;
        for path in methods() {
            let status = call(&client, &path).await.unwrap_err();
            assert_eq!(refusal(&status), (Code::Unauthenticated, "CREDENTIAL_MISSING".to_owned()), "{path}");
        }
        println!("foreign user refused");
        return;
    }
    let daemon = Daemon::start().await;
    let (dir, socket) = (daemon.dir.path(), daemon.dir.path().join("api.sock"));
    let copy = dir.join("test-program");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    support::permit(dir, 0o755);
    let run_as_another = || {
        let mut child = support::program_as(&copy, 54_321);
        child.env(FOREIGN_SOCKET, &socket).args(["--exact", "a_foreign_user_on_the_socket_is_nobody", "--nocapture"]);
        child.output().unwrap()
    };
    let kept_out = run_as_another();
    assert!(!kept_out.status.success(), "the socket's mode lets anybody connect");
    // Even when the mode is wrong.
    support::permit(&socket, 0o666);
    let refused = run_as_another();
    assert!(String::from_utf8_lossy(&refused.stdout).contains("foreign user refused"), "{refused:?}");
}

#[tokio::test]
async fn unknown_methods_are_unimplemented_for_those_who_are_known() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    for path in ["/no.Such/Method", "/aria.v1.Tools/NoSuch"] {
        assert_eq!(call(&client, path).await.unwrap_err().code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn the_expected_key_enrols_once_and_does_nothing_else() {
    let key = Key::new();
    let mut daemon = Daemon::start_with(&format!("[api.enrol]\nkey_sha256 = \"{}\"", key.sha256())).await;
    check_refused(&daemon, "an unexpected key", &Key::new()).await;
    let client = Client::tls(&daemon.listen, &key).await.unwrap();
    for path in methods().iter().filter(|path| !path.ends_with("/Enroll")) {
        let status = call(&client, path).await.unwrap_err();
        assert_eq!(refusal(&status).0, Code::PermissionDenied, "{path}");
    }
    let enroll = |request| {
        let mut node = client.node.clone();
        async move { node.enroll(request).await.map(tonic::Response::into_inner) }
    };
    let stranger = Key::new().enrol_request("eve", "");
    let status = enroll(stranger).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "ENROLMENT_CLOSED".to_owned()));
    let status = enroll(key.enrol_request("ann", "admin")).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "ENROLMENT_CLOSED".to_owned()));
    let bad = pb::EnrollRequest { csr_der: b"nonsense".to_vec(), subject: "ann".to_owned(), role: String::new() };
    assert_eq!(refusal(&enroll(bad).await.unwrap_err()), (Code::InvalidArgument, "CSR_INVALID".to_owned()));

    let answer = enroll(key.enrol_request("ann", "")).await.unwrap();
    assert_eq!(answer.role, "operator");
    let status = enroll(key.enrol_request("ann", "")).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "ENROLMENT_CLOSED".to_owned()));
    check_refused(&daemon, "the expected key's own envelope, after enrolment", &key).await;
    let key = key.signed(&answer);
    assert!(Client::tls(&daemon.listen, &key).await.is_ok());

    daemon.stop().await;
    daemon.again().await;
    let own = client_params("self").self_signed(&key.pair).unwrap().der().clone();
    let key = Key { certificate: own, ..key };
    check_refused(&daemon, "the expected key's own envelope, after a restart", &key).await;
}

#[tokio::test]
async fn the_window_closes() {
    let key = Key::new();
    let daemon = Daemon::start_with(&format!("[api.enrol]\nkey_sha256 = \"{}\"\nwindow_s = 2", key.sha256())).await;
    let early = Client::tls(&daemon.listen, &key).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    check_refused(&daemon, "the expected key, late", &key).await;
    let status = early.node.clone().enroll(key.enrol_request("ann", "")).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "ENROLMENT_CLOSED".to_owned()));
}

#[tokio::test]
async fn an_enrolled_key_does_not_enrol_others() {
    let daemon = Daemon::start().await;
    let key = daemon.enrol("root", "admin").await;
    let client = Client::tls(&daemon.listen, &key).await.unwrap();
    let status = client.node.clone().enroll(Key::new().enrol_request("eve", "")).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "ENROLMENT_CLOSED".to_owned()));
}

#[tokio::test]
async fn subjects_and_roles_are_checked() {
    let daemon = Daemon::start().await;
    let mut node = daemon.local().await.node;
    for (subject, role, reason) in [
        ("", "", "SUBJECT_SYNTAX"),
        ("uid:0", "", "SUBJECT_SYNTAX"),
        ("a/b", "", "SUBJECT_SYNTAX"),
        ("-a", "", "SUBJECT_SYNTAX"),
        (&"a".repeat(64), "", "SUBJECT_SYNTAX"),
        ("ann", "root", "ROLE_UNKNOWN"),
    ] {
        let status = node.enroll(Key::new().enrol_request(subject, role)).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::InvalidArgument, reason.to_owned()), "{subject} {role}");
    }
}

#[tokio::test]
async fn callers_call_and_operators_operate() {
    let daemon = Daemon::start().await;
    let key = daemon.enrol("agent", "caller").await;
    let caller = Client::tls(&daemon.listen, &key).await.unwrap();
    let status = caller.upload(&support::bundle("demo", "1.0.0")).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "ROLE".to_owned()));
    assert!(caller.bundles.clone().list_bundles(pb::ListBundlesRequest {}).await.is_ok());
    let start = pb::RunRequest { part: None };
    let status = caller.exec.clone().run(tokio_stream::iter([start])).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "ROLE".to_owned()));
}

#[tokio::test]
async fn resumption_does_not_skip_the_check() {
    let daemon = Daemon::start().await;
    let key = daemon.enrol("ann", "caller").await;
    let stream = connect_tls(&daemon.listen, &key).await.unwrap();
    assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
}
