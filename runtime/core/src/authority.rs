//! What one version of a bundle may touch that another may not.
//!
//! Name by name, because a caller grants to a name: a right that moves to another tool is a new right of that tool. An agent's
//! rights are its tokens, those of a team its members, those of a pipeline what its steps call. Tokens,
//! egress hosts and secrets are compared as the tokens they become, by [`ResourceToken::covers`]; limits and timeouts bound a
//! run and open nothing, so they are no part of it.

use std::collections::BTreeMap;
use std::fmt;

use aria_types::ResourceToken;
use aria_types::token::Kind;

use crate::bundle::{Approval, Composite, Manifest, Tool};
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
    /// Making machine code while it runs.
    MachineCode,
    /// Being called without the person who was asked before, or only with one. The newer rule.
    Approval(Approval),
}

/// One difference.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Change {
    /// Of which tool, agent, team or pipeline.
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
            Self::MachineCode => out.write_str("jit"),
            Self::Approval(rule) => write!(out, "approval {}", rule.as_str()),
        }
    }
}

/// Every difference, by tool. Empty when neither may more than the other.
#[must_use]
pub fn diff(older: &Manifest, newer: &Manifest) -> Vec<Change> {
    let (before, after) = (subjects(older), subjects(newer));
    let mut changes = Vec::new();
    for (name, subject) in &after {
        beyond(before.get(name), subject, Way::Wider, &mut changes);
    }
    for (name, subject) in &before {
        beyond(after.get(name), subject, Way::Narrower, &mut changes);
    }
    for (name, subject) in &after {
        let was = before.get(name).map(|subject| subject.approval);
        if let Some(was) = was.filter(|was| *was != subject.approval) {
            let way = if subject.approval < was { Way::Wider } else { Way::Narrower };
            changes.push(Change { tool: (*name).clone(), way, touch: Touch::Approval(subject.approval) });
        }
    }
    changes.sort();
    changes
}

/// What has rights: a tool, an agent, a team or a pipeline. Their names are all different.
struct Subject<'a> {
    name: &'a Name,
    /// Sorted.
    rights: Vec<Right>,
    spawn: bool,
    /// A composite runs no code of its own.
    jit: bool,
    approval: Approval,
}

fn subjects(manifest: &Manifest) -> BTreeMap<&Name, Subject<'_>> {
    let tools = manifest.tools.iter().map(of_tool);
    let composites = manifest.composites.iter().map(of_composite);
    tools.chain(composites).map(|subject| (subject.name, subject)).collect()
}

fn of_tool(tool: &Tool) -> Subject<'_> {
    let Tool { name, spawn, jit, approval, .. } = tool;
    Subject { name, rights: rights(tool), spawn: *spawn, jit: *jit, approval: *approval }
}

fn of_composite(composite: &Composite) -> Subject<'_> {
    let mut rights: Vec<Right> = composite.rights.iter().cloned().map(Right::read).collect();
    rights.sort();
    Subject { name: &composite.name, rights, spawn: false, jit: false, approval: composite.approval }
}

/// What `subject` may and `base` may not; what is not there may nothing.
fn beyond(base: Option<&Subject<'_>>, subject: &Subject<'_>, way: Way, changes: &mut Vec<Change>) {
    let held = base.map(|base| base.rights.as_slice()).unwrap_or_default();
    let mut push = |touch| changes.push(Change { tool: subject.name.clone(), way, touch });
    let mut asked = subject.rights.clone();
    asked.dedup();
    for right in asked.into_iter().filter(|right| !held.iter().any(|held| held.covers(right))) {
        push(Touch::Right(right.text));
    }
    if subject.spawn && !base.is_some_and(|base| base.spawn) {
        push(Touch::Spawn);
    }
    // Every tool that says nothing of it may, so only giving it up and taking it back is a change.
    if subject.jit && base.is_some_and(|base| !base.jit) {
        push(Touch::MachineCode);
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
