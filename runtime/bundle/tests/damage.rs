//! Bundles damaged on their way: cut anywhere, changed by one bit anywhere, or rewritten where it does not matter.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use aria_bundle::{BundleError, Expected, Limits, Rule, read_archive};
use aria_types::ErrorKind;
use support::{blob, describe, expecting, is_empty, parts, read, sha256, tar};

#[test]
fn the_file_must_be_the_one_announced() {
    let staging = tempfile::tempdir().expect("tempdir");
    let bytes = parts().bytes();
    let read = |expected: Expected| -> BundleError {
        let refused =
            read_archive(&bytes[..], staging.path(), Limits::default(), Some(expected)).expect_err("another file");
        assert!(is_empty(staging.path()));
        refused
    };
    let announced = expecting(&bytes).expect("expected");
    let error = read(Expected { sha256: sha256(b"x"), ..announced });
    assert_eq!((error.reason(), error.kind()), ("DIGEST_MISMATCH", ErrorKind::Damaged));
    assert_eq!(read(Expected { size_bytes: announced.size_bytes - 1, ..announced }).reason(), "SIZE_MISMATCH");
    assert_eq!(read(Expected { size_bytes: announced.size_bytes + 1, ..announced }).reason(), "SIZE_MISMATCH");
}

#[test]
fn a_truncation_at_every_byte_is_refused() {
    let staging = tempfile::tempdir().expect("tempdir");
    let bytes = parts().bytes();
    for end in places(&bytes) {
        let error = read(&bytes[..end], staging.path()).expect_err("cut");
        assert_eq!(error.rule(), Some(Rule::Truncated), "cut at {end}: {error}");
    }
    assert!(is_empty(staging.path()));
}

/// Every byte up to the padding, and then a sample: all places in the padding are the same state of the parser.
fn places(bytes: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let content = bytes.iter().rposition(|byte| *byte != 0).expect("content") + 1100;
    (0..content).chain((content..bytes.len()).step_by(97)).chain([bytes.len() - 1])
}

/// Every bit of the file matters: the checksum covers each header, the digests all content, and padding must be zero.
#[test]
fn one_flipped_bit_anywhere_is_refused() {
    let staging = tempfile::tempdir().expect("tempdir");
    let mut bytes = parts().bytes();
    for at in places(&bytes) {
        let bit = 1 << (at % 8);
        bytes[at] ^= bit;
        let answer = read(&bytes, staging.path());
        assert!(answer.is_err(), "bit {bit:#x} of byte {at} was not noticed");
        bytes[at] ^= bit;
    }
    assert!(is_empty(staging.path()));
    read(&bytes, staging.path()).expect("the bundle itself is good");
}

/// What may differ in a header without changing the bundle: owner, group, time, and the permission bits that are normalised.
/// A changed header needs a new checksum, so this is a rewrite and not a flipped bit; the identity stays the same, because it
/// is the digest of the image manifest.
#[test]
fn a_rewritten_outer_header_changes_nothing() {
    let staging = tempfile::tempdir().expect("tempdir");
    let good = read(&parts().bytes(), staging.path()).expect("good").digest;
    let mut entries = parts().image().entries();
    for entry in &mut entries {
        entry.uid = b"0001000\0".into();
        entry.mtime = b"14000000000\0".into();
        entry.mode = b"0000600\0".into();
    }
    assert_eq!(read(&tar(&entries), staging.path()).expect("good").digest, good);
}

#[test]
fn descriptors_of_the_test_writer_are_right() {
    let described = describe("x", b"abc");
    assert_eq!(described["digest"], "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(String::from_utf8_lossy(&blob(b"abc").name).len(), 13 + 64);
}
