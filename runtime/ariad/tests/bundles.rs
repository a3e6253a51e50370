//! Bundles and blobs: in whole, or not at all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it found by failing"
)]

mod support;

use aria_protocol::aria::v1 as pb;
use pb::upload_bundle_request::Part;
use support::client::{Client, outcome};
use support::{Daemon, blob, bundle, parts, refusal};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

#[track_caller]
fn check(refused: Result<impl std::fmt::Debug, Status>, code: Code, reason: &str) {
    assert_eq!(refusal(&refused.unwrap_err()), (code, reason.to_owned()));
}

async fn names(client: &Client) -> Vec<String> {
    let bundles = client.bundles.clone().list_bundles(pb::ListBundlesRequest {}).await.unwrap().into_inner().bundles;
    bundles.into_iter().map(|bundle| format!("{}@{}", bundle.name, bundle.version)).collect()
}

#[tokio::test]
async fn an_uploaded_bundle_is_listed_and_its_tools_are_callable() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let bytes = bundle("demo", "1.0.0");
    let answer = client.upload(&bytes).await.unwrap();
    assert!(!answer.already_present);
    let installed = answer.bundle.unwrap();
    assert_eq!(installed.size_bytes, bytes.len() as u64);
    assert!(installed.digest.starts_with("sha256:") && installed.interface_digest != installed.authority_digest);
    assert!(installed.tools.contains(&"demo.echo".to_owned()));
    let again = client.upload(&bytes).await.unwrap();
    assert!(again.already_present);
    assert_eq!(again.bundle.unwrap(), installed);
    assert_eq!(names(&client).await, ["demo@1.0.0"]);
    let request = pb::GetBundleRequest { name: "demo".to_owned(), version: String::new() };
    let found = client.bundles.clone().get_bundle(request).await.unwrap().into_inner();
    assert_eq!(found.bundle.unwrap(), installed);
    assert!(found.manifest_json.contains("\"demo\""));
    let tools = client.tools.clone().list_tools(pb::ListToolsRequest {}).await.unwrap().into_inner().tools;
    let greet = tools.iter().find(|tool| tool.name == "demo.greet").unwrap();
    assert!(greet.input_schema_json.contains("\"text\""));
    assert_eq!((greet.timeout_ms, greet.bundle_version.as_str()), (5000, "1.0.0"));
}

#[tokio::test]
async fn the_newest_version_is_called_and_removal_goes_back() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    for version in ["1.9.0", "1.10.0-rc.1", "1.10.0"] {
        client.upload(&bundle("demo", version)).await.unwrap();
    }
    assert_eq!(names(&client).await, ["demo@1.10.0", "demo@1.10.0-rc.1", "demo@1.9.0"]);
    let get = |name: &str| pb::GetToolRequest { name: name.to_owned() };
    let version = async || {
        let tool = client.tools.clone().get_tool(get("demo.echo")).await.unwrap().into_inner().tool.unwrap();
        tool.bundle_version
    };
    assert_eq!(version().await, "1.10.0");
    let remove = |version: &str| pb::RemoveBundleRequest {
        name: "demo".to_owned(),
        version: version.to_owned(),
        ..Default::default()
    };
    client.bundles.clone().remove_bundle(remove("1.10.0")).await.unwrap();
    assert_eq!(version().await, "1.10.0-rc.1");
    check(client.bundles.clone().remove_bundle(remove("1.10.0")).await, Code::NotFound, "BUNDLE_UNKNOWN");
    let removed = client.bundles.clone().remove_bundle(remove("")).await.unwrap().into_inner().removed;
    assert_eq!(removed.len(), 2);
    check(client.tools.clone().get_tool(get("demo.echo")).await, Code::NotFound, "TOOL_UNKNOWN");
    check(client.invoke("demo.echo", "{}").await, Code::NotFound, "TOOL_UNKNOWN");
    assert_eq!(daemon.entries("bundles"), [""; 0]);
}

#[tokio::test]
async fn another_content_of_the_same_version_is_refused() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    client.upload(&bundle("demo", "1.0.0")).await.unwrap();
    let other = parts("demo", "1.0.0").manifest(|manifest| manifest["description"] = "another".into());
    check(client.upload(&support::sign(&other, &[1])).await, Code::AlreadyExists, "VERSION_TAKEN");
    assert_eq!(daemon.entries("staging"), [""; 0]);
}

#[tokio::test]
async fn what_is_no_good_bundle_leaves_nothing() {
    let daemon = Daemon::start_with("bundle_bytes_max = 1000000\n").await;
    let client = daemon.operator().await;
    let good = bundle("demo", "1.0.0");
    let wrong_hash = pb::BlobRef { sha256: "0".repeat(64), size_bytes: good.len() as u64 };
    check(client.upload_as(wrong_hash, &good, 1000).await, Code::DataLoss, "DIGEST_MISMATCH");
    let announced = |size_bytes| pb::BlobRef { size_bytes, ..blob(&good) };
    let more = client.upload_as(announced(good.len() as u64 - 1), &good, 1000).await;
    assert!(matches!(refusal(&more.unwrap_err()).0, Code::DataLoss | Code::InvalidArgument));
    let less = client.upload_as(announced(good.len() as u64 + 1), &good, 1000).await;
    assert!(matches!(refusal(&less.unwrap_err()).0, Code::DataLoss | Code::InvalidArgument));
    check(client.upload_as(announced(1_000_001), &good, 1000).await, Code::ResourceExhausted, "BUNDLE_TOO_LARGE");
    let noise = vec![7; 20_000];
    assert_eq!(refusal(&client.upload(&noise).await.unwrap_err()).0, Code::InvalidArgument);
    let bad_address = pb::BlobRef { sha256: "../../etc/passwd".to_owned(), size_bytes: 1 };
    check(client.upload_as(bad_address, b"x", 1).await, Code::InvalidArgument, "DIGEST_SYNTAX");
    let future = parts("demo", "1.0.0").manifest(|manifest| manifest["engine"] = ">=99.0.0".into()).bytes();
    check(client.upload(&future).await, Code::InvalidArgument, "FORMAT_UNSUPPORTED");
    check(client.upload(&support::program()).await, Code::InvalidArgument, "MANIFEST_INVALID");
    let remote = parts("demo", "1.0.0").manifest(|manifest| {
        manifest["tools"][0]["input"] = serde_json::json!({"$ref": "http://127.0.0.1:9/x.json"});
    });
    check(client.upload(&remote.bytes()).await, Code::InvalidArgument, "MANIFEST_INVALID");

    assert_eq!(names(&client).await, [""; 0]);
    for of in ["staging", "bundles"] {
        assert_eq!(daemon.entries(of), [""; 0], "{of}");
    }
    client.upload(&good).await.unwrap();
}

#[tokio::test]
async fn the_order_of_an_upload_is_kept() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let good = bundle("demo", "1.0.0");
    let start = || Part::Start(pb::UploadStart { file: Some(blob(&good)), ..Default::default() });
    let cases = [
        (vec![], "STREAM_ORDER"),
        (vec![None], "STREAM_ORDER"),
        (vec![Some(Part::Chunk(good.clone()))], "STREAM_ORDER"),
        (vec![Some(start()), Some(start())], "STREAM_ORDER"),
        (vec![Some(start()), None], "STREAM_ORDER"),
        (vec![Some(start()), Some(Part::Chunk(vec![]))], "CHUNK_SIZE"),
        (vec![Some(Part::Start(pb::UploadStart::default()))], "FIELD_MISSING"),
    ];
    for (parts, reason) in cases {
        let messages: Vec<_> = parts.into_iter().map(|part| pb::UploadBundleRequest { part }).collect();
        let refused = client.bundles.clone().upload_bundle(tokio_stream::iter(messages)).await;
        check(refused, Code::InvalidArgument, reason);
    }
    let large = vec![Some(start()), Some(Part::Chunk(vec![0; (1 << 20) + 100]))];
    let messages: Vec<_> = large.into_iter().map(|part| pb::UploadBundleRequest { part }).collect();
    let refused = client.bundles.clone().upload_bundle(tokio_stream::iter(messages)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert_eq!(daemon.entries("staging"), [""; 0]);
}

#[tokio::test]
async fn a06_a_broken_upload_leaves_nothing() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let good = bundle("demo", "1.0.0");
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let upload = tokio::spawn({
        let mut bundles = client.bundles.clone();
        async move { bundles.upload_bundle(ReceiverStream::new(receiver)).await }
    });
    let parts = [
        Part::Start(pb::UploadStart { file: Some(blob(&good)), ..Default::default() }),
        Part::Chunk(good[..6000].to_vec()),
    ];
    for part in parts {
        sender.send(pb::UploadBundleRequest { part: Some(part) }).await.unwrap();
    }
    support::until("staging is used", || !daemon.entries("staging").is_empty()).await;
    upload.abort();
    support::until("staging is empty", || daemon.entries("staging").is_empty()).await;
    assert_eq!(names(&client).await, [""; 0]);
}

#[tokio::test]
async fn a_restart_keeps_the_registry_and_clears_what_was_half_done() {
    let mut daemon = Daemon::start().await;
    let key = daemon.enrol("ann", "operator").await;
    let client = Client::tls(&daemon.listen, &key).await.unwrap();
    client.upload(&bundle("demo", "1.0.0")).await.unwrap();
    std::fs::create_dir(daemon.data().join("staging/left")).unwrap();
    daemon.kill();
    daemon.again().await;
    let client = Client::tls(&daemon.listen, &key).await.unwrap();
    assert_eq!(names(&client).await, ["demo@1.0.0"]);
    assert_eq!(daemon.entries("staging"), [""; 0]);
    let events = client.invoke("demo.echo", r#"{"a":1}"#).await.unwrap();
    assert!(matches!(outcome(&events), pb::outcome::Kind::Succeeded(_)));
    let (code, took) = daemon.stop().await;
    assert_eq!(code, Some(0));
    assert!(took.as_secs() < 5, "{took:?}");
    daemon.again().await;
    assert_eq!(names(&Client::tls(&daemon.listen, &key).await.unwrap()).await, ["demo@1.0.0"]);
}

#[tokio::test]
async fn a04_blobs_come_back_and_belong_to_their_owner() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let bytes: Vec<u8> = (0..700_000_u32).map(|n| n as u8).collect();
    let stored = client.put(&bytes).await.unwrap();
    assert_eq!(stored, blob(&bytes));
    assert_eq!(client.put(&bytes).await.unwrap(), stored);
    assert!(client.get(&stored.sha256).await.unwrap() == bytes);
    assert_eq!(client.put(b"").await.unwrap(), blob(b""));
    assert_eq!(client.get(&blob(b"").sha256).await.unwrap(), b"");

    let other = daemon.enrol("other", "caller").await;
    let other = Client::tls(&daemon.listen, &other).await.unwrap();
    check(other.get(&stored.sha256).await, Code::NotFound, "BLOB_UNKNOWN");
    check(other.get(&"0".repeat(64)).await, Code::NotFound, "BLOB_UNKNOWN");
    let missing = async |client: &Client| {
        let request = pb::FindMissingRequest { blobs: vec![stored.clone(), blob(b"never")] };
        client.blobs.clone().find_missing(request).await.unwrap().into_inner().missing
    };
    assert_eq!(missing(&client).await, [blob(b"never")]);
    assert_eq!(missing(&other).await, [stored.clone(), blob(b"never")]);
    let file = pb::FileRef { name: "a".to_owned(), blob: Some(stored.clone()) };
    client.upload(&bundle("demo", "1.0.0")).await.unwrap();
    let request = pb::InvokeRequest { tool: "demo.echo".to_owned(), files: vec![file], ..Default::default() };
    check(other.invoke_with(request).await, Code::NotFound, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn blobs_that_are_not_what_they_say_are_refused() {
    let daemon = Daemon::start_with("storage_bytes_max = 300000000\n").await;
    let client = daemon.operator().await;
    let bytes = b"some bytes".as_slice();
    let sized = |size_bytes| pb::BlobRef { size_bytes, ..blob(bytes) };
    check(client.put_as(sized(3), bytes).await, Code::DataLoss, "DIGEST_MISMATCH");
    check(client.put_as(sized(30), bytes).await, Code::DataLoss, "DIGEST_MISMATCH");
    check(client.put_as(blob(b"other byte"), bytes).await, Code::DataLoss, "DIGEST_MISMATCH");
    check(client.put_as(sized(u64::MAX), bytes).await, Code::ResourceExhausted, "BLOB_TOO_LARGE");
    check(
        client.put_as(pb::BlobRef { sha256: "AB".to_owned(), size_bytes: 1 }, b"x").await,
        Code::InvalidArgument,
        "DIGEST_SYNTAX",
    );
    assert_eq!(daemon.entries("staging"), [""; 0]);
    assert_eq!(daemon.entries("blobs"), [""; 0]);
}

#[tokio::test]
async fn a_full_device_says_so_and_can_be_emptied() {
    let daemon = Daemon::start_with("bundle_bytes_max = 1000000\nstorage_bytes_max = 2000000\n").await;
    let client = daemon.operator().await;
    let sized = |name: &str| {
        let mut parts = parts(name, "1.0.0");
        // Noise enough for the ratio rule, as unpacked bytes are what counts.
        let noise: Vec<u8> = (0..300_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
        parts.files.push(("code/noise.bin".to_owned(), noise));
        parts.files.sort();
        support::sign(&parts.listing_its_files(), &[1])
    };
    client.upload(&sized("first")).await.unwrap();
    check(client.upload(&sized("second")).await, Code::ResourceExhausted, "DISK_QUOTA");
    assert_eq!(names(&client).await, ["first@1.0.0"]);
    assert_eq!(daemon.entries("staging"), [""; 0]);
    let first = pb::RemoveBundleRequest { name: "first".to_owned(), ..Default::default() };
    client.bundles.clone().remove_bundle(first).await.unwrap();
    client.upload(&sized("second")).await.unwrap();
    check(client.put(&vec![1; 1_100_000]).await, Code::ResourceExhausted, "BLOB_TOO_LARGE");
    for n in 0..7_u32 {
        client.put(&[n.to_le_bytes(); 25_000].concat()).await.unwrap();
    }
    // Three quarters are for one owner. What was put a moment ago is about to be used and does not make way.
    check(client.put(&[9; 200_000]).await, Code::ResourceExhausted, "DISK_QUOTA");
}
