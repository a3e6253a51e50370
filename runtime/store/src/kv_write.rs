//! One write to a key-value table, within a transaction: right, fence, quota, change, and what is forgotten for it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::StoreError;
use crate::db::{count, doing, int};
use crate::kv::{KvTable, KvWrite, KvWritten, VERSION_BITS, seq};
use crate::state::{Right, StateLimits};

/// Counted for each change beside its key and value.
const CHANGE_BYTES: u64 = 64;
/// The last version a table can have; at a thousand writes a second it is reached in 34 years.
const VERSION_MAX: u64 = (1 << VERSION_BITS) - 1;

/// Applies a write; an error leaves no trace once its savepoint is rolled back.
pub(crate) fn apply(
    step: &Connection,
    table: &KvTable,
    write: KvWrite,
    right: &Right,
    limits: &StateLimits,
) -> Result<KvWritten, StoreError> {
    if !(right.live)() {
        return Err(StoreError::LeaseOver);
    }
    let mut open = Open::load(step, table, limits)?;
    open.check_fence(right, table)?;
    let key = match &write {
        KvWrite::Append { .. } => format!("{:016x}", open.version + 1),
        KvWrite::Put { key, .. } | KvWrite::Delete { key } | KvWrite::Cas { key, .. } => key.clone(),
    };
    let row = current(step, open.id, &key)?;
    if let Some(found) = row.as_ref().filter(|found| found.fence > right.fence) {
        return Err(StoreError::Fenced { of: format!("kv:{}", table.path), fence: right.fence, last: found.fence });
    }
    let version = row.as_ref().map_or(0, |row| row.version);
    let value = match write {
        KvWrite::Put { new_only: true, .. } | KvWrite::Append { .. } if version > 0 => {
            return Ok(KvWritten::Kept { version });
        }
        KvWrite::Cas { expected, .. } if version != expected => return Ok(KvWritten::Kept { version }),
        KvWrite::Delete { .. } if version == 0 => return Ok(KvWritten::Kept { version }),
        KvWrite::Put { value, .. } | KvWrite::Append { value } => Some(value),
        KvWrite::Cas { value, .. } => value,
        KvWrite::Delete { .. } => None,
    };
    let version = open.change(step, &key, value.as_deref(), row.as_ref(), right, limits)?;
    open.forget(step, limits)?;
    let (bytes, grown) = (open.bytes, open.bytes > open.bytes_before);
    let owner_bytes = open.save(step, table, right)?;
    // Whoever removes something makes room in the end, so that is never refused.
    if value.is_some() && grown {
        check_room(step, bytes, owner_bytes, limits)?;
    }
    Ok(KvWritten::Done { key, version })
}

/// A key's row as it is.
struct Current {
    version: u64,
    fence: u64,
    bytes: u64,
}

fn current(step: &Connection, table: i64, key: &str) -> Result<Option<Current>, StoreError> {
    let sql =
        "SELECT kv_row.version, fence, length(CAST(kv_change.key AS BLOB)) + length(CAST(value AS BLOB)) FROM kv_row
        JOIN kv_change ON seq = (tbl << 40) + kv_row.version WHERE tbl = ?1 AND kv_row.key = ?2";
    let found = |row: &Row<'_>| {
        let number = |column| row.get(column).map(count);
        Ok(Current { version: number(0)?, fence: number(1)?, bytes: number(2)? + CHANGE_BYTES })
    };
    let mut statement = step.prepare_cached(sql).map_err(doing("look up a key"))?;
    statement.query_row(params![table, key], found).optional().map_err(doing("look up a key"))
}

/// One table while it is written to.
struct Open {
    id: i64,
    version: u64,
    keys: u64,
    bytes: u64,
    bytes_before: u64,
    known_from: u64,
    old_bytes: u64,
    sole_fence: u64,
    append_fence: u64,
}

impl Open {
    /// The table, made when it is new.
    fn load(step: &Connection, table: &KvTable, limits: &StateLimits) -> Result<Self, StoreError> {
        if let Some(open) = Self::find(step, table)? {
            return Ok(open);
        }
        let sql = "INSERT INTO kv_owner (owner, bytes, tables) VALUES (?1, 0, 1)
            ON CONFLICT (owner) DO UPDATE SET tables = tables + 1 RETURNING tables";
        let tables: i64 =
            step.query_row(sql, [&table.owner], |row| row.get(0)).map_err(doing("count an owner's tables"))?;
        if count(tables) > limits.tables_max {
            return Err(StoreError::KvFull { of: "tables of one owner", limit: limits.tables_max });
        }
        let sql = "INSERT INTO kv_table (owner, name) VALUES (?1, ?2)";
        step.execute(sql, [&table.owner, &table.path]).map_err(doing("make a table"))?;
        Self::find(step, table)?.ok_or(StoreError::Corrupt { what: "kv_table" })
    }

    fn find(step: &Connection, table: &KvTable) -> Result<Option<Self>, StoreError> {
        let sql = "SELECT id, version, keys, bytes, known_from, old_bytes, sole_fence, append_fence FROM kv_table
            WHERE owner = ?1 AND name = ?2";
        let open = |row: &Row<'_>| {
            let number = |column| row.get(column).map(count);
            Ok(Self {
                id: row.get(0)?,
                version: number(1)?,
                keys: number(2)?,
                bytes: number(3)?,
                bytes_before: number(3)?,
                known_from: number(4)?,
                old_bytes: number(5)?,
                sole_fence: number(6)?,
                append_fence: number(7)?,
            })
        };
        let mut statement = step.prepare_cached(sql).map_err(doing("open a table"))?;
        statement.query_row([&table.owner, &table.path], open).optional().map_err(doing("open a table"))
    }

    /// A right that nobody shares ends all others before it begins, and begins after all others ended. So whoever comes with a
    /// lower number than one it cannot have been beside is late.
    fn check_fence(&self, right: &Right, table: &KvTable) -> Result<(), StoreError> {
        let last = if right.shared { self.sole_fence } else { self.sole_fence.max(self.append_fence) };
        if right.fence < last {
            return Err(StoreError::Fenced { of: format!("kv:{}", table.path), fence: right.fence, last });
        }
        Ok(())
    }

    /// Writes the change and the key's row.
    fn change(
        &mut self,
        step: &Connection,
        key: &str,
        value: Option<&str>,
        before: Option<&Current>,
        right: &Right,
        limits: &StateLimits,
    ) -> Result<u64, StoreError> {
        if self.version >= VERSION_MAX {
            return Err(StoreError::KvFull { of: "changes of one table", limit: VERSION_MAX });
        }
        self.version += 1;
        let bytes = key.len() as u64 + value.map_or(0, |value| value.len() as u64) + CHANGE_BYTES;
        self.bytes += bytes;
        if let Some(before) = before {
            self.outdate(step, before)?;
        }
        let sql = "INSERT INTO kv_change (seq, key, value, current) VALUES (?1, ?2, ?3, ?4)";
        let values = params![seq(self.id, self.version), key, value, value.is_some()];
        execute(step, sql, values, "write a value")?;
        if value.is_some() {
            self.keys += u64::from(before.is_none());
            let sql = "INSERT INTO kv_row (tbl, key, version, fence) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (tbl, key) DO UPDATE SET version = ?3, fence = ?4";
            execute(step, sql, params![self.id, key, int(self.version), int(right.fence)], "write a key")?;
        } else {
            self.keys = self.keys.saturating_sub(1);
            self.old_bytes += bytes;
            execute(step, "DELETE FROM kv_row WHERE tbl = ?1 AND key = ?2", params![self.id, key], "remove a key")?;
        }
        if self.keys > limits.table_keys_max {
            return Err(StoreError::KvFull { of: "keys of one table", limit: limits.table_keys_max });
        }
        Ok(self.version)
    }

    /// What was current is now kept for those who watch, or not at all.
    fn outdate(&mut self, step: &Connection, before: &Current) -> Result<(), StoreError> {
        let place = seq(self.id, before.version);
        if before.version > self.known_from {
            self.old_bytes += before.bytes;
            return execute(step, "UPDATE kv_change SET current = 0 WHERE seq = ?1", [place], "outdate a value");
        }
        self.bytes = self.bytes.saturating_sub(before.bytes);
        execute(step, "DELETE FROM kv_change WHERE seq = ?1", [place], "drop an old value")
    }

    /// Drops the oldest changes that are not current until the rest fits.
    fn forget(&mut self, step: &Connection, limits: &StateLimits) -> Result<(), StoreError> {
        let sql = "DELETE FROM kv_change WHERE seq = ?1 AND current = 0
            RETURNING length(CAST(key AS BLOB)) + coalesce(length(CAST(value AS BLOB)), 0)";
        let mut statement = step.prepare_cached(sql).map_err(doing("drop an old value"))?;
        while self.version - self.known_from > limits.old_max || self.old_bytes > limits.old_bytes_max {
            if self.known_from == self.version {
                break;
            }
            self.known_from += 1;
            let gone = statement.query_row([seq(self.id, self.known_from)], |row| row.get(0)).optional();
            if let Some(bytes) = gone.map_err(doing("drop an old value"))? {
                let bytes = count(bytes) + CHANGE_BYTES;
                self.old_bytes = self.old_bytes.saturating_sub(bytes);
                self.bytes = self.bytes.saturating_sub(bytes);
            }
        }
        Ok(())
    }

    /// Writes what is known of the table; gives the bytes of its owner.
    fn save(self, step: &Connection, table: &KvTable, right: &Right) -> Result<u64, StoreError> {
        let (sole, append) = if right.shared { (0, right.fence) } else { (right.fence, 0) };
        let sql = "UPDATE kv_table SET version = ?2, keys = ?3, bytes = ?4, known_from = ?5, old_bytes = ?6,
            sole_fence = max(sole_fence, ?7), append_fence = max(append_fence, ?8) WHERE id = ?1";
        let values = params![
            self.id,
            int(self.version),
            int(self.keys),
            int(self.bytes),
            int(self.known_from),
            int(self.old_bytes),
            int(sole),
            int(append)
        ];
        execute(step, sql, values, "write a table")?;
        grow(step, &table.owner, int(self.bytes) - int(self.bytes_before))
    }
}

/// Counts what an owner keeps; gives the sum.
pub(crate) fn grow(step: &Connection, owner: &str, by: i64) -> Result<u64, StoreError> {
    let sql = "INSERT INTO kv_owner (owner, bytes, tables) VALUES (?1, max(0, ?2), 0)
        ON CONFLICT (owner) DO UPDATE SET bytes = max(0, bytes + ?2) RETURNING bytes";
    let mut statement = step.prepare_cached(sql).map_err(doing("count an owner's bytes"))?;
    let bytes = statement.query_row(params![owner, by], |row| row.get(0).map(count));
    bytes.map_err(doing("count an owner's bytes"))
}

/// Refuses what is more than one table or collection, its owner, or all of them may keep.
pub(crate) fn check_room(step: &Connection, table: u64, owner: u64, limits: &StateLimits) -> Result<(), StoreError> {
    let sql = "SELECT coalesce(sum(bytes), 0) FROM kv_owner";
    let mut statement = step.prepare_cached(sql).map_err(doing("count all bytes"))?;
    let all = statement.query_row([], |row| row.get(0).map(count)).map_err(doing("count all bytes"))?;
    let bounds = [
        ("bytes of one table", table, limits.table_bytes_max),
        ("bytes of one owner", owner, limits.owner_bytes_max),
        ("bytes of all owners", all, limits.bytes_max),
    ];
    match bounds.into_iter().find(|(_, bytes, limit)| bytes > limit) {
        Some((of, _, limit)) => Err(StoreError::KvFull { of, limit }),
        None => Ok(()),
    }
}

/// One statement whose rows nobody needs.
pub(crate) fn execute(
    step: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    what: &'static str,
) -> Result<(), StoreError> {
    let done = step.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
    done.map(drop).map_err(doing(what))
}
