//! Bundles by their pieces, versions side by side, and calls that leave the registry alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it found by failing"
)]

mod support;

use aria_protocol::aria::v1 as pb;
use pb::bundle_piece::Piece;
use pb::run_event::Event;
use support::client::{Client, outcome};
use support::{Daemon, blob, bundle, parts, refusal};
use tonic::{Code, Status};

#[track_caller]
fn check(refused: Result<impl std::fmt::Debug, Status>, code: Code, reason: &str) {
    assert_eq!(refusal(&refused.unwrap_err()), (code, reason.to_owned()));
}

fn literal(bytes: &[u8]) -> pb::BundlePiece {
    pb::BundlePiece { piece: Some(Piece::Literal(bytes.to_vec())) }
}

fn by_digest(bytes: &[u8]) -> pb::BundlePiece {
    pb::BundlePiece { piece: Some(Piece::Blob(blob(bytes))) }
}

/// The middle third of a file by its digest, the rest as it stands.
fn recipe(file: &[u8]) -> (pb::CommitBundleRequest, Vec<u8>) {
    let (from, to) = (file.len() / 3, 2 * file.len() / 3);
    let pieces = vec![literal(&file[..from]), by_digest(&file[from..to]), literal(&file[to..])];
    (pb::CommitBundleRequest { file: Some(blob(file)), pieces, ..Default::default() }, file[from..to].to_vec())
}

async fn commit(client: &Client, request: &pb::CommitBundleRequest) -> Result<pb::CommitBundleResponse, Status> {
    Ok(client.bundles.clone().commit_bundle(request.clone()).await?.into_inner())
}

fn parts_of(whole: &[u8], from: usize, to: usize) -> Vec<pb::PutBlobRequest> {
    use pb::put_blob_request::Part;
    let start = Part::Resume(pb::ResumeBlob { blob: Some(blob(whole)), offset_bytes: from as u64 });
    [start, Part::Chunk(whole[from..to].to_vec())].map(|part| pb::PutBlobRequest { part: Some(part) }).into()
}

/// Sends a part of a blob and says the end.
async fn resume(client: &Client, whole: &[u8], from: usize, to: usize) -> Result<pb::BlobRef, Status> {
    let messages = tokio_stream::iter(parts_of(whole, from, to));
    Ok(client.blobs.clone().put_blob(messages).await?.into_inner().blob.unwrap())
}

/// Sends the first bytes of a blob and never the end, until the device ends the upload.
async fn break_off(daemon: &Daemon, client: &Client, whole: &[u8], to: usize) {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    for message in parts_of(whole, 0, to) {
        sender.send(message).await.unwrap();
    }
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    check(client.blobs.clone().put_blob(messages).await, Code::DeadlineExceeded, "UPLOAD_IDLE");
    let path = |name: &String| daemon.data().join("staging").join(name);
    let length = |name: &String| std::fs::metadata(path(name)).map(|found| found.len()).unwrap_or_default();
    assert_eq!(daemon.entries("staging").iter().map(length).collect::<Vec<_>>(), [to as u64]);
    // Ended in order before, it would have said that this is all.
    drop(sender);
}

async fn held(client: &Client, whole: &[u8]) -> Vec<u64> {
    let request = pb::FindMissingRequest { blobs: vec![blob(whole)] };
    client.blobs.clone().find_missing(request).await.unwrap().into_inner().held_bytes
}

#[tokio::test]
async fn a_described_bundle_asks_for_what_is_missing_and_an_unchanged_one_for_nothing() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let file = bundle("demo", "1.0.0");
    let (request, middle) = recipe(&file);
    let asked = commit(&client, &request).await.unwrap();
    assert_eq!((asked.bundle, asked.missing, asked.held_bytes), (None, vec![blob(&middle)], vec![0]));
    assert_eq!(daemon.entries("bundles"), [""; 0]);
    client.put(&middle).await.unwrap();
    let installed = commit(&client, &request).await.unwrap();
    assert!(!installed.already_present);
    let again = commit(&client, &request).await.unwrap();
    assert!(again.already_present);
    assert_eq!(again.bundle, installed.bundle);
    assert_eq!(client.upload(&file).await.unwrap().bundle, installed.bundle, "the same as when it is sent");
    assert_eq!(daemon.entries("staging"), [""; 0]);
    client.invoke("demo.echo", "{}").await.unwrap();
}

#[tokio::test]
async fn what_is_put_together_is_judged_as_what_is_sent() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let file = bundle("demo", "1.0.0");
    let (good, middle) = recipe(&file);
    client.put(&middle).await.unwrap();
    let with = |change: fn(&mut pb::CommitBundleRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let other = with(|request| request.file.as_mut().unwrap().sha256 = "0".repeat(64));
    check(commit(&client, &other).await, Code::DataLoss, "DIGEST_MISMATCH");
    let none = with(|request| request.pieces.clear());
    check(commit(&client, &none).await, Code::InvalidArgument, "RECIPE_INVALID");
    let empty = with(|request| request.pieces.push(pb::BundlePiece { piece: None }));
    check(commit(&client, &empty).await, Code::InvalidArgument, "RECIPE_INVALID");
    let long = with(|request| request.pieces.push(literal(b"x")));
    check(commit(&client, &long).await, Code::InvalidArgument, "RECIPE_INVALID");
    let many = with(|request| request.pieces = vec![literal(b"x"); 1025]);
    check(commit(&client, &many).await, Code::InvalidArgument, "RECIPE_INVALID");
    let huge = with(|request| request.file.as_mut().unwrap().size_bytes = 1 << 40);
    check(commit(&client, &huge).await, Code::ResourceExhausted, "BUNDLE_TOO_LARGE");
    let noise = vec![7; 20_000];
    let (request, middle) = recipe(&noise);
    client.put(&middle).await.unwrap();
    assert_eq!(refusal(&commit(&client, &request).await.unwrap_err()).0, Code::InvalidArgument);
    let mut swapped = file.clone();
    swapped[600] ^= 1;
    let (request, middle) = recipe(&swapped);
    client.put(&middle).await.unwrap();
    assert_eq!(refusal(&commit(&client, &request).await.unwrap_err()).0, Code::InvalidArgument);
    for of in ["staging", "bundles"] {
        assert_eq!(daemon.entries(of), [""; 0], "{of}");
    }
    commit(&client, &good).await.unwrap();
}

#[tokio::test]
async fn a10_an_upload_goes_on_for_its_owner_alone_and_only_where_it_stopped() {
    let daemon = Daemon::start().await;
    let ann = daemon.operator().await;
    let bob = Client::tls(&daemon.listen, &daemon.enrol("bob", "operator").await).await.unwrap();
    let whole: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    break_off(&daemon, &ann, &whole, 500_000).await;
    assert_eq!((held(&ann, &whole).await, held(&bob, &whole).await), (vec![500_000], vec![0]));
    assert_eq!(daemon.entries("blobs"), [""; 0]);
    check(ann.get(&blob(&whole).sha256).await, Code::NotFound, "BLOB_UNKNOWN");
    check(resume(&bob, &whole, 500_000, 600_000).await, Code::Aborted, "OFFSET_MISMATCH");
    for (from, to) in [(400_000, 600_000), (600_000, 700_000), (499_999, 500_001)] {
        check(resume(&ann, &whole, from, to).await, Code::Aborted, "OFFSET_MISMATCH");
    }
    assert_eq!(resume(&ann, &whole, 500_000, 800_000).await.unwrap(), blob(&whole));
    assert_eq!(ann.get(&blob(&whole).sha256).await.unwrap(), whole);
    check(bob.get(&blob(&whole).sha256).await, Code::NotFound, "BLOB_UNKNOWN");
    assert_eq!(daemon.entries("staging"), [""; 0]);
}

async fn pin(client: &Client, version: &str) -> Result<pb::Bundle, Status> {
    let request = pb::PinBundleRequest { name: "demo".to_owned(), version: version.to_owned() };
    Ok(client.bundles.clone().pin_bundle(request).await?.into_inner().bundle.unwrap())
}

async fn called(client: &Client) -> String {
    let request = pb::GetToolRequest { name: "demo.echo".to_owned() };
    client.tools.clone().get_tool(request).await.unwrap().into_inner().tool.unwrap().bundle_version
}

#[tokio::test]
async fn calls_go_where_they_are_pinned_and_back() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    client.upload(&bundle("demo", "1.0.0")).await.unwrap();
    let back = async || {
        let request = pb::RollBackBundleRequest { name: "demo".to_owned() };
        client.bundles.clone().roll_back_bundle(request).await
    };
    check(back().await, Code::FailedPrecondition, "NO_PREVIOUS");
    client.upload(&bundle("demo", "2.0.0")).await.unwrap();
    assert_eq!(called(&client).await, "2.0.0");
    back().await.unwrap();
    assert_eq!(called(&client).await, "1.0.0");
    client.upload(&bundle("demo", "3.0.0")).await.unwrap();
    assert_eq!(called(&client).await, "1.0.0", "a pin holds");
    check(pin(&client, "9.0.0").await, Code::NotFound, "BUNDLE_UNKNOWN");
    assert!(!pin(&client, "").await.unwrap().pinned);
    assert_eq!(called(&client).await, "3.0.0");
    let listed = client.tools.clone().list_tools(pb::ListToolsRequest {}).await.unwrap().into_inner().tools;
    assert!(listed.iter().all(|tool| tool.bundle_version == "3.0.0"));
}

#[tokio::test]
async fn a_call_that_runs_keeps_its_version() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let old = client.upload(&bundle("demo", "1.0.0")).await.unwrap().bundle.unwrap();
    let running = {
        let client = client.clone();
        tokio::spawn(async move { client.invoke("demo.hangs", "{}").await })
    };
    support::until("it runs", || daemon.engine.alive() == 1).await;
    client.upload(&bundle("demo", "2.0.0")).await.unwrap();
    let remove = pb::RemoveBundleRequest { name: "demo".to_owned(), version: "1.0.0".to_owned(), ..Default::default() };
    client.bundles.clone().remove_bundle(remove).await.unwrap();
    let directory = old.digest.trim_start_matches("sha256:").to_owned();
    assert!(daemon.entries("bundles").contains(&directory), "its files stay while it runs");
    assert_eq!(called(&client).await, "2.0.0");
    running.await.unwrap().unwrap();
    support::until("its files are gone", || !daemon.entries("bundles").contains(&directory)).await;
}

#[tokio::test]
async fn a_deprecated_bundle_says_so_to_its_callers() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    client.upload(&bundle("demo", "1.0.0")).await.unwrap();
    let deprecate = async |version: &str, why: &str| {
        let request =
            pb::DeprecateBundleRequest { name: "demo".to_owned(), version: version.to_owned(), why: why.to_owned() };
        client.bundles.clone().deprecate_bundle(request).await
    };
    check(deprecate("2.0.0", "x").await, Code::NotFound, "BUNDLE_UNKNOWN");
    check(deprecate("1.0.0", &"x".repeat(501)).await, Code::InvalidArgument, "DEPRECATION_TOO_LONG");
    assert_eq!(
        deprecate("1.0.0", "use 2\u{1b}[2J").await.unwrap().into_inner().bundle.unwrap().deprecated,
        "use 2\\u{1b}[2J"
    );
    let events = client.invoke("demo.echo", "{}").await.unwrap();
    assert!(
        matches!(&events[0], Event::Notice(notice) if notice.code == "DEPRECATED" && notice.message.contains("use 2"))
    );
    assert!(matches!(outcome(&events), pb::outcome::Kind::Succeeded(_)));
    deprecate("1.0.0", "").await.unwrap();
    let events = client.invoke("demo.echo", "{}").await.unwrap();
    assert!(!events.iter().any(|event| matches!(event, Event::Notice(_))));
}

#[tokio::test]
async fn a_short_name_is_enough_where_one_bundle_has_the_tool() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    client.upload(&bundle("demo", "1.0.0")).await.unwrap();
    client.invoke("echo", "{}").await.unwrap();
    client.upload(&bundle("other", "1.0.0")).await.unwrap();
    let status = client.invoke("echo", "{}").await.unwrap_err();
    assert!(status.message().contains("demo.echo, other.echo"), "{status:?}");
    assert_eq!(refusal(&status), (Code::InvalidArgument, "TOOL_AMBIGUOUS".to_owned()));
    client.invoke("other.echo", "{}").await.unwrap();
}

#[tokio::test]
async fn an_isolated_call_leaves_no_trace_in_the_registry() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let file = bundle("demo", "1.0.0");
    let stored = client.put(&file).await.unwrap();
    let call = |tool: &str| pb::InvokeRequest {
        tool: tool.to_owned(),
        input_json: r#"{"a":1}"#.to_owned(),
        bundle: Some(stored.clone()),
        ..Default::default()
    };
    for tool in ["demo.echo", "echo"] {
        let events = client.invoke_with(call(tool)).await.unwrap();
        assert!(matches!(outcome(&events), pb::outcome::Kind::Succeeded(_)), "{tool}");
    }
    check(client.invoke_with(call("demo.none")).await, Code::NotFound, "TOOL_UNKNOWN");
    check(client.invoke_with(call("other.echo")).await, Code::NotFound, "TOOL_UNKNOWN");
    check(client.invoke("demo.echo", "{}").await, Code::NotFound, "TOOL_UNKNOWN");
    let listed = client.bundles.clone().list_bundles(pb::ListBundlesRequest {}).await.unwrap().into_inner().bundles;
    assert!(listed.is_empty());
    support::until("nothing is left", || daemon.entries("staging").is_empty()).await;
    assert_eq!(daemon.entries("bundles"), [""; 0]);
    let noise = client.put(&[7; 20_000]).await.unwrap();
    let bad = pb::InvokeRequest { bundle: Some(noise), ..call("demo.echo") };
    assert_eq!(refusal(&client.invoke_with(bad).await.unwrap_err()).0, Code::InvalidArgument);
    let caller = Client::tls(&daemon.listen, &daemon.enrol("cal", "caller").await).await.unwrap();
    check(caller.invoke_with(call("demo.echo")).await, Code::PermissionDenied, "ROLE");
    client.upload(&file).await.unwrap();
    client.invoke("demo.echo", "{}").await.unwrap();
}

#[tokio::test]
async fn what_others_need_is_not_removed_alone() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let top = parts("top", "1.0.0").manifest(|manifest| {
        manifest["dependencies"] = serde_json::json!([{"name": "base", "version": "^1.0.0"}]);
    });
    let top = support::sign(&top, &[1]);
    check(client.upload(&top).await, Code::FailedPrecondition, "DEPENDENCY_MISSING");
    client.upload(&bundle("base", "1.2.0")).await.unwrap();
    let installed = client.upload(&top).await.unwrap().bundle.unwrap();
    assert_eq!(installed.dependencies[0].version, "^1.0.0");
    let remove = pb::RemoveBundleRequest { name: "base".to_owned(), ..Default::default() };
    let status = client.bundles.clone().remove_bundle(remove.clone()).await.unwrap_err();
    assert!(status.message().contains("top@1.0.0"), "{status:?}");
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "BUNDLE_IN_USE".to_owned()));
    let both = pb::RemoveBundleRequest { with_dependants: true, ..remove };
    let dry = pb::RemoveBundleRequest { dry_run: true, ..both.clone() };
    for request in [dry, both] {
        let removed = client.bundles.clone().remove_bundle(request).await.unwrap().into_inner().removed;
        assert_eq!(removed.len(), 2);
    }
    assert_eq!(daemon.entries("bundles"), [""; 0]);
}
