//! Installing, finding, removing bundles, and directories that outlive their row while somebody uses them.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::Barrier;
use std::thread;

use aria_store::{Config, Installed, StoreError};
use aria_types::ErrorKind;
use support::{NOW, bundle, entries, fresh, fresh_with, install, install_at, later, name, open, place};

#[test]
fn an_installed_bundle_is_found_again_also_after_reopening() {
    let (directory, store) = fresh();
    let Ok(Installed::Now(record)) = install(&store, bundle("weather", "0.1.0")) else { panic!("not installed") };
    assert_eq!((record.name.as_str(), record.installed_at, record.owner.as_str()), ("weather", NOW, "ann"));
    drop(store);
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered, aria_store::Recovered::default());
    assert_eq!(store.bundle(&name("weather"), Some("0.1.0")).expect("there"), record);
    assert_eq!(store.bundles().expect("list"), [(record.name, record.version)]);
}

#[test]
fn the_same_bundle_again_changes_nothing_and_is_not_placed_again() {
    let (_directory, store) = fresh();
    install(&store, bundle("weather", "0.1.0")).expect("first");
    let again = install_at(&store, bundle("weather", "0.1.0"), later(5), |_| Err("placed twice".into()));
    assert!(matches!(again, Ok(Installed::Before(record)) if record.installed_at == NOW));
}

#[test]
fn another_content_of_the_same_version_is_refused() {
    let (_directory, store) = fresh();
    install(&store, bundle("weather", "0.1.0")).expect("first");
    let mut other = bundle("weather", "0.1.0");
    other.digest = support::sha256(b"other");
    let error = install(&store, other.clone()).expect_err("taken");
    assert_eq!((error.reason(), error.kind()), ("VERSION_TAKEN", ErrorKind::Exists));
    assert_eq!(entries(&store.bundles_dir()), [bundle("weather", "0.1.0").digest.hex()]);
    other.version = "0.1.1".into();
    install(&store, other).expect("a version of its own");
}

#[test]
fn newest_is_by_semver_and_not_by_text_or_time() {
    let (_directory, store) = fresh();
    for version in ["0.10.0", "0.9.0", "0.10.0-beta.2", "0.10.0-beta.11", "0.2.0"] {
        install(&store, bundle("weather", version)).expect("install");
    }
    install(&store, bundle("alpha", "1.0.0")).expect("install");
    assert_eq!(store.bundle(&name("weather"), None).expect("newest").version, "0.10.0");
    let listed: Vec<String> =
        store.bundles().expect("list").iter().map(|(name, version)| format!("{name}@{version}")).collect();
    let expected = [
        "alpha@1.0.0",
        "weather@0.10.0",
        "weather@0.10.0-beta.11",
        "weather@0.10.0-beta.2",
        "weather@0.9.0",
        "weather@0.2.0",
    ];
    assert_eq!(listed, expected);
}

#[test]
fn what_is_not_installed_is_unknown() {
    let (_directory, store) = fresh();
    install(&store, bundle("weather", "0.1.0")).expect("install");
    let absent = [
        store.bundle(&name("wind"), None).map(drop),
        store.bundle(&name("weather"), Some("0.1")).map(drop),
        store.remove_bundle(&name("wind"), None, "root", NOW).map(drop),
        store.remove_bundle(&name("weather"), Some("' OR 1=1 --"), "root", NOW).map(drop),
        store.lease_bundle(&support::sha256(b"none")).map(drop),
    ];
    for answer in absent {
        assert_eq!(answer.expect_err("absent").reason(), "BUNDLE_UNKNOWN");
    }
    assert_eq!(store.bundles().expect("list").len(), 1);
}

#[test]
fn removing_takes_one_version_or_all() {
    let (_directory, store) = fresh();
    for version in ["0.1.0", "0.2.0", "0.3.0"] {
        install(&store, bundle("weather", version)).expect("install");
    }
    assert_eq!(store.remove_bundle(&name("weather"), Some("0.2.0"), "root", NOW).expect("one").len(), 1);
    assert_eq!(entries(&store.bundles_dir()).len(), 2);
    assert_eq!(store.remove_bundle(&name("weather"), None, "root", NOW).expect("all").len(), 2);
    assert!(entries(&store.bundles_dir()).is_empty() && entries(&store.staging_dir()).is_empty());
}

#[test]
fn a_removed_bundle_keeps_its_files_until_the_last_lease_ends() {
    let (_directory, store) = fresh();
    let digest = bundle("weather", "0.1.0").digest;
    install(&store, bundle("weather", "0.1.0")).expect("install");
    let (one, two) = (store.lease_bundle(&digest).expect("lease"), store.lease_bundle(&digest).expect("lease"));
    store.remove_bundle(&name("weather"), None, "root", NOW).expect("remove");
    assert_eq!(store.lease_bundle(&digest).expect_err("gone").reason(), "BUNDLE_UNKNOWN");
    drop(one);
    assert!(two.app_dir().join("main.js").exists());
    let app = two.app_dir();
    drop(two);
    assert!(!app.exists());
    assert!(entries(&store.bundles_dir()).is_empty() && entries(&store.staging_dir()).is_empty());
}

#[test]
fn a_bundle_that_comes_back_while_in_use_stays() {
    let (_directory, store) = fresh();
    let digest = bundle("weather", "0.1.0").digest;
    install(&store, bundle("weather", "0.1.0")).expect("install");
    let lease = store.lease_bundle(&digest).expect("lease");
    store.remove_bundle(&name("weather"), None, "root", NOW).expect("remove");
    assert!(matches!(install(&store, bundle("weather", "0.1.0")), Ok(Installed::Now(_))));
    let app = lease.app_dir();
    drop(lease);
    assert!(app.join("main.js").exists());
}

#[test]
fn a_failed_reinstall_still_removes_the_doomed_directory() {
    let (_directory, store) = fresh();
    let digest = bundle("weather", "0.1.0").digest;
    install(&store, bundle("weather", "0.1.0")).expect("install");
    let lease = store.lease_bundle(&digest).expect("lease");
    store.remove_bundle(&name("weather"), None, "root", NOW).expect("remove");
    install_at(&store, bundle("weather", "0.1.0"), NOW, |_| Err("disk".into())).expect_err("not placed");
    drop(lease);
    assert!(entries(&store.bundles_dir()).is_empty());
}

#[test]
fn a_failed_place_installs_nothing_and_keeps_its_cause() {
    let (_directory, store) = fresh();
    let digest = bundle("weather", "0.1.0").digest;
    let error = install_at(&store, bundle("weather", "0.1.0"), NOW, |bundles| {
        place(bundles, &digest)?;
        Err("the disk is gone".into())
    })
    .expect_err("not placed");
    assert!(matches!(&error, StoreError::Place(cause) if cause.to_string() == "the disk is gone"));
    assert!(store.bundles().expect("list").is_empty() && entries(&store.bundles_dir()).is_empty());
}

#[test]
fn the_quota_counts_what_is_installed() {
    let (_directory, store) = fresh_with(Config { bundles_bytes_max: 7000, ..Config::default() });
    install(&store, bundle("a", "1.0.0")).expect("3000 of 7000");
    install(&store, bundle("b", "1.0.0")).expect("6000 of 7000");
    let error = install(&store, bundle("c", "1.0.0")).expect_err("9000 of 7000");
    assert_eq!((error.reason(), error.kind()), ("DISK_QUOTA", ErrorKind::Exhausted));
    assert!(matches!(install(&store, bundle("a", "1.0.0")), Ok(Installed::Before(_))));
    store.remove_bundle(&name("b"), None, "root", NOW).expect("room");
    install(&store, bundle("c", "1.0.0")).expect("6000 of 7000");
}

#[test]
fn versions_are_counted_also_when_they_are_small() {
    let (_directory, store) = fresh_with(Config { bundles_max: 2, ..Config::default() });
    install(&store, bundle("a", "1.0.0")).expect("1 of 2");
    install(&store, bundle("a", "1.0.1")).expect("2 of 2");
    let error = install(&store, bundle("a", "1.0.2")).expect_err("3 of 2");
    assert_eq!((error.reason(), error.kind()), ("DISK_QUOTA", ErrorKind::Exhausted));
    store.remove_bundle(&name("a"), Some("1.0.0"), "root", NOW).expect("room");
    install(&store, bundle("a", "1.0.2")).expect("2 of 2");
}

#[test]
fn installing_the_same_bundle_at_once_gives_one_good_copy() {
    let (_directory, store) = fresh();
    let start = Barrier::new(8);
    let news: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    usize::from(matches!(install(&store, bundle("weather", "0.1.0")), Ok(Installed::Now(_))))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!((news, store.bundles().expect("list").len()), (1, 1));
}

#[test]
fn leases_and_removals_at_once_leave_all_or_nothing() {
    let (_directory, store) = fresh();
    let digest = bundle("weather", "0.1.0").digest;
    for _ in 0..20 {
        install(&store, bundle("weather", "0.1.0")).expect("install");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    if let Ok(lease) = store.lease_bundle(&digest) {
                        assert!(lease.app_dir().join("main.js").exists());
                    }
                });
            }
            scope.spawn(|| store.remove_bundle(&name("weather"), None, "root", NOW).expect("remove"));
        });
        assert!(entries(&store.bundles_dir()).is_empty());
    }
}
