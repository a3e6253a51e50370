//! Leases: who holds which resource tokens.
//!
//! A lease is granted whole or refused, so no holder ever waits while holding. It ends by `release`, exactly once.
//! Every grant carries a fence, a number that only rises; whoever guards a resource refuses anything older than it has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use aria_types::{ResourceToken, TokenError};

use crate::policy::{Denied, Policy};

/// How much a ledger holds at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Leases.
    pub leases_max: usize,
    /// Tokens in one lease.
    pub tokens_max: usize,
}

/// Name of a lease; the same number as its fence, so it is never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LeaseId(u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "lease-{:x}", self.0)
    }
}

/// Somebody asks for tokens.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// For what; at most one lease each.
    pub execution_id: String,
    /// For whom.
    pub owner: String,
    /// As written; parsed here, so that a malformed one is refused like any other.
    pub tokens: Vec<String>,
}

/// A lease was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grant {
    /// Its name, for `release`.
    pub lease: LeaseId,
    /// Higher than that of every grant before.
    pub fence: u64,
}

/// Why nothing was granted. The ledger is as before.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// One of the texts is no token.
    #[error("token {text:?}: {source}")]
    Syntax {
        /// The text, cut to a printable length.
        text: String,
        /// Why.
        source: TokenError,
    },
    /// No rule allows one of the tokens.
    #[error(transparent)]
    NotAllowed(#[from] Denied),
    /// Somebody else holds one of the tokens.
    #[error("{token} is held by {holder} as {held}")]
    Busy {
        /// The token asked for.
        token: ResourceToken,
        /// The token that is in its way.
        held: ResourceToken,
        /// Execution that holds it.
        holder: String,
    },
    /// This execution has a lease.
    #[error("execution {execution_id} already holds a lease")]
    Duplicate {
        /// Its id.
        execution_id: String,
    },
    /// More tokens than one lease may have.
    #[error("{asked} tokens are more than a lease may have ({max})")]
    TooManyTokens {
        /// How many were asked for.
        asked: usize,
        /// The limit.
        max: usize,
    },
    /// As many leases as there may be.
    #[error("all {max} leases are taken")]
    Full {
        /// The limit.
        max: usize,
    },
    /// This engine has given out every fence it reserved.
    #[error("no fence is left; the engine must be restarted")]
    FencesSpent,
}

/// The lease to release does not exist, or no longer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} is not held")]
pub struct NotHeld(pub LeaseId);

/// One live lease, for people and for status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaseView<'a> {
    /// Its name.
    pub lease: LeaseId,
    /// Its fence.
    pub fence: u64,
    /// For what.
    pub execution_id: &'a str,
    /// For whom.
    pub owner: &'a str,
    /// Canonical tokens, sorted, each once.
    pub tokens: &'a BTreeSet<ResourceToken>,
    /// Since when.
    pub age: Duration,
}

#[derive(Debug)]
struct Lease {
    execution_id: String,
    owner: String,
    tokens: BTreeSet<ResourceToken>,
    since: Duration,
}

/// The live leases of one engine. `now` is the time since any fixed moment, the same for all calls.
#[derive(Debug)]
pub struct Ledger {
    policy: Policy,
    bounds: Bounds,
    fence_next: u64,
    fence_end: u64,
    leases: BTreeMap<LeaseId, Lease>,
}

impl Ledger {
    /// An empty ledger that gives out the fences of `fences`, a range no engine had before.
    #[must_use]
    pub fn new(policy: Policy, bounds: Bounds, fences: std::ops::Range<u64>) -> Self {
        Self { policy, bounds, fence_next: fences.start, fence_end: fences.end, leases: BTreeMap::new() }
    }

    /// Whether the request would ever be granted: everything but who holds what right now.
    pub fn check(&self, request: &LeaseRequest) -> Result<BTreeSet<ResourceToken>, Refusal> {
        if request.tokens.len() > self.bounds.tokens_max {
            return Err(Refusal::TooManyTokens { asked: request.tokens.len(), max: self.bounds.tokens_max });
        }
        let parse = |text: &String| {
            let shown = || text.chars().take(80).collect();
            ResourceToken::parse(text).map_err(|source| Refusal::Syntax { text: shown(), source })
        };
        let tokens = request.tokens.iter().map(parse).collect::<Result<BTreeSet<_>, _>>()?;
        tokens.iter().try_for_each(|token| self.policy.decide(&request.owner, token).map(|_| ()))?;
        Ok(tokens)
    }

    /// Grants all tokens of the request or none.
    pub fn grant(&mut self, request: &LeaseRequest, now: Duration) -> Result<Grant, Refusal> {
        let tokens = self.check(request)?;
        if self.leases.values().any(|lease| lease.execution_id == request.execution_id) {
            return Err(Refusal::Duplicate { execution_id: request.execution_id.clone() });
        }
        if self.leases.len() >= self.bounds.leases_max {
            return Err(Refusal::Full { max: self.bounds.leases_max });
        }
        self.refuse_conflicts(&tokens)?;
        if self.fence_next >= self.fence_end {
            return Err(Refusal::FencesSpent);
        }
        let fence = self.fence_next;
        self.fence_next += 1;
        let LeaseRequest { execution_id, owner, .. } = request.clone();
        self.leases.insert(LeaseId(fence), Lease { execution_id, owner, tokens, since: now });
        Ok(Grant { lease: LeaseId(fence), fence })
    }

    fn refuse_conflicts(&self, tokens: &BTreeSet<ResourceToken>) -> Result<(), Refusal> {
        for lease in self.leases.values() {
            for held in &lease.tokens {
                if let Some(token) = tokens.iter().find(|token| token.conflicts(held)) {
                    let (token, held, holder) = (token.clone(), held.clone(), lease.execution_id.clone());
                    return Err(Refusal::Busy { token, held, holder });
                }
            }
        }
        Ok(())
    }

    /// Ends a lease. A second call changes nothing and says so.
    pub fn release(&mut self, lease: LeaseId) -> Result<(), NotHeld> {
        self.leases.remove(&lease).map(|_| ()).ok_or(NotHeld(lease))
    }

    /// The live leases, oldest first.
    pub fn leases(&self, now: Duration) -> impl Iterator<Item = LeaseView<'_>> {
        self.leases.iter().map(move |(lease, held)| LeaseView {
            lease: *lease,
            fence: lease.0,
            execution_id: &held.execution_id,
            owner: &held.owner,
            tokens: &held.tokens,
            age: now.saturating_sub(held.since),
        })
    }
}

#[cfg(test)]
mod tests {
    use aria_types::token::Kind;

    use super::*;
    use crate::Rule;

    fn ledger() -> Ledger {
        let kv = Rule { name: "kv".into(), kinds: vec![Kind::Kv], ..Rule::default() };
        Ledger::new(Policy::new(vec![kv]), Bounds { leases_max: 3, tokens_max: 4 }, 100..1000)
    }

    fn request(execution_id: &str, tokens: &[&str]) -> LeaseRequest {
        let tokens = tokens.iter().map(ToString::to_string).collect();
        LeaseRequest { execution_id: execution_id.into(), owner: "ann".into(), tokens }
    }

    const NOW: Duration = Duration::from_secs(5);

    #[track_caller]
    fn check(held: &[&str], asked: &[&str], granted: bool) {
        let mut ledger = ledger();
        ledger.grant(&request("first", held), NOW).unwrap();
        match ledger.grant(&request("second", asked), NOW) {
            Ok(_) => assert!(granted),
            Err(Refusal::Busy { holder, .. }) => assert!(!granted && holder == "first"),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn readers_and_appenders_share() {
        check(&["kv:orders:ro"], &["kv:orders:ro"], true);
        check(&["kv:orders:ro"], &["kv:orders:append"], true);
    }

    #[test]
    fn a_writer_is_alone_on_its_part() {
        check(&["kv:orders:rw"], &["kv:orders:ro"], false);
        check(&["kv:orders:pending:ro"], &["kv:orders:rw"], false);
        check(&["kv:orders:pending:rw"], &["kv:orders:done:rw"], true);
        check(&["kv:orders:rw"], &["kv:orders2:rw"], true);
    }

    #[test]
    fn a_refused_set_holds_nothing_of_it() {
        let mut ledger = ledger();
        ledger.grant(&request("first", &["kv:b:rw"]), NOW).unwrap();
        assert!(matches!(ledger.grant(&request("second", &["kv:a:rw", "kv:b:ro"]), NOW), Err(Refusal::Busy { .. })));
        ledger.grant(&request("third", &["kv:a:rw"]), NOW).unwrap();
    }

    #[test]
    fn asking_twice_is_once_and_one_lease_does_not_conflict_with_itself() {
        let mut ledger = ledger();
        ledger.grant(&request("first", &["kv:a:rw", "kv:a:rw", "kv:a:ro"]), NOW).unwrap();
        assert_eq!(ledger.leases(NOW).next().unwrap().tokens.len(), 2);
    }

    #[test]
    fn a_lease_ends_once() {
        let mut ledger = ledger();
        let grant = ledger.grant(&request("first", &["kv:a:rw"]), NOW).unwrap();
        ledger.release(grant.lease).unwrap();
        assert_eq!(ledger.release(grant.lease), Err(NotHeld(grant.lease)));
        let again = ledger.grant(&request("first", &["kv:a:rw"]), NOW).unwrap();
        assert!(again.fence > grant.fence);
        assert_eq!(ledger.release(grant.lease), Err(NotHeld(grant.lease)), "an old name does not end a new lease");
    }

    #[test]
    fn every_refusal_has_its_reason() {
        let mut ledger = ledger();
        let syntax = ledger.grant(&request("x", &["kv:*"]), NOW).unwrap_err();
        assert!(matches!(syntax, Refusal::Syntax { source: TokenError::Wildcard { .. }, .. }));
        assert!(matches!(ledger.grant(&request("x", &["kv:a", "net:a"]), NOW), Err(Refusal::NotAllowed(_))));
        let many = ["kv:a", "kv:b", "kv:c", "kv:d", "kv:e"];
        assert_eq!(ledger.grant(&request("x", &many), NOW), Err(Refusal::TooManyTokens { asked: 5, max: 4 }));
        ledger.grant(&request("a", &[]), NOW).unwrap();
        assert_eq!(ledger.grant(&request("a", &[]), NOW), Err(Refusal::Duplicate { execution_id: "a".into() }));
        ledger.grant(&request("b", &[]), NOW).unwrap();
        ledger.grant(&request("c", &[]), NOW).unwrap();
        assert_eq!(ledger.grant(&request("d", &[]), NOW), Err(Refusal::Full { max: 3 }));
    }

    #[test]
    fn spent_fences_are_an_error_not_a_repeat() {
        let mut ledger = Ledger::new(Policy::default(), Bounds { leases_max: 3, tokens_max: 4 }, 7..8);
        assert_eq!(ledger.grant(&request("a", &[]), NOW).unwrap().fence, 7);
        assert_eq!(ledger.grant(&request("b", &[]), NOW), Err(Refusal::FencesSpent));
    }

    #[test]
    fn a_lease_shows_its_age() {
        let mut ledger = ledger();
        ledger.grant(&request("a", &[]), NOW).unwrap();
        assert_eq!(ledger.leases(NOW + Duration::from_secs(2)).next().unwrap().age, Duration::from_secs(2));
        assert_eq!(ledger.leases(Duration::ZERO).next().unwrap().age, Duration::ZERO, "a clock that jumped back");
    }
}
