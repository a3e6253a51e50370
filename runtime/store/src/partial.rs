//! Uploads that broke off: their bytes stay for a while, so that the sender can go on where they end.
//!
//! A partial is a file in `staging` that this process alone knows: no blob, visible to nobody, gone at the next start. Its room stays
//! reserved. It goes when its owner goes on or begins anew, when it is as old as an unused blob may get, when a newer one needs its
//! place, or when blobs need its room.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use aria_core::{Digest, UnixMs};
use sha2::Sha256;

use crate::blobs::{BlobRef, BlobState, BlobWriter};
use crate::db::lock;
use crate::error::StoreError;
use crate::files::{io_error, remove};
use crate::open::Store;

/// Partials at a time, and of one owner.
const PARTIALS_MAX: usize = 32;
const OWN_PARTIALS_MAX: usize = 8;

/// All partials, by owner and digest.
pub(crate) type Partials = HashMap<(String, Digest), Partial>;

/// The beginning of a blob.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) blob: BlobRef,
    pub(crate) written_bytes: u64,
    pub(crate) hash: Sha256,
    pub(crate) path: PathBuf,
    /// When its first byte was asked for.
    pub(crate) begun_at: UnixMs,
}

impl BlobState {
    /// Keeps what was written of a blob, and its reserved room.
    pub(crate) fn keep_partial(&mut self, owner: &str, partial: Partial) {
        let key = (owner.to_owned(), partial.blob.sha256);
        if self.partials.get(&key).is_some_and(|kept| kept.written_bytes >= partial.written_bytes) {
            self.discard(owner, partial);
            return;
        }
        if let Some(shorter) = self.partials.remove(&key) {
            self.discard(owner, shorter);
        }
        let own = |(of, _): &&(String, Digest)| of == owner;
        if self.partials.keys().filter(own).count() >= OWN_PARTIALS_MAX {
            self.drop_oldest(|of| of == owner);
        } else if self.partials.len() >= PARTIALS_MAX {
            self.drop_oldest(|_| true);
        }
        self.partials.insert(key, partial);
    }

    /// Drops those that `goes` names.
    pub(crate) fn drop_partials(&mut self, goes: impl Fn(&Partial) -> bool) {
        let gone: Vec<_> = self.partials.extract_if(|_, partial| goes(partial)).collect();
        for ((owner, _), partial) in gone {
            self.discard(&owner, partial);
        }
    }

    fn drop_oldest(&mut self, of: impl Fn(&str) -> bool) {
        let candidates = self.partials.iter().filter(|((owner, _), _)| of(owner));
        let oldest = candidates.min_by_key(|(_, partial)| partial.begun_at).map(|(key, _)| key.clone());
        if let Some(key) = oldest
            && let Some(partial) = self.partials.remove(&key)
        {
            self.discard(&key.0, partial);
        }
    }

    fn discard(&mut self, owner: &str, partial: Partial) {
        self.give_back(owner, partial.blob.size_bytes);
        // What cannot be removed now goes at the next start.
        drop(remove(&partial.path));
    }
}

impl Store {
    /// How many of the first bytes of each blob are kept from this owner's broken uploads.
    pub fn held_bytes(&self, owner: &str, blobs: &[BlobRef]) -> Vec<u64> {
        let state = lock(&self.inner.blob_state);
        let held = |blob: &BlobRef| {
            let partial = state.partials.get(&(owner.to_owned(), blob.sha256));
            partial.filter(|partial| partial.blob == *blob).map_or(0, |partial| partial.written_bytes)
        };
        blobs.iter().map(held).collect()
    }

    /// Begins a blob whose sender may come back when its stream breaks, or goes on with one at `offset_bytes`, which must be what is
    /// held. At 0 what is held is dropped.
    pub fn resume_blob(
        &self,
        owner: &str,
        expected: BlobRef,
        offset_bytes: u64,
        now: UnixMs,
    ) -> Result<BlobWriter, StoreError> {
        let mut state = lock(&self.inner.blob_state);
        let key = (owner.to_owned(), expected.sha256);
        let held = state.partials.get(&key).filter(|partial| partial.blob == expected);
        let held_bytes = held.map_or(0, |partial| partial.written_bytes);
        if offset_bytes != 0 && offset_bytes != held_bytes {
            return Err(StoreError::OffsetMismatch { blob: expected.sha256, held_bytes, offset_bytes });
        }
        let partial = state.partials.remove(&key);
        match partial {
            Some(partial) if offset_bytes != 0 => {
                drop(state);
                self.go_on(owner, partial)
            }
            before => {
                if let Some(before) = before {
                    state.discard(owner, before);
                }
                drop(state);
                Ok(self.begin_blob(owner, Some(expected.sha256), expected.size_bytes, now)?.resumable())
            }
        }
    }

    fn go_on(&self, owner: &str, partial: Partial) -> Result<BlobWriter, StoreError> {
        let opened = OpenOptions::new().write(true).open(&partial.path).and_then(|mut file| {
            file.set_len(partial.written_bytes)?;
            file.seek(SeekFrom::End(0)).map(|_| file)
        });
        let file = match opened {
            Ok(file) => file,
            Err(source) => {
                let error = io_error("go on with", &partial.path)(source);
                lock(&self.inner.blob_state).discard(owner, partial);
                return Err(error);
            }
        };
        let Partial { blob, written_bytes, hash, path, begun_at } = partial;
        Ok(BlobWriter::going_on(Arc::clone(&self.inner), owner, (blob, written_bytes, hash), (file, path), begun_at))
    }
}
