//! Small texts: tokens, names, JSON documents, manifests.

use aria_bundle::parse_manifest;
use aria_core::json::{JsonLimits, Surrogates, parse, parse_with};
use aria_core::{Digest, InvocationId, Name, ToolName, canonical, plan};
use aria_types::ResourceToken;
use aria_types::token::Kind;
use serde_json::Value;

/// Two tokens: each has one canonical form, and what they say about each other is consistent.
pub(crate) fn tokens(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut parsed = text.splitn(2, '\n').filter_map(|line| ResourceToken::parse(line).ok());
    let Some(one) = parsed.next() else { return };
    let again = ResourceToken::parse(one.as_str()).expect("the canonical form is a token");
    assert_eq!(again, one, "the canonical form means the same");
    assert!(one.covers(&one), "a token covers itself");
    let Some(other) = parsed.next() else { return };
    assert_eq!(one.conflicts(&other), other.conflicts(&one), "a conflict has two sides");
    if one.covers(&other) {
        assert_eq!(one.kind(), other.kind(), "a token covers its own kind only");
        let quantity = matches!(one.kind(), Kind::Mem | Kind::Cpu);
        assert!(!quantity || one.amount() >= other.amount(), "a quantity covers no more than itself");
        assert!(quantity || other.path().starts_with(one.path()), "a token covers what lies below it");
    }
    if one.covers(&other) && other.covers(&one) {
        assert_eq!(one, other, "two that cover each other are one");
    }
}

/// Names: what is accepted is printed as it was read.
pub(crate) fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = Name::parse(text) {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(name) = ToolName::parse(text) {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(id) = InvocationId::parse(text) {
        assert_eq!(id.as_str(), text);
    }
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.to_string(), text);
    }
    if plan::is_file_name(text) {
        assert!(!text.contains(['/', '\0']) && text != "." && text != "..");
    }
}

/// Strict JSON: everything it accepts, the usual reader accepts and understands in the same way.
pub(crate) fn json(bytes: &[u8]) {
    let limits = JsonLimits { bytes_max: 1 << 20, depth_max: 100 };
    let Ok(value) = parse(bytes, limits) else {
        drop(parse_with(bytes, limits, Surrogates::Replace));
        return;
    };
    let usual: Value = serde_json::from_slice(bytes).expect("the usual reader takes it too");
    assert!(same(&value, &usual), "two readers see the same document: {value} {usual}");
    let text = canonical::to_string(&value);
    let again = parse(text.as_bytes(), limits).expect("the canonical text is JSON");
    assert_eq!(canonical::to_string(&again), text, "the canonical text is a fixed point");
}

/// Equal but for the last digit of a fraction, which the usual reader may round the other way.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let close = |a: f64, b: f64| (a - b).abs() <= a.abs() * f64::EPSILON;
            one == other || one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| close(one, other))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let mut members = one.iter().zip(other);
            one.len() == other.len() && members.all(|(one, other)| one.0 == other.0 && same(one.1, other.1))
        }
        _ => one == other,
    }
}

/// Manifests: one that is accepted has digests, and names each tool once.
pub(crate) fn manifest(bytes: &[u8]) {
    let Ok(manifest) = parse_manifest(bytes) else { return };
    assert_ne!(
        aria_bundle::interface_digest(&manifest),
        aria_bundle::authority_digest(&manifest),
        "two digests of two things"
    );
    let names: std::collections::BTreeSet<_> = manifest.tool_names().map(|name| name.to_string()).collect();
    assert_eq!(names.len(), manifest.tool_names().count(), "a tool is there once");
}
