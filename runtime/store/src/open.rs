//! skeleton
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::StoreError;

/// Bounds of what is kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// All blobs together.
    pub blobs_bytes_max: u64,
    /// One blob.
    pub blob_bytes_max: u64,
    /// Unused blobs are dropped after this time.
    pub blob_retention: Duration,
    /// All unpacked bundles together.
    pub bundles_bytes_max: u64,
    /// Logs of one run before its tail.
    pub log_head_bytes_max: u64,
    /// Last log bytes of one run.
    pub log_tail_bytes_max: u64,
    /// All logs together; the oldest runs' logs go first.
    pub logs_bytes_max: u64,
    /// Most run rows; the oldest go first.
    pub runs_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            blobs_bytes_max: 2 << 30,
            blob_bytes_max: 1 << 30,
            blob_retention: Duration::from_secs(3600),
            bundles_bytes_max: 4 << 30,
            log_head_bytes_max: 1 << 20,
            log_tail_bytes_max: 64 << 10,
            logs_bytes_max: 256 << 20,
            runs_max: 100_000,
        }
    }
}

/// What opening found and repaired; for one log line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recovered {
    /// Entries of `staging/` that were removed.
    pub staging_removed: usize,
    /// Bundle directories without a row, removed.
    pub bundles_removed: usize,
    /// Rows whose directory is gone: `name@version`. They were removed; install again.
    pub bundles_lost: Vec<String>,
    /// Blob files without a row, removed.
    pub blobs_removed: usize,
    /// Blob rows without their file, removed.
    pub blobs_lost: usize,
    /// Runs that had not ended; now ended with outcome `LOST`.
    pub runs_lost: usize,
}

/// Everything below one data directory. Cheap to clone.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Opens or makes the store and repairs what a crash left. One process at a time.
    pub fn open(_data_dir: &Path, _config: Config) -> Result<(Self, Recovered), StoreError> {
        todo!()
    }

    /// Where half-done work goes (bundle readers get this directory). Same file system as the rest.
    pub fn staging_dir(&self) -> PathBuf {
        todo!()
    }
}
