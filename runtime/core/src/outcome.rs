//! How an invocation ended: exactly one outcome, decided from what the guest said and how its sandbox ended.

use serde_json::Value;

use crate::digest::Digest;
use crate::guest::{Answer, GuestRecord};
use crate::port::{EndReason, Ended};

/// The one outcome of an invocation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It did what was asked.
    Succeeded {
        /// JSON text exactly as the tool sent it; empty for a program.
        output_json: String,
        /// What it left in `/out`.
        files: Vec<FileRef>,
    },
    /// It ran, and failed.
    Failed(Failed),
    /// Somebody ended it.
    Cancelled {
        /// `caller`, `shutdown`, or an operator's subject.
        by: String,
    },
    /// It never ran.
    Refused {
        /// Stable reason.
        reason: String,
        /// For people.
        message: String,
    },
}

/// How a run failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failed {
    /// What kind of failure.
    pub reason: FailedReason,
    /// One line.
    pub message: String,
    /// The tool's own stack; may be empty.
    pub stack: String,
    /// Only with `Exited`.
    pub exit_code: Option<i32>,
    /// Only with `Signalled`.
    pub signal: Option<i32>,
}

/// Why a run failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailedReason {
    /// The tool's function threw.
    Threw,
    /// The process returned before a result, or a program returned non-zero.
    Exited,
    /// A signal ended the process.
    Signalled,
    /// A component trapped.
    Trapped,
    /// The system-call filter ended the process.
    Seccomp,
    /// Time was over.
    Deadline,
    /// The memory limit ended it.
    OomKilled,
    /// It failed after being refused a process.
    PidsLimit,
    /// It failed with a full disk.
    DiskLimit,
    /// It wrote more than allowed.
    OutputTooLarge,
    /// Its answer is not what its schema promises.
    ResultInvalid,
}

/// A file by its content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileRef {
    /// No slash, 1 to 255 bytes.
    pub name: String,
    /// Its content.
    pub sha256: Digest,
    /// Its length.
    pub size_bytes: u64,
}

impl FailedReason {
    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Threw => "THREW",
            Self::Exited => "EXITED",
            Self::Signalled => "SIGNALLED",
            Self::Trapped => "TRAPPED",
            Self::Seccomp => "SECCOMP",
            Self::Deadline => "DEADLINE",
            Self::OomKilled => "OOM_KILLED",
            Self::PidsLimit => "PIDS_LIMIT",
            Self::DiskLimit => "DISK_LIMIT",
            Self::OutputTooLarge => "OUTPUT_TOO_LARGE",
            Self::ResultInvalid => "RESULT_INVALID",
        }
    }
}

impl Outcome {
    /// One word for logs, rows and metrics: `succeeded`, `cancelled`, `refused`, or the failed reason.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Failed(failed) => failed.reason.as_str(),
            Self::Cancelled { .. } => "cancelled",
            Self::Refused { .. } => "refused",
        }
    }
}

/// Decides a tool run. `validate` checks the parsed result against the tool's output schema and says what is wrong.
///
/// `Succeeded` comes back without files; the caller adds what it collected from `/out`.
pub fn decide(record: &GuestRecord, ended: &Ended, validate: impl FnOnce(&Value) -> Result<(), String>) -> Outcome {
    if let Some(detail) = record.defect() {
        return result_invalid(detail);
    }
    match record.answer() {
        Some(Answer::Result { output_json, value }) => match validate(value) {
            Ok(()) => Outcome::Succeeded { output_json: output_json.clone(), files: Vec::new() },
            Err(detail) => result_invalid(&detail),
        },
        // The machine's own reason explains the exception it caused: a child that was killed for memory makes its parent throw.
        Some(Answer::Threw { .. }) if overrules_failure(ended.reason) => ended_outcome(ended),
        Some(Answer::Threw { message, stack }) => failed(FailedReason::Threw, message, stack),
        Some(Answer::NoJson { message, stack }) => failed(FailedReason::ResultInvalid, message, stack),
        None => ended_outcome(ended),
    }
}

/// Decides a program run by Exec: exit code 0 succeeded.
pub fn decide_program(ended: &Ended) -> Outcome {
    match ended.reason {
        EndReason::Exited(0) => Outcome::Succeeded { output_json: String::new(), files: Vec::new() },
        _ => ended_outcome(ended),
    }
}

fn overrules_failure(reason: EndReason) -> bool {
    matches!(reason, EndReason::OomKilled | EndReason::Deadline | EndReason::Seccomp)
}

fn ended_outcome(ended: &Ended) -> Outcome {
    let (reason, text) = match ended.reason {
        EndReason::Shutdown => return Outcome::Cancelled { by: "shutdown".into() },
        EndReason::Exited(0) => (FailedReason::Exited, "exited with code 0 before it gave a result".into()),
        EndReason::Exited(code) => (FailedReason::Exited, format!("exited with code {code}")),
        EndReason::Signalled(signal) => (FailedReason::Signalled, format!("ended by signal {signal}")),
        EndReason::Seccomp => (FailedReason::Seccomp, "ended by the system-call filter".into()),
        EndReason::Deadline => (FailedReason::Deadline, "time limit reached".into()),
        EndReason::OomKilled => (FailedReason::OomKilled, "memory limit reached".into()),
        EndReason::PidsLimit => (FailedReason::PidsLimit, "process limit reached".into()),
        EndReason::DiskLimit => (FailedReason::DiskLimit, "disk limit reached".into()),
        EndReason::OutputTooLarge => (FailedReason::OutputTooLarge, "output limit reached".into()),
    };
    let detail = ended.detail.trim();
    let message = if detail.is_empty() { text } else { format!("{text}: {}", crate::guest::one_line(detail)) };
    let (exit_code, signal) = match ended.reason {
        EndReason::Exited(code) => (Some(code), None),
        EndReason::Signalled(signal) => (None, Some(signal)),
        _ => (None, None),
    };
    Outcome::Failed(Failed { reason, message, stack: String::new(), exit_code, signal })
}

fn result_invalid(detail: &str) -> Outcome {
    failed(FailedReason::ResultInvalid, &crate::guest::one_line(detail), "")
}

fn failed(reason: FailedReason, message: &str, stack: &str) -> Outcome {
    Outcome::Failed(Failed { reason, message: message.into(), stack: stack.into(), exit_code: None, signal: None })
}
