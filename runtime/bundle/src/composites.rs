//! Agents, teams and pipelines in the manifest: every key and value checked, then kept as what callers see and
//! what they may touch.

use std::collections::BTreeSet;

use aria_core::{Approval, Composite, CompositeKind, Name, ToolName};
use aria_types::ResourceToken;
use serde_json::{Map, Value, json};

use crate::error::{BundleError, Rule, refuse};
use crate::fields::Fields;
use crate::manifest::{self, LIST_MAX, TIMEOUT_MS_MAX, TOOLS_MAX};

const STRATEGIES: &[&str] = &["parallel", "sequential", "hierarchical", "delegation", "adaptive"];
const CONSENSUS: &[&str] = &["first", "last", "majority", "all", "lead"];
const SCOPES: &[&str] = &["run", "session", "agent"];
const CALL_KINDS: &[&str] = &["tool", "agent", "team", "pipeline"];
const ON_ERROR: &[&str] = &["fail", "continue", "compensate"];
const MEMBERS_MAX: usize = 64;
const STEPS_MAX: usize = 256;
const CONDITION_DEPTH_MAX: usize = 16;

/// All three kinds, in the manifest's order.
pub(crate) fn read(at: &mut Fields) -> Result<Vec<Composite>, BundleError> {
    let mut all = each(at, CompositeKind::Agent.key(), agent)?;
    all.extend(each(at, CompositeKind::Team.key(), team)?);
    all.extend(each(at, CompositeKind::Pipeline.key(), pipeline)?);
    Ok(all)
}

fn each<T>(at: &mut Fields, key: &str, read: fn(&mut Fields) -> Result<T, BundleError>) -> Result<Vec<T>, BundleError> {
    let items = at.array(key)?;
    if items.len() > TOOLS_MAX {
        return Err(at.wrong(key, format!("more than {TOOLS_MAX}")));
    }
    let read = |(index, item)| {
        let mut fields = Fields::new(item, format!("{}/{index}", at.place(key)))?;
        let read = read(&mut fields)?;
        fields.end()?;
        Ok(read)
    };
    items.into_iter().enumerate().map(read).collect()
}

/// The members every kind has: its name, and what callers see.
fn described(at: &mut Fields) -> Result<(Name, Map<String, Value>), BundleError> {
    let name = manifest::name(at)?;
    let seen = [("name", name.to_string()), ("title", at.text("title")?), ("description", at.text("description")?)];
    Ok((name, seen.into_iter().map(|(key, text)| (key.to_owned(), text.into())).collect()))
}

fn agent(at: &mut Fields) -> Result<Composite, BundleError> {
    let (name, interface) = described(at)?;
    let model = at.text("model")?;
    let fallback = at.texts("fallback")?;
    if let Some(bad) = [&model].into_iter().chain(&fallback).find(|model| !is_model(model)) {
        return Err(at.wrong("model", format!("{bad:?} names no model")));
    }
    at.text("prompt")?;
    let tools = qualified(at, "tools", LIST_MAX)?;
    let tokens: Vec<String> = manifest::tokens(at)?.iter().map(ToString::to_string).collect();
    numbers(at, "limits", &[("turns", 1, 1_000), ("toolCalls", 0, 10_000), ("timeoutMs", 1, TIMEOUT_MS_MAX)])?;
    let mut memory = at.object("memory")?;
    one_of(&mut memory, "scope", SCOPES)?;
    memory.optional_integer("entries", 1, 100_000)?;
    memory.optional_integer("ttlMs", 1, TIMEOUT_MS_MAX)?;
    memory.end()?;
    budget(at)?;
    let approval = manifest::approval(at)?;
    let rights = tokens.iter().cloned().chain(tools.iter().map(|tool| format!("tool:{tool}"))).collect();
    let authority =
        json!({"name": name.as_str(), "tools": sorted(tools), "tokens": sorted(tokens), "approval": approval.as_str()});
    Ok(Composite { kind: CompositeKind::Agent, name, interface: interface.into(), authority, rights, approval })
}

fn team(at: &mut Fields) -> Result<Composite, BundleError> {
    let (name, interface) = described(at)?;
    let members = qualified(at, "members", MEMBERS_MAX)?;
    if members.is_empty() {
        return Err(at.wrong("members", "a team has a member"));
    }
    one_of(at, "strategy", STRATEGIES)?;
    if let Some(lead) = at.optional_text("lead")?
        && !members.contains(&lead)
    {
        return Err(at.wrong("lead", "no member of the team"));
    }
    let mut rules = at.object("rules")?;
    one_of(&mut rules, "consensus", CONSENSUS)?;
    needed(&mut rules, "rounds", 1, 100)?;
    rules.end()?;
    numbers(at, "limits", &[("turns", 1, 1_000), ("toolCalls", 0, 10_000), ("timeoutMs", 1, TIMEOUT_MS_MAX)])?;
    budget(at)?;
    let rights = members.iter().map(|member| format!("agent {member}")).collect();
    let authority = json!({"name": name.as_str(), "members": sorted(members)});
    let approval = Approval::Never;
    Ok(Composite { kind: CompositeKind::Team, name, interface: interface.into(), authority, rights, approval })
}

fn pipeline(at: &mut Fields) -> Result<Composite, BundleError> {
    let (name, mut interface) = described(at)?;
    interface.insert("variables".to_owned(), manifest::schema(at, "variables")?);
    let steps = at.array("steps")?;
    if steps.is_empty() || steps.len() > STEPS_MAX {
        return Err(at.wrong("steps", format!("not 1 to {STEPS_MAX} steps")));
    }
    let mut earlier = BTreeSet::new();
    let mut calls = BTreeSet::new();
    for (index, item) in steps.into_iter().enumerate() {
        let mut fields = Fields::new(item, format!("{}/{index}", at.place("steps")))?;
        let id = step(&mut fields, &earlier, &mut calls)?;
        if !earlier.insert(id) {
            return Err(fields.wrong("id", "a second step of this id"));
        }
        fields.end()?;
    }
    at.value("output")?;
    needed(at, "concurrency", 1, 64)?;
    needed(at, "timeoutMs", 1, TIMEOUT_MS_MAX)?;
    let authority = json!({"name": name.as_str(), "calls": &calls});
    let rights = calls.into_iter().collect();
    let approval = Approval::Never;
    Ok(Composite { kind: CompositeKind::Pipeline, name, interface: interface.into(), authority, rights, approval })
}

/// What a step waits for stands before it, so no circle can be written.
fn step(at: &mut Fields, earlier: &BTreeSet<Name>, calls: &mut BTreeSet<String>) -> Result<Name, BundleError> {
    let id = at.text("id")?;
    let id = Name::parse(&id).map_err(|error| at.wrong("id", error.to_string()))?;
    call(at, calls)?;
    let after = at.texts("after")?;
    if let Some(unknown) = after.iter().find(|step| !earlier.iter().any(|one| one.as_str() == *step)) {
        return Err(at.wrong("after", format!("{unknown:?} is no earlier step")));
    }
    if let Some(when) = at.optional("when") {
        condition(Fields::new(when, at.place("when"))?, 0)?;
    }
    let mut retry = at.object("retry")?;
    needed(&mut retry, "attempts", 1, 10)?;
    needed(&mut retry, "backoffMs", 1, 3_600_000)?;
    retry.end()?;
    one_of(at, "onError", ON_ERROR)?;
    if let Some(undo) = at.optional("compensate") {
        let mut undo = Fields::new(undo, at.place("compensate"))?;
        call(&mut undo, calls)?;
        undo.end()?;
    }
    at.optional_integer("timeoutMs", 1, TIMEOUT_MS_MAX)?;
    Ok(id)
}

fn call(at: &mut Fields, calls: &mut BTreeSet<String>) -> Result<(), BundleError> {
    let kind = one_of(at, "kind", CALL_KINDS)?;
    let uses = at.text("uses")?;
    ToolName::parse(&uses).map_err(|error| at.wrong("uses", error.to_string()))?;
    at.value("input").and_then(|input| Fields::new(input, at.place("input")))?;
    calls.insert(format!("{kind} {uses}"));
    Ok(())
}

fn condition(mut at: Fields, depth: usize) -> Result<(), BundleError> {
    if depth > CONDITION_DEPTH_MAX {
        return Err(at.wrong("all", format!("deeper than {CONDITION_DEPTH_MAX}")));
    }
    for key in ["all", "any"] {
        if at.has(key) {
            for (index, item) in at.array(key)?.into_iter().enumerate() {
                condition(Fields::new(item, format!("{}/{index}", at.place(key)))?, depth + 1)?;
            }
            return at.end();
        }
    }
    let value = at.text("value")?;
    if !value.starts_with('$') || value.starts_with("$$") {
        return Err(at.wrong("value", "not a reference"));
    }
    let tests = ["is", "not", "above", "below"].into_iter().filter(|key| at.optional(key).is_some()).count();
    if tests != 1 {
        return Err(at.wrong("value", "not exactly one test"));
    }
    at.end()
}

fn budget(at: &mut Fields) -> Result<(), BundleError> {
    numbers(at, "budget", &[("modelTokens", 1, 1_000_000_000), ("costMicros", 1, 1_000_000_000_000)])
}

fn numbers(at: &mut Fields, key: &str, ranges: &[(&str, u64, u64)]) -> Result<(), BundleError> {
    let mut inner = at.object(key)?;
    for (name, min, max) in ranges {
        inner.optional_integer(name, *min, *max)?;
    }
    inner.end()
}

fn needed(at: &mut Fields, key: &str, min: u64, max: u64) -> Result<u64, BundleError> {
    let found = at.optional_integer(key, min, max)?;
    found.ok_or_else(|| at.wrong(key, "missing"))
}

fn one_of(at: &mut Fields, key: &str, words: &[&str]) -> Result<String, BundleError> {
    let word = at.text(key)?;
    if words.contains(&word.as_str()) {
        return Ok(word);
    }
    Err(at.wrong(key, format!("not one of {}", words.join(", "))))
}

/// Names as callers write them: `<bundle>.<name>`.
fn qualified(at: &mut Fields, key: &str, max: usize) -> Result<Vec<String>, BundleError> {
    let names = at.texts(key)?;
    if names.len() > max {
        return Err(at.wrong(key, format!("more than {max} items")));
    }
    match names.iter().position(|name| ToolName::parse(name).is_err()) {
        None => Ok(names),
        Some(index) => Err(refuse(Rule::ManifestInvalid, format!("{}/{index}", at.place(key)), "not a valid name")),
    }
}

fn is_model(text: &str) -> bool {
    ResourceToken::parse(&format!("llm:{text}")).is_ok_and(|token| token.to_string() == format!("llm:{text}"))
}

fn sorted(mut texts: Vec<String>) -> Value {
    texts.sort();
    texts.into()
}
