//! Why a request is refused, and the only place where that becomes a gRPC status.

use std::collections::HashMap;

use aria_types::ErrorKind;
use quilt_core::Refusal;
use quilt_sandbox::SpawnError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// One refusal: what kind, its stable reason, a text for people and a few facts for programs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) metadata: Vec<(&'static str, String)>,
}

impl Fault {
    fn new(kind: ErrorKind, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, reason, message: message.into(), metadata: Vec::new() }
    }

    fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.metadata.push((key, value.into()));
        self
    }

    /// `field` of the request cannot be what it is.
    pub(crate) fn spec(field: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(ErrorKind::Invalid, "SPEC_INVALID", format!("{field}: {message}")).with("field", field)
    }

    pub(crate) fn live(execution_id: &str) -> Self {
        Self::new(ErrorKind::Exists, "EXECUTION_EXISTS", format!("execution {execution_id} is live"))
    }

    pub(crate) fn unknown(execution_id: &str) -> Self {
        Self::new(ErrorKind::NotFound, "EXECUTION_UNKNOWN", format!("execution {execution_id:?} is not live"))
    }

    pub(crate) fn queue_full(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Exhausted, "QUEUE_FULL", message)
    }

    pub(crate) fn token_syntax(text: &str, source: &aria_types::TokenError) -> Self {
        let shown: String = text.chars().take(80).collect();
        Self::new(ErrorKind::Invalid, "TOKEN_SYNTAX", format!("token {shown:?}: {source}")).with("rule", source.code())
    }

    pub(crate) fn rule_exists(name: &str) -> Self {
        Self::new(ErrorKind::Exists, "RULE_EXISTS", format!("there is a rule {name:?}"))
    }

    pub(crate) fn rule_unknown(name: &str) -> Self {
        Self::new(ErrorKind::NotFound, "RULE_UNKNOWN", format!("there is no rule {name:?}"))
    }

    pub(crate) fn rule_fixed(name: &str) -> Self {
        let message = format!("rule {name:?} stands in the configuration of this engine and is changed there");
        Self::new(ErrorKind::State, "RULE_FIXED", message)
    }

    pub(crate) fn rules_full(max: usize) -> Self {
        Self::new(ErrorKind::Exhausted, "RULES_FULL", format!("there are {max} added rules, as many as there may be"))
    }

    pub(crate) fn rules_unreadable(why: &str) -> Self {
        Self::new(ErrorKind::Damaged, "RULES_UNREADABLE", why)
    }

    /// The lease ended before there was a program to end.
    pub(crate) fn revoked() -> Self {
        Self::new(ErrorKind::Conflict, "LEASE_EXPIRED", "the lease ended before the program was started")
    }

    /// Something could not be stored, so it does not hold.
    pub(crate) fn state_write(path: &std::path::Path, source: &std::io::Error) -> Self {
        Self::new(ErrorKind::Internal, "STATE_WRITE", format!("write {path:?}: {source}"))
    }

    pub(crate) fn shutdown() -> Self {
        Self::new(ErrorKind::Unavailable, "SHUTDOWN", "the engine stops")
    }

    /// The descriptors of a fresh cage could not be used; the machine is short of something.
    pub(crate) fn relay(source: &std::io::Error) -> Self {
        Self::new(ErrorKind::Internal, "SANDBOX_STEP", format!("step relay: {source}")).with("step", "relay")
    }

    /// What the program left in `/out` could not be read.
    pub(crate) fn collect(error: &quilt_sandbox::CollectError) -> Self {
        let message = format!("step collect-out: {}", crate::chain(error));
        Self::new(ErrorKind::Internal, "SANDBOX_STEP", message).with("step", "collect-out")
    }

    /// A thread that built a cage is gone without an answer.
    pub(crate) fn bug(what: &str) -> Self {
        Self::new(ErrorKind::Internal, "BUG", what)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Syntax { source, .. } => {
                Self::new(ErrorKind::Invalid, "TOKEN_SYNTAX", message).with("rule", source.code())
            }
            Refusal::NotAllowed(denied) => {
                let fix = denied.fix();
                Self::new(ErrorKind::Denied, "TOKEN_NOT_ALLOWED", message)
                    .with("token", denied.token.as_str())
                    .with("rules", denied.rules)
                    .with("fix", fix)
            }
            Refusal::TooMuch(too_much) => Self::new(ErrorKind::State, "TOKEN_TOO_MUCH", message)
                .with("resource", too_much.resource)
                .with("asked", too_much.asked.to_string())
                .with("total", too_much.total.to_string()),
            Refusal::Duplicate { execution_id } => Self::live(&execution_id),
            Refusal::TooManyTokens { .. } => Self::spec("tokens", message),
            Refusal::ParentUnknown { .. } => Self::new(ErrorKind::NotFound, "PARENT_UNKNOWN", message),
            Refusal::TooDeep { .. } => Self::new(ErrorKind::Denied, "PARENT_TOO_DEEP", message),
            Refusal::Widened { token } => {
                Self::new(ErrorKind::Denied, "TOKEN_WIDENED", message).with("token", token.as_str())
            }
            Refusal::Deadlock { cycle } => Self::new(ErrorKind::Conflict, "DEADLOCK", message).with("cycle", cycle),
            Refusal::QueueFull { .. } => Self::queue_full(message),
            Refusal::WaitOver { blocker, .. } => {
                let fault = Self::new(ErrorKind::Deadline, "TOKEN_WAIT", message);
                match blocker {
                    Some(by) => {
                        let by = *by;
                        fault.with("token", by.token).with("held", by.held).with("holder", by.execution_id)
                    }
                    None => fault,
                }
            }
            Refusal::FencesSpent => Self::new(ErrorKind::Unavailable, "FENCES_SPENT", message),
        }
    }
}

impl From<SpawnError> for Fault {
    fn from(error: SpawnError) -> Self {
        let step = |step: &'static str, message: String| {
            Self::new(ErrorKind::Internal, "SANDBOX_STEP", message).with("step", step)
        };
        match error {
            SpawnError::Spec { what } => Self::spec("program", what),
            SpawnError::WorkspaceFull { .. } => Self::new(ErrorKind::Invalid, "WORKSPACE_FULL", error.to_string()),
            SpawnError::WorkspaceMalformed(_) => Self::new(ErrorKind::Invalid, "WORKSPACE_TREE", error.to_string()),
            SpawnError::NoUid { .. } => Self::queue_full(error.to_string()),
            SpawnError::Closing => Self::shutdown(),
            SpawnError::Step { step: name, source } => step(name, format!("step {name}: {source}")),
            SpawnError::Died { step: name } => step(name, error.to_string()),
        }
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let metadata: HashMap<String, String> =
            fault.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let details = ErrorDetails::with_error_info(fault.reason, "quilt", metadata);
        Status::with_error_details(code(fault.kind), fault.message, details)
    }
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Exists => Code::AlreadyExists,
        ErrorKind::State => Code::FailedPrecondition,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Deadline => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Damaged => Code::DataLoss,
        ErrorKind::Internal => Code::Internal,
        ErrorKind::Unsupported => Code::Unimplemented,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fault: Fault, expected: Code, reason: &str, key: &str) {
        let status = Status::from(fault);
        assert_eq!(status.code(), expected);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("quilt", reason));
        assert!(key.is_empty() || info.metadata.contains_key(key), "{:?}", info.metadata);
    }

    #[test]
    fn every_refusal_carries_its_reason_and_facts() {
        let step = SpawnError::Step { step: "mount.proc", source: std::io::Error::from_raw_os_error(1) };
        check(step.into(), Code::Internal, "SANDBOX_STEP", "step");
        check(SpawnError::Died { step: "pivot" }.into(), Code::Internal, "SANDBOX_STEP", "step");
        check(SpawnError::Spec { what: "x".into() }.into(), Code::InvalidArgument, "SPEC_INVALID", "field");
        check(SpawnError::WorkspaceFull { bytes_max: 1 }.into(), Code::InvalidArgument, "WORKSPACE_FULL", "");
        let malformed = SpawnError::WorkspaceMalformed(std::io::Error::from_raw_os_error(74));
        check(malformed.into(), Code::InvalidArgument, "WORKSPACE_TREE", "");
        check(SpawnError::NoUid { uid_count: 4 }.into(), Code::ResourceExhausted, "QUEUE_FULL", "");
        check(SpawnError::Closing.into(), Code::Unavailable, "SHUTDOWN", "");
        let unreadable = quilt_sandbox::CollectError::Read(std::io::Error::from_raw_os_error(5));
        check(Fault::collect(&unreadable), Code::Internal, "SANDBOX_STEP", "step");
        check(Fault::live("a"), Code::AlreadyExists, "EXECUTION_EXISTS", "");
        check(Fault::unknown("a"), Code::NotFound, "EXECUTION_UNKNOWN", "");
        let syntax = Refusal::Syntax { text: "kv:*".into(), source: aria_types::TokenError::Wildcard { found: '*' } };
        check(syntax.into(), Code::InvalidArgument, "TOKEN_SYNTAX", "rule");
        let too_much = quilt_core::TooMuch { resource: "cpu".into(), asked: 2, total: 1 };
        check(Refusal::TooMuch(too_much).into(), Code::FailedPrecondition, "TOKEN_TOO_MUCH", "total");
        let token: aria_types::ResourceToken = "kv:a:rw".parse().unwrap();
        check(Refusal::Widened { token: token.clone() }.into(), Code::PermissionDenied, "TOKEN_WIDENED", "token");
        let denied = quilt_core::Denied { token, owner: "ann".into(), rules: "none".into() };
        check(Refusal::NotAllowed(denied).into(), Code::PermissionDenied, "TOKEN_NOT_ALLOWED", "fix");
        check(Refusal::Deadlock { cycle: "a; b".into() }.into(), Code::Aborted, "DEADLOCK", "cycle");
        check(Refusal::ParentUnknown { parent: "p".into() }.into(), Code::NotFound, "PARENT_UNKNOWN", "");
        check(Refusal::TooDeep { max: 4 }.into(), Code::PermissionDenied, "PARENT_TOO_DEEP", "");
        check(Refusal::FencesSpent.into(), Code::Unavailable, "FENCES_SPENT", "");
        let over = |blocker| Refusal::WaitOver { waited_ms: 1, why: "x".into(), blocker };
        check(over(None).into(), Code::DeadlineExceeded, "TOKEN_WAIT", "");
        let by = quilt_core::Blocker {
            execution_id: "e".into(),
            owner: "bob".into(),
            token: "kv:a:rw".into(),
            held: "kv:a:ro".into(),
            holds: true,
        };
        check(over(Some(Box::new(by))).into(), Code::DeadlineExceeded, "TOKEN_WAIT", "holder");
        check(Fault::rules_unreadable("x"), Code::DataLoss, "RULES_UNREADABLE", "");
        check(Fault::rule_fixed("x"), Code::FailedPrecondition, "RULE_FIXED", "");
        check(Fault::revoked(), Code::Aborted, "LEASE_EXPIRED", "");
    }
}
