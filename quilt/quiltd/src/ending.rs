//! Why a program is no more: one decision from what we did, how it ended and what the cage counted. Pure.

use aria_protocol::quilt::v1::EndReason;
use quilt_sandbox::{Exit, Usage};

/// What made us end a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// Its wall time was over.
    Deadline,
    /// It wrote more than it may, or an oversized frame.
    OutputTooLarge,
    /// Nobody listens any more.
    CallerGone,
    /// The engine stops.
    Shutdown,
    /// Its lease is over.
    Revoked,
    /// It passed descriptors through the guest door.
    DoorMisused,
}

/// The end, as it is reported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ending {
    pub(crate) reason: EndReason,
    pub(crate) exit_code: i32,
    pub(crate) signal: i32,
}

const SIGKILL: i32 = 9;
const SIGSYS: i32 = 31;

/// Facts of the kernel come first (memory, then the filter). Lost output is a fact too: it makes every other ending
/// incomplete. Then what we did, if the kill is really what ended it. Only then limits that a program met and could have
/// handled, and only if it failed.
pub(crate) fn ending(cause: Option<Cause>, exit: Exit, usage: &Usage) -> Ending {
    let (exit_code, signal) = match exit {
        Exit::Code(code) => (code, 0),
        Exit::Signal(signal) => (0, signal),
        Exit::Seccomp => (0, SIGSYS),
        Exit::OomKilled | Exit::Killed => (0, SIGKILL),
    };
    let reason = match (exit, cause) {
        (Exit::OomKilled, _) => EndReason::OomKilled,
        (Exit::Seccomp, _) => EndReason::Seccomp,
        (_, Some(Cause::OutputTooLarge)) => EndReason::OutputTooLarge,
        (_, Some(Cause::DoorMisused)) => EndReason::DoorMisused,
        (Exit::Killed, Some(Cause::Deadline)) => EndReason::Deadline,
        (Exit::Killed, Some(Cause::Revoked)) => EndReason::Revoked,
        (Exit::Killed, Some(Cause::Shutdown | Cause::CallerGone)) => EndReason::Shutdown,
        (Exit::Code(0), _) => EndReason::Exited,
        _ if usage.pids_limit_hit => EndReason::PidsLimit,
        _ if usage.disk_full => EndReason::DiskLimit,
        (Exit::Code(_), _) => EndReason::Exited,
        (Exit::Signal(_) | Exit::Killed, _) => EndReason::Signalled,
    };
    Ending { reason, exit_code, signal }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIDS: Usage =
        Usage { cpu: std::time::Duration::ZERO, memory_peak_bytes: 0, pids_limit_hit: true, disk_full: false };
    const DISK: Usage = Usage { pids_limit_hit: false, disk_full: true, ..PIDS };
    const NONE: Usage = Usage { pids_limit_hit: false, ..PIDS };

    #[track_caller]
    fn check(cause: Option<Cause>, exit: Exit, usage: Usage, expected: EndReason) {
        assert_eq!(ending(cause, exit, &usage).reason, expected);
    }

    #[test]
    fn the_programs_own_end_is_reported_as_it_is() {
        for code in 0..=255 {
            let expected = Ending { reason: EndReason::Exited, exit_code: code, signal: 0 };
            assert_eq!(ending(None, Exit::Code(code), &NONE), expected);
        }
        for signal in [1, 6, 9, 11, 15] {
            let expected = Ending { reason: EndReason::Signalled, exit_code: 0, signal };
            assert_eq!(ending(None, Exit::Signal(signal), &NONE), expected);
        }
    }

    #[test]
    fn memory_before_filter_before_time() {
        check(Some(Cause::Deadline), Exit::OomKilled, PIDS, EndReason::OomKilled);
        check(Some(Cause::OutputTooLarge), Exit::OomKilled, NONE, EndReason::OomKilled);
        check(Some(Cause::Deadline), Exit::Seccomp, DISK, EndReason::Seccomp);
        check(Some(Cause::Deadline), Exit::Killed, PIDS, EndReason::Deadline);
    }

    #[test]
    fn a_program_that_ends_in_the_moment_of_the_kill_keeps_its_own_end() {
        check(Some(Cause::Deadline), Exit::Code(0), NONE, EndReason::Exited);
        check(Some(Cause::Deadline), Exit::Signal(11), NONE, EndReason::Signalled);
        check(Some(Cause::Shutdown), Exit::Code(3), NONE, EndReason::Exited);
    }

    #[test]
    fn lost_output_is_never_hidden_by_a_clean_exit() {
        check(Some(Cause::OutputTooLarge), Exit::Code(0), NONE, EndReason::OutputTooLarge);
        check(Some(Cause::OutputTooLarge), Exit::Killed, PIDS, EndReason::OutputTooLarge);
    }

    #[test]
    fn soft_limits_count_only_when_the_program_failed() {
        check(None, Exit::Code(0), PIDS, EndReason::Exited);
        check(None, Exit::Code(0), DISK, EndReason::Exited);
        check(None, Exit::Code(1), PIDS, EndReason::PidsLimit);
        check(None, Exit::Signal(6), DISK, EndReason::DiskLimit);
    }

    #[test]
    fn the_engine_stops() {
        check(Some(Cause::Shutdown), Exit::Killed, NONE, EndReason::Shutdown);
    }

    #[test]
    fn a_kill_that_was_not_ours_is_a_signal() {
        check(None, Exit::Killed, NONE, EndReason::Signalled);
    }
}
