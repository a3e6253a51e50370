//! `aria.v1.Policy`: the engine decides and keeps the rules; here they get names, an audit row, and their readers.

use std::sync::Arc;

use aria_core::port::ExecuteError;
use aria_protocol::aria::v1 as pb;
use aria_store::{AuditEvent, AuditKind, Detail, Role};
use aria_token_api::Rule;
use aria_types::ErrorKind;
use tonic::{Request, Response, Status};

use super::convert::required;
use super::{Device, now, to_the_end};
use crate::auth::Caller;
use crate::status::{self, refuse};

/// Longest name of a rule.
const NAME_BYTES_MAX: usize = 64;

pub(super) struct Policy(pub(super) Arc<Device>);

#[tonic::async_trait]
impl pb::policy_server::Policy for Policy {
    async fn list_rules(
        &self,
        request: Request<pb::ListRulesRequest>,
    ) -> Result<Response<pb::ListRulesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let found = self.0.engine.rules().await.map_err(failed)?;
        let rules = found.rules.into_iter().filter_map(|rule| visible(&caller, rule)).map(wire).collect();
        Ok(Response::new(pb::ListRulesResponse { rules, damaged: status::without_paths(&found.damaged) }))
    }

    async fn add_rule(&self, request: Request<pb::AddRuleRequest>) -> Result<Response<pb::AddRuleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let pb::PolicyRule { name, kinds, tokens, owners, subjects, .. } = required(request.into_inner().rule, "rule")?;
        let mut rule = Rule { name, kinds, tokens, owners, subjects, origin: String::new() };
        if rule.name.is_empty() {
            rule.name = name_of(&rule);
        }
        to_the_end(add(Arc::clone(&self.0), caller, rule)).await
    }

    async fn remove_rule(
        &self,
        request: Request<pb::RemoveRuleRequest>,
    ) -> Result<Response<pb::RemoveRuleResponse>, Status> {
        let caller = Caller::of(&request)?;
        to_the_end(remove(Arc::clone(&self.0), caller, request.into_inner().name)).await
    }
}

async fn add(device: Arc<Device>, caller: Caller, rule: Rule) -> Result<pb::AddRuleResponse, Status> {
    let engine = &device.engine;
    let added = match engine.add_rule(rule.clone()).await {
        Ok(added) => added,
        Err(error) if error.reason == "RULE_EXISTS" => {
            let there = engine.rules().await.map_err(failed)?.rules;
            let same = there.into_iter().find(|there| is_same(there, &rule)).ok_or_else(|| failed(error))?;
            return Ok(pb::AddRuleResponse { rule: Some(wire(same)), already_present: true });
        }
        Err(error) => return Err(failed(error)),
    };
    if let Err(error) = device.handle.audit().record(row(AuditKind::PolicyAdded, &caller, &added)).await {
        // What is not in the audit must not hold.
        return Err(undone(engine.remove_rule(&added.name).await.map(drop), status::invoke(error)));
    }
    tracing::info!(rule = %added.name, by = %caller.subject, "rule added");
    Ok(pb::AddRuleResponse { rule: Some(wire(added)), already_present: false })
}

async fn remove(device: Arc<Device>, caller: Caller, name: String) -> Result<pb::RemoveRuleResponse, Status> {
    let engine = &device.engine;
    let removed = engine.remove_rule(&name).await.map_err(failed)?;
    if let Err(error) = device.handle.audit().record(row(AuditKind::PolicyRemoved, &caller, &removed)).await {
        return Err(undone(engine.add_rule(removed).await.map(drop), status::invoke(error)));
    }
    tracing::info!(rule = %removed.name, by = %caller.subject, "rule removed");
    Ok(pb::RemoveRuleResponse { rule: Some(wire(removed)) })
}

/// The caller's answer after a step that could not be audited was taken back.
fn undone(back: Result<(), ExecuteError>, answer: Status) -> Status {
    if let Err(error) = back {
        tracing::error!(%error, "take back a change of the policy that could not be audited");
    }
    answer
}

/// The engine calls every bad field the same.
fn failed(error: ExecuteError) -> Status {
    match error.reason.as_str() {
        "SPEC_INVALID" => refuse(ErrorKind::Invalid, "RULE_INVALID", error.message),
        _ => status::execute(&error),
    }
}

/// The rule as this caller may see it. Who only calls sees what may concern it and nobody else's name.
fn visible(caller: &Caller, mut rule: Rule) -> Option<Rule> {
    if caller.role == Role::Caller {
        let concerned = rule.owners.is_empty() || rule.owners.contains(&caller.subject);
        rule.owners.retain(|owner| *owner == caller.subject);
        return concerned.then_some(rule);
    }
    Some(rule)
}

fn wire(rule: Rule) -> pb::PolicyRule {
    let Rule { name, kinds, tokens, owners, subjects, origin } = rule;
    pb::PolicyRule { name, kinds, tokens, owners, subjects, origin }
}

fn row(kind: AuditKind, caller: &Caller, rule: &Rule) -> AuditEvent {
    let detail = Detail::default()
        .texts("kinds", &rule.kinds)
        .texts("tokens", &rule.tokens)
        .texts("owners", &rule.owners)
        .texts("subjects", &rule.subjects);
    let (owner, subject) = (caller.subject.clone(), format!("rule:{}", rule.name));
    AuditEvent { at: now(), kind, owner, invocation: None, subject, reason: String::new(), detail }
}

/// A name for a rule that was given none, the same for the same rule: what it allows, and for whom.
fn name_of(rule: &Rule) -> String {
    let what = rule.kinds.iter().chain(&rule.tokens);
    let whom = rule.owners.iter().chain(&rule.subjects);
    let words: Vec<&str> = what.chain(whom).map(String::as_str).collect();
    let text = words.join("-");
    let allowed = |symbol: char| matches!(symbol, 'a'..='z' | '0'..='9' | '-' | '.' | '_');
    let name: String = text.chars().map(|symbol| if allowed(symbol) { symbol } else { '.' }).collect();
    if name.len() <= NAME_BYTES_MAX && text.chars().all(|symbol| allowed(symbol) || symbol == ':') {
        return name;
    }
    // Two long or odd texts may look alike once they are cut and mended; their numbers differ.
    let number = words
        .iter()
        .flat_map(|word| word.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let kept: String = name.chars().take(NAME_BYTES_MAX - 17).collect();
    format!("{kept}-{number:016x}")
}

/// Whether both allow the same under the same name. The engine's form of a token is the canonical one.
fn is_same(there: &Rule, asked: &Rule) -> bool {
    let canonical = |tokens: &[String]| -> Vec<String> {
        let one = |token: &String| {
            aria_types::ResourceToken::parse(token).map_or_else(|_| token.clone(), |token| token.as_str().to_owned())
        };
        sorted(tokens.iter().map(one))
    };
    let plain = |texts: &[String]| sorted(texts.iter().cloned());
    there.name == asked.name
        && there.origin == "device"
        && canonical(&there.tokens) == canonical(&asked.tokens)
        && plain(&there.kinds) == plain(&asked.kinds)
        && plain(&there.owners) == plain(&asked.owners)
        && plain(&there.subjects) == plain(&asked.subjects)
}

fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts: Vec<String> = texts.collect();
    texts.sort();
    texts.dedup();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Via;

    fn rule(tokens: &[&str], owners: &[&str]) -> Rule {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Rule { tokens: texts(tokens), owners: texts(owners), ..Rule::default() }
    }

    #[track_caller]
    fn named(tokens: &[&str], owners: &[&str], expected: &str) {
        assert_eq!(name_of(&rule(tokens, owners)), expected);
    }

    #[test]
    fn a_rule_is_named_for_what_it_allows() {
        named(&["kv:orders:rw"], &[], "kv.orders.rw");
        named(&["kv:orders:rw"], &["uid:0"], "kv.orders.rw-uid.0");
        named(&["net:api.example.com:443"], &["ann"], "net.api.example.com.443-ann");
    }

    #[test]
    fn a_mended_name_is_like_no_other() {
        let long = "kv:".to_owned() + &"a".repeat(63) + ":" + &"b".repeat(63);
        let names = [&["Ann@Laptop"][..], &["ann.laptop"], &["ann@laptop"], &[]]
            .map(|owners| name_of(&rule(&["kv:a:ro"], owners)));
        let more = [name_of(&rule(&[&long], &[])), name_of(&rule(&[&(long.clone() + ":ro")], &[]))];
        let all: std::collections::BTreeSet<_> = names.iter().chain(&more).collect();
        assert_eq!(all.len(), 6, "{all:?}");
        assert!(all.iter().all(|name| name.len() <= NAME_BYTES_MAX), "{all:?}");
    }

    #[test]
    fn the_same_rule_is_the_same_however_its_tokens_are_written() {
        let there = Rule { origin: "device".into(), ..rule(&["kv:a:ro", "kv:b:rw"], &["ann"]) };
        assert!(is_same(&there, &rule(&["kv:b:rw", "kv:a"], &["ann"])));
        assert!(!is_same(&there, &rule(&["kv:b:rw"], &["ann"])));
        assert!(!is_same(&Rule { origin: "config".into(), ..there }, &rule(&["kv:b:rw", "kv:a"], &["ann"])));
    }

    #[test]
    fn who_only_calls_sees_nobody_elses_name() {
        let caller = |role| Caller { subject: "ann".into(), role, via: Via::Tls { key_sha256: String::new() } };
        let seen = |role, owners: &[&str]| visible(&caller(role), rule(&["kv:a:ro"], owners)).map(|rule| rule.owners);
        assert_eq!(seen(Role::Caller, &["bob"]), None);
        assert_eq!(seen(Role::Caller, &["bob", "ann"]), Some(vec!["ann".to_owned()]));
        assert_eq!(seen(Role::Caller, &[]), Some(vec![]));
        assert_eq!(seen(Role::Operator, &["bob"]), Some(vec!["bob".to_owned()]));
    }
}
