//! What can end PID 1's work, with what it was doing to what.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

/// Why the machine cannot go on. Everything milder is a console message and a degraded device.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("mount {fs} at {at:?}")]
    Mount { fs: String, at: PathBuf, source: Errno },
    #[error("{spec} did not appear within {waited_s} s (kernel option {option})")]
    DiskMissing { option: &'static str, spec: String, waited_s: u64 },
    #[error("{spec} names no kind of disk this program knows: /dev/NAME, partlabel:NAME or serial:NAME")]
    DiskSpec { spec: String },
    #[error("switch to the root file system")]
    Switch(#[source] Errno),
    #[error("start {program:?} from the root file system")]
    Exec { program: PathBuf, source: Errno },
    #[error("{doing} {path:?}")]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("grow the partition table of {disk:?}")]
    Table { disk: PathBuf, source: crate::gpt::GptError },
    #[error("take over signals")]
    Signals(#[source] Errno),
    #[error("wait for events")]
    Poll(#[source] Errno),
}

/// The error with its causes on one line, as the console shows it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let _ = write!(text, ": {next}");
        cause = next.source();
    }
    text
}
