//! The one mapping from what went wrong inside to what the wire says: gRPC code, `ErrorInfo`, and `RetryInfo` where waiting helps.
//!
//! A caller's text never holds a path of the device, SQL, a secret or a back-trace. What a human must look at goes to the log, in full.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use aria_bundle::BundleError;
use aria_core::admission::Refusal;
use aria_core::port::ExecuteError;
use aria_orchestrator::InvokeError;
use aria_store::StoreError;
use aria_types::ErrorKind;
use http::Response;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A status for a failure the daemon itself found.
pub(crate) fn refuse(kind: ErrorKind, reason: &str, message: impl Into<String>) -> Status {
    with_metadata(kind, reason, message, HashMap::new())
}

/// The same, with facts for programs.
pub(crate) fn with_metadata(
    kind: ErrorKind,
    reason: &str,
    message: impl Into<String>,
    metadata: HashMap<String, String>,
) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, "aria", metadata);
    if let Some(delay) = retry_after(kind) {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code(kind), one_line(&message.into()), details)
}

/// A failure of the device: the caller learns that, the log learns the rest.
pub(crate) fn internal(doing: &'static str, error: &dyn Error) -> Status {
    tracing::error!(doing, error = %chain(error), "internal error");
    refuse(ErrorKind::Internal, "BUG", "the device could not do this; its log says why")
}

/// What the gRPC library says of a message it cannot read is INTERNAL, without details; it is the client's mistake (A09). Of one
/// above its limit it says OUT_OF_RANGE (A01).
pub(crate) fn of_message(status: Status) -> Status {
    match status.code() {
        Code::Internal if status.details().is_empty() => {
            refuse(ErrorKind::Invalid, "MESSAGE_INVALID", "the message is not what the method takes")
        }
        Code::Unimplemented if status.details().is_empty() => {
            refuse(ErrorKind::Unsupported, "RPC_NOT_BUILT", "the device has no such method")
        }
        Code::OutOfRange if status.details().is_empty() => {
            let details = ErrorDetails::with_error_info("MESSAGE_TOO_LARGE", "aria", HashMap::new());
            Status::with_error_details(Code::OutOfRange, "the message is larger than the method takes", details)
        }
        _ => status,
    }
}

/// The same for a response that is nothing but a status.
pub(crate) fn of_response(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.details().is_empty() && status.code() != Code::Ok => of_message(status).into_http(),
        _ => response,
    }
}

/// A call that did not become an outcome.
pub(crate) fn invoke(error: InvokeError) -> Status {
    match error {
        InvokeError::Store(error) => store(error),
        InvokeError::Bundle(error) => bundle(error),
        InvokeError::Execute(error) => execute(&error),
        error if error.kind() == ErrorKind::Internal => internal("run an invocation", &error),
        error => refuse(error.kind(), error.reason(), error.to_string()),
    }
}

/// The store said no.
pub(crate) fn store(error: StoreError) -> Status {
    match error {
        StoreError::Place(source) => match source.downcast::<BundleError>() {
            Ok(error) => bundle(*error),
            Err(source) => internal("install a bundle", &*source),
        },
        error if error.kind() == ErrorKind::Internal => internal("use the store", &error),
        StoreError::Io { .. } | StoreError::Database { .. } => disk_full(error.reason(), &error),
        StoreError::Busy { .. } | StoreError::SchemaTooNew { .. } | StoreError::Corrupt { .. } => {
            tracing::error!(error = %chain(&error), "store");
            refuse(error.kind(), error.reason(), "the device's store needs attention; its log says why")
        }
        StoreError::Refused(refusal) => {
            let facts = match &refusal {
                Refusal::AuthorityWidened { authority, .. } => {
                    HashMap::from([("authority".to_owned(), authority.to_string())])
                }
                _ => HashMap::new(),
            };
            with_metadata(refusal.kind(), refusal.reason(), refusal.to_string(), facts)
        }
        error => refuse(error.kind(), error.reason(), error.to_string()),
    }
}

/// A bundle was refused, or could not be written.
pub(crate) fn bundle(error: BundleError) -> Status {
    match error {
        BundleError::Refused { .. } => refuse(error.kind(), error.reason(), error.to_string()),
        error if error.kind() == ErrorKind::Internal => internal("unpack a bundle", &error),
        error => disk_full(error.reason(), &error),
    }
}

/// The engine could not run it. Its texts are for the operator; the caller gets them without the host's paths.
pub(crate) fn execute(error: &ExecuteError) -> Status {
    if error.kind == ErrorKind::Internal {
        tracing::error!(%error, "engine");
        return refuse(error.kind, &error.reason, "the engine could not build the sandbox; its log says why");
    }
    let facts = error.metadata.iter().map(|(key, value)| (key.clone(), without_paths(value))).collect();
    with_metadata(error.kind, &error.reason, without_paths(&error.message), facts)
}

fn disk_full(reason: &str, error: &dyn Error) -> Status {
    tracing::warn!(error = %chain(error), "disk full");
    refuse(ErrorKind::Exhausted, reason, "the device's disk is full")
}

/// Absolute paths become `…`; those inside a sandbox are nobody's secret.
pub(crate) fn without_paths(text: &str) -> String {
    let inside = ["/in", "/out", "/tmp", "/app", "/bin/bun"];
    let hide = |word: &str| {
        let path = word.trim_start_matches(|symbol: char| !symbol.is_alphanumeric() && symbol != '/');
        path.starts_with('/') && path.len() > 1 && !inside.iter().any(|known| path.starts_with(known))
    };
    text.split(' ').map(|word| if hide(word) { "…" } else { word }).collect::<Vec<_>>().join(" ")
}

/// An error with all its causes, for the log.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    // Chains are short; the bound only keeps a faulty `source` from looping.
    for _ in 0..16 {
        let Some(cause) = next else { break };
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
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

/// Only where the same request may succeed later by itself.
fn retry_after(kind: ErrorKind) -> Option<Duration> {
    match kind {
        ErrorKind::Exhausted => Some(Duration::from_secs(1)),
        ErrorKind::Unavailable | ErrorKind::Conflict => Some(Duration::from_millis(250)),
        _ => None,
    }
}

/// HTTP/2 header values carry one bounded line.
fn one_line(text: &str) -> String {
    text.chars().take(1000).map(|symbol| if symbol.is_control() { ' ' } else { symbol }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_reason_and_when_to_come_back() {
        let status = refuse(ErrorKind::Exhausted, "QUEUE_FULL", "all places are taken\nnow");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "all places are taken now");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("aria", "QUEUE_FULL"));
        assert!(details.retry_info().is_some());
    }

    #[test]
    fn a_denial_of_the_engine_keeps_its_facts() {
        let fix = "arc policy add --token kv:orders:rw --owner ann";
        let metadata = [("fix".to_owned(), fix.to_owned()), ("field".to_owned(), "in /var/lib/x".to_owned())].into();
        let (kind, reason, message) = (ErrorKind::Denied, "TOKEN_NOT_ALLOWED".to_owned(), "no rule".to_owned());
        let status = execute(&ExecuteError { kind, reason, message, metadata });
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.metadata["fix"].as_str(), info.metadata["field"].as_str()), (fix, "in …"));
    }

    #[test]
    fn paths_of_the_host_do_not_leave_it() {
        let text = r#"mount "/var/lib/aria/x" at /in/a: (/etc/passwd) no"#;
        assert_eq!(without_paths(text), "mount … at /in/a: … no");
        let io = |kind| StoreError::Io { doing: "write", path: "/var/x".into(), source: std::io::Error::from(kind) };
        for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::NotFound] {
            assert!(!store(io(kind)).message().contains("/var"));
        }
    }

    #[test]
    fn an_internal_error_says_nothing_of_the_device() {
        let cause = std::io::Error::other("open /var/lib/aria/aria.db");
        let status = internal("read the registry", &cause);
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains('/'));
    }
}
