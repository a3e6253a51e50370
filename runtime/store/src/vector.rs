//! Vector collections. The first vector decides how many dimensions all have; a search looks at every vector, which is exact and
//! needs no index to go wrong.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::{count, doing, int, lock};
use crate::kv_write::{check_room, execute, grow};
use crate::state::{Right, StateLimits};
use crate::{Store, StoreError};

/// Counted for each vector beside its bytes.
const ITEM_BYTES: u64 = 64;

/// One collection: whose, and its path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VectorCollection {
    /// The namespace.
    pub owner: String,
    /// Canonical, for example `docs`.
    pub path: String,
}

/// One vector to keep.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VectorRow {
    /// Unique in its collection.
    pub id: String,
    /// 32-bit floats, little endian.
    pub vector: Vec<u8>,
    /// JSON object text.
    pub metadata: String,
}

/// What to write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VectorWrite {
    /// Makes or replaces all of them, or none.
    Upsert {
        /// All of one length.
        rows: Vec<VectorRow>,
        /// Only ids that are not there.
        new_only: bool,
    },
    /// Removes one.
    Delete {
        /// Which.
        id: String,
    },
}

impl Store {
    /// Writes, durably; gives how many vectors were written or removed. Does not block, as [`Store::kv_write`].
    pub fn vector_write(
        &self,
        collection: VectorCollection,
        write: VectorWrite,
        right: Right,
        done: impl FnOnce(Result<u64, StoreError>) + Send + 'static,
    ) {
        let limits = self.inner.state.limits;
        let work = move |step: &rusqlite::Savepoint<'_>| apply(step, &collection, write, &right, &limits);
        self.inner.state.writer.submit(work, done);
    }

    /// How many dimensions a collection has; `None` when nobody wrote to it.
    pub fn vector_dimensions(&self, collection: &VectorCollection) -> Result<Option<u64>, StoreError> {
        let reads = lock(&self.inner.state.reads);
        Ok(Open::find(&reads, collection)?.map(|open| open.dimensions))
    }

    /// Shows every vector to `look`, in no order. Others read meanwhile; two of these are one after the other.
    pub fn vector_scan(
        &self,
        collection: &VectorCollection,
        mut look: impl FnMut(&str, &[u8], &str),
    ) -> Result<(), StoreError> {
        let scans = lock(&self.inner.state.scans);
        let Some(open) = Open::find(&scans, collection)? else { return Ok(()) };
        let sql = "SELECT id, vector, metadata FROM vector_item WHERE collection = ?1";
        let mut statement = scans.prepare_cached(sql).map_err(doing("search vectors"))?;
        let mut rows = statement.query([open.id]).map_err(doing("search vectors"))?;
        while let Some(row) = rows.next().map_err(doing("search vectors"))? {
            let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
            let vector = row.get_ref(1).and_then(|value| value.as_blob().map_err(rusqlite::Error::from));
            look(
                text(0).map_err(doing("read a vector"))?,
                vector.map_err(doing("read a vector"))?,
                text(2).map_err(doing("read a vector"))?,
            );
        }
        Ok(())
    }
}

fn apply(
    step: &Connection,
    collection: &VectorCollection,
    write: VectorWrite,
    right: &Right,
    limits: &StateLimits,
) -> Result<u64, StoreError> {
    if !(right.live)() {
        return Err(StoreError::LeaseOver);
    }
    match write {
        VectorWrite::Upsert { rows, new_only } => {
            let dimensions = rows.first().map_or(0, |row| row.vector.len() as u64 / 4);
            let mut open = Open::load(step, collection, dimensions, limits)?;
            open.check(right, collection, dimensions)?;
            for row in &rows {
                open.put(step, collection, row, new_only, right, limits)?;
            }
            open.save(step, collection, right, Some(limits))?;
            Ok(rows.len() as u64)
        }
        VectorWrite::Delete { id } => {
            let Some(mut open) = Open::find(step, collection)? else { return Ok(0) };
            open.check(right, collection, open.dimensions)?;
            let Some(before) = open.current(step, collection, &id, right)? else { return Ok(0) };
            execute(step, "DELETE FROM vector_item WHERE seq = ?1", [before.seq], "remove a vector")?;
            (open.items, open.bytes) = (open.items.saturating_sub(1), open.bytes.saturating_sub(before.bytes));
            open.save(step, collection, right, None)?;
            Ok(1)
        }
    }
}

struct Current {
    seq: i64,
    bytes: u64,
}

/// One collection while it is used.
struct Open {
    id: i64,
    dimensions: u64,
    items: u64,
    bytes: u64,
    bytes_before: u64,
    sole_fence: u64,
    append_fence: u64,
}

impl Open {
    fn find(step: &Connection, collection: &VectorCollection) -> Result<Option<Self>, StoreError> {
        let sql = "SELECT id, dimensions, items, bytes, sole_fence, append_fence FROM vector_collection
            WHERE owner = ?1 AND name = ?2";
        let open = |row: &Row<'_>| {
            let number = |column| row.get(column).map(count);
            Ok(Self {
                id: row.get(0)?,
                dimensions: number(1)?,
                items: number(2)?,
                bytes: number(3)?,
                bytes_before: number(3)?,
                sole_fence: number(4)?,
                append_fence: number(5)?,
            })
        };
        let mut statement = step.prepare_cached(sql).map_err(doing("open a collection"))?;
        statement.query_row([&collection.owner, &collection.path], open).optional().map_err(doing("open a collection"))
    }

    fn load(
        step: &Connection,
        collection: &VectorCollection,
        dimensions: u64,
        limits: &StateLimits,
    ) -> Result<Self, StoreError> {
        if let Some(open) = Self::find(step, collection)? {
            return Ok(open);
        }
        let sql = "SELECT count(*) FROM vector_collection WHERE owner = ?1";
        let there = step.query_row(sql, [&collection.owner], |row| row.get(0).map(count));
        if there.map_err(doing("count an owner's collections"))? >= limits.tables_max {
            return Err(StoreError::KvFull { of: "collections of one owner", limit: limits.tables_max });
        }
        let sql = "INSERT INTO vector_collection (owner, name, dimensions) VALUES (?1, ?2, ?3)";
        execute(step, sql, params![collection.owner, collection.path, int(dimensions)], "make a collection")?;
        Self::find(step, collection)?.ok_or(StoreError::Corrupt { what: "vector_collection" })
    }

    fn check(&self, right: &Right, collection: &VectorCollection, dimensions: u64) -> Result<(), StoreError> {
        let last = if right.shared { self.sole_fence } else { self.sole_fence.max(self.append_fence) };
        if right.fence < last {
            return Err(fenced(collection, right, last));
        }
        if dimensions != self.dimensions {
            return Err(StoreError::Dimension { found: dimensions, expected: self.dimensions });
        }
        Ok(())
    }

    fn current(
        &self,
        step: &Connection,
        collection: &VectorCollection,
        id: &str,
        right: &Right,
    ) -> Result<Option<Current>, StoreError> {
        let sql = "SELECT seq, length(vector) + length(CAST(metadata AS BLOB)) + length(CAST(id AS BLOB)), fence
            FROM vector_item WHERE collection = ?1 AND id = ?2";
        let mut statement = step.prepare_cached(sql).map_err(doing("look up a vector"))?;
        let found = statement
            .query_row(params![self.id, id], |row| {
                Ok((Current { seq: row.get(0)?, bytes: count(row.get(1)?) + ITEM_BYTES }, count(row.get(2)?)))
            })
            .optional()
            .map_err(doing("look up a vector"))?;
        match found {
            Some((_, fence)) if fence > right.fence => Err(fenced(collection, right, fence)),
            found => Ok(found.map(|(current, _)| current)),
        }
    }

    fn put(
        &mut self,
        step: &Connection,
        collection: &VectorCollection,
        row: &VectorRow,
        new_only: bool,
        right: &Right,
        limits: &StateLimits,
    ) -> Result<(), StoreError> {
        let before = self.current(step, collection, &row.id, right)?;
        if before.is_some() && new_only {
            return Err(StoreError::Exists { what: row.id.clone() });
        }
        let sql = "INSERT INTO vector_item (collection, id, vector, metadata, fence) VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (collection, id) DO UPDATE SET vector = ?3, metadata = ?4, fence = ?5";
        let values = params![self.id, row.id, row.vector, row.metadata, int(right.fence)];
        execute(step, sql, values, "write a vector")?;
        self.items += u64::from(before.is_none());
        self.bytes += (row.id.len() + row.vector.len() + row.metadata.len()) as u64 + ITEM_BYTES;
        self.bytes = self.bytes.saturating_sub(before.map_or(0, |before| before.bytes));
        if self.items > limits.collection_items_max {
            return Err(StoreError::KvFull { of: "vectors of one collection", limit: limits.collection_items_max });
        }
        Ok(())
    }

    /// Writes what is known of the collection; with limits it is refused when there is no room.
    fn save(
        self,
        step: &Connection,
        collection: &VectorCollection,
        right: &Right,
        limits: Option<&StateLimits>,
    ) -> Result<(), StoreError> {
        let (sole, append) = if right.shared { (0, right.fence) } else { (right.fence, 0) };
        let sql = "UPDATE vector_collection SET items = ?2, bytes = ?3, sole_fence = max(sole_fence, ?4),
            append_fence = max(append_fence, ?5) WHERE id = ?1";
        let values = params![self.id, int(self.items), int(self.bytes), int(sole), int(append)];
        execute(step, sql, values, "write a collection")?;
        let grown = int(self.bytes) - int(self.bytes_before);
        let owner = grow(step, &collection.owner, grown)?;
        match limits.filter(|_| grown > 0) {
            Some(limits) => check_room(step, self.bytes, owner, limits),
            None => Ok(()),
        }
    }
}

fn fenced(collection: &VectorCollection, right: &Right, last: u64) -> StoreError {
    StoreError::Fenced { of: format!("vector:{}", collection.path), fence: right.fence, last }
}
