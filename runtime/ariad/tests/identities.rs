//! The life of identities: listed, renewed, invited, revoked by others, and what each role may do of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it found by failing"
)]

mod support;

use aria_protocol::aria::v1 as pb;
use support::client::{Client, Key};
use support::{Daemon, refusal};
use tonic::{Code, Status};

#[track_caller]
fn check(refused: Result<impl std::fmt::Debug, Status>, code: Code, reason: &str) {
    assert_eq!(refusal(&refused.unwrap_err()), (code, reason.to_owned()));
}

async fn connect(daemon: &Daemon, key: &Key) -> Client {
    Client::tls(&daemon.listen, key).await.unwrap()
}

async fn listed(client: &Client) -> Vec<pb::Credential> {
    let request = pb::ListCredentialsRequest {};
    client.node.clone().list_credentials(request).await.unwrap().into_inner().credentials
}

async fn revoke(client: &Client, key_sha256: &str, subject: &str) -> Result<Vec<String>, Status> {
    let request = pb::RevokeRequest { key_sha256: key_sha256.to_owned(), subject: subject.to_owned() };
    Ok(client.node.clone().revoke(request).await?.into_inner().key_sha256)
}

async fn invite(client: &Client, key: &Key, role: &str, window_s: u32) -> Result<pb::InviteKeyResponse, Status> {
    let request = pb::InviteKeyRequest { key_sha256: key.sha256(), role: role.to_owned(), window_s };
    Ok(client.node.clone().invite_key(request).await?.into_inner())
}

#[tokio::test]
async fn a_lost_laptop_is_revoked_from_the_socket_and_by_any_other_operator() {
    let daemon = Daemon::start().await;
    let (lost, other) = (daemon.enrol("lost", "operator").await, daemon.enrol("other", "operator").await);
    let (lost_client, other_client) = (connect(&daemon, &lost).await, connect(&daemon, &other).await);
    let seen: Vec<_> = listed(&other_client).await.into_iter().map(|one| (one.subject, one.revoked_at)).collect();
    assert_eq!(seen, [("lost".to_owned(), String::new()), ("other".to_owned(), String::new())]);
    assert_eq!(revoke(&other_client, "", "lost").await.unwrap(), [lost.sha256()]);
    check(lost_client.node.clone().get_node(pb::GetNodeRequest {}).await, Code::Unauthenticated, "CREDENTIAL_REVOKED");
    assert!(Client::tls(&daemon.listen, &lost).await.is_err());
    assert_eq!(revoke(&daemon.local().await, "", "other").await.unwrap(), [other.sha256()]);
    let left = listed(&daemon.local().await).await;
    assert!(left.iter().all(|one| !one.revoked_at.is_empty() && !one.expires_at.is_empty()), "{left:?}");
}

#[tokio::test]
async fn revocation_reaches_a_stream_that_is_open() {
    let daemon = Daemon::start().await;
    let lost = daemon.enrol("lost", "operator").await;
    let client = connect(&daemon, &lost).await;
    let request = pb::StreamLogsRequest { follow: true, ..Default::default() };
    let mut stream = client.node.clone().stream_logs(request).await.unwrap().into_inner();
    let operator = daemon.operator().await;
    revoke(&operator, &lost.sha256(), "").await.unwrap();
    check(stream.message().await, Code::Unauthenticated, "CREDENTIAL_REVOKED");
}

#[tokio::test]
async fn who_only_calls_sees_and_ends_its_own_and_nobody_else() {
    let daemon = Daemon::start().await;
    let (carl, dora) = (daemon.enrol("carl", "caller").await, daemon.enrol("dora", "caller").await);
    let client = connect(&daemon, &carl).await;
    assert_eq!(listed(&client).await.into_iter().map(|one| one.subject).collect::<Vec<_>>(), ["carl"]);
    check(revoke(&client, &dora.sha256(), "").await, Code::NotFound, "CREDENTIAL_UNKNOWN");
    check(invite(&client, &Key::new(), "caller", 0).await, Code::PermissionDenied, "ROLE");
    connect(&daemon, &dora).await;
}

#[tokio::test]
async fn an_identity_renews_itself_with_its_key_or_a_new_one() {
    let mut daemon = Daemon::start().await;
    let old = daemon.enrol("ann", "caller").await;
    let client = connect(&daemon, &old).await;
    // The same key has another certificate and is the same identity.
    let answer = client.node.clone().enroll(old.enrol_request("ann", "")).await.unwrap().into_inner();
    assert_eq!(answer.role, "caller");
    let old = old.signed(&answer);
    connect(&daemon, &old).await;
    let fresh = Key::new();
    let answer = client.node.clone().enroll(fresh.enrol_request("", "")).await.unwrap().into_inner();
    let fresh = fresh.signed(&answer);
    let renewed = connect(&daemon, &fresh).await;
    assert_eq!(revoke(&renewed, &old.sha256(), "").await.unwrap(), [old.sha256()]);
    assert!(Client::tls(&daemon.listen, &old).await.is_err());
    for (subject, role) in [("bob", ""), ("ann", "operator")] {
        let request = Key::new().enrol_request(subject, role);
        check(renewed.node.clone().enroll(request).await, Code::PermissionDenied, "ENROLMENT_CLOSED");
    }
    check(renewed.node.clone().enroll(old.enrol_request("", "")).await, Code::PermissionDenied, "CREDENTIAL_REVOKED");
    daemon.kill();
    daemon.again().await;
    let node = connect(&daemon, &fresh).await.node.get_node(pb::GetNodeRequest {}).await.unwrap().into_inner();
    assert_eq!((node.subject.as_str(), node.role.as_str()), ("ann", "caller"));
}

#[tokio::test]
async fn a_second_operator_is_invited_and_enrols_once() {
    let daemon = Daemon::start().await;
    let first = daemon.operator().await;
    let key = Key::new();
    assert!(Client::tls(&daemon.listen, &key).await.is_err());
    let answer = invite(&first, &key, "", 60).await.unwrap();
    assert_eq!((answer.ca_sha256.len(), answer.listen == daemon.listen), (64, true));
    let door = connect(&daemon, &key).await;
    check(door.node.clone().get_node(pb::GetNodeRequest {}).await, Code::PermissionDenied, "ROLE");
    let as_admin = door.node.clone().enroll(key.enrol_request("bea", "admin")).await;
    check(as_admin, Code::PermissionDenied, "ENROLMENT_CLOSED");
    let answer = door.node.clone().enroll(key.enrol_request("bea", "")).await.unwrap().into_inner();
    assert_eq!(answer.role, "operator");
    let key = key.signed(&answer);
    connect(&daemon, &key).await;
    check(invite(&first, &key, "", 60).await, Code::AlreadyExists, "CREDENTIAL_EXISTS");
    check(invite(&first, &Key::new(), "admin", 60).await, Code::PermissionDenied, "ROLE");
    check(invite(&first, &Key::new(), "root", 60).await, Code::InvalidArgument, "ROLE_UNKNOWN");
    check(invite(&first, &Key::new(), "", 100_000).await, Code::InvalidArgument, "WINDOW_INVALID");
    invite(&daemon.local().await, &Key::new(), "admin", 60).await.unwrap();
    revoke(&first, &key.sha256(), "").await.unwrap();
    check(invite(&first, &key, "", 60).await, Code::AlreadyExists, "CREDENTIAL_EXISTS");
}
