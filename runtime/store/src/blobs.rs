//! skeleton
use std::fs::File;
use std::path::Path;

use aria_core::{Digest, UnixMs};

use crate::{Store, StoreError};

/// Bytes by their content.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct BlobRef {
    /// Their SHA-256.
    pub sha256: Digest,
    /// Their length.
    pub size_bytes: u64,
}

/// Takes one blob's bytes. Dropped before `finish`, it leaves nothing.
pub struct BlobWriter {}

impl BlobWriter {
    /// The next bytes. More than announced is an error at once.
    pub fn write(&mut self, _bytes: &[u8]) -> Result<(), StoreError> {
        todo!()
    }
    /// Checks length and digest, makes the blob durable and the owner's.
    pub fn finish(self, _now: UnixMs) -> Result<BlobRef, StoreError> {
        todo!()
    }
}

/// Keeps a blob's file while it is used.
#[derive(Debug)]
pub struct BlobLease {}

impl BlobLease {
    /// The file, for mounting and reading. Never written.
    pub fn path(&self) -> &Path {
        todo!()
    }
    /// What it is.
    pub fn blob(&self) -> BlobRef {
        todo!()
    }
    /// Opens it for reading.
    pub fn open(&self) -> Result<File, StoreError> {
        todo!()
    }
}

impl Store {
    /// Which of these the owner would have to send. Those present count as used now.
    pub fn find_missing(&self, _owner: &str, _blobs: &[BlobRef], _now: UnixMs) -> Result<Vec<BlobRef>, StoreError> {
        todo!()
    }
    /// Begins a blob whose digest is known: room for it is made and kept.
    pub fn put_blob(&self, _owner: &str, _expected: BlobRef, _now: UnixMs) -> Result<BlobWriter, StoreError> {
        todo!()
    }
    /// Begins a blob of known length whose digest comes out at the end (files a run left).
    pub fn put_collected(&self, _owner: &str, _size_bytes: u64, _now: UnixMs) -> Result<BlobWriter, StoreError> {
        todo!()
    }
    /// Uses a blob of this owner; `BlobUnknown` also for somebody else's.
    pub fn lease_blob(&self, _owner: &str, _sha256: &Digest, _now: UnixMs) -> Result<BlobLease, StoreError> {
        todo!()
    }
    /// Drops blobs nobody used for the retention time. Returns how many.
    pub fn collect_garbage(&self, _now: UnixMs) -> Result<usize, StoreError> {
        todo!()
    }
}
