//! The audit: what is written, with what, how it is read, what makes room.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use aria_core::UnixMs;
use aria_store::{AuditEvent, AuditKind, AuditQuery, AuditRecord, Config, Credential, Detail, Role, RunEnd, Store};
use support::{NOW, bundle, end, fresh, fresh_with, id, install, later, name, open, run, sha256};

fn event(kind: AuditKind, owner: &str, at: UnixMs) -> AuditEvent {
    let detail = Detail::default().text("message", "why");
    let (subject, reason) = ("tool:a.b".to_owned(), "TOKEN_NOT_ALLOWED".to_owned());
    AuditEvent { at, kind, owner: owner.to_owned(), invocation: Some(id(1)), subject, reason, detail }
}

fn rows(store: &Store, query: &AuditQuery) -> Vec<AuditRecord> {
    store.audit_rows(query).expect("rows").rows
}

fn kinds(store: &Store) -> Vec<String> {
    rows(store, &AuditQuery::default()).into_iter().map(|row| row.kind).collect()
}

#[test]
fn every_kind_has_its_own_name_and_comes_back() {
    let mut names = AuditKind::ALL.map(AuditKind::as_str);
    assert!(AuditKind::ALL.iter().all(|kind| AuditKind::parse(kind.as_str()) == Some(*kind)));
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(AuditKind::parse("lease.*"), None);
}

#[test]
fn rows_come_back_in_order_by_any_filter() {
    let (directory, store) = fresh();
    store.audit(&[event(AuditKind::CallRefused, "ann", NOW)], true, None).expect("first");
    let mut other = event(AuditKind::LeaseDenied, "bob", later(5));
    other.invocation = None;
    store.audit(&[other, event(AuditKind::LeaseDenied, "ann", later(6))], false, Some(("k", "v"))).expect("more");
    drop(store);
    let store = open(directory.path()).0;
    let seqs = |query: AuditQuery| rows(&store, &query).into_iter().map(|row| row.seq).collect::<Vec<_>>();
    assert_eq!(seqs(AuditQuery::default()), [1, 2, 3]);
    assert_eq!(seqs(AuditQuery { kind: Some(AuditKind::LeaseDenied), ..AuditQuery::default() }), [2, 3]);
    assert_eq!(seqs(AuditQuery { owner: Some("ann".into()), ..AuditQuery::default() }), [1, 3]);
    assert_eq!(seqs(AuditQuery { invocation: Some(id(1)), ..AuditQuery::default() }), [1, 3]);
    assert_eq!(seqs(AuditQuery { since: Some(later(6)), ..AuditQuery::default() }), [3]);
    assert_eq!(seqs(AuditQuery { limit: 2, ..AuditQuery::default() }), [2, 3]);
    assert_eq!(seqs(AuditQuery { after: Some(1), limit: 1, ..AuditQuery::default() }), [2]);
    assert_eq!(seqs(AuditQuery { owner: Some("nobody".into()), ..AuditQuery::default() }), [0i64; 0]);
    assert_eq!(store.meta("k").expect("remembered"), Some("v".into()));
    let first = rows(&store, &AuditQuery::default()).remove(0);
    assert_eq!((first.at, first.invocation.as_str(), first.subject.as_str()), (NOW, id(1).as_str(), "tool:a.b"));
    assert_eq!((first.reason.as_str(), first.detail.as_str()), ("TOKEN_NOT_ALLOWED", r#"{"message":"why"}"#));
}

#[test]
fn following_goes_on_where_the_last_look_ended() {
    let (_directory, store) = fresh();
    store.audit(&[event(AuditKind::LeaseDenied, "bob", NOW)], false, None).expect("first");
    let mut query = AuditQuery { owner: Some("ann".into()), ..AuditQuery::default() };
    let page = store.audit_rows(&query).expect("look");
    assert!(page.rows.is_empty() && !page.more);
    query.after = Some(page.next);
    store.audit(&[event(AuditKind::LeaseDenied, "ann", NOW)], false, None).expect("second");
    let page = store.audit_rows(&query).expect("look again");
    assert_eq!((page.rows.len(), page.next), (1, 2));
}

#[test]
fn names_in_a_row_move_no_cursor() {
    let (_directory, store) = fresh();
    let mut bad = event(AuditKind::CallRefused, "a\u{1b}[2Jnn\u{202e}", NOW);
    bad.subject = "x".repeat(100_000);
    store.audit(&[bad], true, None).expect("write");
    let row = rows(&store, &AuditQuery::default()).remove(0);
    assert_eq!((row.owner.as_str(), row.subject.len()), ("a\\u{1b}[2Jnn\\u{202e}", 256));
}

#[test]
fn the_end_of_a_run_and_its_row_are_one() {
    let (_directory, store) = fresh();
    let ended = || RunEnd { audit: Some(event(AuditKind::CallFinished, "ann", NOW)), ..end("succeeded") };
    assert!(store.end_run(&id(1), &ended()).is_err());
    assert!(kinds(&store).is_empty());
    store.begin_run(&run(1)).expect("begin");
    store.end_run(&id(1), &ended()).expect("end");
    assert!(store.end_run(&id(1), &ended()).is_err());
    assert_eq!(kinds(&store), ["call.finished"]);
}

#[test]
fn a_run_the_daemon_did_not_survive_has_a_row_too() {
    let (directory, store) = fresh();
    store.begin_run(&run(1)).expect("begin");
    drop(store);
    for _ in 0..2 {
        let store = open(directory.path()).0;
        let row = rows(&store, &AuditQuery::default()).remove(0);
        assert_eq!((row.kind.as_str(), row.reason.as_str(), row.owner.as_str()), ("call.finished", "LOST", "ann"));
        assert_eq!((row.at, row.invocation.as_str()), (NOW, id(1).as_str()));
        assert_eq!(kinds(&store).len(), 1);
    }
}

#[test]
fn bundles_and_keys_leave_one_row_for_each_step() {
    let (_directory, store) = fresh();
    install(&store, bundle("weather", "0.1.0")).expect("install");
    install(&store, bundle("weather", "0.1.0")).expect("again, which changes nothing");
    install(&store, bundle("weather", "0.2.0")).expect("another");
    store.remove_bundle(&name("weather"), None, "bob", later(1)).expect("remove both");
    let key = sha256(b"key");
    let credential = Credential {
        spki: key,
        subject: "carl".into(),
        role: Role::Caller,
        added_at: later(2),
        expires_at: later(60),
        revoked_at: None,
    };
    store.enroll(&credential, Some("once"), "root").expect("enrol");
    assert!(store.enroll(&Credential { spki: sha256(b"other"), ..credential }, Some("once"), "eve").is_err());
    assert!(store.revoke(&key, "root", later(3)).expect("revoke"));
    assert!(!store.revoke(&key, "root", later(3)).expect("nothing left to revoke"));
    let found: Vec<_> = rows(&store, &AuditQuery::default())
        .into_iter()
        .map(|row| (row.kind, row.owner, row.subject.split(['@', ':']).nth(1).unwrap_or_default().to_owned()))
        .collect();
    let key = key.hex();
    let signer = support::signer(1).key.hex();
    let expected = [
        ("signer.trusted", "root", signer.as_str()),
        ("bundle.installed", "ann", "weather"),
        ("bundle.installed", "ann", "weather"),
        ("bundle.removed", "bob", "weather"),
        ("bundle.removed", "bob", "weather"),
        ("credential.enrolled", "root", &key),
        ("credential.revoked", "root", &key),
    ];
    assert_eq!(found, expected.map(|(kind, owner, subject)| (kind.into(), owner.into(), subject.to_owned())));
}

#[test]
fn whoever_has_most_makes_room_and_a_row_says_so() {
    let (directory, store) = fresh_with(Config { audit_rows_max: 32, ..Config::default() });
    store.audit(&[event(AuditKind::CallRefused, "bob", NOW)], false, None).expect("bob's only one");
    for number in 0..200 {
        store.audit(&[event(AuditKind::CallRefused, "ann", later(number))], false, None).expect("ann floods");
    }
    let kept = rows(&store, &AuditQuery::default());
    assert!(kept.len() <= 32, "{}", kept.len());
    assert_eq!(kept.iter().filter(|row| row.owner == "bob").count(), 1);
    assert_eq!(kept.last().expect("newest").at, later(199));
    let told = kept.iter().rev().find(|row| row.kind == "audit.trimmed").expect("told");
    let ever: u64 = told
        .detail
        .split("\"rowsEver\":")
        .nth(1)
        .and_then(|rest| rest.strip_suffix('}'))
        .expect("sum")
        .parse()
        .expect("number");
    // 201 events and the rows that tell; whatever is not kept was counted.
    let told_rows = (kept.last().expect("newest").seq as u64) - 201;
    assert_eq!(ever + kept.len() as u64, 201 + told_rows);
    drop(store);
    let store = Store::open(directory.path(), Config { audit_rows_max: 8, ..Config::default() }).expect("smaller").0;
    store.audit(&[event(AuditKind::CallRefused, "ann", later(900))], false, None).expect("one more");
    assert!(rows(&store, &AuditQuery::default()).len() <= 8);
}

#[test]
fn calls_that_went_well_go_before_refusals_of_the_same_owner() {
    let (_directory, store) = fresh_with(Config { audit_rows_max: 32, ..Config::default() });
    for number in 0..8 {
        store.audit(&[event(AuditKind::CallRefused, "ann", later(number))], false, None).expect("refused");
    }
    for number in 0..500 {
        store.audit(&[event(AuditKind::CallFinished, "ann", later(100 + number))], false, None).expect("busy");
    }
    assert_eq!(kinds(&store).iter().filter(|kind| *kind == "call.refused").count(), 8);
}

#[test]
fn bytes_are_bounded_too() {
    let (_directory, store) = fresh_with(Config { audit_bytes_max: 100_000, ..Config::default() });
    let mut long = event(AuditKind::CallRefused, "ann", NOW);
    let texts = vec!["x".repeat(200); 64];
    long.detail = Detail::default().texts("tokens", &texts[..16]);
    let events = vec![long; 100];
    store.audit(&events, false, None).expect("write");
    let kept = rows(&store, &AuditQuery::default());
    let bytes: usize = kept.iter().map(|row| row.detail.len()).sum();
    assert!(bytes < 100_000 && kept.len() > 10, "{bytes} in {}", kept.len());
    assert_eq!(kept.last().expect("newest").kind, "audit.trimmed");
}
