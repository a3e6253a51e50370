//! skeleton
use std::path::{Path, PathBuf};

use aria_core::{Digest, Name, UnixMs};

use crate::{Store, StoreError};

/// A bundle about to be installed.
#[derive(Clone, Debug)]
pub struct NewBundle {
    /// Its name.
    pub name: Name,
    /// Semver text.
    pub version: String,
    /// Identity.
    pub digest: Digest,
    /// What a model sees.
    pub interface_digest: Digest,
    /// What it may touch.
    pub authority_digest: Digest,
    /// Length of the `.aria` file.
    pub size_bytes: u64,
    /// Bytes on disk.
    pub unpacked_bytes: u64,
    /// The manifest's text.
    pub manifest_json: String,
    /// Who installs it.
    pub owner: String,
}

/// An installed bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BundleRecord {
    /// Its name.
    pub name: Name,
    /// Semver text.
    pub version: String,
    /// Identity.
    pub digest: Digest,
    /// What a model sees.
    pub interface_digest: Digest,
    /// What it may touch.
    pub authority_digest: Digest,
    /// Length of the `.aria` file.
    pub size_bytes: u64,
    /// Bytes on disk.
    pub unpacked_bytes: u64,
    /// The manifest's text.
    pub manifest_json: String,
    /// Who installed it.
    pub owner: String,
    /// When.
    pub installed_at: UnixMs,
}

/// What an install did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Installed {
    /// It is new.
    Now(BundleRecord),
    /// The same digest was there; nothing changed.
    Before(BundleRecord),
}

/// Keeps a bundle's directory while it is used, also when the bundle is removed meanwhile.
#[derive(Debug)]
pub struct BundleLease {}

impl BundleLease {
    /// The code, for `/app`.
    pub fn app_dir(&self) -> PathBuf {
        todo!()
    }
}

impl Store {
    /// Installs: `place` gets the `bundles` directory and must leave the durable directory `<hex>` in it
    /// (`Staged::commit`); then the row is written. Installs and removals run one at a time.
    pub fn install(
        &self,
        _bundle: NewBundle,
        _now: UnixMs,
        _place: impl FnOnce(&Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<Installed, StoreError> {
        todo!()
    }

    /// All installed bundles by name, then newest version first.
    pub fn bundles(&self) -> Result<Vec<BundleRecord>, StoreError> {
        todo!()
    }

    /// One version; `None` is the newest by semver (a release before any pre-release).
    pub fn bundle(&self, _name: &Name, _version: Option<&str>) -> Result<BundleRecord, StoreError> {
        todo!()
    }

    /// Removes one version, or all with `None`. Running calls keep their files until their lease ends.
    pub fn remove_bundle(&self, _name: &Name, _version: Option<&str>) -> Result<Vec<BundleRecord>, StoreError> {
        todo!()
    }

    /// Keeps the bundle's directory until the lease is dropped.
    pub fn lease_bundle(&self, _digest: &Digest) -> Result<BundleLease, StoreError> {
        todo!()
    }
}
