//! Between the wire and the domain. What is checked here is never checked again.

use aria_core::port::{ChangeCounts, Usage};
use aria_core::{Digest, FailedReason, FileRef, Outcome, UnixMs};
use aria_orchestrator::{FileInput, Finished, OutputStream, RunEvent, SessionChanges};
use aria_protocol::aria::v1 as pb;
use aria_store::BlobRef;
use aria_types::ErrorKind;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tonic::Status;

use crate::status::refuse;

/// A request that does not make sense.
pub(super) fn invalid(reason: &str, message: impl Into<String>) -> Status {
    refuse(ErrorKind::Invalid, reason, message)
}

/// A content address from the wire.
pub(super) fn digest(hex: &str) -> Result<Digest, Status> {
    Digest::from_hex(hex).map_err(|error| invalid("DIGEST_SYNTAX", error.to_string()))
}

/// A blob from the wire.
pub(super) fn blob(blob: &pb::BlobRef) -> Result<BlobRef, Status> {
    Ok(BlobRef { sha256: digest(&blob.sha256)?, size_bytes: blob.size_bytes })
}

/// A field that must be there.
pub(super) fn required<T>(field: Option<T>, name: &str) -> Result<T, Status> {
    field.ok_or_else(|| invalid("FIELD_MISSING", format!("{name} is missing")))
}

/// Files for a run.
pub(super) fn files(files: &[pb::FileRef]) -> Result<Vec<FileInput>, Status> {
    let file = |file: &pb::FileRef| {
        let sha256 = blob(required(file.blob.as_ref(), "files.blob")?)?.sha256;
        Ok(FileInput { name: file.name.clone(), sha256 })
    };
    files.iter().map(file).collect()
}

/// A blob for the wire.
pub(super) fn blob_ref(sha256: &Digest, size_bytes: u64) -> pb::BlobRef {
    pb::BlobRef { sha256: sha256.hex(), size_bytes }
}

/// A moment for the wire: RFC 3339 with milliseconds, UTC.
pub(super) fn rfc3339(moment: UnixMs) -> String {
    let at = OffsetDateTime::from(moment.to_system());
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

/// A moment from the wire.
pub(super) fn moment(text: &str) -> Result<UnixMs, Status> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(|moment| UnixMs::from_system(moment.into()))
        .map_err(|_| invalid("TIME_SYNTAX", "the time is not RFC 3339"))
}

/// An event for the wire.
pub(super) fn run_event(event: RunEvent) -> pb::RunEvent {
    use pb::run_event::Event;
    let event = match event {
        RunEvent::Queued { invocation, why } => {
            Event::Queued(pb::Queued { invocation_id: invocation.to_string(), why })
        }
        RunEvent::Notice { code, message } => Event::Notice(pb::Notice { code: code.to_owned(), message }),
        RunEvent::Granted { invocation, lease_id, fence } => {
            Event::Granted(pb::Granted { invocation_id: invocation.to_string(), lease_id, fence })
        }
        RunEvent::Started { invocation, sandbox_id } => {
            Event::Started(pb::Started { invocation_id: invocation.to_string(), sandbox_id })
        }
        RunEvent::Log { level, message, fields_json } => {
            Event::Log(pb::Log { level: level.to_owned(), message, fields_json })
        }
        RunEvent::Output { stream, data } => Event::Output(pb::Output { stream: output_stream(stream).into(), data }),
        RunEvent::Progress { fraction, message } => Event::Progress(pb::Progress { fraction, message }),
        RunEvent::Finished(finished) => Event::Finished(self::finished(finished)),
    };
    pb::RunEvent { event: Some(event) }
}

fn output_stream(stream: OutputStream) -> pb::OutputStream {
    match stream {
        OutputStream::Stdout => pb::OutputStream::Stdout,
        OutputStream::Stderr => pb::OutputStream::Stderr,
    }
}

pub(super) fn usage(usage: Usage) -> pb::Usage {
    let Usage { wall_ms, cpu_ms, memory_peak_bytes, stdout_bytes, stderr_bytes } = usage;
    pb::Usage { wall_ms, cpu_ms, memory_peak_bytes, stdout_bytes, stderr_bytes }
}

fn finished(finished: Finished) -> pb::Finished {
    pb::Finished {
        invocation_id: finished.invocation.to_string(),
        outcome: Some(pb::Outcome { kind: Some(outcome(finished.outcome)) }),
        usage: Some(usage(finished.usage)),
        session: finished.session.map(session),
    }
}

fn session(session: SessionChanges) -> pb::SessionChanges {
    let ChangeCounts { added, changed, deleted } = session.counts;
    let changes = session.changes.map(|blob| blob_ref(&blob.sha256, blob.size_bytes));
    pb::SessionChanges { added, changed, deleted, changes }
}

fn outcome(outcome: Outcome) -> pb::outcome::Kind {
    use pb::outcome::Kind;
    match outcome {
        Outcome::Succeeded { output_json, files } => {
            Kind::Succeeded(pb::Succeeded { output_json, files: files.iter().map(file_ref).collect() })
        }
        Outcome::Failed(failed) => Kind::Failed(pb::Failed {
            reason: failed_reason(failed.reason).into(),
            message: failed.message,
            stack: failed.stack,
            exit_code: failed.exit_code.unwrap_or(0),
            signal: failed.signal.unwrap_or(0),
        }),
        Outcome::Cancelled { by } => Kind::Cancelled(pb::Cancelled { by }),
        Outcome::Refused { reason, message } => Kind::Refused(pb::Refused { reason, message }),
    }
}

fn file_ref(file: &FileRef) -> pb::FileRef {
    pb::FileRef { name: file.name.clone(), blob: Some(blob_ref(&file.sha256, file.size_bytes)) }
}

fn failed_reason(reason: FailedReason) -> pb::FailedReason {
    match reason {
        FailedReason::Threw => pb::FailedReason::Threw,
        FailedReason::Exited => pb::FailedReason::Exited,
        FailedReason::Signalled => pb::FailedReason::Signalled,
        FailedReason::Trapped => pb::FailedReason::Trapped,
        FailedReason::Seccomp => pb::FailedReason::Seccomp,
        FailedReason::Deadline => pb::FailedReason::Deadline,
        FailedReason::OomKilled => pb::FailedReason::OomKilled,
        FailedReason::PidsLimit => pb::FailedReason::PidsLimit,
        FailedReason::DiskLimit => pb::FailedReason::DiskLimit,
        FailedReason::OutputTooLarge => pb::FailedReason::OutputTooLarge,
        FailedReason::ResultInvalid => pb::FailedReason::ResultInvalid,
        FailedReason::BudgetExhausted => pb::FailedReason::BudgetExhausted,
    }
}

/// Text for a terminal: what could move the cursor or turn the reading direction is escaped.
pub(super) fn printable(text: &str) -> String {
    let harmful = |symbol: char| {
        symbol.is_control()
            || matches!(symbol, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut safe = String::with_capacity(text.len());
    for symbol in text.chars() {
        match symbol {
            '\t' => safe.push(symbol),
            symbol if harmful(symbol) => safe.extend(symbol.escape_default()),
            symbol => safe.push(symbol),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_is_escaped() {
        assert_eq!(printable("a\u{1b}[31m\nb\u{202e}é\tx"), "a\\u{1b}[31m\\nb\\u{202e}é\tx");
    }

    #[test]
    fn moments_come_back() {
        let text = rfc3339(UnixMs(1_700_000_000_123));
        assert_eq!(text, "2023-11-14T22:13:20.123Z");
        assert_eq!(moment(&text).unwrap(), UnixMs(1_700_000_000_123));
        assert_eq!(rfc3339(UnixMs(1_700_000_000_100)), "2023-11-14T22:13:20.100Z");
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn addresses_are_whole() {
        assert!(blob(&pb::BlobRef { sha256: "ab".repeat(32), size_bytes: 1 }).is_ok());
        for hex in ["", "AB", "../../etc/passwd"] {
            assert!(digest(hex).is_err());
        }
    }
}
