//! Key-value tables: what is read, and what a write says. How a write is done is in `kv_write`.
//!
//! Every change of a table has a version, one more than the change before. A value is stored once, as the change that made it;
//! the last few changes that are no longer current are kept for those who watch.

use std::sync::TryLockError;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::{count, doing, int, lock};
use crate::state::Right;
use crate::{Store, StoreError, kv_write};

/// What one look gives at most, so that no answer is larger than a message: it ends with the entry that fills this.
const PAGE_BYTES: usize = 256 << 10;
/// Changes one look gives at most.
const CHANGES_MAX: u64 = 256;
/// Place of a table's changes among all changes.
pub(crate) const VERSION_BITS: u32 = 40;

/// One table: whose, and its path.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct KvTable {
    /// The namespace.
    pub owner: String,
    /// Canonical, for example `orders:pending`.
    pub path: String,
}

/// What to write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KvWrite {
    /// Makes a value, or replaces it unless only new keys are allowed.
    Put {
        /// Which.
        key: String,
        /// JSON text.
        value: String,
        /// A key that exists is left alone.
        new_only: bool,
    },
    /// Makes a value under a key made of the version.
    Append {
        /// JSON text.
        value: String,
    },
    /// Removes a key.
    Delete {
        /// Which.
        key: String,
    },
    /// Replaces or removes a value whose version is as expected; 0 is no value.
    Cas {
        /// Which.
        key: String,
        /// Version the writer saw.
        expected: u64,
        /// `None` removes.
        value: Option<String>,
    },
}

/// What became of a write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KvWritten {
    /// It is done, under this key.
    Done {
        /// Which.
        key: String,
        /// The change.
        version: u64,
    },
    /// The key has this version, 0 for none, so nothing was done.
    Kept {
        /// Its version.
        version: u64,
    },
}

/// One key and its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KvEntry {
    /// Which.
    pub key: String,
    /// JSON text.
    pub value: String,
    /// Of the change that made it.
    pub version: u64,
}

/// Entries in order of their keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KvPage {
    /// The entries.
    pub entries: Vec<KvEntry>,
    /// The look ended before the table did; go on after the last key.
    pub more: bool,
}

/// One change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KvChange {
    /// Which key.
    pub key: String,
    /// JSON text; `None`: it was removed.
    pub value: Option<String>,
    /// Rises.
    pub version: u64,
}

/// Changes in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KvChanges {
    /// The changes.
    pub changes: Vec<KvChange>,
    /// Where to go on.
    pub next: u64,
    /// There are more now.
    pub more: bool,
}

impl Store {
    /// Writes, durably; many that come together wait for the disk once. Does not block: `done` is called later, on another
    /// thread, and must not block either. It may also be called at once, when too many writes wait.
    pub fn kv_write(
        &self,
        table: KvTable,
        write: KvWrite,
        right: Right,
        done: impl FnOnce(Result<KvWritten, StoreError>) + Send + 'static,
    ) {
        let limits = self.inner.state.limits;
        let work = move |step: &rusqlite::Savepoint<'_>| kv_write::apply(step, &table, write, &right, &limits);
        self.inner.state.writer.submit(work, done);
    }

    /// The value of a key. Waits while others read.
    pub fn kv_get(&self, table: &KvTable, key: &str) -> Result<Option<KvEntry>, StoreError> {
        get(&lock(&self.inner.state.reads), table, key)
    }

    /// The same for a thread that must not wait: `None` while others read. One look at a few pages of the database.
    pub fn kv_get_at_once(&self, table: &KvTable, key: &str) -> Option<Result<Option<KvEntry>, StoreError>> {
        match self.inner.state.reads.try_lock() {
            Ok(reads) => Some(get(&reads, table, key)),
            Err(TryLockError::Poisoned(poisoned)) => Some(get(&poisoned.into_inner(), table, key)),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Entries whose keys begin with `prefix` and come after `after`, up to `limit` or until a page is full.
    pub fn kv_list(
        &self,
        table: &KvTable,
        prefix: &str,
        after: Option<&str>,
        limit: u64,
    ) -> Result<KvPage, StoreError> {
        let sql = "SELECT kv_row.key, kv_row.version, value FROM kv_table JOIN kv_row ON tbl = id
            JOIN kv_change ON seq = (id << 40) + kv_row.version
            WHERE owner = ?1 AND name = ?2 AND kv_row.key >= ?3 AND (?4 IS NULL OR kv_row.key > ?4)
            ORDER BY kv_row.key LIMIT ?5";
        let reads = lock(&self.inner.state.reads);
        let mut statement = reads.prepare_cached(sql).map_err(doing("list entries"))?;
        let asked = params![table.owner, table.path, prefix, after, int(limit.saturating_add(1))];
        let rows = statement.query_map(asked, entry).map_err(doing("list entries"))?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for row in rows {
            let entry = row.map_err(doing("list entries"))?;
            // Keys are in the order of their bytes, so those with the prefix lie together.
            if !entry.key.starts_with(prefix) {
                break;
            }
            bytes += entry.key.len() + entry.value.len();
            // Always at least one, or nobody could go on.
            if entries.len() as u64 >= limit || (bytes > PAGE_BYTES && !entries.is_empty()) {
                return Ok(KvPage { entries, more: true });
            }
            entries.push(entry);
        }
        Ok(KvPage { entries, more: false })
    }

    /// The version of a table's newest change; 0 for a table nobody wrote to.
    pub fn kv_version(&self, table: &KvTable) -> Result<u64, StoreError> {
        let reads = lock(&self.inner.state.reads);
        Ok(Place::find(&reads, table)?.map_or(0, |place| place.version))
    }

    /// Changes after `from` of keys that begin with `prefix`. Changes that are not kept any more are `KvChangesGone`.
    pub fn kv_changes(&self, table: &KvTable, prefix: &str, from: u64) -> Result<KvChanges, StoreError> {
        let reads = lock(&self.inner.state.reads);
        let none = KvChanges { changes: Vec::new(), next: from, more: false };
        let Some(place) = Place::find(&reads, table)? else { return Ok(none) };
        if from < place.known_from {
            return Err(StoreError::KvChangesGone { from, known_from: place.known_from });
        }
        let sql = "SELECT seq, key, value FROM kv_change WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3";
        let mut statement = reads.prepare_cached(sql).map_err(doing("read changes"))?;
        let range = params![seq(place.id, from), seq(place.id, place.version), int(CHANGES_MAX)];
        let rows = statement
            .query_map(range, |row| Ok((count(row.get(0)?), row.get(1)?, row.get(2)?)))
            .map_err(doing("read changes"))?;
        let (mut found, mut bytes) = (none, 0);
        for row in rows {
            let (seq, key, value): (u64, String, Option<String>) = row.map_err(doing("read changes"))?;
            let version = seq & ((1 << VERSION_BITS) - 1);
            if key.starts_with(prefix) {
                bytes += key.len() + value.as_ref().map_or(0, String::len);
                if bytes > PAGE_BYTES && !found.changes.is_empty() {
                    break;
                }
                found.changes.push(KvChange { key, value, version });
            }
            found.next = version;
        }
        found.more = found.next < place.version;
        Ok(found)
    }
}

/// Where a table's changes are.
struct Place {
    id: i64,
    version: u64,
    known_from: u64,
}

impl Place {
    fn find(reads: &Connection, table: &KvTable) -> Result<Option<Self>, StoreError> {
        let sql = "SELECT id, version, known_from FROM kv_table WHERE owner = ?1 AND name = ?2";
        let place =
            |row: &Row<'_>| Ok(Self { id: row.get(0)?, version: count(row.get(1)?), known_from: count(row.get(2)?) });
        let mut statement = reads.prepare_cached(sql).map_err(doing("find a table"))?;
        statement.query_row([&table.owner, &table.path], place).optional().map_err(doing("find a table"))
    }
}

/// Where a change is among all changes.
pub(crate) fn seq(table: i64, version: u64) -> i64 {
    (table << VERSION_BITS) | int(version)
}

fn get(reads: &Connection, table: &KvTable, key: &str) -> Result<Option<KvEntry>, StoreError> {
    let sql = "SELECT kv_row.key, kv_row.version, value FROM kv_table JOIN kv_row ON tbl = id
        JOIN kv_change ON seq = (id << 40) + kv_row.version WHERE owner = ?1 AND name = ?2 AND kv_row.key = ?3";
    let mut statement = reads.prepare_cached(sql).map_err(doing("read a value"))?;
    statement.query_row([&table.owner, &table.path, key], entry).optional().map_err(doing("read a value"))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<KvEntry> {
    Ok(KvEntry { key: row.get(0)?, version: count(row.get(1)?), value: row.get(2)? })
}
