//! Why nothing was granted.

use aria_types::{ResourceToken, TokenError};

use crate::capacity::TooMuch;
use crate::policy::Denied;

/// Why nothing was granted. Nothing is held or waited for in any of these cases.
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
    /// More of a counted resource than there is.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// More tokens than one lease may have.
    #[error("{asked} tokens are more than a lease may have ({max})")]
    TooManyTokens {
        /// How many were asked for.
        asked: usize,
        /// The limit.
        max: usize,
    },
    /// This execution waits or has a lease.
    #[error("execution {execution_id} is live")]
    Duplicate {
        /// Its id.
        execution_id: String,
    },
    /// The parent holds no lease, no longer, or one of another owner.
    #[error("parent execution {parent:?} holds no lease of this owner")]
    ParentUnknown {
        /// Its id.
        parent: String,
    },
    /// A child of a child of a child…
    #[error("a call may be {max} levels deep")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// A lent token the parent does not have.
    #[error("{token} is more than its parent holds")]
    Widened {
        /// The token.
        token: ResourceToken,
    },
    /// The wait would have closed a cycle.
    #[error("the wait would never end: {cycle}")]
    Deadlock {
        /// Who waits for whom.
        cycle: String,
    },
    /// No room in the queue, or none for a child, which does not wait for room.
    #[error("{why}")]
    QueueFull {
        /// What is full.
        why: String,
    },
    /// It waited as long as it may.
    #[error("not granted within {waited_ms} ms: {why}")]
    WaitOver {
        /// How long it waited.
        waited_ms: u64,
        /// What was in its way at the end.
        why: String,
        /// The same as facts, if it was a token.
        blocker: Option<Box<Blocker>>,
    },
    /// This engine has given out every fence it reserved.
    #[error("no fence is left; the engine must be restarted")]
    FencesSpent,
}

impl Refusal {
    /// The stable reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "TOKEN_SYNTAX",
            Self::NotAllowed(_) => "TOKEN_NOT_ALLOWED",
            Self::TooMuch(_) => "TOKEN_TOO_MUCH",
            Self::TooManyTokens { .. } => "SPEC_INVALID",
            Self::Duplicate { .. } => "EXECUTION_EXISTS",
            Self::ParentUnknown { .. } => "PARENT_UNKNOWN",
            Self::TooDeep { .. } => "PARENT_TOO_DEEP",
            Self::Widened { .. } => "TOKEN_WIDENED",
            Self::Deadlock { .. } => "DEADLOCK",
            Self::QueueFull { .. } => "QUEUE_FULL",
            Self::WaitOver { .. } => "TOKEN_WAIT",
            Self::FencesSpent => "FENCES_SPENT",
        }
    }

    /// For an event: the reason, then the text for people.
    pub(crate) fn told(&self) -> String {
        format!("{}: {self}", self.reason())
    }
}

/// Somebody, or something, in the way of a waiter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Blocker {
    /// Whose token is in the way; empty when nobody in particular has it.
    pub execution_id: String,
    /// Its owner.
    pub owner: String,
    /// The token that is waited for, or the name of a counted resource.
    pub token: String,
    /// The token in its way.
    pub held: String,
    /// It has it; else it waits too, and comes first.
    pub holds: bool,
}
