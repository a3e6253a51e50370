//! skeleton
use aria_core::{InvocationId, UnixMs};

use crate::{Store, StoreError};

/// Where a line came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogSource {
    /// Written to stdout.
    Stdout,
    /// Written to stderr.
    Stderr,
    /// Logged through the SDK.
    Log,
    /// Said by the device: started, ended.
    Event,
}

/// One piece of a run's log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogEntry {
    /// When.
    pub time: UnixMs,
    /// Where from.
    pub source: LogSource,
    /// `debug`, `info`, `warn`, `error`; empty for output.
    pub level: String,
    /// The text, as bytes came (lossy UTF-8). Readers escape it.
    pub text: String,
}

/// A kept piece.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredLog {
    /// Rises with every piece of all runs; for `LogQuery::after`.
    pub seq: i64,
    /// Which run.
    pub invocation: InvocationId,
    /// Its tool.
    pub tool: String,
    /// Its owner.
    pub owner: String,
    /// The piece.
    pub entry: LogEntry,
}

/// Which pieces.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// Of this run.
    pub invocation: Option<InvocationId>,
    /// Of this tool.
    pub tool: Option<String>,
    /// Of this owner.
    pub owner: Option<String>,
    /// At or after this moment.
    pub since: Option<UnixMs>,
    /// With a greater `seq`: following a log.
    pub after: Option<i64>,
    /// At most so many of the newest; with `after`, of the oldest. Zero is 1,000; at most 10,000.
    pub limit: usize,
}

impl Store {
    /// Appends pieces in order, in one step. Beyond the head only the newest of the tail are kept. Survives `kill -9`.
    pub fn append_log(&self, _id: &InvocationId, _entries: &[LogEntry]) -> Result<(), StoreError> {
        todo!()
    }
    /// Pieces, oldest first.
    pub fn logs(&self, _query: &LogQuery) -> Result<Vec<StoredLog>, StoreError> {
        todo!()
    }
}
