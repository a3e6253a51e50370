//! Bundles, from three depths: the file, the archive in it, the compressed frame around that.
//!
//! Digests stand in the way of mutation, so the inner targets build the layers around their input.

use aria_bundle::{Limits, read_archive};

use support::parts;

#[path = "../../../runtime/bundle/tests/support/signed.rs"]
mod signed;
#[path = "../../../runtime/bundle/tests/support/mod.rs"]
mod support;

/// Small enough for thousands of runs a second, with every rule of size still in reach.
const LIMITS: fn() -> Limits = || Limits {
    file_bytes_max: 1 << 20,
    entries_max: 64,
    entry_bytes_max: 256 << 10,
    unpacked_bytes_max: 1 << 20,
    ratio_floor_bytes: 64 << 10,
    json_bytes_max: 64 << 10,
    ..Limits::default()
};

/// The file as it is uploaded.
pub(crate) fn file(bytes: &[u8]) {
    check(bytes);
}

/// The tar inside the code layer.
pub(crate) fn code(bytes: &[u8]) {
    let mut bundle = parts();
    bundle.layer_tar = Some(bytes.to_vec());
    check(&bundle.bytes());
}

/// The compressed code layer.
pub(crate) fn layer(bytes: &[u8]) {
    let mut bundle = parts();
    bundle.layer = Some(bytes.to_vec());
    check(&bundle.bytes());
}

/// The envelope of the signatures of an otherwise good bundle.
pub(crate) fn envelope(bytes: &[u8]) {
    check(&signed::with_envelope(&parts().image(), bytes, |_| (), |_| ()));
}

/// Nothing is left in the staging directory, whatever came.
fn check(bytes: &[u8]) {
    thread_local! {
        static STAGING: tempfile::TempDir = tempfile::tempdir().expect("a temporary directory");
    }
    STAGING.with(|staging| {
        if let Ok(staged) = read_archive(bytes, staging.path(), LIMITS(), None) {
            assert!(staged.app_dir().starts_with(staging.path()), "unpacked below the staging directory");
        }
        assert!(support::is_empty(staging.path()), "the staging directory is empty again");
    });
}
