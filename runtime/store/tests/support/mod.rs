//! A store in a temporary directory, and things to put into it.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::error::Error;
use std::fs;
use std::path::Path;

use aria_core::admission::{Admission, Refusal};
use aria_core::port::Usage;
use aria_core::signer::{Publisher, Signer};
use aria_core::{Digest, InvocationId, Name, UnixMs};
use aria_store::{
    BlobRef, Config, History, Installed, NewBundle, NewRun, NewSigner, Recovered, RunEnd, Store, StoreError,
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub(crate) const NOW: UnixMs = UnixMs(1_800_000_000_000);

pub(crate) fn later(seconds: u64) -> UnixMs {
    UnixMs(NOW.0 + seconds * 1000)
}

pub(crate) fn open(directory: &Path) -> (Store, Recovered) {
    Store::open(directory, Config::default()).expect("open store")
}

pub(crate) fn fresh() -> (TempDir, Store) {
    fresh_with(Config::default())
}

pub(crate) fn fresh_with(config: Config) -> (TempDir, Store) {
    let directory = tempfile::tempdir().expect("tempdir");
    let (store, recovered) = Store::open(directory.path(), config).expect("open store");
    assert_eq!(recovered, Recovered::default());
    (directory, store)
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("name")
}

pub(crate) fn bundle(text: &str, version: &str) -> NewBundle {
    let digest = sha256(format!("{text}@{version}").as_bytes());
    NewBundle {
        name: name(text),
        version: version.into(),
        digest,
        interface_digest: sha256(b"interface"),
        authority_digest: sha256(b"authority"),
        size_bytes: 1000,
        unpacked_bytes: 3000,
        manifest_json: "{}".into(),
        owner: "ann".into(),
        file_sha256: sha256(format!("{text}@{version}.aria").as_bytes()),
        tools: vec![name("forecast")],
        dependencies: vec![],
    }
}

/// What `Staged::commit` does, without its checks.
pub(crate) fn place(bundles: &Path, digest: &Digest) -> Result<(), Box<dyn Error + Send + Sync>> {
    let app = bundles.join(digest.hex()).join("app");
    fs::create_dir_all(&app)?;
    fs::write(app.join("main.js"), "code")?;
    Ok(())
}

/// A key of ann's.
pub(crate) fn signer(number: u8) -> Signer {
    Signer { key: Digest::new([number; 32]), publisher: Publisher::parse("ann").expect("publisher") }
}

/// Trusts a key of ann's unless it is trusted.
pub(crate) fn trust(store: &Store, number: u8) {
    let new = NewSigner { signer: signer(number), public_key: vec![number; 44], expires_at: None };
    store.trust_signer(&new, true, "root", NOW).expect("trust");
}

/// Takes every bundle, as signed by the first key of ann's; a version has one content.
pub(crate) fn admit(digest: Digest) -> impl Fn(&History) -> Result<Admission, StoreError> {
    move |history| {
        let signer = signer(1);
        match &history.same_version {
            Some(there) if there.digest == digest => Ok(Admission::Present { signer }),
            Some(there) => Err(StoreError::Refused(Refusal::VersionTaken {
                name: there.name.clone(),
                version: there.version.parse().expect("version"),
                installed: there.digest,
            })),
            None => Ok(Admission::Install { signer, changes: vec![], grants: false }),
        }
    }
}

pub(crate) fn install(store: &Store, bundle: NewBundle) -> Result<Installed, StoreError> {
    let digest = bundle.digest;
    install_at(store, bundle, NOW, |bundles| place(bundles, &digest))
}

/// With a place and time of its own.
pub(crate) fn install_at(
    store: &Store,
    bundle: NewBundle,
    now: UnixMs,
    place: impl FnOnce(&Path) -> Result<(), Box<dyn Error + Send + Sync>>,
) -> Result<Installed, StoreError> {
    trust(store, 1);
    let digest = bundle.digest;
    store.install(bundle, now, admit(digest), place)
}

pub(crate) fn blob_of(bytes: &[u8]) -> BlobRef {
    BlobRef { sha256: sha256(bytes), size_bytes: bytes.len() as u64 }
}

pub(crate) fn put(store: &Store, owner: &str, bytes: &[u8], now: UnixMs) -> Result<BlobRef, StoreError> {
    let mut writer = store.put_blob(owner, blob_of(bytes), now)?;
    bytes.chunks(1000).try_for_each(|piece| writer.write(piece))?;
    writer.finish(now)
}

pub(crate) fn id(number: u8) -> InvocationId {
    InvocationId::from_random([number; 16])
}

pub(crate) fn run(number: u8) -> NewRun {
    NewRun {
        id: id(number),
        tool: "weather.forecast".into(),
        bundle: Some(sha256(b"w")),
        owner: "ann".into(),
        started_at: NOW,
        input: Some(blob_of(b"{}")),
    }
}

pub(crate) fn end(outcome: &str) -> RunEnd {
    let usage = Usage { wall_ms: 12, cpu_ms: 7, memory_peak_bytes: 1 << 20, stdout_bytes: 3, stderr_bytes: 4 };
    RunEnd {
        outcome: outcome.into(),
        message: "one line".into(),
        usage,
        ended_at: later(1),
        output: Some(blob_of(b"7")),
        audit: None,
    }
}

pub(crate) fn entries(directory: &Path) -> Vec<String> {
    let listing = fs::read_dir(directory).expect("list");
    let mut names: Vec<String> =
        listing.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
