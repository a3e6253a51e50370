//! Whose bundles a device takes, in which order of versions, and with which authority. After each refusal the device is as it was.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it found by failing"
)]

mod support;

use aria_protocol::aria::v1 as pb;
use pb::audit_client::AuditClient;
use support::aria_file::Parts;
use support::client::{Client, outcome};
use support::{Daemon, blob, bundle, parts, refusal, sign};
use tonic::{Code, Status};

#[track_caller]
fn check(refused: Result<impl std::fmt::Debug, Status>, code: Code, reason: &str) {
    assert_eq!(refusal(&refused.unwrap_err()), (code, reason.to_owned()));
}

async fn bundles(client: &Client) -> Vec<pb::Bundle> {
    client.bundles.clone().list_bundles(pb::ListBundlesRequest {}).await.unwrap().into_inner().bundles
}

/// Nothing is installed and nothing is left.
async fn check_untouched(daemon: &Daemon, client: &Client) {
    assert!(bundles(client).await.is_empty());
    for of in ["staging", "bundles"] {
        assert_eq!(daemon.entries(of), [""; 0], "{of}");
    }
}

fn asking(name: &str, version: &str, tokens: &[&str]) -> Parts {
    parts(name, version).manifest(|manifest| manifest["tools"][0]["tokens"] = tokens.iter().copied().collect())
}

async fn upload_accepting(client: &Client, bytes: &[u8], authority: &str) -> Result<pb::UploadBundleResponse, Status> {
    let accept_authority = authority.to_owned();
    let start = pb::UploadStart { file: Some(blob(bytes)), accept_authority, dry_run: false };
    client.upload_start(start, bytes, 100_000).await
}

async fn dry_run(client: &Client, bytes: &[u8]) -> Result<pb::UploadBundleResponse, Status> {
    let start = pb::UploadStart { file: Some(blob(bytes)), dry_run: true, ..Default::default() };
    client.upload_start(start, bytes, 100_000).await
}

#[tokio::test]
async fn each_signature_that_is_not_good_has_its_reason_and_a_good_one_is_taken_after_it() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let demo = parts("demo", "1.0.0");
    check(client.upload(&demo.bytes()).await, Code::PermissionDenied, "SIGNATURE_MISSING");
    check(client.upload(&sign(&demo, &[2])).await, Code::PermissionDenied, "SIGNER_UNKNOWN");
    check_untouched(&daemon, &client).await;

    let bad = support::author::signed_by(&demo.image(), &[1], |envelope| {
        use base64::Engine as _;
        let other = support::author::pair(2).0.sign(b"other");
        let text = base64::engine::general_purpose::STANDARD.encode(other.as_ref());
        envelope["signatures"][0]["sig"] = text.into();
    });
    check(client.upload(&bad).await, Code::PermissionDenied, "SIGNATURE_BAD");

    client.trust_key(2, "other").await.unwrap();
    client.revoke_key(2).await.unwrap();
    check(client.upload(&sign(&demo, &[2])).await, Code::PermissionDenied, "SIGNER_REVOKED");

    let soon = time::OffsetDateTime::now_utc() + time::Duration::milliseconds(300);
    let expires_at = soon.format(&time::format_description::well_known::Rfc3339).unwrap();
    let public_key = support::author::pair(3).1.spki();
    let request = pb::TrustSignerRequest { public_key, publisher: "brief".to_owned(), expires_at, joins: false };
    client.trust.clone().trust_signer(request).await.unwrap();
    support::until("the key's time is over", || time::OffsetDateTime::now_utc() > soon).await;
    check(client.upload(&sign(&demo, &[3])).await, Code::PermissionDenied, "SIGNER_EXPIRED");
    check_untouched(&daemon, &client).await;

    let installed = client.upload(&bundle("demo", "1.0.0")).await.unwrap().bundle.unwrap();
    assert_eq!((installed.publisher.as_str(), installed.blocked.as_str()), ("author", ""));
    assert_eq!(installed.signer, support::author::pair(1).1.id().to_string());
    assert_eq!(daemon.entries("staging"), [""; 0]);
}

#[tokio::test]
async fn a_refusal_is_in_the_audit_once_with_the_bundle_it_is_about() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    check(client.upload(&parts("demo", "1.0.0").bytes()).await, Code::PermissionDenied, "SIGNATURE_MISSING");
    let request = pb::AuditListRequest { kind: "call.refused".to_owned(), ..Default::default() };
    let mut rows = AuditClient::new(daemon.local().await.channel).list(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    while let Some(row) = rows.message().await.unwrap() {
        found.push(row);
    }
    let text = format!("{found:?}");
    assert_eq!(text.matches("SIGNATURE_MISSING").count(), 1, "{text}");
    assert!(text.contains("bundle:demo@1.0.0"), "{text}");
}

#[tokio::test]
async fn a_name_and_its_highest_version_outlive_removal_and_restart() {
    let mut daemon = Daemon::start().await;
    let key = daemon.enrol("ann", "operator").await;
    let client = Client::tls(&daemon.listen, &key).await.unwrap();
    client.upload(&bundle("demo", "1.1.0")).await.unwrap();
    client.trust_key(2, "other").await.unwrap();
    let remove = pb::RemoveBundleRequest { name: "demo".to_owned(), ..Default::default() };
    client.bundles.clone().remove_bundle(remove).await.unwrap();
    daemon.kill();
    daemon.again().await;
    let client = Client::tls(&daemon.listen, &key).await.unwrap();
    check(client.upload(&bundle("demo", "1.0.9")).await, Code::FailedPrecondition, "BUNDLE_ROLLBACK");
    let theirs = sign(&parts("demo", "2.0.0"), &[2]);
    check(client.upload(&theirs).await, Code::PermissionDenied, "PUBLISHER_MISMATCH");
    check_untouched(&daemon, &client).await;
    // What was removed may come again, also with other contents: nothing else is there under the version.
    let changed = parts("demo", "1.1.0").manifest(|manifest| manifest["description"] = "changed".into());
    client.upload(&sign(&changed, &[1])).await.unwrap();
    check(client.upload(&bundle("demo", "1.1.0")).await, Code::AlreadyExists, "VERSION_TAKEN");
    assert_eq!(daemon.entries("staging"), [""; 0]);
}

#[tokio::test]
async fn a_publisher_changes_its_key_and_keeps_its_name() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    client.upload(&bundle("demo", "1.0.0")).await.unwrap();
    check(client.trust_key(2, "author").await, Code::AlreadyExists, "PUBLISHER_TAKEN");
    let public_key = support::author::pair(2).1.spki();
    let joins =
        pb::TrustSignerRequest { public_key, publisher: "author".to_owned(), joins: true, ..Default::default() };
    assert!(!client.trust.clone().trust_signer(joins.clone()).await.unwrap().into_inner().already_trusted);
    assert!(client.trust.clone().trust_signer(joins).await.unwrap().into_inner().already_trusted);
    let gone = client.revoke_key(1).await.unwrap();
    assert_eq!(gone.blocked_bundles, ["demo@1.0.0"]);
    check(client.invoke("demo.echo", "{}").await, Code::PermissionDenied, "SIGNER_REVOKED");
    assert_eq!(bundles(&client).await[0].blocked, "SIGNER_REVOKED");
    // The same bundle with the new key's signature is the same bundle, and callable again.
    let answer = client.upload(&sign(&parts("demo", "1.0.0"), &[2])).await.unwrap();
    assert!(answer.already_present && answer.bundle.unwrap().blocked.is_empty());
    let events = client.invoke("demo.echo", r#"{"a":1}"#).await.unwrap();
    assert!(matches!(outcome(&events), pb::outcome::Kind::Succeeded(_)));
    client.upload(&sign(&parts("demo", "1.1.0"), &[2])).await.unwrap();
    check(client.trust_key(1, "author").await, Code::FailedPrecondition, "SIGNER_REVOKED");
}

#[tokio::test]
async fn wider_authority_waits_for_exactly_its_acceptance_and_the_old_version_goes_on() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let ask = |version: &str, tokens: &[&str]| sign(&asking("demo", version, tokens), &[1]);
    client.upload(&ask("1.0.0", &["kv:orders:ro"])).await.unwrap();
    let wide = ask("1.1.0", &["kv:orders:rw"]);
    let status = client.upload(&wide).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "AUTHORITY_WIDENED".to_owned()));
    use tonic_types::StatusExt;
    let authority = status.get_details_error_info().unwrap().metadata["authority"].clone();
    let looked = dry_run(&client, &wide).await.unwrap();
    let diff = looked.authority.unwrap();
    assert!(diff.needs_acceptance && diff.compared_version == "1.0.0" && !looked.already_present);
    assert_eq!(looked.bundle.unwrap().authority_digest, authority);
    let [change] = diff.changes.as_slice() else { panic!("{:?}", diff.changes) };
    assert_eq!((change.wider, change.touch.as_str()), (true, "kv:orders:rw"));
    let installed = async || bundles(&client).await.into_iter().map(|bundle| bundle.version).collect::<Vec<_>>();
    assert_eq!((installed().await, daemon.entries("staging")), (vec!["1.0.0".to_owned()], vec![]));

    let wrong = format!("sha256:{}", "0".repeat(64));
    check(upload_accepting(&client, &wide, &wrong).await, Code::FailedPrecondition, "AUTHORITY_WIDENED");
    check(upload_accepting(&client, &wide, "all").await, Code::InvalidArgument, "DIGEST_SYNTAX");
    let answer = upload_accepting(&client, &wide, &authority).await.unwrap();
    assert_eq!(answer.authority.unwrap().changes, diff.changes);
    assert_eq!(installed().await, ["1.1.0", "1.0.0"]);

    // Accepted is this authority of this name: after it was removed it comes back without a question, and nothing wider does.
    let remove = pb::RemoveBundleRequest { name: "demo".to_owned(), version: "1.1.0".to_owned(), ..Default::default() };
    client.bundles.clone().remove_bundle(remove).await.unwrap();
    client.upload(&wide).await.unwrap();
    let wider = ask("1.2.0", &["kv:orders:rw", "kv:other:ro"]);
    check(client.upload(&wider).await, Code::FailedPrecondition, "AUTHORITY_WIDENED");
    client.upload(&ask("1.2.0", &["kv:orders:ro"])).await.unwrap();
}

#[tokio::test]
async fn only_operators_decide_whom_the_device_trusts_and_bad_keys_have_their_reasons() {
    let daemon = Daemon::start().await;
    let caller = daemon.enrol("carl", "caller").await;
    let caller = Client::tls(&daemon.listen, &caller).await.unwrap();
    check(caller.trust_key(2, "carl").await, Code::PermissionDenied, "ROLE");
    check(caller.revoke_key(1).await, Code::PermissionDenied, "ROLE");
    check(caller.trust.clone().list_signers(pb::ListSignersRequest {}).await, Code::PermissionDenied, "ROLE");

    let client = daemon.operator().await;
    let request = |public_key: Vec<u8>, publisher: &str, expires_at: &str| pb::TrustSignerRequest {
        public_key,
        publisher: publisher.to_owned(),
        expires_at: expires_at.to_owned(),
        joins: false,
    };
    let key = support::author::pair(2).1.spki();
    let cases = [
        (request(vec![1, 2, 3], "bob", ""), "KEY_INVALID"),
        (request(key.clone(), "b/b", ""), "PUBLISHER_SYNTAX"),
        (request(key.clone(), "bob", "tomorrow"), "TIME_SYNTAX"),
        (request(key.clone(), "bob", "2001-01-01T00:00:00Z"), "EXPIRES_PAST"),
    ];
    for (request, reason) in cases {
        check(client.trust.clone().trust_signer(request).await, Code::InvalidArgument, reason);
    }
    check(client.revoke_key(2).await, Code::NotFound, "KEY_UNKNOWN");
    let malformed = pb::RevokeSignerRequest { key_id: "me".to_owned() };
    check(client.trust.clone().revoke_signer(malformed).await, Code::InvalidArgument, "DIGEST_SYNTAX");
    // Without a name the key speaks for whoever says so.
    let signer = client.trust.clone().trust_signer(request(key, "", "")).await.unwrap().into_inner().signer.unwrap();
    assert_eq!((signer.publisher.as_str(), signer.trusted_by.as_str()), ("operator", "operator"));
    let listed = client.trust.clone().list_signers(pb::ListSignersRequest {}).await.unwrap().into_inner().signers;
    assert_eq!(listed.iter().map(|signer| signer.publisher.as_str()).collect::<Vec<_>>(), ["author", "operator"]);
}

#[tokio::test]
async fn revoking_a_key_cancels_what_runs_by_it_and_nothing_else() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    client.trust_key(2, "other").await.unwrap();
    client.upload(&bundle("mine", "1.0.0")).await.unwrap();
    client.upload(&sign(&parts("theirs", "1.0.0"), &[2])).await.unwrap();
    let call = |tool: &str| {
        let (client, request) = (client.clone(), pb::InvokeRequest { tool: tool.to_owned(), ..Default::default() });
        async move {
            let mut stream = client.tools.clone().invoke(request).await.unwrap().into_inner();
            while let Some(answer) = stream.message().await.unwrap() {
                let event = answer.event.unwrap().event.unwrap();
                if matches!(event, pb::run_event::Event::Started(_)) {
                    break;
                }
            }
            stream
        }
    };
    let (mut mine, mut theirs) = (call("mine.hangs").await, call("theirs.hangs").await);
    client.revoke_key(2).await.unwrap();
    let ended = loop {
        let event = theirs.message().await.unwrap().unwrap().event.unwrap().event.unwrap();
        if let pb::run_event::Event::Finished(finished) = event {
            break finished.outcome.unwrap().kind.unwrap();
        }
    };
    assert_eq!(ended, pb::outcome::Kind::Cancelled(pb::Cancelled { by: "revocation".to_owned() }));
    check(client.invoke("theirs.echo", "{}").await, Code::PermissionDenied, "SIGNER_REVOKED");
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(300), mine.message()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let events = client.invoke("mine.echo", "{}").await.unwrap();
    assert!(matches!(outcome(&events), pb::outcome::Kind::Succeeded(_)));
}

#[tokio::test]
async fn a_program_needs_no_signature_because_running_it_is_a_permission_of_its_own() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    client.revoke_key(1).await.unwrap();
    let program = client.put(&support::program()).await.unwrap();
    let start = pb::RunStart { bundle: Some(program), ..Default::default() };
    let request = pb::RunRequest { part: Some(pb::run_request::Part::Start(start)) };
    let mut stream = client.exec.clone().run(tokio_stream::iter([request])).await.unwrap().into_inner();
    let mut last = None;
    while let Some(answer) = stream.message().await.unwrap() {
        last = answer.event.unwrap().event;
    }
    assert!(matches!(last, Some(pb::run_event::Event::Finished(_))), "{last:?}");
}
