//! Blobs: only what was promised is kept, only its owner sees it, and the quota holds.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use aria_store::{Config, Store};
use aria_types::ErrorKind;
use support::{NOW, blob_of, entries, fresh, fresh_with, later, open, put};
use tempfile::TempDir;

fn small() -> (TempDir, Store) {
    fresh_with(Config { blobs_bytes_max: 1000, blob_bytes_max: 600, ..Config::default() })
}

fn holds(store: &Store, owner: &str, bytes: &[u8]) -> bool {
    store.find_missing(owner, &[blob_of(bytes)], NOW).expect("look up").is_empty()
}

#[test]
fn a_blob_comes_back_byte_by_byte_also_after_reopening() {
    let (directory, store) = fresh();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(put(&store, "ann", &bytes, NOW).expect("put"), blob_of(&bytes));
    drop(store);
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered, aria_store::Recovered::default());
    let lease = store.lease_blob("ann", &blob_of(&bytes).sha256, NOW).expect("lease");
    let mut read = Vec::new();
    lease.open().expect("open").read_to_end(&mut read).expect("read");
    assert_eq!(read, bytes);
    assert_eq!(lease.blob(), blob_of(&bytes));
    assert_eq!(fs::metadata(lease.path()).expect("file").permissions().mode() & 0o777, 0o644);
}

#[test]
fn an_empty_blob_is_a_blob() {
    let (_directory, store) = fresh();
    put(&store, "ann", b"", NOW).expect("put");
    assert!(holds(&store, "ann", b""));
}

#[test]
fn a_collected_blob_gets_its_name_at_the_end() {
    let (_directory, store) = fresh();
    let mut writer = store.put_collected("ann", 5, NOW).expect("begin");
    writer.write(b"hello").expect("write");
    assert_eq!(writer.finish(NOW).expect("finish"), blob_of(b"hello"));
    let mut short = store.put_collected("ann", 5, NOW).expect("begin");
    short.write(b"hell").expect("write");
    assert_eq!(short.finish(NOW).expect_err("short").reason(), "DIGEST_MISMATCH");
}

#[test]
fn other_bytes_than_promised_leave_nothing() {
    let (_directory, store) = fresh();
    let promised = blob_of(b"hello");
    let mut other = store.put_blob("ann", promised, NOW).expect("begin");
    other.write(b"hellO").expect("same length");
    let error = other.finish(NOW).expect_err("other bytes");
    assert_eq!((error.reason(), error.kind()), ("DIGEST_MISMATCH", ErrorKind::Damaged));

    let mut short = store.put_blob("ann", promised, NOW).expect("begin");
    short.write(b"hell").expect("fewer");
    assert_eq!(short.finish(NOW).expect_err("short").reason(), "DIGEST_MISMATCH");

    let mut long = store.put_blob("ann", promised, NOW).expect("begin");
    assert_eq!(long.write(b"hello!").expect_err("long").reason(), "DIGEST_MISMATCH");
    drop(long);

    drop(store.put_blob("ann", promised, NOW).expect("begin"));
    assert!(!holds(&store, "ann", b"hello"));
    assert!(entries(&store.blobs_dir()).is_empty() && entries(&store.staging_dir()).is_empty());
    assert_eq!(store.blobs_bytes(), 0);
}

#[test]
fn a_blob_is_seen_by_its_owners_only() {
    let (_directory, store) = fresh();
    put(&store, "ann", b"secret", NOW).expect("put");
    let sha256 = blob_of(b"secret").sha256;
    assert!(!holds(&store, "bob", b"secret"));
    let error = store.lease_blob("bob", &sha256, NOW).expect_err("not his");
    assert_eq!((error.reason(), error.kind()), ("BLOB_UNKNOWN", ErrorKind::NotFound));
    put(&store, "bob", b"secret", NOW).expect("he has the bytes too");
    assert!(store.lease_blob("bob", &sha256, NOW).is_ok());
    assert_eq!((entries(&store.blobs_dir()).len(), store.blobs_bytes()), (1, 6));
}

#[test]
fn the_right_digest_with_another_length_is_missing() {
    let (_directory, store) = fresh();
    put(&store, "ann", b"hello", NOW).expect("put");
    let wrong = aria_store::BlobRef { size_bytes: 6, ..blob_of(b"hello") };
    assert_eq!(store.find_missing("ann", &[blob_of(b"hello"), wrong], NOW).expect("look up"), [wrong]);
}

#[test]
fn too_large_is_refused_before_a_byte_is_written() {
    let (_directory, store) = small();
    let error = store.put_collected("ann", 601, NOW).expect_err("601 of 600");
    assert_eq!((error.reason(), error.kind()), ("BLOB_TOO_LARGE", ErrorKind::Exhausted));
    assert!(entries(&store.staging_dir()).is_empty());
}

#[test]
fn room_is_kept_for_blobs_on_their_way() {
    let (_directory, store) = small();
    let first = store.put_collected("ann", 600, NOW).expect("600 of 1000");
    assert_eq!(store.put_collected("ann", 500, NOW).expect_err("1100 of 1000").reason(), "DISK_QUOTA");
    drop(first);
    store.put_collected("ann", 500, NOW).expect("500 of 1000");
}

#[test]
fn a_full_quota_drops_the_longest_unused_first_and_nothing_in_use() {
    let (_directory, store) = small();
    let [a, b, c, d] = [b'a', b'b', b'c', b'd'].map(|byte| vec![byte; 300]);
    put(&store, "ann", &a, NOW).expect("a");
    put(&store, "ann", &b, later(10)).expect("b");
    let lease = store.lease_blob("ann", &blob_of(&a).sha256, later(20)).expect("a is used, b is oldest");
    put(&store, "ann", &c, later(100)).expect("drops b");
    assert!(holds(&store, "ann", &a) && !holds(&store, "ann", &b) && holds(&store, "ann", &c));

    let [one, two] = [&a, &c].map(|bytes| store.lease_blob("ann", &blob_of(bytes).sha256, later(200)).expect("lease"));
    let error = put(&store, "ann", &d, later(1000)).expect_err("both in use");
    assert_eq!((error.reason(), error.kind()), ("DISK_QUOTA", ErrorKind::Exhausted));
    drop((lease, one, two));
    put(&store, "ann", &d, later(1000)).expect("drops one");
    assert!(store.blobs_bytes() <= 1000);
}

#[test]
fn one_owner_leaves_room_and_gives_up_its_own_first() {
    let (_directory, store) = small();
    let under_way = store.put_collected("ann", 600, NOW).expect("600 of 750");
    assert_eq!(store.put_collected("ann", 200, NOW).expect_err("800 of 750").reason(), "DISK_QUOTA");
    store.put_collected("bob", 400, NOW).expect("room for others");
    drop(under_way);

    let [a, b, c] = [b'a', b'b', b'c'].map(|byte| vec![byte; 400]);
    put(&store, "bob", &b, NOW).expect("the oldest");
    put(&store, "ann", &a, later(10)).expect("800 of 1000");
    put(&store, "ann", &c, later(100)).expect("ann's own goes");
    assert!(holds(&store, "bob", &b) && !holds(&store, "ann", &a) && holds(&store, "ann", &c));
}

#[test]
fn what_was_used_a_moment_ago_stays() {
    let (_directory, store) = small();
    put(&store, "ann", &[1; 600], NOW).expect("put");
    assert_eq!(store.put_collected("bob", 600, later(59)).expect_err("still warm").reason(), "DISK_QUOTA");
    store.put_collected("bob", 600, later(61)).expect("cold by now");
}

#[test]
fn garbage_is_what_nobody_used_for_the_retention_time() {
    let (_directory, store) = fresh_with(Config { blob_retention: Duration::from_secs(100), ..Config::default() });
    put(&store, "ann", b"old", NOW).expect("old");
    put(&store, "ann", b"used", NOW).expect("used");
    put(&store, "ann", b"shared", NOW).expect("shared");
    put(&store, "ann", b"held", NOW).expect("held");
    let held = store.lease_blob("ann", &blob_of(b"held").sha256, NOW).expect("lease");
    store.find_missing("ann", &[blob_of(b"used")], later(90)).expect("use");
    put(&store, "bob", b"shared", later(90)).expect("shared");
    assert_eq!(store.collect_garbage(later(100)).expect("not yet"), 0);
    assert_eq!(store.collect_garbage(later(101)).expect("old"), 1);
    assert!(!store.blobs_dir().join(blob_of(b"old").sha256.hex()).exists());
    assert!(held.path().exists() && held.open().is_ok());
    drop(held);
    assert_eq!(store.collect_garbage(later(101)).expect("held"), 1);
    assert_eq!(store.collect_garbage(later(500)).expect("rest"), 2);
    assert_eq!((store.blobs_bytes(), entries(&store.blobs_dir()).len()), (0, 0));
}

#[test]
fn the_same_blob_from_many_at_once_is_kept_once() {
    let (_directory, store) = fresh();
    let bytes = vec![5; 50_000];
    std::thread::scope(|scope| {
        for owner in ["ann", "bob", "cid", "ann"] {
            let (store, bytes) = (&store, &bytes);
            scope.spawn(move || put(store, owner, bytes, NOW).expect("put"));
        }
    });
    assert!(["ann", "bob", "cid"].iter().all(|owner| holds(&store, owner, &bytes)));
    assert_eq!((store.blobs_bytes(), entries(&store.staging_dir()).len()), (50_000, 0));
}
