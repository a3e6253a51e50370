//! Single remembered values: the node's id, where key files are.

use rusqlite::OptionalExtension;

use crate::db::{doing, lock};
use crate::{Store, StoreError};

impl Store {
    /// A remembered value.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        let reads = lock(&self.inner.reads);
        let found = reads.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0));
        found.optional().map_err(doing("read a remembered value"))
    }

    /// Remembers a value, durably.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
        let done = lock(&self.inner.db).durable.execute(sql, [key, value]);
        done.map(drop).map_err(doing("remember a value"))
    }

    /// Remembers the value unless the key has one; returns the one that holds.
    pub fn meta_or_insert(&self, key: &str, value: &str) -> Result<String, StoreError> {
        let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = value RETURNING value";
        let db = lock(&self.inner.db);
        db.durable.query_row(sql, [key, value], |row| row.get(0)).map_err(doing("remember a value"))
    }
}
