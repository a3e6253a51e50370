//! Small texts: tokens, names, JSON documents, manifests.

use aria_bundle::parse_manifest;
use aria_core::json::{JsonLimits, Surrogates, parse, parse_with};
use aria_core::{Digest, InvocationId, Name, ToolName, canonical, plan};
use aria_types::ResourceToken;

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
        assert!(other.path().starts_with(one.path()), "a token covers what lies below it");
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
    let usual: serde_json::Value = serde_json::from_slice(bytes).expect("the usual reader takes it too");
    assert_eq!(value, usual, "two readers see the same document");
    let text = canonical::to_string(&value);
    let again = parse(text.as_bytes(), limits).expect("the canonical text is JSON");
    assert_eq!(canonical::to_string(&again), text, "the canonical text is a fixed point");
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
