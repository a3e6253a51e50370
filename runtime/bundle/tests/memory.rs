//! Memory does not grow with the bundle. Alone in its process, because it reads the process's own peak.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs;

use aria_bundle::{Limits, read_archive};
use support::{parts, sha256};

const MIB: usize = 1 << 20;
/// The zstd window, pieces, and what the allocator keeps; a sixth of the bundle.
const GROWTH_MAX: usize = 16 * MIB;

fn status(key: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with(key)).expect("line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("number") * 1024
}

/// Bytes that do not compress, 96 MiB of them in two files.
fn write_large(path: &std::path::Path) {
    let mut large = parts();
    for name in ["src/one.bin", "src/two.bin"] {
        let mut seed = *sha256(name.as_bytes()).bytes();
        let mut noise = Vec::with_capacity(48 * MIB);
        while noise.len() < 48 * MIB {
            noise.extend_from_slice(&seed);
            seed = *sha256(&seed).bytes();
        }
        large.files.push((name.into(), noise));
    }
    fs::write(path, large.listing_its_files().bytes()).expect("write");
}

#[test]
fn a_bundle_of_96_mib_is_read_in_constant_memory() {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("large.aria");
    write_large(&path);
    let staging = directory.path().join("staging");
    fs::create_dir(&staging).expect("staging");
    if fs::write("/proc/self/clear_refs", "5").is_err() {
        println!("skipped: this kernel does not let a process reset its peak memory");
        return;
    }
    let before = status("VmRSS");
    let file = fs::File::open(&path).expect("open");
    let staged = read_archive(file, &staging, Limits::default(), None).expect("good bundle");
    let growth = status("VmHWM").saturating_sub(before);
    assert!(staged.size_bytes > 95 * MIB as u64);
    assert!(growth < GROWTH_MAX, "peak grew by {} MiB", growth / MIB);
}
