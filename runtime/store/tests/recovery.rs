//! What opening makes of the states a crash can leave, and of directories it must not touch.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;

use aria_store::{Config, Recovered, Store};
use aria_types::ErrorKind;
use rusqlite::Connection;
use support::{NOW, blob_of, bundle, end, entries, fresh, id, install, name, open, put, run, sha256};

#[test]
fn half_done_work_is_removed() {
    let (directory, store) = fresh();
    install(&store, bundle("weather", "0.1.0")).expect("install");
    put(&store, "ann", b"kept", NOW).expect("put");
    let (staging, bundles, blobs) = (store.staging_dir(), store.bundles_dir(), store.blobs_dir());
    drop(store);
    fs::create_dir_all(staging.join("bundle-x/app/code")).expect("a half upload");
    fs::write(staging.join("blob-7"), "half").expect("a half blob");
    fs::create_dir_all(bundles.join(sha256(b"x").hex()).join("app")).expect("placed, but its row was not written");
    fs::write(blobs.join(blob_of(b"y").sha256.hex()), "y").expect("named, but its row was not written");
    fs::write(blobs.join("no-digest"), "").expect("not ours");

    let (store, recovered) = open(directory.path());
    let expected = Recovered { staging_removed: 2, bundles_removed: 1, blobs_removed: 2, ..Recovered::default() };
    assert_eq!(recovered, expected);
    assert!(entries(&staging).is_empty());
    assert_eq!((entries(&bundles).len(), entries(&blobs).len()), (1, 1));
    assert!(store.lease_bundle(&bundle("weather", "0.1.0").digest).is_ok());
    assert!(store.lease_blob("ann", &blob_of(b"kept").sha256, NOW).is_ok());
}

#[test]
fn rows_without_their_files_are_forgotten_and_told() {
    let (directory, store) = fresh();
    install(&store, bundle("weather", "0.1.0")).expect("install");
    install(&store, bundle("wind", "1.0.0")).expect("install");
    put(&store, "ann", b"gone", NOW).expect("put");
    put(&store, "ann", b"torn", NOW).expect("put");
    put(&store, "ann", b"kept", NOW).expect("put");
    let (bundles, blobs) = (store.bundles_dir(), store.blobs_dir());
    drop(store);
    fs::remove_dir_all(bundles.join(bundle("wind", "1.0.0").digest.hex())).expect("lost");
    fs::remove_file(blobs.join(blob_of(b"gone").sha256.hex())).expect("lost");
    fs::write(blobs.join(blob_of(b"torn").sha256.hex()), "to").expect("torn");

    let (store, recovered) = open(directory.path());
    assert_eq!((recovered.bundles_lost.as_slice(), recovered.blobs_lost), (&["wind@1.0.0".to_owned()][..], 2));
    assert_eq!(store.bundle(&name("wind"), None).expect_err("forgotten").reason(), "BUNDLE_UNKNOWN");
    install(&store, bundle("wind", "1.0.0")).expect("installed again");
    assert_eq!(store.find_missing("ann", &[blob_of(b"gone"), blob_of(b"torn")], NOW).expect("look up").len(), 2);
    put(&store, "ann", b"torn", NOW).expect("put again");
    assert_eq!(store.blobs_bytes(), 8);
}

#[test]
fn a_link_in_place_of_a_blob_is_not_followed() {
    let (directory, store) = fresh();
    put(&store, "ann", b"mine", NOW).expect("put");
    let blob = store.blobs_dir().join(blob_of(b"mine").sha256.hex());
    drop(store);
    let outside = directory.path().join("outside");
    fs::write(&outside, "mine").expect("same length");
    fs::remove_file(&blob).expect("replace");
    std::os::unix::fs::symlink(&outside, &blob).expect("replace");
    let (_store, recovered) = open(directory.path());
    assert_eq!(recovered.blobs_lost, 1);
    assert!(outside.exists() && fs::symlink_metadata(&blob).is_err());
}

#[test]
fn a_removed_bundle_in_use_at_the_crash_is_gone_after_it() {
    let (directory, store) = fresh();
    install(&store, bundle("weather", "0.1.0")).expect("install");
    let bundles = store.bundles_dir();
    let lease = store.lease_bundle(&bundle("weather", "0.1.0").digest).expect("lease");
    store.remove_bundle(&name("weather"), None, "root", NOW).expect("remove");
    let copy = tempfile::tempdir().expect("tempdir");
    copy_all(directory.path(), copy.path());
    assert_eq!(entries(&bundles).len(), 1);
    drop(lease);
    let (store, recovered) = open(copy.path());
    assert_eq!(recovered.bundles_removed, 1);
    assert!(entries(&store.bundles_dir()).is_empty());
}

/// What a `kill -9` leaves: the files as they are, with the database still open and its log not folded in.
#[test]
fn everything_acknowledged_is_there_after_a_kill() {
    let (directory, store) = fresh();
    install(&store, bundle("weather", "0.1.0")).expect("install");
    put(&store, "ann", b"kept", NOW).expect("put");
    store.set_meta("node.id", "aria-1").expect("set");
    for number in 1..=2 {
        store.begin_run(&run(number)).expect("begin");
    }
    store.end_run(&id(1), &end("succeeded")).expect("end");
    let mut half = store.put_blob("ann", blob_of(b"never finished"), NOW).expect("begin");
    half.write(b"never").expect("write");
    let copy = tempfile::tempdir().expect("tempdir");
    copy_all(directory.path(), copy.path());

    let (after, recovered) = open(copy.path());
    assert_eq!(recovered, Recovered { staging_removed: 1, runs_lost: 1, ..Recovered::default() });
    assert_eq!(after.bundles().expect("list"), store.bundles().expect("list"));
    assert!(after.lease_blob("ann", &blob_of(b"kept").sha256, NOW).is_ok());
    assert_eq!(after.meta("node.id").expect("get"), Some("aria-1".into()));
    let outcomes = [1, 2].map(|number| after.run(&id(number)).expect("run").outcome);
    assert_eq!(outcomes, ["succeeded", "LOST"]);
}

#[test]
fn a_second_process_is_refused_and_a_later_one_is_not() {
    let (directory, store) = fresh();
    let error = Store::open(directory.path(), Config::default()).expect_err("busy");
    assert_eq!((error.reason(), error.kind()), ("STORE_BUSY", ErrorKind::State));
    drop(store);
    open(directory.path());
}

#[test]
fn a_database_of_a_newer_program_is_left_alone() {
    let (directory, store) = fresh();
    install(&store, bundle("weather", "0.1.0")).expect("install");
    let bundles = store.bundles_dir();
    drop(store);
    let database = Connection::open(directory.path().join("aria.db")).expect("open");
    database.pragma_update(None, "user_version", 99).expect("newer");
    drop(database);
    let error = Store::open(directory.path(), Config::default()).expect_err("too new");
    assert_eq!(error.reason(), "SCHEMA_TOO_NEW");
    assert_eq!(entries(&bundles).len(), 1);
}

#[test]
fn bytes_that_are_no_database_are_refused_and_kept() {
    let directory = tempfile::tempdir().expect("tempdir");
    fs::write(directory.path().join("aria.db"), "not a database, and longer than a header ".repeat(10)).expect("write");
    fs::create_dir_all(directory.path().join("bundles/some")).expect("directory");
    let error = Store::open(directory.path(), Config::default()).expect_err("no database");
    assert_eq!(error.reason(), "STORE_IO");
    assert!(directory.path().join("bundles/some").exists());
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            fs::create_dir_all(&to).expect("make");
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copy");
        }
    }
}

#[test]
fn a_new_data_directory_is_for_its_daemon_alone() {
    let directory = tempfile::tempdir().expect("tempdir");
    let (above, data) = (directory.path().join("made"), directory.path().join("made/data"));
    let (_store, _) = support::open(&data);
    for path in [&above, &data] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).expect("made").permissions());
        assert_eq!(mode & 0o777, 0o700, "{path:?}");
    }
}
