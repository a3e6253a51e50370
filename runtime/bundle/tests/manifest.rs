//! Manifests that say something they may not: each refused with the place in the document.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use aria_bundle::{BundleError, Rule, parse_manifest};
use serde_json::{Value, json};
use support::parts;

fn parse(change: impl FnOnce(&mut Value)) -> Result<aria_core::Manifest, BundleError> {
    let mut manifest = parts().manifest;
    change(&mut manifest);
    parse_manifest(manifest.to_string().as_bytes())
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Value), rule: Rule, place: &str) {
    let error = parse(change).expect_err(place);
    assert_eq!(error.rule(), Some(rule), "{error}");
    assert!(error.to_string().starts_with(place), "{error}");
}

#[track_caller]
fn invalid(pointer: &str, value: Value) {
    let set = |manifest: &mut Value| put(manifest, pointer, value);
    refused(set, Rule::ManifestInvalid, &format!("manifest{pointer}"));
}

#[track_caller]
fn valid(pointer: &str, value: Value) -> aria_core::Manifest {
    parse(|manifest| put(manifest, pointer, value)).expect(pointer)
}

fn put(manifest: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').expect("pointer");
    let parent = manifest.pointer_mut(parent).expect("parent");
    match (parent, key.parse::<usize>()) {
        (Value::Array(items), Ok(index)) if index == items.len() => items.push(value),
        (Value::Array(items), Ok(index)) => items[index] = value,
        (parent, _) => parent[key] = value,
    }
}

fn remove(manifest: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').expect("pointer");
    manifest.pointer_mut(parent).and_then(Value::as_object_mut).expect("parent").remove(key);
}

#[test]
fn every_key_but_program_and_single_limits_is_needed() {
    let manifest = parts().manifest;
    let top: Vec<String> = manifest.as_object().expect("object").keys().map(|key| format!("/{key}")).collect();
    let tool = manifest["tools"][0].as_object().expect("object").keys().map(|key| format!("/tools/0/{key}"));
    let rest =
        ["/source/digest", "/builder/name", "/builder/version", "/files/0/path", "/files/0/size", "/files/0/sha256"];
    for pointer in top.iter().cloned().chain(tool).chain(rest.map(str::to_owned)) {
        refused(|manifest| remove(manifest, &pointer), Rule::ManifestInvalid, &format!("manifest{pointer}: missing"));
    }
    for optional in ["/tools/0/limits/pids", "/tools/0/annotations/readOnly"] {
        parse(|manifest| remove(manifest, optional)).expect(optional);
    }
}

#[test]
fn unknown_keys_are_refused_and_extensions_are_not() {
    for pointer in [
        "/more",
        "/tools/0/more",
        "/tools/0/limits/more",
        "/tools/0/annotations/more",
        "/source/more",
        "/builder/more",
        "/files/0/more",
    ] {
        invalid(pointer, json!(1));
        valid(&pointer.replace("more", "x-more"), json!({"any": ["thing"]}));
    }
    refused(
        |manifest| manifest["program"] = json!({"entry": "code/forecast.js", "more": 1}),
        Rule::ManifestInvalid,
        "manifest/program/more",
    );
}

#[test]
fn another_format_is_not_this_one() {
    refused(|manifest| manifest["format"] = json!(2), Rule::FormatUnsupported, "manifest/format");
    invalid("/format", json!("1"));
    refused(
        |manifest| manifest["tools"][0]["runtime"] = json!("wasm"),
        Rule::FormatUnsupported,
        "manifest/tools/0/runtime",
    );
}

#[test]
fn names_versions_and_ranges() {
    for name in ["", "Weather", "1a", "a_b", "a.b", "../etc", &"a".repeat(64)] {
        invalid("/name", json!(name));
        invalid("/tools/0/name", json!(name));
    }
    for version in [
        "",
        "1",
        "1.0",
        "v1.0.0",
        "01.0.0",
        "1.0.0-01",
        "1.0.0 ",
        "99999999999999999999.0.0",
        &format!("1.0.0-{}", "a".repeat(128)),
    ] {
        invalid("/version", json!(version));
    }
    assert_eq!(valid("/version", json!("1.2.3-rc.1+build.5")).version.to_string(), "1.2.3-rc.1+build.5");
    invalid("/engine", json!("whatever"));
    valid("/engine", json!(">=0.1.0, <2"));
}

#[test]
fn values_of_another_type() {
    for (pointer, value) in [
        ("/description", json!(1)),
        ("/authors", json!("ann")),
        ("/license", json!(null)),
        ("/tools", json!({})),
        ("/tools/0", json!("forecast")),
        ("/agents", json!({})),
        ("/teams", json!(1)),
        ("/pipelines", json!("")),
        ("/dependencies", json!(null)),
        ("/source", json!("sha256:00")),
        ("/source/digest", json!("sha256:00")),
        ("/builder", json!([])),
        ("/files", json!({})),
        ("/files/0", json!([])),
        ("/files/0/size", json!(-1)),
        ("/files/0/size", json!(1.5)),
        ("/files/0/size", json!(1u64 << 53)),
        ("/files/0/sha256", json!("F".repeat(64))),
        ("/tools/0/spawn", json!("yes")),
        ("/tools/0/approval", json!("sometimes")),
        ("/tools/0/timeoutMs", json!(0)),
        ("/tools/0/timeoutMs", json!(86_400_001)),
        ("/tools/0/annotations", json!([])),
        ("/tools/0/annotations/destructive", json!(0)),
        ("/tools/0/limits", json!(null)),
        ("/tools/0/limits/memoryBytes", json!(1)),
        ("/tools/0/limits/pids", json!(0)),
        ("/tools/0/limits/cpuMillis", json!(2_000_000)),
        ("/tools/0/limits/diskBytes", json!("64M")),
        ("/tools/0/limits/outputBytes", json!(1u64 << 50)),
    ] {
        invalid(pointer, value);
    }
    invalid("/authors/0", json!(1));
}

#[test]
fn schemas_are_objects_of_one_dialect() {
    for pointer in ["/tools/0/input", "/tools/0/output"] {
        invalid(pointer, json!(true));
        invalid(pointer, json!({"$schema": "http://json-schema.org/draft-07/schema#"}));
        invalid(pointer, json!({"$schema": 1}));
        valid(pointer, json!({"type": "object"}));
    }
}

#[test]
fn tokens_that_are_none() {
    for token in [
        "",
        "kv",
        "kv:*",
        "kv:../x:rw",
        "kv:orders :rw",
        "KV:orders",
        "kv:örders",
        "kv::rw",
        "nothing:x",
        "kv:orders:rw\n",
        &format!("kv:{}", "a".repeat(300)),
    ] {
        invalid("/tools/0/tokens/1", json!(token));
    }
    let manifest = valid("/tools/0/tokens", json!(["kv:orders", "net:api.example.com:443"]));
    let tokens: Vec<String> = manifest.tools[0].tokens.iter().map(ToString::to_string).collect();
    assert_eq!(tokens[0], "kv:orders:ro");
    invalid("/tools/0/tokens", vec![json!("kv:a"); 257].into());
}

#[test]
fn hosts_and_secrets_are_names() {
    for host in [
        "",
        "*",
        "*.example.com",
        "Example.com",
        "a..b",
        "-a.com",
        "a.com:0",
        "a.com:99999",
        "a.com:+1",
        "http://a.com",
        "a b",
        &"a".repeat(64),
    ] {
        invalid("/tools/0/egress/0", json!(host));
    }
    for host in ["localhost", "10.0.0.1", "api.example.com", "a-b.c:8080"] {
        valid("/tools/0/egress/0", json!(host));
    }
    for secret in ["", "Stripe", "../key", "a b", ".a", &"a".repeat(64)] {
        invalid("/tools/0/secrets/0", json!(secret));
    }
    valid("/tools/0/secrets/0", json!("stripe.live-key_2"));
}

#[test]
fn entries_are_listed_scripts_below_code() {
    for entry in [
        "code/absent.js",
        "src/deep/er/forecast.ts",
        "code/forecast.js.map",
        "forecast.js",
        "/app/code/forecast.js",
        "code/../code/forecast.js",
    ] {
        invalid("/tools/0/entry", json!(entry));
        refused(
            |manifest| (manifest["tools"], manifest["program"]) = (json!([]), json!({"entry": entry})),
            Rule::ManifestInvalid,
            "manifest/program/entry",
        );
    }
    refused(
        |manifest| manifest["program"] = json!({"entry": "code/forecast.js"}),
        Rule::ManifestInvalid,
        "manifest/program",
    );
}

#[test]
fn two_tools_of_one_name() {
    refused(
        |manifest| {
            let one = manifest["tools"][0].clone();
            put(manifest, "/tools/1", one);
        },
        Rule::ManifestInvalid,
        "manifest/tools/1",
    );
    let many: Vec<Value> = (0..1001).map(|_| parts().manifest["tools"][0].clone()).collect();
    refused(|manifest| manifest["tools"] = many.into(), Rule::ManifestInvalid, "manifest/tools");
}

#[test]
fn a_range_that_excludes_this_runtime_is_refused_by_the_reader() {
    let staging = tempfile::tempdir().expect("tempdir");
    let bytes = parts().manifest(|manifest| manifest["engine"] = json!(">=99.0.0")).bytes();
    let error = support::read(&bytes, staging.path()).expect_err("newer");
    assert_eq!(error.rule(), Some(Rule::FormatUnsupported));
    assert!(error.to_string().starts_with("manifest/engine"), "{error}");
}
