//! Single remembered values: the node's id, where key files are.

use rusqlite::{Connection, OptionalExtension};

use crate::db::{doing, lock};
use crate::{Store, StoreError};

impl Store {
    /// A remembered value.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        get(&lock(&self.inner.reads), key)
    }

    /// Remembers a value, durably.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<(), StoreError> {
        set(&lock(&self.inner.db).durable, key, value)
    }

    /// Remembers the value unless the key has one; returns the one that holds.
    pub fn meta_or_insert(&self, key: &str, value: &str) -> Result<String, StoreError> {
        let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = value RETURNING value";
        let db = lock(&self.inner.db);
        db.durable.query_row(sql, [key, value], |row| row.get(0)).map_err(doing("remember a value"))
    }
}

/// A remembered value, on this connection.
pub(crate) fn get(connection: &Connection, key: &str) -> Result<Option<String>, StoreError> {
    let found = connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0));
    found.optional().map_err(doing("read a remembered value"))
}

/// Remembers a value, on this connection.
pub(crate) fn set(connection: &Connection, key: &str, value: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
    connection.execute(sql, [key, value]).map(drop).map_err(doing("remember a value"))
}
