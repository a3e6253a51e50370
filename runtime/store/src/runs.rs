//! skeleton
use aria_core::port::Usage;
use aria_core::{Digest, InvocationId, UnixMs};

use crate::{Store, StoreError};

/// A run that begins.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id.
    pub id: InvocationId,
    /// `<bundle>.<tool>`, or `exec:<script>`.
    pub tool: String,
    /// The bundle's identity.
    pub bundle: Option<Digest>,
    /// Who called.
    pub owner: String,
    /// When.
    pub started_at: UnixMs,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// `Outcome::label`.
    pub outcome: String,
    /// One line, may be empty.
    pub message: String,
    /// What it used.
    pub usage: Usage,
    /// When.
    pub ended_at: UnixMs,
}

/// A run as kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunRecord {
    /// Its id.
    pub id: InvocationId,
    /// `<bundle>.<tool>`, or `exec:<script>`.
    pub tool: String,
    /// The bundle's identity.
    pub bundle: Option<Digest>,
    /// Who called.
    pub owner: String,
    /// When it began.
    pub started_at: UnixMs,
    /// When it ended.
    pub ended_at: Option<UnixMs>,
    /// `Outcome::label`; empty while it runs; `LOST` when the daemon died meanwhile.
    pub outcome: String,
    /// One line.
    pub message: String,
    /// What it used.
    pub usage: Usage,
    /// Bytes of log that were not kept.
    pub log_dropped_bytes: u64,
}

impl Store {
    /// Writes the row of a run that begins. Survives `kill -9`; a power cut may lose it.
    pub fn begin_run(&self, _run: &NewRun) -> Result<(), StoreError> {
        todo!()
    }
    /// Writes how a run ended, durably.
    pub fn end_run(&self, _id: &InvocationId, _end: &RunEnd) -> Result<(), StoreError> {
        todo!()
    }
    /// One run.
    pub fn run(&self, _id: &InvocationId) -> Result<RunRecord, StoreError> {
        todo!()
    }
    /// Newest first, at most `limit`; `owner` narrows it.
    pub fn runs(&self, _owner: Option<&str>, _limit: usize) -> Result<Vec<RunRecord>, StoreError> {
        todo!()
    }
}
