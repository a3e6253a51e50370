//! Blobs: bytes by their SHA-256, seen only by owners who have sent them, dropped when unused.
//!
//! The file comes first and the row second, and on the way out the row goes first, so every row has its file. Room is taken
//! before the first byte is written: the quota holds while many blobs arrive at once.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aria_core::{Digest, UnixMs};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest as _, Sha256};

use crate::db::{Db, count, digest, doing, int, lock};
use crate::error::StoreError;
use crate::files::{io_error, remove, sync_directory};
use crate::open::{Inner, Store};
use crate::partial::{Partial, Partials};

/// Bytes by their content.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct BlobRef {
    /// Their SHA-256.
    pub sha256: Digest,
    /// Their length.
    pub size_bytes: u64,
}

impl BlobRef {
    /// Digest and length of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { sha256: Digest::new(Sha256::digest(bytes).into()), size_bytes: bytes.len() as u64 }
    }
}

/// What is stored, promised and in use. Its lock is held by whoever adds or removes a blob.
#[derive(Debug, Default)]
pub(crate) struct BlobState {
    stored_bytes: u64,
    /// By owner; those without a blob on its way are not there.
    reserved_bytes: HashMap<String, u64>,
    used: HashMap<Digest, usize>,
    pub(crate) partials: Partials,
}

impl BlobState {
    pub(crate) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let sql = "SELECT coalesce(sum(size_bytes), 0) FROM blob";
        let stored = connection.query_row(sql, [], |row| row.get(0)).map_err(doing("sum up blobs"))?;
        Ok(Self { stored_bytes: count(stored), ..Self::default() })
    }

    fn bytes(&self) -> u64 {
        self.reserved_bytes.values().fold(self.stored_bytes, |sum, bytes| sum.saturating_add(*bytes))
    }

    pub(crate) fn give_back(&mut self, owner: &str, size_bytes: u64) {
        if let Some(reserved) = self.reserved_bytes.get_mut(owner) {
            *reserved = reserved.saturating_sub(size_bytes);
            if *reserved == 0 {
                self.reserved_bytes.remove(owner);
            }
        }
    }
}

/// Takes one blob's bytes. Dropped before [`BlobWriter::finish`], it leaves nothing, or a partial if it was begun as one that can
/// go on.
pub struct BlobWriter {
    inner: Arc<Inner>,
    owner: String,
    expected: Option<Digest>,
    size_bytes: u64,
    written_bytes: u64,
    hash: Sha256,
    file: File,
    path: PathBuf,
    begun_at: UnixMs,
    /// Whether what is written may be gone on with.
    resumable: bool,
}

impl std::fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobWriter")
            .field("path", &self.path)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

impl BlobWriter {
    /// From now on, what is written stays as a partial when this is dropped unfinished.
    pub(crate) fn resumable(mut self) -> Self {
        self.resumable = true;
        self
    }

    /// Goes on behind what a partial has; its room is still reserved.
    pub(crate) fn going_on(
        inner: Arc<Inner>,
        owner: &str,
        (blob, written_bytes, hash): (BlobRef, u64, Sha256),
        (file, path): (File, PathBuf),
        begun_at: UnixMs,
    ) -> Self {
        let (owner, expected, size_bytes) = (owner.to_owned(), Some(blob.sha256), blob.size_bytes);
        Self { inner, owner, expected, size_bytes, written_bytes, hash, file, path, begun_at, resumable: true }
    }

    /// The next bytes. More than announced is an error at once.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.written_bytes = self.written_bytes.saturating_add(bytes.len() as u64);
        if self.written_bytes > self.size_bytes {
            self.resumable = false;
            return Err(self.mismatch(format!("more than the {} bytes announced", self.size_bytes)));
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|source| {
            // How much of it reached the file is not known.
            self.resumable = false;
            io_error("write", &self.path)(source)
        })
    }

    /// Checks length and digest, makes the blob durable and the owner's.
    pub fn finish(mut self, now: UnixMs) -> Result<BlobRef, StoreError> {
        // The sender has said the end: what is wrong now does not get right by more bytes.
        self.resumable = false;
        let sha256 = Digest::new(self.hash.clone().finalize().into());
        if self.written_bytes != self.size_bytes {
            let what = format!("{} bytes came, {} were announced", self.written_bytes, self.size_bytes);
            return Err(self.mismatch(what));
        }
        if self.expected.is_some_and(|expected| expected != sha256) {
            return Err(self.mismatch(format!("the bytes that came have {sha256}")));
        }
        self.file.sync_all().map_err(io_error("flush", &self.path))?;
        let blob = BlobRef { sha256, size_bytes: self.size_bytes };
        self.inner.keep(&self.path, blob, &self.owner, now)?;
        Ok(blob)
    }

    fn mismatch(&self, what: String) -> StoreError {
        let expected = self.expected.unwrap_or_else(|| Digest::new(self.hash.clone().finalize().into()));
        StoreError::DigestMismatch { expected, what }
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        let mut state = lock(&self.inner.blob_state);
        if let (true, Some(sha256)) = (self.resumable && self.written_bytes > 0, self.expected) {
            let (path, hash) = (std::mem::take(&mut self.path), self.hash.clone());
            let blob = BlobRef { sha256, size_bytes: self.size_bytes };
            let partial = Partial { blob, written_bytes: self.written_bytes, hash, path, begun_at: self.begun_at };
            state.keep_partial(&self.owner, partial);
            return;
        }
        state.give_back(&self.owner, self.size_bytes);
        drop(state);
        // Kept blobs have left this name; the rest goes now or at the next start.
        drop(remove(&self.path));
    }
}

/// Keeps a blob's file while it is used.
pub struct BlobLease {
    inner: Arc<Inner>,
    blob: BlobRef,
    path: PathBuf,
}

impl std::fmt::Debug for BlobLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BlobLease").field(&self.blob).finish()
    }
}

impl BlobLease {
    /// The file, for mounting and reading. Never written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    pub fn blob(&self) -> BlobRef {
        self.blob
    }

    /// Opens it for reading.
    pub fn open(&self) -> Result<File, StoreError> {
        File::open(&self.path).map_err(io_error("open blob", &self.path))
    }
}

impl Drop for BlobLease {
    fn drop(&mut self) {
        let mut state = lock(&self.inner.blob_state);
        let left = state.used.get(&self.blob.sha256).map_or(0, |holders| holders.saturating_sub(1));
        match left {
            0 => drop(state.used.remove(&self.blob.sha256)),
            left => drop(state.used.insert(self.blob.sha256, left)),
        }
    }
}

impl Store {
    /// Which of these the owner would have to send. Those present count as used now.
    pub fn find_missing(&self, owner: &str, blobs: &[BlobRef], now: UnixMs) -> Result<Vec<BlobRef>, StoreError> {
        let mut db = lock(&self.inner.db);
        let step = db.relaxed.transaction().map_err(doing("look up blobs"))?;
        let mut missing = Vec::new();
        for blob in blobs {
            if touch(&step, owner, &blob.sha256, now)? != Some(blob.size_bytes) {
                missing.push(*blob);
            }
        }
        step.commit().map_err(doing("look up blobs"))?;
        Ok(missing)
    }

    /// Begins a blob whose digest is known: room for it is made and kept.
    pub fn put_blob(&self, owner: &str, expected: BlobRef, now: UnixMs) -> Result<BlobWriter, StoreError> {
        self.begin_blob(owner, Some(expected.sha256), expected.size_bytes, now)
    }

    /// Begins a blob of known length whose digest comes out at the end (files a run left).
    pub fn put_collected(&self, owner: &str, size_bytes: u64, now: UnixMs) -> Result<BlobWriter, StoreError> {
        self.begin_blob(owner, None, size_bytes, now)
    }

    /// Uses a blob of this owner; `BlobUnknown` also for somebody else's.
    pub fn lease_blob(&self, owner: &str, sha256: &Digest, now: UnixMs) -> Result<BlobLease, StoreError> {
        let mut state = lock(&self.inner.blob_state);
        let size_bytes = touch(&lock(&self.inner.db).relaxed, owner, sha256, now)?;
        let size_bytes = size_bytes.ok_or(StoreError::BlobUnknown(*sha256))?;
        *state.used.entry(*sha256).or_default() += 1;
        let path = self.inner.blobs.join(sha256.hex());
        Ok(BlobLease { inner: Arc::clone(&self.inner), blob: BlobRef { sha256: *sha256, size_bytes }, path })
    }

    /// Drops blobs nobody used for the retention time and uploads that broke off before it; what is in use stays. Returns how many
    /// blobs went.
    pub fn collect_garbage(&self, now: UnixMs) -> Result<usize, StoreError> {
        let before = now.minus(self.inner.config.blob_retention);
        let mut state = lock(&self.inner.blob_state);
        state.drop_partials(|partial| partial.begun_at < before);
        let candidates = unused(&lock(&self.inner.db), before, "")?;
        let mut removed = 0;
        for (blob, _) in candidates {
            if !state.used.contains_key(&blob.sha256) {
                self.inner.forget(&mut state, &blob)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Bytes of all blobs, those on their way included.
    pub fn blobs_bytes(&self) -> u64 {
        lock(&self.inner.blob_state).bytes()
    }

    pub(crate) fn begin_blob(
        &self,
        owner: &str,
        expected: Option<Digest>,
        size_bytes: u64,
        now: UnixMs,
    ) -> Result<BlobWriter, StoreError> {
        self.inner.reserve(owner, size_bytes, now)?;
        let path = self.inner.staged_path("blob");
        // Cages read it under other users; nobody writes it after this.
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
        let opened = opened.and_then(|file| file.set_permissions(Permissions::from_mode(0o644)).map(|()| file));
        let file = opened.map_err(|source| {
            lock(&self.inner.blob_state).give_back(owner, size_bytes);
            io_error("create", &path)(source)
        })?;
        let (inner, owner, hash) = (Arc::clone(&self.inner), owner.to_owned(), Sha256::new());
        Ok(BlobWriter {
            inner,
            owner,
            expected,
            size_bytes,
            written_bytes: 0,
            hash,
            file,
            path,
            begun_at: now,
            resumable: false,
        })
    }
}

impl Inner {
    /// Keeps room. One owner gets at most three quarters of the quota. What is unused for longest is dropped when it is needed,
    /// the owner's own before others'. What was used a moment ago stays: its owner may be about to call with it.
    fn reserve(&self, owner: &str, size_bytes: u64, now: UnixMs) -> Result<(), StoreError> {
        let (limit_bytes, quota_bytes) = (self.config.blob_bytes_max, self.config.blobs_bytes_max);
        if size_bytes > limit_bytes {
            return Err(StoreError::BlobTooLarge { bytes: size_bytes, limit_bytes });
        }
        let share_bytes = quota_bytes - quota_bytes / 4;
        let mut state = lock(&self.blob_state);
        // What may never be gone on with makes way for what comes.
        if state.bytes().saturating_add(size_bytes) > share_bytes {
            state.drop_partials(|_| true);
        }
        // While all together are below one share, each is.
        if state.bytes().saturating_add(size_bytes) > share_bytes {
            let before = now.minus(self.config.blob_grace);
            let (mut own_bytes, candidates) = {
                let db = lock(&self.db);
                (stored_by(&db, owner)?, unused(&db, before, owner)?)
            };
            own_bytes = own_bytes.saturating_add(state.reserved_bytes.get(owner).copied().unwrap_or(0));
            let over = |own_bytes: u64| own_bytes.saturating_add(size_bytes) > share_bytes;
            let full = |state: &BlobState| state.bytes().saturating_add(size_bytes) > quota_bytes;
            for (blob, own) in candidates {
                // Dropping others' blobs does not help who has too many itself.
                let helps = if own { full(&state) || over(own_bytes) } else { full(&state) && !over(own_bytes) };
                if !helps {
                    break;
                }
                if !state.used.contains_key(&blob.sha256) {
                    self.forget(&mut state, &blob)?;
                    own_bytes = own_bytes.saturating_sub(if own { blob.size_bytes } else { 0 });
                }
            }
            let refused = |quota_bytes| StoreError::DiskQuota { of: "blobs", needed_bytes: size_bytes, quota_bytes };
            if over(own_bytes) {
                return Err(refused(share_bytes));
            }
            if full(&state) {
                return Err(refused(quota_bytes));
            }
        }
        let reserved = state.reserved_bytes.entry(owner.to_owned()).or_default();
        *reserved = reserved.saturating_add(size_bytes);
        Ok(())
    }

    /// Gives a complete, flushed file its name and its owner.
    fn keep(&self, from: &Path, blob: BlobRef, owner: &str, now: UnixMs) -> Result<(), StoreError> {
        let mut state = lock(&self.blob_state);
        let to = self.blobs.join(blob.sha256.hex());
        let mut db = lock(&self.db);
        let sql = "SELECT 1 FROM blob WHERE sha256 = ?1";
        let found = db.durable.query_row(sql, [blob.sha256.hex()], |_| Ok(())).optional();
        let new = found.map_err(doing("look up blob"))?.is_none();
        if new {
            fs::rename(from, &to).map_err(io_error("keep blob", &to))?;
            sync_directory(&self.blobs)?;
        }
        let step = db.durable.transaction().map_err(doing("begin to keep a blob"))?;
        let sql = "INSERT INTO blob (sha256, size_bytes) VALUES (?1, ?2) ON CONFLICT (sha256) DO NOTHING";
        step.execute(sql, params![blob.sha256.hex(), int(blob.size_bytes)]).map_err(doing("keep a blob"))?;
        let sql = "INSERT INTO blob_owner (sha256, owner, used_at) VALUES (?1, ?2, ?3)
            ON CONFLICT (sha256, owner) DO UPDATE SET used_at = max(used_at, ?3)";
        step.execute(sql, params![blob.sha256.hex(), owner, int(now.0)]).map_err(doing("keep a blob for its owner"))?;
        step.commit().map_err(doing("commit a blob"))?;
        if new {
            state.stored_bytes = state.stored_bytes.saturating_add(blob.size_bytes);
        }
        Ok(())
    }

    /// Removes a blob for all its owners.
    fn forget(&self, state: &mut BlobState, blob: &BlobRef) -> Result<(), StoreError> {
        let name = blob.sha256.hex();
        let sql = "DELETE FROM blob WHERE sha256 = ?1";
        lock(&self.db).durable.execute(sql, [&name]).map_err(doing("drop a blob"))?;
        state.stored_bytes = state.stored_bytes.saturating_sub(blob.size_bytes);
        remove(&self.blobs.join(name))
    }
}

/// Marks a blob as used by its owner and returns its length, or `None` when the owner has no such blob.
fn touch(connection: &Connection, owner: &str, sha256: &Digest, now: UnixMs) -> Result<Option<u64>, StoreError> {
    let sql = "UPDATE blob_owner SET used_at = max(used_at, ?3) WHERE sha256 = ?1 AND owner = ?2
        RETURNING (SELECT size_bytes FROM blob WHERE blob.sha256 = blob_owner.sha256)";
    let values = params![sha256.hex(), owner, int(now.0)];
    let found = connection.prepare_cached(sql).and_then(|mut sql| sql.query_row(values, |row| row.get(0)).optional());
    Ok(found.map_err(doing("use a blob"))?.map(count))
}

/// Bytes of all blobs an owner has, shared ones too.
fn stored_by(db: &Db, owner: &str) -> Result<u64, StoreError> {
    let sql = "SELECT coalesce(sum(size_bytes), 0) FROM blob_owner JOIN blob USING (sha256) WHERE owner = ?1";
    let found = db.durable.prepare_cached(sql).and_then(|mut sql| sql.query_row([owner], |row| row.get(0)));
    found.map(count).map_err(doing("sum up an owner's blobs"))
}

/// Blobs that nobody used since `before`, the owner's own first (they say so), then the longest unused first.
fn unused(db: &Db, before: UnixMs, owner: &str) -> Result<Vec<(BlobRef, bool)>, StoreError> {
    let sql = "SELECT blob.sha256 AS sha256, blob.size_bytes, coalesce(max(used_at), 0) AS last,
        coalesce(max(owner = ?2), 0) AS own
        FROM blob LEFT JOIN blob_owner USING (sha256) GROUP BY blob.sha256
        HAVING last < ?1 ORDER BY own DESC, last, blob.sha256";
    let mut statement = db.durable.prepare_cached(sql).map_err(doing("list unused blobs"))?;
    let blob = |row: &rusqlite::Row<'_>| {
        let blob = BlobRef { sha256: digest(row, "sha256")?, size_bytes: count(row.get(1)?) };
        Ok((blob, row.get("own")?))
    };
    let rows = statement.query_map(params![int(before.0), owner], blob).map_err(doing("list unused blobs"))?;
    rows.collect::<Result<_, _>>().map_err(doing("list unused blobs"))
}
