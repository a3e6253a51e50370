//! What tools keep: a database of its own beside the device's, so that a tool that writes without pause slows neither the
//! registry nor the runs.

use std::path::Path;
use std::sync::Mutex;

use rusqlite::Connection;

use crate::commit::Writer;
use crate::db::{connect, migrate, reader};
use crate::error::StoreError;
use crate::files::io_error;

/// Every schema of this database, oldest first. A published one is never changed.
const MIGRATIONS: [&str; 2] = [include_str!("../migrations/state/1.sql"), include_str!("../migrations/state/2.sql")];

/// Bounds of what tools keep.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StateLimits {
    /// Everything, all owners together.
    pub bytes_max: u64,
    /// Everything of one owner.
    pub owner_bytes_max: u64,
    /// Tables of one owner, sub-tables counted.
    pub tables_max: u64,
    /// One table with the old values kept for those who watch.
    pub table_bytes_max: u64,
    /// Keys of one table.
    pub table_keys_max: u64,
    /// Vectors of one collection.
    pub collection_items_max: u64,
    /// Old values one table keeps, counted.
    pub old_max: u64,
    /// Old values one table keeps, bytes.
    pub old_bytes_max: u64,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self {
            bytes_max: 1 << 30,
            owner_bytes_max: 256 << 20,
            tables_max: 256,
            table_bytes_max: 128 << 20,
            table_keys_max: 1_000_000,
            collection_items_max: 100_000,
            old_max: 1024,
            old_bytes_max: 4 << 20,
        }
    }
}

/// The right somebody writes with. Checked in the transaction, so that nothing is written by whoever lost it.
pub struct Right {
    /// Number of the lease; a lower one than the last that wrote there is refused.
    pub fence: u64,
    /// Others may hold the same right at the same time.
    pub shared: bool,
    /// Whether the lease still holds, asked just before the write. Must not block.
    pub live: Box<dyn Fn() -> bool + Send>,
}

/// The open database.
pub(crate) struct State {
    pub(crate) limits: StateLimits,
    pub(crate) writer: Writer,
    pub(crate) reads: Mutex<Connection>,
    /// For looks that take long.
    pub(crate) scans: Mutex<Connection>,
}

impl State {
    pub(crate) fn open(path: &Path, limits: StateLimits) -> Result<Self, StoreError> {
        let mut connection = connect(path, "FULL")?;
        migrate(&mut connection, &MIGRATIONS)?;
        let (reads, scans) = (reader(path)?, reader(path)?);
        let writer = Writer::start(connection).map_err(io_error("start the writer of", path))?;
        Ok(Self { limits, writer, reads: Mutex::new(reads), scans: Mutex::new(scans) })
    }
}
