//! Versions side by side: where calls go, what is deprecated, and what must stay because others need it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use aria_core::Dependency;
use aria_core::dependency::Range;
use aria_store::{AuditQuery, Dependants, NewBundle, Pointer, Store, StoreError};
use aria_types::ErrorKind;
use support::{NOW, bundle, entries, fresh, install, name, open};

fn needing(text: &str, version: &str, needs: &[(&str, &str)]) -> NewBundle {
    let dependency =
        |(of, range): &(&str, &str)| Dependency { name: name(of), range: Range::parse(range).expect("range") };
    NewBundle { dependencies: needs.iter().map(dependency).collect(), ..bundle(text, version) }
}

/// The version calls go to, and whether it is pinned.
fn active(store: &Store, text: &str) -> (String, bool) {
    let record = store.bundle(&name(text), None).expect("active");
    assert!(record.active);
    (record.version, record.pinned)
}

fn installed(versions: &[&str]) -> (tempfile::TempDir, Store) {
    let (directory, store) = fresh();
    for version in versions {
        install(&store, bundle("weather", version)).expect("install");
    }
    (directory, store)
}

#[test]
fn a_pin_holds_against_newer_versions_and_after_reopening() {
    let (directory, store) = installed(&["0.1.0", "0.2.0"]);
    assert_eq!(active(&store, "weather"), ("0.2.0".into(), false));
    store.point(&name("weather"), Pointer::Pin("0.1.0"), "root", NOW).expect("pin");
    install(&store, bundle("weather", "0.3.0")).expect("newer");
    assert_eq!(active(&store, "weather"), ("0.1.0".into(), true));
    drop(store);
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered, aria_store::Recovered::default());
    assert_eq!(active(&store, "weather"), ("0.1.0".into(), true));
    let newest = store.point(&name("weather"), Pointer::Follow, "root", NOW).expect("follow");
    assert_eq!((newest.version.as_str(), newest.pinned), ("0.3.0", false));
    let listed = store.bundle(&name("weather"), Some("0.1.0")).expect("still there");
    assert!(!listed.active && !listed.pinned);
}

#[test]
fn a_rollback_goes_to_the_version_before_and_back() {
    let (_directory, store) = installed(&["0.1.0"]);
    let none = store.point(&name("weather"), Pointer::Back, "root", NOW).expect_err("nothing before");
    assert_eq!((none.reason(), none.kind()), ("NO_PREVIOUS", ErrorKind::State));
    install(&store, bundle("weather", "0.2.0")).expect("install");
    for expected in ["0.1.0", "0.2.0", "0.1.0"] {
        store.point(&name("weather"), Pointer::Back, "root", NOW).expect("back");
        assert_eq!(active(&store, "weather"), (expected.into(), true));
    }
}

#[test]
fn where_calls_go_is_always_installed() {
    let (_directory, store) = installed(&["0.1.0", "0.2.0", "0.3.0"]);
    store.point(&name("weather"), Pointer::Pin("0.2.0"), "root", NOW).expect("pin");
    store.remove_bundle(&name("weather"), Some("0.2.0"), "root", NOW).expect("remove");
    assert_eq!(active(&store, "weather"), ("0.3.0".into(), false));
    for (to, reason) in [(Pointer::Pin("0.2.0"), "BUNDLE_UNKNOWN"), (Pointer::Back, "NO_PREVIOUS")] {
        assert_eq!(store.point(&name("weather"), to, "root", NOW).expect_err("gone").reason(), reason);
    }
    store.remove_bundle(&name("weather"), None, "root", NOW).expect("remove");
    let gone = store.point(&name("weather"), Pointer::Follow, "root", NOW).expect_err("nothing is installed");
    assert_eq!(gone.reason(), "BUNDLE_UNKNOWN");
    install(&store, bundle("weather", "0.1.0")).expect("anew");
    assert_eq!(active(&store, "weather"), ("0.1.0".into(), false), "nothing is remembered of what is gone");
}

#[test]
fn moves_and_deprecations_are_in_the_audit() {
    let (_directory, store) = installed(&["0.1.0", "0.2.0"]);
    store.point(&name("weather"), Pointer::Pin("0.1.0"), "bob", NOW).expect("pin");
    store.point(&name("weather"), Pointer::Back, "bob", NOW).expect("back");
    store.deprecate(&name("weather"), "0.1.0", "use 0.2.0", "bob", NOW).expect("deprecate");
    store.deprecate(&name("weather"), "0.1.0", "", "bob", NOW).expect("undo");
    let rows = store.audit_rows(&AuditQuery { owner: Some("bob".into()), ..AuditQuery::default() }).expect("rows");
    let reasons: Vec<(&str, &str)> = rows.rows.iter().map(|row| (row.kind.as_str(), row.reason.as_str())).collect();
    let changed = ["PINNED", "ROLLED_BACK", "DEPRECATED", "UNDEPRECATED"].map(|reason| ("bundle.changed", reason));
    assert_eq!(reasons, changed);
}

#[test]
fn a_deprecated_version_says_why_and_is_still_called() {
    let (_directory, store) = installed(&["0.1.0"]);
    assert_eq!(store.bundle(&name("weather"), None).expect("there").deprecated, "");
    store.deprecate(&name("weather"), "0.1.0", "use wind", "root", NOW).expect("deprecate");
    assert_eq!(store.bundle(&name("weather"), None).expect("there").deprecated, "use wind");
    let absent = store.deprecate(&name("weather"), "9.0.0", "x", "root", NOW).expect_err("absent");
    assert_eq!(absent.reason(), "BUNDLE_UNKNOWN");
}

#[test]
fn what_others_need_stays_unless_they_go_with_it() {
    let (_directory, store) = fresh();
    let top = needing("top", "1.0.0", &[("base", "^1.0.0")]);
    let missing = install(&store, top.clone()).expect_err("base is missing");
    assert_eq!((missing.reason(), missing.kind()), ("DEPENDENCY_MISSING", ErrorKind::State));
    assert!(entries(&store.bundles_dir()).is_empty());
    for one in [bundle("base", "1.0.0"), bundle("base", "1.1.0"), bundle("base", "2.0.0"), top] {
        install(&store, one).expect("install");
    }
    store.remove_bundle(&name("base"), Some("1.0.0"), "root", NOW).expect("another one will do");
    match store.remove_bundle(&name("base"), Some("1.1.0"), "root", NOW) {
        Err(StoreError::InUse { dependants, .. }) => assert_eq!(dependants, ["top@1.0.0"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.remove_bundle(&name("base"), None, "root", NOW).expect_err("needed").reason(), "BUNDLE_IN_USE");
    let would = store.removal(&name("base"), Some("1.1.0"), Dependants::Remove).expect("would");
    assert_eq!((would.len(), entries(&store.bundles_dir()).len()), (2, 3), "only looking changes nothing");
    let gone = store.remove_with(&name("base"), Some("1.1.0"), Dependants::Remove, "root", NOW).expect("both");
    let gone: Vec<String> = gone.iter().map(|one| format!("{}@{}", one.name, one.version)).collect();
    assert_eq!(gone, ["base@1.1.0", "top@1.0.0"]);
    assert_eq!(entries(&store.bundles_dir()), [bundle("base", "2.0.0").digest.hex()]);
}

#[test]
fn a_short_name_is_the_one_bundle_whose_active_version_has_it() {
    let (_directory, store) = fresh();
    let search = name("search");
    assert_eq!(store.tool_named(&search).expect("none"), None);
    install(&store, NewBundle { tools: vec![search.clone()], ..bundle("web", "1.0.0") }).expect("install");
    install(&store, bundle("web", "0.9.0")).expect("an older one without it");
    assert_eq!(store.tool_named(&search).expect("one").map(|name| name.to_string()), Some("web.search".into()));
    install(&store, NewBundle { tools: vec![search.clone()], ..bundle("mail", "1.0.0") }).expect("install");
    match store.tool_named(&search) {
        Err(StoreError::ToolAmbiguous { candidates, .. }) => assert_eq!(candidates, ["mail.search", "web.search"]),
        other => panic!("{other:?}"),
    }
    store.point(&name("web"), Pointer::Pin("0.9.0"), "root", NOW).expect("pin");
    assert_eq!(store.tool_named(&search).expect("one").map(|name| name.to_string()), Some("mail.search".into()));
}

#[test]
fn a_file_that_was_installed_is_known_by_its_digest() {
    let (_directory, store) = installed(&["0.1.0"]);
    let file = bundle("weather", "0.1.0").file_sha256;
    assert_eq!(store.bundle_by_file(&file).expect("look up").expect("known").version, "0.1.0");
    assert!(store.bundle_by_file(&support::sha256(b"other")).expect("look up").is_none());
    store.remove_bundle(&name("weather"), None, "root", NOW).expect("remove");
    assert!(store.bundle_by_file(&file).expect("look up").is_none());
}
