//! Which uploads are installed: a table of cases, and properties of the authority diff.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use aria_core::admission::{Admission, Known, Offer, Refusal, admit};
use aria_core::authority::{Change, Touch, Way, diff};
use aria_core::signer::Signer;
use aria_core::{
    Annotations, Approval, Composite, CompositeKind, Digest, Manifest, Name, Publisher, Tool, ToolLimits, Verdict,
};
use aria_types::{ErrorKind, ResourceToken};
use proptest::prelude::*;
use semver::{Version, VersionReq};
use serde_json::json;

fn digest(n: u8) -> Digest {
    Digest::new([n; 32])
}

fn publisher(name: &str) -> Publisher {
    Publisher::parse(name).expect("publisher")
}

fn tool(name: &str, tokens: &[&str]) -> Tool {
    Tool {
        name: Name::parse(name).expect("name"),
        title: String::new(),
        description: String::new(),
        input: json!({}),
        output: json!({}),
        annotations: Annotations::default(),
        tokens: tokens.iter().map(|text| ResourceToken::parse(text).expect("token")).collect(),
        egress: vec![],
        secrets: vec![],
        limits: ToolLimits::default(),
        timeout_ms: 1000,
        approval: Approval::Never,
        spawn: false,
        jit: true,
        entry: "code/a.js".into(),
    }
}

fn manifest(version: &str, tools: Vec<Tool>) -> Manifest {
    Manifest {
        name: Name::parse("orders").expect("name"),
        version: Version::parse(version).expect("version"),
        description: String::new(),
        authors: vec![],
        license: String::new(),
        engine: VersionReq::STAR,
        tools,
        composites: vec![],
        program: None,
        dependencies: vec![],
        source: None,
        builder: None,
        files: vec![],
    }
}

fn signers() -> Vec<Signer> {
    [(1, "ann"), (2, "ann"), (3, "bob")].map(|(n, name)| Signer { key: digest(n), publisher: publisher(name) }).into()
}

const CONTENT: u8 = 100;
const AUTHORITY: u8 = 101;

#[derive(Clone)]
struct Case {
    offered: Manifest,
    verdict: Verdict,
    accepted: Option<Digest>,
    publisher: Option<Publisher>,
    highest: Option<Version>,
    same_version: Option<Digest>,
    newest: Option<Manifest>,
    granted: bool,
}

/// A first version, signed by ann.
fn first() -> Case {
    Case {
        offered: manifest("1.0.0", vec![tool("count", &["kv:orders:ro"])]),
        verdict: Verdict::Good(vec![digest(1)]),
        accepted: None,
        publisher: None,
        highest: None,
        same_version: None,
        newest: None,
        granted: false,
    }
}

/// The second version of what ann has there.
fn update(tokens: &[&str]) -> Case {
    let installed = first().offered;
    Case {
        offered: manifest("1.1.0", vec![tool("count", tokens)]),
        publisher: Some(publisher("ann")),
        highest: Some(installed.version.clone()),
        newest: Some(installed),
        ..first()
    }
}

fn decide(case: &Case) -> Result<Admission, Refusal> {
    let offer = Offer {
        manifest: &case.offered,
        digest: digest(CONTENT),
        authority_digest: digest(AUTHORITY),
        verdict: &case.verdict,
        signers: &signers(),
        accepted: case.accepted,
    };
    let known = Known {
        publisher: case.publisher.as_ref(),
        highest: case.highest.as_ref(),
        same_version: case.same_version,
        newest: case.newest.as_ref(),
        granted: case.granted,
    };
    admit(&offer, &known)
}

#[track_caller]
fn refused(case: &Case, reason: &str, kind: ErrorKind) {
    let refusal = decide(case).expect_err("refused");
    assert_eq!((refusal.reason(), refusal.kind()), (reason, kind), "{refusal}");
}

#[track_caller]
fn installed(case: &Case) -> (Digest, bool) {
    match decide(case) {
        Ok(Admission::Install { signer, grants, .. }) => (signer.key, grants),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_a_good_signature_is_good_enough() {
    let key = digest(1);
    let cases = [
        (Verdict::None, "SIGNATURE_MISSING"),
        (Verdict::Bad(key), "SIGNATURE_BAD"),
        (Verdict::UnknownSigner(key), "SIGNER_UNKNOWN"),
        (Verdict::Revoked(key), "SIGNER_REVOKED"),
        (Verdict::Expired(key), "SIGNER_EXPIRED"),
        (Verdict::Good(vec![digest(9)]), "SIGNATURE_MISSING"),
    ];
    for (verdict, reason) in cases {
        // Whatever else is wrong with it, who has no key is told nothing of what is there.
        let wrong =
            Case { verdict, same_version: Some(digest(7)), highest: Some(Version::new(9, 0, 0)), ..update(&[]) };
        refused(&wrong, reason, ErrorKind::Denied);
    }
    assert_eq!(installed(&first()), (digest(1), false));
}

#[test]
fn a_name_stays_with_its_publisher_whatever_key_it_uses() {
    let by = |keys: &[u8]| Verdict::Good(keys.iter().copied().map(digest).collect());
    refused(&Case { verdict: by(&[3]), ..update(&[]) }, "PUBLISHER_MISMATCH", ErrorKind::Denied);
    assert_eq!(installed(&Case { verdict: by(&[2]), ..update(&[]) }).0, digest(2));
    assert_eq!(installed(&Case { verdict: by(&[3, 2]), ..update(&[]) }).0, digest(2));
    // Of a name nobody has, the first signature decides.
    assert_eq!(installed(&Case { verdict: by(&[3, 1]), ..first() }).0, digest(3));
}

#[test]
fn versions_go_forward() {
    let back = |highest: &str| Case { highest: Some(Version::parse(highest).expect("version")), ..update(&[]) };
    refused(&back("1.1.1"), "BUNDLE_ROLLBACK", ErrorKind::State);
    refused(&back("2.0.0-alpha"), "BUNDLE_ROLLBACK", ErrorKind::State);
    for highest in ["1.1.0", "1.1.0-rc.1", "0.9.0"] {
        installed(&back(highest));
    }
    // Removed, and no newer version was there: what is gone may come again.
    installed(&Case { newest: None, ..back("1.1.0") });
    refused(&Case { newest: None, ..back("1.2.0") }, "BUNDLE_ROLLBACK", ErrorKind::State);
}

#[test]
fn an_installed_version_has_one_content() {
    refused(&Case { same_version: Some(digest(7)), ..update(&[]) }, "VERSION_TAKEN", ErrorKind::Exists);
    let again =
        Case { same_version: Some(digest(CONTENT)), highest: Some(Version::new(9, 0, 0)), ..update(&["kv:all:rw"]) };
    assert!(matches!(decide(&again), Ok(Admission::Present { signer }) if signer.key == digest(1)));
}

#[test]
fn more_authority_is_held_until_exactly_it_is_accepted() {
    let wide = update(&["kv:orders:rw"]);
    refused(&wide, "AUTHORITY_WIDENED", ErrorKind::State);
    let text = decide(&wide).expect_err("refused").to_string();
    assert!(text.contains("+ count kv:orders:rw") && text.contains(&digest(AUTHORITY).to_string()), "{text}");
    refused(&Case { accepted: Some(digest(7)), ..wide.clone() }, "AUTHORITY_WIDENED", ErrorKind::State);
    assert!(installed(&Case { accepted: Some(digest(AUTHORITY)), ..wide.clone() }).1);
    assert!(!installed(&Case { granted: true, ..wide }).1);
    // Accepting what needs no acceptance is remembered by nobody.
    assert!(!installed(&Case { accepted: Some(digest(AUTHORITY)), ..update(&[]) }).1);
}

#[track_caller]
fn check(older: &Tool, newer: &Tool, expected: &[&str]) {
    let found = diff(&manifest("1.0.0", vec![older.clone()]), &manifest("1.1.0", vec![newer.clone()]));
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
}

#[test]
fn tokens_are_compared_by_what_they_cover() {
    let with = |tokens: &[&str]| tool("t", tokens);
    check(&with(&["kv:a:ro"]), &with(&["kv:a:ro"]), &[]);
    check(&with(&["kv:a:rw"]), &with(&["kv:a:pending:ro"]), &["- t kv:a:rw"]);
    check(&with(&["kv:a:ro"]), &with(&["kv:a:rw"]), &["+ t kv:a:rw"]);
    check(&with(&["kv:a:ro"]), &with(&["kv:a2:ro"]), &["+ t kv:a2:ro", "- t kv:a:ro"]);
    check(&with(&["mem:512m"]), &with(&["mem:1g"]), &["+ t mem:1g"]);
    check(&with(&["cpu:2"]), &with(&["cpu:500m"]), &["- t cpu:2"]);
}

#[test]
fn hosts_secrets_spawn_and_approval_count() {
    let plain = tool("t", &[]);
    let egress = |hosts: &[&str]| Tool { egress: hosts.iter().map(ToString::to_string).collect(), ..plain.clone() };
    check(&egress(&["a.example"]), &egress(&["a.example:443"]), &[]);
    check(&egress(&["a.example:443"]), &egress(&["a.example"]), &[]);
    check(&egress(&["a.example"]), &egress(&["a.example:8443"]), &["+ t net:a.example:8443", "- t net:a.example"]);
    check(
        &egress(&["a.example:443"]),
        &egress(&["a.example:8443"]),
        &["+ t net:a.example:8443", "- t net:a.example:443"],
    );
    check(&plain, &Tool { secrets: vec!["stripe".into()], ..plain.clone() }, &["+ t secret:stripe"]);
    check(&plain, &Tool { spawn: true, ..plain.clone() }, &["+ t spawn"]);
    let asks = |approval| Tool { approval, ..plain.clone() };
    check(&asks(Approval::Always), &asks(Approval::Never), &["+ t approval never"]);
    check(&asks(Approval::Policy), &asks(Approval::Always), &["- t approval always"]);
    let long = format!("{}.example", "a".repeat(63));
    check(&egress(&[&long]), &egress(&[&long]), &[]);
}

#[test]
fn a_right_that_moves_to_another_tool_is_new_there() {
    let older = manifest("1.0.0", vec![tool("a", &["kv:x:rw"])]);
    let newer = manifest("1.1.0", vec![tool("a", &["kv:x:rw"]), tool("b", &["kv:x:ro"]), tool("c", &[])]);
    let changes = diff(&older, &newer);
    let expected =
        Change { tool: Name::parse("b").expect("name"), way: Way::Wider, touch: Touch::Right("kv:x:ro".into()) };
    assert_eq!(changes, [expected]);
}

fn any_tool(name: &'static str) -> impl Strategy<Value = Tool> {
    let token = prop::sample::select(vec![
        "kv:a:ro",
        "kv:a:rw",
        "kv:a:append",
        "kv:a:b:ro",
        "kv:b:exclusive",
        "mem:1m",
        "mem:2m",
        "net:a.example",
        "net:a.example:80",
        "secret:s",
        "cpu:1",
    ]);
    let approval = prop::sample::select(vec![Approval::Never, Approval::Policy, Approval::Always]);
    (prop::collection::vec(token, 0..5), any::<bool>(), approval).prop_map(move |(tokens, spawn, approval)| Tool {
        spawn,
        approval,
        ..tool(name, &tokens)
    })
}

/// Bundles of the same tools with any authority.
fn any_bundle() -> impl Strategy<Value = Manifest> {
    (any_tool("a"), any_tool("b")).prop_map(|(a, b)| manifest("1.0.0", vec![a, b]))
}

fn wider(older: &Manifest, newer: &Manifest) -> bool {
    diff(older, newer).iter().any(|change| change.way == Way::Wider)
}

fn rights(changes: &[Change], way: Way) -> Vec<(Name, Touch)> {
    let is_right = |change: &&Change| change.way == way && !matches!(change.touch, Touch::Approval(_));
    changes.iter().filter(is_right).map(|change| (change.tool.clone(), change.touch.clone())).collect()
}

#[test]
fn a_right_of_an_agent_is_a_right() {
    let with = |rights: &[&str], approval| {
        let name = Name::parse("desk").expect("name");
        let rights = rights.iter().map(|right| (*right).to_owned()).collect();
        let (interface, authority) = (serde_json::Value::Null, serde_json::Value::Null);
        let agent = Composite { kind: CompositeKind::Agent, name, interface, authority, rights, approval };
        Manifest { composites: vec![agent], ..manifest("1.0.0", vec![]) }
    };
    let narrow = with(&["kv:orders:ro"], Approval::Always);
    assert!(wider(&manifest("1.0.0", vec![]), &narrow));
    assert!(wider(&narrow, &with(&["kv:orders:rw"], Approval::Always)));
    assert!(wider(&narrow, &with(&["kv:orders:ro", "agent shop.clerk"], Approval::Always)));
    assert!(wider(&narrow, &with(&["kv:orders:ro"], Approval::Never)));
    assert!(!wider(&with(&["kv:orders:rw"], Approval::Never), &narrow));
}

#[test]
fn machine_code_taken_back_is_wider() {
    let with = |jit| manifest("1.0.0", vec![Tool { jit, ..tool("a", &[]) }]);
    assert!(wider(&with(false), &with(true)) && !wider(&with(true), &with(false)));
}

proptest! {
    #[test]
    fn nothing_differs_from_itself_in_any_order(bundle in any_bundle()) {
        let mut turned = bundle.clone();
        turned.tools.reverse();
        turned.tools.iter_mut().for_each(|tool| tool.tokens.reverse());
        prop_assert_eq!(diff(&bundle, &turned), vec![]);
    }

    #[test]
    fn what_one_gains_the_other_loses(one in any_bundle(), other in any_bundle()) {
        let (there, back) = (diff(&one, &other), diff(&other, &one));
        prop_assert_eq!(rights(&there, Way::Wider), rights(&back, Way::Narrower));
        prop_assert_eq!(wider(&one, &other), back.iter().any(|change| change.way == Way::Narrower));
    }

    #[test]
    fn small_steps_do_not_add_up_to_more(one in any_bundle(), two in any_bundle(), three in any_bundle()) {
        if !wider(&one, &two) && !wider(&two, &three) {
            prop_assert!(!wider(&one, &three));
        }
    }

    #[test]
    fn less_is_never_more(bundle in any_bundle(), kept in prop::collection::vec(any::<bool>(), 10)) {
        let mut less = bundle.clone();
        let mut keep = kept.iter().copied().cycle();
        for tool in &mut less.tools {
            tool.tokens.retain(|_| keep.next().unwrap_or_default());
            tool.spawn &= keep.next().unwrap_or_default();
        }
        prop_assert!(!wider(&bundle, &less));
    }

    #[test]
    fn an_update_is_installed_exactly_when_it_needs_no_more_or_that_is_accepted(
        one in any_bundle(), two in any_bundle(), accepts in any::<bool>(),
    ) {
        let accepted = accepts.then(|| digest(AUTHORITY));
        let case = Case { offered: two.clone(), newest: Some(one.clone()), accepted, ..update(&[]) };
        prop_assert_eq!(decide(&case).is_ok(), accepts || !wider(&one, &two));
    }
}
