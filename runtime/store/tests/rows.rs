//! Runs, logs, keys and remembered values.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use aria_core::{Digest, UnixMs};
use aria_store::{
    BlobRef, Config, Credential, LogEntry, LogQuery, LogSource, NewRun, Role, RunQuery, RunRecord, Store,
};
use aria_types::ErrorKind;
use support::{NOW, end, fresh, fresh_with, id, later, open, run, sha256};

fn line(text: &str) -> LogEntry {
    LogEntry { time: NOW, source: LogSource::Stdout, level: String::new(), text: text.into() }
}

fn texts(store: &Store, query: &LogQuery) -> Vec<String> {
    store.logs(query).expect("logs").lines.into_iter().map(|log| log.entry.text).collect()
}

fn credential(key: &[u8]) -> Credential {
    Credential {
        spki: sha256(key),
        subject: "ann".into(),
        role: Role::Admin,
        added_at: NOW,
        expires_at: later(60),
        revoked_at: None,
    }
}

#[test]
fn a_run_is_written_at_its_begin_and_its_end() {
    let (directory, store) = fresh();
    store.begin_run(&run(1)).expect("begin");
    let running = store.run(&id(1)).expect("there");
    assert_eq!((running.outcome.as_str(), running.ended_at, running.bundle), ("", None, Some(sha256(b"w"))));
    store.end_run(&id(1), &end("THREW")).expect("end");
    drop(store);
    let ended = open(directory.path()).0.run(&id(1)).expect("there");
    assert_eq!((ended.outcome.as_str(), ended.ended_at, ended.usage), ("THREW", Some(later(1)), end("").usage));
    assert_eq!((ended.message.as_str(), ended.log_dropped_bytes), ("one line", 0));
    assert_eq!((ended.input, ended.output), (Some(BlobRef::of(b"{}")), Some(BlobRef::of(b"7"))));
}

#[test]
fn a_run_ends_once_and_begins_once() {
    let (_directory, store) = fresh();
    store.begin_run(&run(1)).expect("begin");
    store.end_run(&id(1), &end("succeeded")).expect("end");
    assert_eq!(store.end_run(&id(1), &end("THREW")).expect_err("again").reason(), "RUN_UNKNOWN");
    assert_eq!(store.end_run(&id(2), &end("THREW")).expect_err("never begun").kind(), ErrorKind::NotFound);
    assert!(store.begin_run(&run(1)).is_err());
    assert_eq!(store.run(&id(1)).expect("there").outcome, "succeeded");
}

#[test]
fn runs_are_listed_newest_first_and_by_owner() {
    let (_directory, store) = fresh();
    (1..=5).for_each(|number| store.begin_run(&run(number)).expect("begin"));
    let mut bobs = run(9);
    bobs.owner = "bob".into();
    store.begin_run(&bobs).expect("begin");
    let ids = |owner: Option<&str>, limit| {
        let query = RunQuery { owner: owner.map(Into::into), limit, ..RunQuery::default() };
        store.runs(&query).expect("runs").0.into_iter().map(|run| run.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 2), [id(9), id(5)]);
    assert_eq!(ids(Some("bob"), 10), [id(9)]);
    assert_eq!(ids(Some("nobody"), 10), []);
}

#[test]
fn pages_of_runs_do_not_move_when_others_begin() {
    let (_directory, store) = fresh();
    (1..=5).for_each(|number| store.begin_run(&run(number)).expect("begin"));
    let page = |before| store.runs(&RunQuery { before, limit: 2, ..RunQuery::default() }).expect("runs");
    let ids = |runs: Vec<RunRecord>| runs.into_iter().map(|run| run.id).collect::<Vec<_>>();
    let (first, next) = page(None);
    store.begin_run(&run(6)).expect("begin");
    let (second, last) = page(next);
    let (third, none) = page(last);
    assert_eq!((ids(first), ids(second), ids(third)), (vec![id(5), id(4)], vec![id(3), id(2)], vec![id(1)]));
    assert_eq!(none, None);
}

#[test]
fn runs_are_found_by_tool_bundle_outcome_and_time() {
    let (_directory, store) = fresh();
    (1..=3).for_each(|number| store.begin_run(&run(number)).expect("begin"));
    let other = NewRun { tool: "weatherman.ask".into(), started_at: later(5), ..run(4) };
    store.begin_run(&other).expect("begin");
    store.end_run(&id(1), &end("succeeded")).expect("end");
    store.end_run(&id(2), &end("THREW")).expect("end");
    let found = |query: RunQuery| {
        let (runs, _) = store.runs(&RunQuery { limit: 9, ..query }).expect("runs");
        runs.into_iter().map(|run| run.id).collect::<Vec<_>>()
    };
    let tool = |text: &str| found(RunQuery { tool: Some(text.into()), ..RunQuery::default() });
    let outcome = |text: &str| found(RunQuery { outcome: Some(text.into()), ..RunQuery::default() });
    assert_eq!(tool("weather.forecast"), [id(3), id(2), id(1)]);
    assert_eq!(tool("weather"), [id(3), id(2), id(1)]);
    assert_eq!(tool("weatherman"), [id(4)]);
    assert_eq!(tool("wea%"), []);
    assert_eq!((outcome("succeeded"), outcome("failed")), (vec![id(1)], vec![id(2)]));
    assert_eq!(outcome(""), [id(4), id(3)]);
    assert_eq!(found(RunQuery { since: Some(later(5)), ..RunQuery::default() }), [id(4)]);
}

#[test]
fn old_runs_make_room_with_their_logs_but_never_running_ones() {
    let (_directory, store) = fresh_with(Config { runs_max: 3, ..Config::default() });
    for number in 1..=3 {
        store.begin_run(&run(number)).expect("begin");
        store.append_log(&id(number), &[line("text")]).expect("log");
    }
    store.end_run(&id(2), &end("succeeded")).expect("end");
    store.begin_run(&run(4)).expect("begin");
    assert!(store.run(&id(1)).is_ok() && store.run(&id(3)).is_ok());
    assert_eq!(store.run(&id(2)).expect_err("gone").reason(), "RUN_UNKNOWN");
    assert_eq!(texts(&store, &LogQuery::default()).len(), 2);
}

#[test]
fn a_log_comes_back_in_order_by_any_filter() {
    let (_directory, store) = fresh();
    store.begin_run(&run(1)).expect("begin");
    let mut other = run(2);
    (other.tool, other.owner) = ("text.diff".into(), "bob".into());
    store.begin_run(&other).expect("begin");
    store.append_log(&id(1), &[line("one"), line("two \u{1b}[31m\0")]).expect("log");
    let told = LogEntry { time: later(9), source: LogSource::Log, level: "warn".into(), text: "three".into() };
    store.append_log(&id(2), std::slice::from_ref(&told)).expect("log");

    let all = store.logs(&LogQuery::default()).expect("logs").lines;
    assert_eq!((all[2].entry.clone(), all[2].tool.as_str(), all[2].owner.as_str()), (told, "text.diff", "bob"));
    let query = LogQuery::default;
    assert_eq!(texts(&store, &query()), ["one", "two \u{1b}[31m\0", "three"]);
    assert_eq!(texts(&store, &LogQuery { limit: 2, ..query() }), ["two \u{1b}[31m\0", "three"]);
    assert_eq!(texts(&store, &LogQuery { invocation: Some(id(2)), ..query() }), ["three"]);
    assert_eq!(texts(&store, &LogQuery { tool: Some("text.diff".into()), ..query() }), ["three"]);
    assert_eq!(texts(&store, &LogQuery { owner: Some("ann".into()), limit: 1, ..query() }), ["two \u{1b}[31m\0"]);
    assert_eq!(texts(&store, &LogQuery { since: Some(later(1)), ..query() }), ["three"]);
    assert_eq!(texts(&store, &LogQuery { after: Some(all[0].seq), limit: 1, ..query() }), ["two \u{1b}[31m\0"]);
    assert_eq!(texts(&store, &LogQuery { after: Some(all[2].seq), ..query() }), [""; 0]);
}

#[test]
fn a_large_log_comes_in_pages_and_none_of_it_twice() {
    let (_directory, store) = fresh();
    store.begin_run(&run(1)).expect("begin");
    for number in 0..20 {
        store.append_log(&id(1), &[line(&format!("{number:050000}"))]).expect("log");
    }
    let (mut query, mut seen) = (LogQuery::default(), Vec::new());
    loop {
        let page = store.logs(&query).expect("logs");
        let bytes: usize = page.lines.iter().map(|line| line.entry.text.len()).sum();
        assert!(bytes <= (256 << 10) + 50_000, "{bytes}");
        seen.extend(page.lines.iter().map(|line| line.entry.text.parse::<u32>().expect("number")));
        query.after = Some(page.next);
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
}

#[test]
fn what_nobody_asked_for_is_looked_through_once() {
    let (_directory, store) = fresh();
    store.begin_run(&run(1)).expect("begin");
    store.append_log(&id(1), &[line("one"), line("two")]).expect("log");
    let newest = store.logs(&LogQuery::default()).expect("logs").lines[1].seq;
    for after in [None, Some(0)] {
        let query = LogQuery { owner: Some("bob".into()), after, ..LogQuery::default() };
        let page = store.logs(&query).expect("logs");
        assert_eq!((page.lines.len(), page.next, page.more), (0, newest, false));
    }
}

#[test]
fn a_log_of_no_run_is_refused() {
    let (_directory, store) = fresh();
    assert_eq!(store.append_log(&id(1), &[line("x")]).expect_err("no run").reason(), "RUN_UNKNOWN");
}

#[test]
fn a_long_log_keeps_its_head_and_its_last_words() {
    let bounds = Config { log_head_bytes_max: 1000, log_tail_bytes_max: 500, ..Config::default() };
    let (_directory, store) = fresh_with(bounds);
    store.begin_run(&run(1)).expect("begin");
    for number in 0..100 {
        store.append_log(&id(1), &[line(&format!("{number:068}"))]).expect("log");
    }
    let kept = texts(&store, &LogQuery::default());
    let numbers: Vec<u32> = kept.iter().map(|text| text.parse().expect("number")).collect();
    assert_eq!(numbers, (0..10).chain(95..100).collect::<Vec<_>>());
    assert_eq!(store.run(&id(1)).expect("there").log_dropped_bytes, 85 * 68);
}

#[test]
fn one_endless_line_is_cut_at_a_character_border() {
    let bounds = Config { log_head_bytes_max: 100, log_tail_bytes_max: 100, ..Config::default() };
    let (_directory, store) = fresh_with(bounds);
    store.begin_run(&run(1)).expect("begin");
    store.append_log(&id(1), &[line(&"ü".repeat(1000))]).expect("log");
    assert_eq!(texts(&store, &LogQuery::default()), ["ü".repeat(34)]);
    assert_eq!(store.run(&id(1)).expect("there").log_dropped_bytes, 2000 - 68);
}

#[test]
fn empty_lines_are_not_free() {
    let bounds = Config { log_head_bytes_max: 1 << 10, log_tail_bytes_max: 1 << 10, ..Config::default() };
    let (_directory, store) = fresh_with(bounds);
    store.begin_run(&run(1)).expect("begin");
    store.append_log(&id(1), &vec![line(""); 10_000]).expect("log");
    assert_eq!(texts(&store, &LogQuery { limit: 10_000, ..LogQuery::default() }).len(), 64);
}

#[test]
fn all_logs_together_are_bounded_and_the_oldest_run_loses_first() {
    let bounds = Config { logs_bytes_max: 1000, ..Config::default() };
    let (directory, store) = fresh_with(bounds.clone());
    for number in 1..=3 {
        store.begin_run(&run(number)).expect("begin");
        store.end_run(&id(number), &end("succeeded")).expect("end");
        store.append_log(&id(number), &[line(&"x".repeat(368))]).expect("log");
    }
    assert!(store.run(&id(1)).expect("the row stays").log_dropped_bytes > 0);
    assert!(texts(&store, &LogQuery { invocation: Some(id(1)), ..LogQuery::default() }).is_empty());
    assert_eq!(texts(&store, &LogQuery::default()).len(), 2);
    drop(store);
    let (store, _) = Store::open(directory.path(), bounds).expect("reopen");
    store.begin_run(&run(4)).expect("begin");
    store.append_log(&id(4), &[line(&"y".repeat(368))]).expect("log");
    assert_eq!(texts(&store, &LogQuery::default()).len(), 2);
}

#[test]
fn a_key_is_enrolled_found_revoked_and_enrolled_again() {
    let (directory, store) = fresh();
    assert_eq!(store.credential(&sha256(b"key")).expect("look up"), None);
    store.enroll(&credential(b"key"), None, "root").expect("enrol");
    assert!(store.revoke(&sha256(b"key"), "root", later(5)).expect("revoke"));
    assert!(!store.revoke(&sha256(b"key"), "root", later(6)).expect("only once"));
    assert!(!store.revoke(&sha256(b"other"), "root", later(6)).expect("unknown"));
    drop(store);
    let (store, _) = open(directory.path());
    assert_eq!(store.credential(&sha256(b"key")).expect("look up").and_then(|key| key.revoked_at), Some(later(5)));
    let again = Credential { subject: "bea".into(), role: Role::Caller, added_at: later(9), ..credential(b"key") };
    store.enroll(&again, None, "root").expect("enrol again");
    assert_eq!(store.credentials().expect("list"), [again]);
}

#[test]
fn a_one_time_right_is_used_once_and_only_by_its_key() {
    let (directory, store) = fresh();
    store.enroll(&credential(b"first"), Some("tcp"), "").expect("first");
    store.enroll(&credential(b"first"), Some("tcp"), "").expect("its answer was lost");
    let error = store.enroll(&credential(b"second"), Some("tcp"), "").expect_err("used");
    assert_eq!((error.reason(), error.kind()), ("ALREADY_USED", ErrorKind::Denied));
    assert_eq!(store.credential(&sha256(b"second")).expect("look up"), None);
    store.enroll(&credential(b"second"), Some("other right"), "").expect("another right");
    drop(store);
    assert!(open(directory.path()).0.enroll(&credential(b"third"), Some("tcp"), "").is_err());
}

#[test]
fn every_role_reads_back() {
    let (_directory, store) = fresh();
    for (number, role) in (0u8..).zip([Role::Admin, Role::Operator, Role::Caller]) {
        let key = Digest::new([number; 32]);
        store
            .enroll(&Credential { spki: key, role, added_at: UnixMs(number.into()), ..credential(b"") }, None, "")
            .expect("enrol");
        assert_eq!(store.credential(&key).expect("look up").map(|key| key.role), Some(role));
    }
    assert_eq!(store.credentials().expect("list").len(), 3);
}

#[test]
fn values_are_remembered() {
    let (directory, store) = fresh();
    assert_eq!(store.meta("node.id").expect("get"), None);
    assert_eq!(store.meta_or_insert("node.id", "a").expect("first"), "a");
    assert_eq!(store.meta_or_insert("node.id", "b").expect("second"), "a");
    store.set_meta("node.id", "c").expect("set");
    drop(store);
    assert_eq!(open(directory.path()).0.meta("node.id").expect("get"), Some("c".into()));
}
