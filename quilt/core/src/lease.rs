//! One lease: who asked, what it holds, until when.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aria_types::ResourceToken;

use crate::capacity::Needs;

/// Name of a lease; the same number as its fence, so it is never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LeaseId(pub(crate) u64);

impl LeaseId {
    /// The fence of its grant.
    #[must_use]
    pub fn fence(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "lease-{:x}", self.0)
    }
}

/// Highest priority.
pub const PRIORITY_MAX: u8 = 9;
/// What a request without a priority has.
pub const PRIORITY_DEFAULT: u8 = 4;

/// Somebody asks for tokens.
#[derive(Clone, Debug, Default)]
pub struct LeaseRequest {
    /// For what; at most one lease each.
    pub execution_id: String,
    /// For whom.
    pub owner: String,
    /// What asks, for rules; may be empty.
    pub subject: String,
    /// As written; parsed by the ledger, so that a malformed one is refused like any other.
    pub tokens: Vec<String>,
    /// Up to [`PRIORITY_MAX`], higher first.
    pub priority: u8,
    /// Longest wait, cut to the ledger's own bound.
    pub wait: Duration,
    /// Execution that waits for this one.
    pub parent: Option<String>,
    /// The tokens are the parent's own: each must be covered by one it holds, and the parent's do not stand in the way.
    pub lent: bool,
}

/// A request whose tokens are known to be tokens.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    /// For what.
    pub execution_id: Arc<str>,
    /// For whom.
    pub owner: Arc<str>,
    /// Canonical, sorted, each once.
    pub tokens: BTreeSet<ResourceToken>,
    /// 0 to [`PRIORITY_MAX`].
    pub priority: u8,
    /// Execution that waits for this one.
    pub parent: Option<Arc<str>>,
    /// The tokens are lent by the parent.
    pub lent: bool,
    /// Leases above it, nearest first.
    pub(crate) ancestors: Vec<LeaseId>,
}

impl Asker {
    /// The leases whose tokens do not stand in its way.
    pub(crate) fn lenders(&self) -> &[LeaseId] {
        if self.lent { &self.ancestors } else { &[] }
    }
}

/// A lease was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grant {
    /// Its name.
    pub lease: LeaseId,
    /// Higher than that of every grant before.
    pub fence: u64,
    /// It ends this long after the grant, and after each renewal.
    pub ttl: Duration,
}

/// The lease does not exist, or no longer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} is not held")]
pub struct NotHeld(pub LeaseId);

/// One live lease, for people and for status.
#[derive(Clone, Debug)]
pub struct LeaseView<'a> {
    /// Its name.
    pub lease: LeaseId,
    /// Its fence.
    pub fence: u64,
    /// Whose.
    pub who: &'a Asker,
    /// Since when.
    pub age: Duration,
    /// What is left of it.
    pub ttl: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) who: Arc<Asker>,
    pub(crate) since: Duration,
    pub(crate) ends: Duration,
    /// What it takes of counted resources, its slot apart.
    pub(crate) needs: Needs,
    pub(crate) children: BTreeSet<LeaseId>,
}
