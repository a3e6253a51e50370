//! From a gRPC status of the engine, or of the way to it, to the error of the port.

use std::collections::BTreeMap;

use aria_core::port::ExecuteError;
use aria_types::ErrorKind;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Refusals of the engine carry their reason. A status without one was made by the transport: the engine is down, or went
/// away in the middle.
pub(crate) fn from_status(status: &Status) -> ExecuteError {
    if let Some(info) = status.get_details_error_info().filter(|info| info.domain == "quilt") {
        let message = status.message().to_owned();
        let metadata = info.metadata.into_iter().collect();
        return ExecuteError { kind: kind(status.code()), reason: info.reason, message, metadata };
    }
    match status.code() {
        // The engine's decoder refuses a message above its bound before the service sees it.
        Code::OutOfRange => ExecuteError {
            kind: ErrorKind::Invalid,
            reason: "SPEC_INVALID".to_owned(),
            message: status.message().to_owned(),
            metadata: BTreeMap::new(),
        },
        Code::Unimplemented => ExecuteError {
            kind: ErrorKind::Unsupported,
            reason: "RPC_NOT_BUILT".to_owned(),
            message: status.message().to_owned(),
            metadata: BTreeMap::new(),
        },
        _ => down(&describe(status)),
    }
}

/// The engine cannot be reached, or is gone.
pub(crate) fn down(why: &str) -> ExecuteError {
    let message = format!("the sync-engine cannot be reached: {why}");
    let metadata = BTreeMap::new();
    ExecuteError { kind: ErrorKind::Unavailable, reason: "QUILT_DOWN".to_owned(), message, metadata }
}

/// The innermost cause, which names what really happened; transports wrap it several times.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

fn kind(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::Invalid,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::Denied,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::Exists,
        Code::FailedPrecondition => ErrorKind::State,
        Code::Aborted => ErrorKind::Conflict,
        Code::ResourceExhausted => ErrorKind::Exhausted,
        Code::DeadlineExceeded => ErrorKind::Deadline,
        Code::Cancelled => ErrorKind::Cancelled,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::DataLoss => ErrorKind::Damaged,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::Ok | Code::Unknown | Code::Internal => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[track_caller]
    fn check(status: &Status, kind: ErrorKind, reason: &str) {
        let error = from_status(status);
        assert_eq!((error.kind, error.reason.as_str()), (kind, reason), "{error}");
    }

    #[test]
    fn a_refusal_keeps_its_reason_and_kind() {
        let refusal = |code, reason: &str| {
            Status::with_error_details(code, "why", ErrorDetails::with_error_info(reason, "quilt", HashMap::new()))
        };
        check(&refusal(Code::PermissionDenied, "TOKEN_NOT_ALLOWED"), ErrorKind::Denied, "TOKEN_NOT_ALLOWED");
        check(&refusal(Code::Aborted, "TOKEN_BUSY"), ErrorKind::Conflict, "TOKEN_BUSY");
        check(&refusal(Code::Internal, "SANDBOX_STEP"), ErrorKind::Internal, "SANDBOX_STEP");
        check(&refusal(Code::ResourceExhausted, "QUEUE_FULL"), ErrorKind::Exhausted, "QUEUE_FULL");
        let facts = HashMap::from([("fix".to_owned(), "arc policy add".to_owned())]);
        let details = ErrorDetails::with_error_info("TOKEN_NOT_ALLOWED", "quilt", facts);
        let error = from_status(&Status::with_error_details(Code::PermissionDenied, "why", details));
        assert_eq!((error.message.as_str(), error.metadata["fix"].as_str()), ("why", "arc policy add"));
    }

    #[test]
    fn a_status_of_the_transport_means_the_engine_is_down() {
        let codes = [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled, Code::ResourceExhausted];
        for code in codes {
            check(&Status::new(code, "transport error"), ErrorKind::Unavailable, "QUILT_DOWN");
        }
    }

    #[test]
    fn a_request_the_decoder_refused_is_the_callers_fault() {
        check(&Status::new(Code::OutOfRange, "too large"), ErrorKind::Invalid, "SPEC_INVALID");
    }
}
