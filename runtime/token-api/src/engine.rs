//! What the engine lets people see and change: its rules, who holds and who waits, and what happened to leases.

use std::time::Duration;

use aria_core::port::ExecuteError;
use aria_protocol::quilt::v1 as pb;
use tonic::{Response, Status, Streaming};

use crate::{TokenApi, error};

/// These are answered from memory, or after one small write.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// One line of the policy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rule {
    /// Unique.
    pub name: String,
    /// Every token of these kinds.
    pub kinds: Vec<String>,
    /// Every token one of these covers.
    pub tokens: Vec<String>,
    /// Only these owners; empty: all.
    pub owners: Vec<String>,
    /// Only what asks as one of these; empty: everything.
    pub subjects: Vec<String>,
    /// `config` or `device`.
    pub origin: String,
}

/// The policy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    /// In the order they are tried.
    pub rules: Vec<Rule>,
    /// Why those that were added could not be read, or empty.
    pub damaged: String,
}

/// Who holds, who waits, what is counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Leases {
    /// Live leases.
    pub held: Vec<Held>,
    /// First in line first.
    pub waiting: Vec<Waiting>,
    /// cpu, mem and gpu.
    pub capacities: Vec<Capacity>,
}

/// One live lease.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// The lease.
    pub lease_id: String,
    /// The execution that holds it.
    pub execution_id: String,
    /// For whom.
    pub owner: String,
    /// Canonical.
    pub tokens: Vec<String>,
    /// Its number.
    pub fence: u64,
    /// Since the grant.
    pub age_ms: u64,
    /// Until it must be renewed.
    pub ttl_ms: u64,
    /// 1 to 9.
    pub priority: u32,
    /// The execution it is a child of, or empty.
    pub parent_execution_id: String,
}

/// One who waits.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Waiting {
    /// The execution that waits.
    pub execution_id: String,
    /// For whom.
    pub owner: String,
    /// What for.
    pub tokens: Vec<String>,
    /// Since it asked.
    pub waited_ms: u64,
    /// 1 is next.
    pub position: u32,
    /// Why.
    pub blocked_by: Vec<Blocker>,
    /// 1 to 9.
    pub priority: u32,
    /// The execution it is a child of, or empty.
    pub parent_execution_id: String,
}

/// One reason to wait.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Blocker {
    /// Who; empty when nobody in particular is.
    pub execution_id: String,
    /// For whom that one runs.
    pub owner: String,
    /// What is waited for.
    pub token: String,
    /// What is in its way.
    pub held: String,
    /// False: it waits too, and comes first.
    pub holds: bool,
}

/// A resource that is counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Capacity {
    /// cpu (thousandths of a core), mem (bytes), or a gpu.
    pub name: String,
    /// All of it.
    pub total: u64,
    /// What is leased of it.
    pub used: u64,
}

/// Something that happened to a lease or a request for one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EngineEvent {
    /// Which life of the engine; rises with every start.
    pub life: u64,
    /// Counts from 1 within a life, without gaps.
    pub seq: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// `queued`, `granted`, `renewed`, `released`, `revoked`, `expired`, `deadlock`, `denied`.
    pub kind: String,
    /// Which execution.
    pub execution_id: String,
    /// For whom.
    pub owner: String,
    /// Empty when there is no lease.
    pub lease_id: String,
    /// Its number.
    pub fence: u64,
    /// What it is about.
    pub tokens: Vec<String>,
    /// For people.
    pub why: String,
}

/// Events as they happen.
#[derive(Debug)]
pub struct EngineEvents(Streaming<pb::EventsResponse>);

impl EngineEvents {
    /// The next event; an error when the engine is gone.
    pub async fn next(&mut self) -> Result<EngineEvent, ExecuteError> {
        match self.0.message().await {
            Ok(Some(wire)) => Ok(event(wire)),
            Ok(None) => Err(error::down("it ended its events")),
            Err(status) => Err(error::from_status(&status)),
        }
    }
}

impl TokenApi {
    /// The policy.
    pub async fn rules(&self) -> Result<Rules, ExecuteError> {
        let answer = answered(self.client().list_rules(pb::ListRulesRequest {})).await?;
        Ok(Rules { rules: answer.rules.into_iter().map(rule).collect(), damaged: answer.damaged })
    }

    /// Adds a rule, durably; the engine's form of it.
    pub async fn add_rule(&self, rule: Rule) -> Result<Rule, ExecuteError> {
        let Rule { name, kinds, tokens, owners, subjects, origin } = rule;
        let wire = pb::Rule { name, kinds, tokens, owners, subjects, origin };
        let answer = answered(self.client().add_rule(pb::AddRuleRequest { rule: Some(wire) })).await?;
        Ok(self::rule(answer.rule.unwrap_or_default()))
    }

    /// Removes an added rule, durably.
    pub async fn remove_rule(&self, name: &str) -> Result<Rule, ExecuteError> {
        let request = pb::RemoveRuleRequest { name: name.to_owned() };
        Ok(rule(answered(self.client().remove_rule(request)).await?.rule.unwrap_or_default()))
    }

    /// Who holds and who waits, now.
    pub async fn leases(&self) -> Result<Leases, ExecuteError> {
        let status = answered(self.client().status(pb::StatusRequest {})).await?;
        Ok(Leases {
            held: status.leases.into_iter().map(held).collect(),
            waiting: status.waiters.into_iter().map(waiting).collect(),
            capacities: status.capacities.into_iter().map(capacity).collect(),
        })
    }

    /// Everything the engine remembers and what happens from now on.
    pub async fn events(&self) -> Result<EngineEvents, ExecuteError> {
        // The answer's head comes at once; what follows may take for ever.
        answered(self.client().events(pb::EventsRequest { from: 0 })).await.map(EngineEvents)
    }
}

async fn answered<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, ExecuteError> {
    let answer = tokio::time::timeout(ANSWER_MAX, call).await.map_err(|_| error::down("it does not answer"))?;
    answer.map(Response::into_inner).map_err(|status| error::from_status(&status))
}

fn rule(wire: pb::Rule) -> Rule {
    let pb::Rule { name, kinds, tokens, owners, subjects, origin } = wire;
    Rule { name, kinds, tokens, owners, subjects, origin }
}

fn held(wire: pb::Lease) -> Held {
    let pb::Lease { lease_id, execution_id, owner, tokens, fence, age_ms, ttl_ms, priority, parent_execution_id } =
        wire;
    Held { lease_id, execution_id, owner, tokens, fence, age_ms, ttl_ms, priority, parent_execution_id }
}

fn waiting(wire: pb::Waiter) -> Waiting {
    let pb::Waiter { execution_id, owner, tokens, waited_ms, position, blocked_by, priority, parent_execution_id } =
        wire;
    let blocked_by = blocked_by.into_iter().map(blocker).collect();
    Waiting { execution_id, owner, tokens, waited_ms, position, blocked_by, priority, parent_execution_id }
}

fn blocker(wire: pb::Blocker) -> Blocker {
    let pb::Blocker { execution_id, owner, token, held, holds } = wire;
    Blocker { execution_id, owner, token, held, holds }
}

fn capacity(wire: pb::Capacity) -> Capacity {
    let pb::Capacity { name, total, used } = wire;
    Capacity { name, total, used }
}

fn event(wire: pb::EventsResponse) -> EngineEvent {
    let pb::EventsResponse { seq, at_ms, kind, execution_id, owner, lease_id, fence, tokens, why, life, .. } = wire;
    EngineEvent { life, seq, at_ms, kind, execution_id, owner, lease_id, fence, tokens, why }
}
