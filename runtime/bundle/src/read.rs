//! skeleton
use std::path::Path;

use aria_core::Digest;

use crate::{BundleError, Limits, Staged};

/// What the sender said the file is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expected {
    /// Its length.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// Takes one `.aria` file in pieces of any size.
pub struct Reader {}

impl Reader {
    /// Makes a fresh private directory (0700) below `staging`, which must exist. Both blocking and cheap.
    pub fn new(_staging: &Path, _limits: Limits, _expected: Option<Expected>) -> Result<Self, BundleError> {
        todo!()
    }

    /// Takes the next bytes; any length, also none. After an error every further call is `Poisoned`.
    pub fn feed(&mut self, _bytes: &[u8]) -> Result<(), BundleError> {
        todo!()
    }

    /// The file is complete: checks what could not be checked before, unpacks the code.
    pub fn finish(self) -> Result<Staged, BundleError> {
        todo!()
    }
}
