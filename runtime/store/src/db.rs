//! The database: two connections that write, behind one lock, and one that reads, behind its own.
//!
//! `durable` waits for the disk at every commit and carries whatever somebody is told is done. `relaxed` does not wait: its
//! commits survive the death of this process but not of the machine, which is right for log lines and times of use. The reader
//! sees every commit and never waits for a disk.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Row};

use aria_core::Digest;

use crate::audit::Room;
use crate::error::StoreError;

/// Every schema this program knows, oldest first. A published one is never changed.
const MIGRATIONS: [&str; 5] = [
    include_str!("../migrations/1.sql"),
    include_str!("../migrations/2.sql"),
    include_str!("../migrations/3.sql"),
    include_str!("../migrations/4.sql"),
    include_str!("../migrations/5.sql"),
];

pub(crate) struct Db {
    pub(crate) durable: Connection,
    pub(crate) relaxed: Connection,
    /// Bytes of all kept log pieces.
    pub(crate) logs_bytes: u64,
    /// Rows of `run`.
    pub(crate) runs: u64,
    /// What the audit takes.
    pub(crate) audit: Room,
}

/// Names the step a database error came from.
pub(crate) fn doing(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Database { doing, source }
}

/// A value of ours that was checked when it was written.
pub(crate) fn read<T, E>(parsed: Result<T, E>, what: &'static str) -> Result<T, StoreError> {
    parsed.map_err(|_| StoreError::Corrupt { what })
}

/// A digest column.
pub(crate) fn digest(row: &Row<'_>, column: &str) -> rusqlite::Result<Digest> {
    let text: String = row.get(column)?;
    Digest::from_hex(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

/// SQLite's integers are signed; nothing we count reaches the sign.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The way back; a negative number cannot have been written by us and reads as zero.
pub(crate) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A panic in another thread leaves these values whole: every change to them is one assignment or one transaction.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Db {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut durable = connect(path, "FULL")?;
        migrate(&mut durable, &MIGRATIONS)?;
        let relaxed = connect(path, "NORMAL")?;
        let one = |sql| durable.query_row(sql, [], |row| row.get(0)).map(count).map_err(doing("count kept rows"));
        let logs_bytes = one("SELECT coalesce(sum(bytes), 0) FROM log")?;
        let runs = one("SELECT count(*) FROM run")?;
        let audit = Room::load(&durable)?;
        Ok(Self { durable, relaxed, logs_bytes, runs, audit })
    }
}

/// A connection that cannot write.
pub(crate) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path, "NORMAL")?;
    connection.pragma_update(None, "query_only", "ON").map_err(doing("configure database"))?;
    Ok(connection)
}

pub(crate) fn connect(path: &Path, synchronous: &str) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(doing("open database"))?;
    let set = |name, value| connection.pragma_update(None, name, value).map_err(doing("configure database"));
    set("journal_mode", "WAL")?;
    set("synchronous", synchronous)?;
    set("foreign_keys", "ON")?;
    set("trusted_schema", "OFF")?;
    set("busy_timeout", "5000")?;
    set("journal_size_limit", "67108864")?;
    Ok(connection)
}

/// Brings a database to the newest of these schemas.
pub(crate) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let known = migrations.len() as i64;
    let found: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(doing("read schema version"))?;
    if !(0..=known).contains(&found) {
        return Err(StoreError::SchemaTooNew { found, known });
    }
    for (version, sql) in (1i64..).zip(migrations).filter(|(version, _)| *version > found) {
        let step = connection.transaction().map_err(doing("begin migration"))?;
        step.execute_batch(sql).map_err(doing("migrate database"))?;
        step.pragma_update(None, "user_version", version).map_err(doing("write schema version"))?;
        step.commit().map_err(doing("commit migration"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(connection: &Connection, pragma: &str, expected: &str) {
        let found = connection.pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0));
        let text = match found.expect("pragma") {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        };
        assert_eq!(text, expected, "{pragma}");
    }

    #[test]
    fn durable_commits_wait_for_the_disk_and_relaxed_ones_do_not() {
        let directory = tempfile::tempdir().expect("tempdir");
        let db = Db::open(&directory.path().join("aria.db")).expect("open");
        for (connection, synchronous) in [(&db.durable, "2"), (&db.relaxed, "1")] {
            check(connection, "synchronous", synchronous);
            check(connection, "journal_mode", "wal");
            check(connection, "foreign_keys", "1");
            check(connection, "busy_timeout", "5000");
            check(connection, "trusted_schema", "0");
        }
    }

    #[test]
    fn opening_again_migrates_nothing() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("aria.db");
        drop(Db::open(&path).expect("open"));
        let db = Db::open(&path).expect("open again");
        check(&db.durable, "user_version", &MIGRATIONS.len().to_string());
    }
}
