//! Key-value tables: what a write does, what it may not do, and what is left after the worst moment.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its child says what it wrote"
)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use aria_store::{Config, KvChange, KvEntry, KvTable, KvWrite, KvWritten, Right, StateLimits, Store, StoreError};
use support::{fresh, fresh_with, open};

fn table(owner: &str, path: &str) -> KvTable {
    KvTable { owner: owner.into(), path: path.into() }
}

fn orders() -> KvTable {
    table("ann", "orders")
}

/// Held alone.
fn sole(fence: u64) -> Right {
    Right { fence, shared: false, live: Box::new(|| true) }
}

fn append(fence: u64) -> Right {
    Right { shared: true, ..sole(fence) }
}

fn write_as(store: &Store, table: &KvTable, write: KvWrite, right: Right) -> Result<KvWritten, StoreError> {
    let (told, heard) = mpsc::channel();
    store.kv_write(table.clone(), write, right, move |written| told.send(written).expect("somebody listens"));
    heard.recv().expect("told")
}

fn write(store: &Store, write: KvWrite) -> Result<KvWritten, StoreError> {
    write_as(store, &orders(), write, sole(1))
}

fn put(key: &str, value: &str) -> KvWrite {
    KvWrite::Put { key: key.into(), value: value.into(), new_only: false }
}

fn delete(key: &str) -> KvWrite {
    KvWrite::Delete { key: key.into() }
}

fn cas(key: &str, expected: u64, value: Option<&str>) -> KvWrite {
    KvWrite::Cas { key: key.into(), expected, value: value.map(str::to_owned) }
}

fn done(key: &str, version: u64) -> KvWritten {
    KvWritten::Done { key: key.into(), version }
}

fn value(store: &Store, table: &KvTable, key: &str) -> Option<String> {
    store.kv_get(table, key).expect("get").map(|entry| entry.value)
}

#[track_caller]
fn refused(answer: Result<KvWritten, StoreError>, reason: &str) {
    assert_eq!(answer.expect_err(reason).reason(), reason);
}

#[test]
fn each_change_has_the_next_version() {
    let (_directory, store) = fresh();
    assert_eq!(write(&store, put("a", "1")).expect("put"), done("a", 1));
    assert_eq!(write(&store, put("a", "2")).expect("put"), done("a", 2));
    assert_eq!(write(&store, put("b", "3")).expect("put"), done("b", 3));
    assert_eq!(write(&store, delete("a")).expect("delete"), done("a", 4));
    assert_eq!(write(&store, delete("a")).expect("delete again"), KvWritten::Kept { version: 0 });
    assert_eq!(store.kv_get(&orders(), "a").expect("get"), None);
    let entry = KvEntry { key: "b".into(), value: "3".into(), version: 3 };
    assert_eq!(store.kv_get(&orders(), "b").expect("get"), Some(entry));
    assert_eq!(store.kv_version(&orders()).expect("version"), 4);
}

#[test]
fn compare_and_set_writes_only_what_it_saw() {
    let (_directory, store) = fresh();
    assert_eq!(write(&store, cas("a", 0, Some("1"))).expect("new"), done("a", 1));
    assert_eq!(write(&store, cas("a", 0, Some("2"))).expect("exists"), KvWritten::Kept { version: 1 });
    assert_eq!(write(&store, cas("a", 1, Some("2"))).expect("seen"), done("a", 2));
    assert_eq!(write(&store, cas("a", 1, None)).expect("stale"), KvWritten::Kept { version: 2 });
    assert_eq!(write(&store, cas("a", 2, None)).expect("remove"), done("a", 3));
    assert_eq!(value(&store, &orders(), "a"), None);
}

#[test]
fn appending_never_changes_what_is_there() {
    let (_directory, store) = fresh();
    let add = |value: &str| write_as(&store, &orders(), KvWrite::Append { value: value.into() }, append(1));
    let keys: Vec<String> = (0..3)
        .map(|number| match add(&number.to_string()).expect("append") {
            KvWritten::Done { key, .. } => key,
            kept => panic!("{kept:?}"),
        })
        .collect();
    assert!(keys.is_sorted());
    let new_only = |key: &str| KvWrite::Put { key: key.into(), value: "9".into(), new_only: true };
    assert_eq!(write(&store, new_only(&keys[0])).expect("kept"), KvWritten::Kept { version: 1 });
    assert_eq!(value(&store, &orders(), &keys[0]).as_deref(), Some("0"));
    assert_eq!(write(&store, new_only("mine")).expect("new"), done("mine", 4));
}

#[test]
fn tables_of_owners_and_sub_tables_are_apart() {
    let (_directory, store) = fresh();
    let tables = [orders(), table("bob", "orders"), table("ann", "orders:pending"), table("ann", "orders2")];
    for (number, table) in tables.iter().enumerate() {
        write_as(&store, table, put("k", &number.to_string()), sole(1)).expect("put");
    }
    for (number, table) in tables.iter().enumerate() {
        assert_eq!(value(&store, table, "k"), Some(number.to_string()));
        assert_eq!(store.kv_list(table, "", None, 10).expect("list").entries.len(), 1);
        write_as(&store, table, delete("k"), sole(1)).expect("delete");
        assert!(tables[number + 1..].iter().all(|later| value(&store, later, "k").is_some()));
    }
}

#[test]
fn lists_are_ordered_and_go_on_where_they_stopped() {
    let (_directory, store) = fresh();
    let keys = ["a", "b/1", "b/10", "b/2", "b/\u{10ffff}", "b0", "é"];
    keys.iter().rev().for_each(|key| drop(write(&store, put(key, "1")).expect("put")));
    let names = |prefix: &str, after: Option<&str>, limit| {
        let page = store.kv_list(&orders(), prefix, after, limit).expect("list");
        (page.entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(names("", None, 100), (keys.map(str::to_owned).to_vec(), false));
    assert_eq!(names("b/", None, 2), (vec!["b/1".into(), "b/10".into()], true));
    assert_eq!(names("b/", Some("b/10"), 2), (vec!["b/2".into(), "b/\u{10ffff}".into()], false));
    assert_eq!(names("c", None, 2), (vec![], false));
    assert_eq!(store.kv_list(&table("ann", "none"), "", None, 5).expect("list").entries, []);
}

#[test]
fn a_page_ends_before_it_is_too_large_and_still_moves_on() {
    let (_directory, store) = fresh();
    let large = format!("\"{}\"", "x".repeat(600 << 10));
    for key in ["a", "b", "c"] {
        write(&store, put(key, &large)).expect("put");
    }
    let mut after: Option<String> = None;
    for key in ["a", "b", "c"] {
        let page = store.kv_list(&orders(), "", after.as_deref(), 100).expect("list");
        assert_eq!((page.entries.len(), page.entries[0].key.as_str(), page.more), (1, key, key != "c"));
        after = Some(key.into());
    }
}

#[test]
fn changes_come_in_order_with_every_value() {
    let (_directory, store) = fresh();
    for step in [put("a", "1"), put("b", "2"), put("a", "3"), delete("a")] {
        write(&store, step).expect("write");
    }
    let change = |key: &str, value: Option<&str>, version| KvChange {
        key: key.into(),
        value: value.map(str::to_owned),
        version,
    };
    let all = [change("a", Some("1"), 1), change("b", Some("2"), 2), change("a", Some("3"), 3), change("a", None, 4)];
    let seen = |from, prefix: &str| store.kv_changes(&orders(), prefix, from).expect("changes");
    assert_eq!(seen(0, "").changes, all);
    assert_eq!(seen(2, "").changes, all[2..]);
    assert_eq!((seen(2, "b").changes.len(), seen(2, "b").next), (0, 4));
    assert_eq!((seen(4, "").changes.len(), seen(4, "").more), (0, false));
}

#[test]
fn old_changes_are_forgotten_and_that_is_told() {
    let state = StateLimits { old_max: 3, ..StateLimits::default() };
    let (_directory, store) = fresh_with(Config { state, ..Config::default() });
    write(&store, put("kept", "0")).expect("put");
    for number in 0..10 {
        write(&store, put("a", &number.to_string())).expect("put");
    }
    let error = store.kv_changes(&orders(), "", 3).expect_err("gone");
    assert_eq!(error.reason(), "CHANGES_GONE");
    let seen = store.kv_changes(&orders(), "", 8).expect("kept");
    assert_eq!(seen.changes.iter().map(|change| change.version).collect::<Vec<_>>(), [9, 10, 11]);
    assert_eq!(value(&store, &orders(), "kept").as_deref(), Some("0"), "what is current is never forgotten");
}

#[test]
fn a_late_writer_is_refused_whatever_it_writes() {
    let (directory, store) = fresh();
    write_as(&store, &orders(), put("a", "new"), sole(7)).expect("the newer holder");
    for late in [put("a", "late"), put("b", "late"), delete("a"), cas("a", 1, Some("late"))] {
        refused(write_as(&store, &orders(), late, sole(6)), "FENCED");
    }
    refused(write_as(&store, &orders(), KvWrite::Append { value: "1".into() }, append(6)), "FENCED");
    drop(store);
    // The numbers outlive the daemon, so that a writer from before a crash is refused after it.
    let (store, _) = open(directory.path());
    refused(write_as(&store, &orders(), put("a", "late"), sole(6)), "FENCED");
    assert_eq!(value(&store, &orders(), "a").as_deref(), Some("new"));
    write_as(&store, &orders(), put("a", "same"), sole(7)).expect("the same holder");
}

#[test]
fn those_who_share_do_not_fence_each_other_off() {
    let (_directory, store) = fresh();
    let add = |fence| write_as(&store, &orders(), KvWrite::Append { value: "1".into() }, append(fence));
    add(5).expect("later holder");
    add(4).expect("earlier holder beside it");
    // A sole right cannot have been beside an append, so an earlier one is late.
    refused(write_as(&store, &orders(), put("x", "1"), sole(4)), "FENCED");
    write_as(&store, &orders(), put("x", "1"), sole(6)).expect("after them");
    refused(add(5), "FENCED");
}

#[test]
fn whoever_lost_the_lease_writes_nothing() {
    let (_directory, store) = fresh();
    let right = Right { live: Box::new(|| false), ..sole(1) };
    refused(write_as(&store, &orders(), put("a", "1"), right), "LEASE_EXPIRED");
    assert_eq!(value(&store, &orders(), "a"), None);
}

#[test]
fn full_is_full_for_one_owner_and_one_table() {
    let state = StateLimits {
        table_keys_max: 3,
        table_bytes_max: 2000,
        owner_bytes_max: 3000,
        tables_max: 2,
        ..StateLimits::default()
    };
    let (_directory, store) = fresh_with(Config { state, ..Config::default() });
    let text = |bytes: usize| "1".repeat(bytes);
    let into = |path: &str, write| write_as(&store, &table("ann", path), write, sole(1));
    into("keys", put("a", "1")).expect("first");
    into("keys", put("b", "1")).expect("second");
    into("keys", put("c", "1")).expect("third");
    refused(into("keys", put("d", "1")), "KV_FULL");
    refused(into("keys", put("a", &text(2500))), "KV_FULL");
    into("more", put("a", &text(1800))).expect("another table");
    refused(into("keys", put("a", &text(1500))), "KV_FULL");
    refused(into("third", put("a", "1")), "KV_FULL");
    assert_eq!(value(&store, &table("ann", "keys"), "a").as_deref(), Some("1"), "a refused write leaves no trace");
    assert_eq!(store.kv_version(&table("ann", "third")).expect("version"), 0);
    write_as(&store, &table("bob", "keys"), put("a", &text(1500)), sole(1)).expect("another owner");
    into("more", delete("a")).expect("making room");
}

#[test]
fn what_was_removed_gives_its_room_back() {
    let state = StateLimits { table_bytes_max: 10_000, old_max: 4, ..StateLimits::default() };
    let (_directory, store) = fresh_with(Config { state, ..Config::default() });
    let value = "1".repeat(1000);
    for round in 0..200 {
        let key = format!("k{}", round % 2);
        write(&store, put(&key, &value)).unwrap_or_else(|error| panic!("round {round}: {error}"));
        if round % 3 == 0 {
            write(&store, delete(&key)).expect("delete");
        }
    }
}

#[test]
fn many_at_once_are_all_applied_and_told() {
    let (_directory, store) = fresh();
    let (told, heard) = mpsc::channel();
    for number in 0..1000 {
        let told = told.clone();
        let done = move |written: Result<KvWritten, StoreError>| told.send(written.expect("put")).expect("heard");
        store.kv_write(orders(), put(&format!("k{number}"), "1"), sole(1), done);
    }
    drop(told);
    assert_eq!(heard.iter().count(), 1000);
    assert_eq!(store.kv_version(&orders()).expect("version"), 1000);
}

/// What the next test starts in a process of its own: writes until it is killed, and says which writes were acknowledged.
fn write_until_killed(directory: &str) -> ! {
    let (store, _) = open(Path::new(directory));
    let mut number = 0u64;
    loop {
        write(&store, put(&format!("k{number}"), &number.to_string())).expect("put");
        println!("written {number}");
        number += 1;
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "only another process can be killed")]
fn acknowledged_writes_survive_a_kill() {
    if let Ok(directory) = std::env::var("KV_CHILD_DIR") {
        write_until_killed(&directory);
    }
    let directory = tempfile::tempdir().expect("tempdir");
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "acknowledged_writes_survive_a_kill", "--nocapture"])
            .env("KV_CHILD_DIR", directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("spawn");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let written: Vec<u64> = lines
            .map_while(Result::ok)
            .filter_map(|line| line.rsplit_once("written ").and_then(|(_, number)| number.parse().ok()))
            .take(50 + round * 37)
            .collect();
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(written.len() > 49, "the child wrote {} values", written.len());
        let (store, _) = open(directory.path());
        for number in written {
            assert_eq!(value(&store, &orders(), &format!("k{number}")), Some(number.to_string()));
        }
    }
}
