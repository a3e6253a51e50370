//! The two digests people compare: what a model sees, and what a bundle may touch.

use aria_core::canonical;
use aria_core::{Digest, Manifest};
use sha2::{Digest as _, Sha256};

/// SHA-256 of the canonical JSON of the bundle's interface.
pub fn interface_digest(manifest: &Manifest) -> Digest {
    of_bytes(canonical::to_string(&manifest.interface()).as_bytes())
}

/// SHA-256 of the canonical JSON of the bundle's authority.
pub fn authority_digest(manifest: &Manifest) -> Digest {
    of_bytes(canonical::to_string(&manifest.authority()).as_bytes())
}

/// SHA-256 of bytes.
pub(crate) fn of_bytes(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}
