//! The shared vectors of the token grammar, and properties that hold for every token.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "in a test they are assertions")]

use aria_types::token::{TOKEN_BYTES_MAX, TOKEN_SEGMENTS_MAX};
use aria_types::{ResourceToken, TokenError};
use proptest::prelude::*;
use serde_json::Value;

fn vectors(list: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../vectors/tokens.json")).unwrap();
    let cases = all[list].as_array().unwrap().clone();
    assert!(cases.len() > 15, "the list {list} is suspiciously short");
    cases
}

fn token(text: &Value) -> ResourceToken {
    ResourceToken::parse(text.as_str().unwrap()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn valid_vectors_have_their_canonical_form() {
    for case in vectors("valid") {
        assert_eq!(token(&case["text"]).as_str(), case["canonical"], "{case}");
    }
}

#[test]
fn invalid_vectors_are_refused_for_their_own_reason() {
    for case in vectors("invalid") {
        let error = ResourceToken::parse(case["text"].as_str().unwrap()).expect_err(&case.to_string());
        assert_eq!(error.code(), case["reason"], "{case}: {error}");
    }
}

#[test]
fn covers_vectors() {
    for case in vectors("covers") {
        assert_eq!(token(&case["holder"]).covers(&token(&case["asked"])), case["covers"].as_bool().unwrap(), "{case}");
    }
}

#[test]
fn conflict_vectors() {
    for case in vectors("conflicts") {
        let (one, other) = (token(&case["one"]), token(&case["other"]));
        assert_eq!(one.conflicts(&other), case["conflicts"].as_bool().unwrap(), "{case}");
        assert_eq!(other.conflicts(&one), one.conflicts(&other), "{case} the other way round");
    }
}

#[test]
fn every_reason_has_a_vector() {
    let seen: std::collections::BTreeSet<String> =
        vectors("invalid").iter().map(|case| case["reason"].as_str().unwrap().to_owned()).collect();
    assert_eq!(seen.len(), 21, "{seen:?}");
}

#[test]
fn a_token_serializes_as_its_text() {
    let token: ResourceToken = serde_json::from_str("\"kv:orders\"").unwrap();
    assert_eq!(serde_json::to_string(&token).unwrap(), "\"kv:orders:ro\"");
    assert!(serde_json::from_str::<ResourceToken>("\"kv:*\"").is_err());
}

#[test]
fn the_message_names_what_is_wrong() {
    let error = ResourceToken::parse("kv:a/b").unwrap_err();
    assert_eq!(error, TokenError::PathSeparator { found: '/' });
    assert_eq!(error.to_string(), "a token is not a path, found '/'");
}

fn any_token() -> impl Strategy<Value = ResourceToken> {
    let data = "(kv|vector|fs|sql):[ab](:[ab]){0,3}(:(ro|rw|append|exclusive))?";
    let used = "(llm|tool|mesh):[ab](:[ab]){0,2}(:exclusive)?|secret:[a-c]|net:[ab](:[12])?|gpu:[01](:exclusive)?";
    let quantity = "mem:[1-9][0-9]{0,4}[kmg]?|cpu:[1-9][0-9]{0,2}m?";
    let texts = proptest::string::string_regex(&format!("{data}|{used}|{quantity}")).unwrap();
    texts.prop_filter_map("well formed", |text| ResourceToken::parse(&text).ok())
}

proptest! {
    #[test]
    fn any_text_is_refused_or_has_a_stable_canonical_form(text in "\\PC{0,40}|[a-z0-9.:_-]{0,40}|(kv|net|mem):[a-z0-9.:-]{1,300}") {
        if let Ok(token) = ResourceToken::parse(&text) {
            let again = ResourceToken::parse(token.as_str()).unwrap();
            prop_assert_eq!(&again, &token);
            prop_assert_eq!(again.to_string(), token.as_str());
            prop_assert!(token.as_str().len() <= TOKEN_BYTES_MAX);
            prop_assert!(token.as_str().split(':').count() <= TOKEN_SEGMENTS_MAX);
        }
    }

    #[test]
    fn covering_is_reflexive_and_antisymmetric(a in any_token(), b in any_token()) {
        prop_assert!(a.covers(&a));
        if a.covers(&b) && b.covers(&a) {
            prop_assert_eq!(a, b);
        }
    }

    #[test]
    fn covering_is_transitive(a in any_token(), b in any_token(), c in any_token()) {
        if a.covers(&b) && b.covers(&c) {
            prop_assert!(a.covers(&c), "{} {} {}", a, b, c);
        }
    }

    #[test]
    fn conflict_is_symmetric_and_grows_with_the_right(a in any_token(), b in any_token(), c in any_token()) {
        prop_assert_eq!(a.conflicts(&b), b.conflicts(&a));
        if a.covers(&b) && b.conflicts(&c) {
            prop_assert!(a.conflicts(&c), "{} {} {}", a, b, c);
        }
    }

    #[test]
    fn only_one_kind_conflicts_with_itself(a in any_token(), b in any_token()) {
        if a.conflicts(&b) || a.covers(&b) {
            prop_assert_eq!(a.kind(), b.kind());
        }
    }
}
