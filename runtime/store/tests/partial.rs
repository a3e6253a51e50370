//! Uploads that broke off: kept for their owner, within bounds, never as a blob.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use aria_store::{Config, Store};
use aria_types::ErrorKind;
use support::{NOW, blob_of, entries, fresh, fresh_with, later, open, put};

const BYTES: &[u8] = b"0123456789";

/// Writes the first bytes of a blob and goes away.
fn break_off(store: &Store, owner: &str, bytes: &[u8], from: usize, to: usize) {
    let mut writer = store.resume_blob(owner, blob_of(bytes), from as u64, NOW).expect("begin");
    writer.write(&bytes[from..to]).expect("write");
}

fn held(store: &Store, owner: &str, bytes: &[u8]) -> u64 {
    store.held_bytes(owner, &[blob_of(bytes)])[0]
}

#[test]
fn an_upload_goes_on_where_it_broke_off_as_often_as_it_breaks() {
    let (_directory, store) = fresh();
    break_off(&store, "ann", BYTES, 0, 3);
    assert_eq!(held(&store, "ann", BYTES), 3);
    break_off(&store, "ann", BYTES, 3, 7);
    assert_eq!(held(&store, "ann", BYTES), 7);
    let mut writer = store.resume_blob("ann", blob_of(BYTES), 7, NOW).expect("go on");
    writer.write(&BYTES[7..]).expect("write");
    assert_eq!(writer.finish(NOW).expect("whole"), blob_of(BYTES));
    assert_eq!((held(&store, "ann", BYTES), store.blobs_bytes()), (0, 10));
    assert!(entries(&store.staging_dir()).is_empty());
    let lease = store.lease_blob("ann", &blob_of(BYTES).sha256, NOW).expect("there");
    assert_eq!(std::fs::read(lease.path()).expect("read"), BYTES);
}

#[test]
fn what_is_held_is_no_blob_and_nobody_else_s() {
    let (_directory, store) = fresh();
    break_off(&store, "ann", BYTES, 0, 5);
    assert_eq!(store.lease_blob("ann", &blob_of(BYTES).sha256, NOW).expect_err("no blob").reason(), "BLOB_UNKNOWN");
    assert_eq!(store.find_missing("ann", &[blob_of(BYTES)], NOW).expect("look up"), [blob_of(BYTES)]);
    assert_eq!(held(&store, "bob", BYTES), 0);
    let error = store.resume_blob("bob", blob_of(BYTES), 5, NOW).expect_err("another's");
    assert_eq!((error.reason(), error.kind()), ("OFFSET_MISMATCH", ErrorKind::Conflict));
    for wrong in [1, 4, 6, 10, u64::MAX] {
        let error = store.resume_blob("ann", blob_of(BYTES), wrong, NOW).expect_err("elsewhere");
        assert_eq!(error.reason(), "OFFSET_MISMATCH", "{wrong}");
    }
    assert_eq!(held(&store, "ann", BYTES), 5, "a wrong offset costs nothing");
}

#[test]
fn other_bytes_are_refused_at_the_end_and_nothing_of_them_stays() {
    let (_directory, store) = fresh();
    break_off(&store, "ann", BYTES, 0, 5);
    let mut writer = store.resume_blob("ann", blob_of(BYTES), 5, NOW).expect("go on");
    writer.write(b"XXXXX").expect("write");
    assert_eq!(writer.finish(NOW).expect_err("other bytes").reason(), "DIGEST_MISMATCH");
    let mut long = store.resume_blob("ann", blob_of(BYTES), 0, NOW).expect("anew");
    assert_eq!(long.write(b"0123456789x").expect_err("too long").reason(), "DIGEST_MISMATCH");
    drop(long);
    let mut short = store.resume_blob("ann", blob_of(BYTES), 0, NOW).expect("anew");
    short.write(&BYTES[..4]).expect("write");
    assert_eq!(short.finish(NOW).expect_err("said the end too early").reason(), "DIGEST_MISMATCH");
    assert_eq!((held(&store, "ann", BYTES), store.blobs_bytes()), (0, 0));
    assert!(entries(&store.staging_dir()).is_empty());
}

#[test]
fn beginning_anew_drops_what_is_held() {
    let (_directory, store) = fresh();
    break_off(&store, "ann", BYTES, 0, 5);
    break_off(&store, "ann", BYTES, 0, 2);
    assert_eq!((held(&store, "ann", BYTES), entries(&store.staging_dir()).len(), store.blobs_bytes()), (2, 1, 10));
}

#[test]
fn an_upload_that_did_not_ask_for_it_leaves_nothing() {
    let (_directory, store) = fresh();
    let mut writer = store.put_blob("ann", blob_of(BYTES), NOW).expect("begin");
    writer.write(&BYTES[..5]).expect("write");
    drop(writer);
    assert_eq!((held(&store, "ann", BYTES), store.blobs_bytes()), (0, 0));
    assert!(entries(&store.staging_dir()).is_empty());
}

#[test]
fn what_is_held_grows_old_and_does_not_survive_a_start() {
    let (directory, store) = fresh_with(Config { blob_retention: Duration::from_secs(100), ..Config::default() });
    break_off(&store, "ann", BYTES, 0, 5);
    store.collect_garbage(later(100)).expect("not yet");
    assert_eq!(held(&store, "ann", BYTES), 5);
    store.collect_garbage(later(101)).expect("old");
    assert_eq!((held(&store, "ann", BYTES), store.blobs_bytes()), (0, 0));
    break_off(&store, "ann", BYTES, 0, 5);
    drop(store);
    let (store, recovered) = open(directory.path());
    assert_eq!((recovered.staging_removed, held(&store, "ann", BYTES)), (1, 0));
}

#[test]
fn there_is_a_bound_for_one_owner_and_for_all() {
    let (_directory, store) = fresh();
    let blob = |owner: usize, number: usize| format!("{owner}:{number}").into_bytes();
    for number in 0..20 {
        break_off(&store, "ann", &blob(0, number), 0, 1);
    }
    assert_eq!(entries(&store.staging_dir()).len(), 8);
    for owner in 1..20 {
        for number in 0..4 {
            break_off(&store, &format!("owner-{owner}"), &blob(owner, number), 0, 1);
        }
    }
    assert_eq!(entries(&store.staging_dir()).len(), 32);
}

#[test]
fn blobs_that_need_the_room_get_it() {
    let (_directory, store) = fresh_with(Config { blobs_bytes_max: 1000, blob_bytes_max: 700, ..Config::default() });
    break_off(&store, "ann", &[7; 700], 0, 100);
    assert_eq!(store.blobs_bytes(), 700);
    put(&store, "bob", &[8; 400], NOW).expect("the partial makes room");
    assert_eq!((store.blobs_bytes(), held(&store, "ann", &[7; 700])), (400, 0));
}
