//! skeleton
use std::path::{Path, PathBuf};

use aria_core::{Digest, Manifest};

use crate::BundleError;

/// A verified bundle, not yet installed. Dropping it removes its directory.
#[derive(Debug)]
pub struct Staged {
    /// The checked manifest.
    pub manifest: Manifest,
    /// Its text as the bundle has it.
    pub manifest_json: String,
    /// Identity: SHA-256 of the OCI manifest.
    pub digest: Digest,
    /// What a model sees.
    pub interface_digest: Digest,
    /// What it may touch.
    pub authority_digest: Digest,
    /// Length of the `.aria` file.
    pub size_bytes: u64,
    /// Bytes of the unpacked files.
    pub unpacked_bytes: u64,
}

impl Staged {
    /// The code as tools see it at `/app`, while staged.
    pub fn app_dir(&self) -> PathBuf {
        todo!()
    }

    /// Puts everything on disk and moves it, in one step, to `<bundles>/<hex digest>`; the code is at `app` below that.
    /// A directory that is already there is complete (it came the same way) and stays; then the staged copy is dropped.
    /// After `Ok` a power cut loses nothing.
    pub fn commit(self, _bundles: &Path) -> Result<PathBuf, BundleError> {
        todo!()
    }
}
