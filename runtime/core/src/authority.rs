//! What one version of a bundle may touch that another may not.
//!
//! Tool by tool, because a caller grants to a tool: a right that moves to another tool is a new right of that tool. Tokens,
//! egress hosts and secrets are compared as the tokens they become, by [`ResourceToken::covers`]; limits and timeouts bound a
//! run and open nothing, so they are no part of it.

use std::collections::BTreeMap;
use std::fmt;

use aria_types::ResourceToken;
use aria_types::token::Kind;

use crate::bundle::{Approval, Manifest, Tool};
use crate::name::Name;

/// In which direction.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Way {
    /// The newer may, the older may not.
    Wider,
    /// The older may, the newer may not.
    Narrower,
}

/// What a tool gained or lost.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Touch {
    /// A resource, as the text of its token.
    Right(String),
    /// Starting child processes.
    Spawn,
    /// Being called without the person who was asked before, or only with one. The newer rule.
    Approval(Approval),
}

/// One difference.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Change {
    /// Of which tool.
    pub tool: Name,
    /// In which direction.
    pub way: Way,
    /// What.
    pub touch: Touch,
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.way == Way::Wider { '+' } else { '-' };
        write!(out, "{sign} {} {}", self.tool, self.touch)
    }
}

impl fmt::Display for Touch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right(token) => out.write_str(token),
            Self::Spawn => out.write_str("spawn"),
            Self::Approval(rule) => write!(out, "approval {}", rule.as_str()),
        }
    }
}

/// Every difference, by tool. Empty when neither may more than the other.
#[must_use]
pub fn diff(older: &Manifest, newer: &Manifest) -> Vec<Change> {
    let (before, after) = (tools(older), tools(newer));
    let mut changes = Vec::new();
    for (name, tool) in &after {
        beyond(before.get(name).copied(), tool, Way::Wider, &mut changes);
    }
    for (name, tool) in &before {
        beyond(after.get(name).copied(), tool, Way::Narrower, &mut changes);
    }
    for (name, tool) in &after {
        let was = before.get(name).map(|tool| tool.approval);
        if let Some(was) = was.filter(|was| *was != tool.approval) {
            let way = if tool.approval < was { Way::Wider } else { Way::Narrower };
            changes.push(Change { tool: (*name).clone(), way, touch: Touch::Approval(tool.approval) });
        }
    }
    changes.sort();
    changes
}

fn tools(manifest: &Manifest) -> BTreeMap<&Name, &Tool> {
    manifest.tools.iter().map(|tool| (&tool.name, tool)).collect()
}

/// What `tool` may and `base` may not; no tool may nothing.
fn beyond(base: Option<&Tool>, tool: &Tool, way: Way, changes: &mut Vec<Change>) {
    let held = base.map(rights).unwrap_or_default();
    let mut push = |touch| changes.push(Change { tool: tool.name.clone(), way, touch });
    let mut asked = rights(tool);
    asked.dedup();
    for right in asked.into_iter().filter(|right| !held.iter().any(|held| held.covers(right))) {
        push(Touch::Right(right.text));
    }
    if tool.spawn && !base.is_some_and(|base| base.spawn) {
        push(Touch::Spawn);
    }
}

/// A token, or the text of what would be one and is too long for it: that covers itself alone.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Right {
    text: String,
    token: Option<ResourceToken>,
}

impl Right {
    fn read(text: String) -> Self {
        let Ok(token) = ResourceToken::parse(&text) else { return Self { text, token: None } };
        let text = token.to_string();
        // A host without a port means this one, so writing it down changes nothing.
        let bare_host = token.kind() == Kind::Net && token.path().len() == 1;
        let whole = if bare_host { ResourceToken::parse(&format!("{text}:443")).ok() } else { Some(token) };
        Self { text, token: whole }
    }

    fn covers(&self, other: &Self) -> bool {
        match (&self.token, &other.token) {
            (Some(held), Some(asked)) => held.covers(asked),
            _ => self.text == other.text,
        }
    }
}

/// Sorted.
fn rights(tool: &Tool) -> Vec<Right> {
    let tokens = tool.tokens.iter().map(ToString::to_string);
    let hosts = tool.egress.iter().map(|host| format!("net:{host}"));
    let secrets = tool.secrets.iter().map(|name| format!("secret:{name}"));
    let mut rights: Vec<Right> = tokens.chain(hosts).chain(secrets).map(Right::read).collect();
    rights.sort();
    rights
}
