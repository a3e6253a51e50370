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
    /// It threw because its budget was used up.
    BudgetExhausted,
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
            Self::BudgetExhausted => "BUDGET_EXHAUSTED",
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
        Some(Answer::TooLarge { message }) => failed(FailedReason::OutputTooLarge, message, ""),
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
    matches!(reason, EndReason::OomKilled | EndReason::Deadline | EndReason::Seccomp | EndReason::OutputTooLarge)
}

/// The outcome of a run that was refused something for its budget's sake: when that is what it threw, it is the reason.
pub fn for_budget(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed(failed)
            if failed.reason == FailedReason::Threw && failed.message.contains("BUDGET_EXHAUSTED") =>
        {
            Outcome::Failed(Failed { reason: FailedReason::BudgetExhausted, ..failed })
        }
        outcome => outcome,
    }
}

fn ended_outcome(ended: &Ended) -> Outcome {
    let (reason, text) = match ended.reason {
        EndReason::Shutdown => return Outcome::Cancelled { by: "shutdown".into() },
        EndReason::Revoked => return Outcome::Cancelled { by: "lease".into() },
        EndReason::Exited(0) => (FailedReason::Exited, "exited with code 0 before it gave a result".into()),
        EndReason::Exited(code) => (FailedReason::Exited, format!("exited with code {code}")),
        EndReason::Signalled(signal) => (FailedReason::Signalled, format!("ended by signal {signal}")),
        EndReason::Seccomp => (FailedReason::Seccomp, "ended by the system-call filter".into()),
        EndReason::Deadline => (FailedReason::Deadline, "time limit reached".into()),
        EndReason::OomKilled => (FailedReason::OomKilled, "memory limit reached".into()),
        EndReason::PidsLimit => (FailedReason::PidsLimit, "process limit reached".into()),
        EndReason::DiskLimit => (FailedReason::DiskLimit, "disk limit reached".into()),
        EndReason::OutputTooLarge => (FailedReason::OutputTooLarge, "output limit reached".into()),
        EndReason::DoorMisused => (FailedReason::ResultInvalid, "passed descriptors through the guest door".into()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{GuestEvent, RESULT_DEPTH_MAX};
    use crate::port::Usage;
    use serde_json::json;

    fn ended(reason: EndReason) -> Ended {
        Ended { reason, detail: String::new(), usage: Usage::default() }
    }

    fn result(output_json: &str) -> Vec<u8> {
        json!({"result": {"outputJson": output_json}}).to_string().into_bytes()
    }

    fn failure(kind: &str) -> Vec<u8> {
        json!({"failure": {"kind": kind, "name": "TypeError", "message": "no city\nsecond line", "stack": "at forecast"}})
            .to_string()
            .into_bytes()
    }

    fn after(frames: &[Vec<u8>], reason: EndReason) -> Outcome {
        let mut record = GuestRecord::default();
        frames.iter().for_each(|frame| drop(record.frame(frame)));
        decide(&record, &ended(reason), |_| Ok(()))
    }

    #[track_caller]
    fn check(frames: &[Vec<u8>], reason: EndReason, expected: &str) {
        assert_eq!(after(frames, reason).label(), expected);
    }

    #[track_caller]
    fn spoiled(frames: &[Vec<u8>], detail: &str) {
        let Outcome::Failed(failed) = after(frames, EndReason::Exited(0)) else { panic!("not failed") };
        assert_eq!(failed.reason, FailedReason::ResultInvalid);
        assert!(failed.message.contains(detail), "{}", failed.message);
    }

    #[test]
    fn one_result_is_success_and_its_text_stays_as_it_was() {
        let text = " {\"b\": 1, \"a\": 123456789012345678901234567890, \"c\": 1.0} ";
        let expected = Outcome::Succeeded { output_json: text.into(), files: vec![] };
        assert_eq!(after(&[result(text)], EndReason::Exited(0)), expected);
    }

    #[test]
    fn a_complete_result_wins_over_how_the_process_ended() {
        use EndReason as E;
        for reason in [
            E::Exited(3),
            E::Signalled(11),
            E::Seccomp,
            E::Deadline,
            E::OomKilled,
            E::PidsLimit,
            E::DiskLimit,
            E::OutputTooLarge,
            E::Shutdown,
        ] {
            check(&[result("1")], reason, "succeeded");
        }
    }

    #[test]
    fn an_answer_that_fits_no_frame_is_output_too_large() {
        let frame = br#"{"failure":{"kind":"too-large","message":"1048577 bytes"}}"#.to_vec();
        check(&[frame], EndReason::Exited(0), "OUTPUT_TOO_LARGE");
    }

    #[test]
    fn the_schema_has_the_last_word() {
        let mut record = GuestRecord::default();
        record.frame(&result("[1]"));
        let outcome = decide(&record, &ended(EndReason::Exited(0)), |value| {
            assert_eq!(value, &json!([1]));
            Err("/0: not a string".into())
        });
        let Outcome::Failed(failed) = outcome else { panic!("not failed") };
        assert_eq!((failed.reason, failed.message.as_str()), (FailedReason::ResultInvalid, "/0: not a string"));
    }

    #[test]
    fn results_that_are_no_result() {
        spoiled(&[result("")], "unexpected end");
        spoiled(&[result("{\"a\":1,\"a\":2}")], "appears twice");
        spoiled(&[result("NaN")], "expected a value");
        spoiled(&[result("1e400")], "beyond double");
        spoiled(&[result("\"\\ud800\"")], "lone surrogate");
        spoiled(&[result(&format!("{}{}", "[".repeat(129), "]".repeat(129)))], "deeper than 128");
        check(
            &[result(&format!("{}{}", "[".repeat(RESULT_DEPTH_MAX), "]".repeat(RESULT_DEPTH_MAX)))],
            EndReason::Exited(0),
            "succeeded",
        );
    }

    #[test]
    fn frames_that_claim_to_be_a_result() {
        let raw = |text: &str| text.as_bytes().to_vec();
        spoiled(&[raw("{\"result\":{}}")], "no outputJson");
        spoiled(&[raw("{\"result\":null}")], "no object");
        spoiled(&[raw("{\"result\":{\"outputJson\":1}}")], "no string");
        spoiled(&[raw("{\"result\":{\"outputJson\":\"1\"},\"result\":{\"outputJson\":\"2\"}}")], "appears twice");
        spoiled(&[raw("{\"result\":{\"outputJson\":\"1\"},\"log\":{}}")], "something else");
        spoiled(&[raw("{\"result\":{\"outputJson\":\"1\"")], "not valid");
        spoiled(&[raw("{\"result\":{\"outputJson\":\"1\"},\"x\":\"\\ud800\"}")], "something else");
        spoiled(&[raw("{\"failure\":{\"kind\":\"bored\"}}")], "unknown kind");
        spoiled(&[[b"{\"result\":{\"outputJson\":\"", &b"["[..], b"\xff\"}}"].concat()], "UTF-8");
    }

    #[test]
    fn a_second_answer_spoils_the_first_one() {
        spoiled(&[result("1"), result("1")], "second");
        spoiled(&[result("1"), failure("threw")], "second");
        spoiled(&[failure("threw"), result("1")], "second");
        spoiled(&[result("1"), b"{\"result\":".to_vec()], "not valid");
    }

    #[test]
    fn frames_that_are_no_answer_do_no_harm() {
        let noise: Vec<Vec<u8>> = [
            "",
            "null",
            "[]",
            "{}",
            "{\"unknown\":{}}",
            "{\"log\":1}",
            "{\"log\":{},\"progress\":{}}",
            "{\"log\":{\"message\":\"\\\"result\\\"",
            "\u{0}",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into();
        let mut record = GuestRecord::default();
        assert!(noise.iter().all(|frame| record.frame(frame) == GuestEvent::Ignored));
        assert_eq!((record.ignored(), record.defect()), (noise.len() as u64, None));
        check(&[&noise[..], &[result("1")]].concat(), EndReason::Exited(0), "succeeded");
        check(&noise, EndReason::Exited(0), "EXITED");
    }

    #[test]
    fn a_frame_that_nests_without_end_is_ignored_or_spoils_by_its_claim() {
        let deep = "{\"log\":".repeat(100_000).into_bytes();
        check(&[deep], EndReason::Exited(0), "EXITED");
        spoiled(&["{\"result\":".repeat(50_000).into_bytes()], "deeper than");
    }

    #[test]
    fn what_the_tool_threw_is_told_on_one_line() {
        let Outcome::Failed(failed) = after(&[failure("threw")], EndReason::Exited(1)) else { panic!("not failed") };
        let expected = (FailedReason::Threw, "TypeError: no city", "at forecast", None);
        assert_eq!((failed.reason, failed.message.as_str(), failed.stack.as_str(), failed.exit_code), expected);
        check(&[failure("result")], EndReason::Exited(1), "RESULT_INVALID");
    }

    #[test]
    fn the_machines_reason_explains_an_exception() {
        use EndReason as E;
        for (reason, label) in [
            (E::OomKilled, "OOM_KILLED"),
            (E::Deadline, "DEADLINE"),
            (E::Seccomp, "SECCOMP"),
            (E::OutputTooLarge, "OUTPUT_TOO_LARGE"),
        ] {
            check(&[failure("threw")], reason, label);
        }
        for reason in [EndReason::Exited(1), EndReason::Signalled(6), EndReason::PidsLimit, EndReason::DiskLimit] {
            check(&[failure("threw")], reason, "THREW");
        }
    }

    #[test]
    fn without_an_answer_the_end_is_the_outcome() {
        use EndReason as E;
        let ends = [
            (E::Exited(0), "EXITED"),
            (E::Exited(7), "EXITED"),
            (E::Signalled(9), "SIGNALLED"),
            (E::Seccomp, "SECCOMP"),
            (E::Deadline, "DEADLINE"),
            (E::OomKilled, "OOM_KILLED"),
            (E::PidsLimit, "PIDS_LIMIT"),
            (E::DiskLimit, "DISK_LIMIT"),
            (E::OutputTooLarge, "OUTPUT_TOO_LARGE"),
            (E::Shutdown, "cancelled"),
            (E::Revoked, "cancelled"),
            (E::DoorMisused, "RESULT_INVALID"),
        ];
        for (reason, label) in ends {
            check(&[], reason, label);
        }
        let Outcome::Failed(exited) = after(&[], E::Exited(7)) else { panic!("not failed") };
        let Outcome::Failed(signalled) = after(&[], E::Signalled(9)) else { panic!("not failed") };
        assert_eq!((exited.exit_code, exited.signal), (Some(7), None));
        assert_eq!((signalled.exit_code, signalled.signal), (None, Some(9)));
    }

    #[test]
    fn a_budget_is_the_reason_only_of_what_threw_for_it() {
        let threw = |message: &str| {
            let frame = json!({"failure": {"kind": "threw", "name": "AriaError", "message": message}}).to_string();
            for_budget(after(&[frame.into_bytes()], EndReason::Exited(1))).label().to_owned()
        };
        assert_eq!(threw("BUDGET_EXHAUSTED: this run may spend 2 requests on kv"), "BUDGET_EXHAUSTED");
        assert_eq!(threw("no city"), "THREW");
        assert_eq!(for_budget(after(&[result("1")], EndReason::Exited(0))).label(), "succeeded");
    }

    #[test]
    fn a_program_succeeds_with_code_zero_only() {
        assert_eq!(decide_program(&ended(EndReason::Exited(0))).label(), "succeeded");
        assert_eq!(decide_program(&ended(EndReason::Exited(1))).label(), "EXITED");
        assert_eq!(decide_program(&ended(EndReason::Signalled(9))).label(), "SIGNALLED");
        assert_eq!(decide_program(&ended(EndReason::Shutdown)).label(), "cancelled");
    }

    #[test]
    fn details_of_the_engine_are_kept_on_one_line() {
        let ended = Ended { detail: "syscall 321\n(bpf)".into(), ..ended(EndReason::Seccomp) };
        let Outcome::Failed(failed) = decide_program(&ended) else { panic!("not failed") };
        assert_eq!(failed.message, "ended by the system-call filter: syscall 321");
    }
}
