//! Agents, teams and pipelines: what arc writes is read and means the same here, and what is malformed is refused
//! with its place. `arc-cli/test/bundle/declared.test.ts` makes the file and computes its digests on the other side.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use aria_bundle::{BundleError, Rule, authority_digest, interface_digest, parse_manifest};
use aria_core::{CompositeKind, Manifest};
use serde_json::{Value, json};

fn golden() -> Value {
    serde_json::from_str(include_str!("declared.json")).expect("golden file")
}

fn parse(change: impl FnOnce(&mut Value)) -> Result<Manifest, BundleError> {
    let mut manifest = golden()["manifest"].take();
    change(&mut manifest);
    parse_manifest(manifest.to_string().as_bytes())
}

#[track_caller]
fn invalid(pointer: &str, value: Value) {
    let set = |manifest: &mut Value| {
        let (parent, key) = pointer.rsplit_once('/').expect("pointer");
        let parent = manifest.pointer_mut(parent).expect("parent");
        match (parent, key.parse::<usize>()) {
            (Value::Array(items), Ok(index)) => items[index] = value,
            (parent, _) => parent[key] = value,
        }
    };
    let error = parse(set).expect_err(pointer);
    assert_eq!(error.rule(), Some(Rule::ManifestInvalid), "{pointer}: {error}");
}

#[track_caller]
fn needed(pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').expect("pointer");
    let remove = |manifest: &mut Value| {
        manifest.pointer_mut(parent).and_then(Value::as_object_mut).expect("parent").remove(key).expect("member");
    };
    let error = parse(remove).expect_err(pointer);
    assert!(error.to_string().starts_with(&format!("manifest{pointer}: missing")), "{error}");
}

#[test]
fn what_arc_writes_is_read_and_has_the_same_digests() {
    let manifest = parse(|_| ()).expect("manifest");
    let golden = golden();
    assert_eq!(interface_digest(&manifest).to_string(), golden["interfaceDigest"]);
    assert_eq!(authority_digest(&manifest).to_string(), golden["authorityDigest"]);
    let named = |kind| -> Vec<&str> {
        manifest.composites.iter().filter(|one| one.kind == kind).map(|one| one.name.as_str()).collect()
    };
    assert_eq!(named(CompositeKind::Agent), ["desk", "reviewer"]);
    assert_eq!(named(CompositeKind::Team), ["crew", "solo"]);
    assert_eq!(named(CompositeKind::Pipeline), ["nightly", "small"]);
    assert_eq!(manifest.dependencies[0].name.as_str(), "orders");
    assert!(!manifest.tools.iter().find(|tool| tool.name.as_str() == "look-up").expect("tool").jit);
}

#[test]
fn a_bundle_of_tools_alone_is_described_as_it_always_was() {
    let manifest = parse(|manifest| {
        for key in ["agents", "teams", "pipelines", "dependencies"] {
            manifest[key] = json!([]);
        }
    });
    let interface = manifest.expect("manifest").interface();
    assert_eq!(interface.as_object().expect("object").keys().collect::<Vec<_>>(), ["tools"]);
}

#[test]
fn every_key_but_the_optional_ones_is_needed() {
    for key in
        ["name", "title", "description", "model", "fallback", "prompt", "tools", "tokens", "limits", "memory", "budget"]
    {
        needed(&format!("/agents/0/{key}"));
    }
    for key in ["name", "members", "strategy", "rules", "limits", "budget", "rules/consensus", "rules/rounds"] {
        needed(&format!("/teams/0/{key}"));
    }
    for key in ["name", "variables", "steps", "output", "concurrency", "timeoutMs"] {
        needed(&format!("/pipelines/0/{key}"));
    }
    for key in ["id", "kind", "uses", "input", "after", "retry", "onError", "retry/attempts", "retry/backoffMs"] {
        needed(&format!("/pipelines/0/steps/0/{key}"));
    }
}

#[test]
fn values_outside_their_range_are_refused() {
    for (pointer, value) in [
        ("/agents/0/more", json!(1)),
        ("/agents/0/model", json!("Not A Model")),
        ("/agents/0/tools/0", json!("price")),
        ("/agents/0/tokens/0", json!("kv:*")),
        ("/agents/0/limits/turns", json!(0)),
        ("/agents/0/limits/more", json!(1)),
        ("/agents/0/memory/scope", json!("world")),
        ("/agents/0/approval", json!("maybe")),
        ("/teams/0/members", json!([])),
        ("/teams/0/strategy", json!("chaos")),
        ("/teams/0/lead", json!("shop.nobody")),
        ("/teams/0/rules/rounds", json!(101)),
        ("/pipelines/0/variables", json!(true)),
        ("/pipelines/0/steps", json!([])),
        ("/pipelines/0/steps/0/after", json!(["answer"])),
        ("/pipelines/0/steps/1/id", json!("order")),
        ("/pipelines/0/steps/0/kind", json!("thing")),
        ("/pipelines/0/steps/0/uses", json!("price")),
        ("/pipelines/0/steps/0/input", json!([])),
        ("/pipelines/0/steps/0/retry/attempts", json!(11)),
        ("/pipelines/0/steps/0/when", json!({"value": "order", "is": 1})),
        ("/pipelines/0/steps/0/when", json!({"value": "$order", "is": 1, "not": 2})),
        ("/pipelines/0/steps/0/when", json!({"all": [{"value": "$order.id"}]})),
        ("/pipelines/0/steps/0/compensate/uses", json!("x")),
        ("/pipelines/0/concurrency", json!(65)),
        ("/tools/0/jit", json!(1)),
    ] {
        invalid(pointer, value);
    }
}

#[test]
fn a_condition_has_an_end() {
    let deep = (0..20).fold(json!({"value": "$order.id", "is": 1}), |inner, _| json!({"all": [inner]}));
    invalid("/pipelines/0/steps/0/when", deep);
}

#[test]
fn names_are_shared_by_all_kinds() {
    for name in ["price", "crew", "nightly"] {
        invalid("/agents/0/name", json!(name));
    }
}

#[test]
fn a_tool_without_machine_code_starts_no_programs() {
    let error = parse(|manifest| {
        for tool in manifest["tools"].as_array_mut().expect("tools") {
            tool["spawn"] = json!(true);
        }
    });
    assert!(error.expect_err("jit").to_string().contains("/jit"));
}
