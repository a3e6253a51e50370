//! Every rule of the format at every place where it can be broken: a table of bundles made from one good bundle, each wrong in one
//! way, none like another. Each is refused for its own reason, in bounded memory, leaves nothing, and the reader that refused it
//! takes the good bundle next. Alone in its process, because it reads the process's own peak.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

#[path = "../support/signed.rs"]
mod signed;
#[path = "../support/mod.rs"]
mod support;

mod archive;
mod documents;
mod frame;
mod manifest;
mod signature;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aria_bundle::{Limits, Rule, read_archive};
use support::{is_empty, parts, sha256};

/// What a reader may take beside the file it is given.
const MEMORY_BYTES_MAX: u64 = 64 << 20;
const CASES_MIN: usize = 250;

/// One bundle that must be refused.
pub(crate) struct Case {
    id: String,
    rule: Rule,
    make: Box<dyn Fn() -> Vec<u8>>,
}

pub(crate) fn case(id: impl Into<String>, rule: Rule, make: impl Fn() -> Vec<u8> + 'static) -> Case {
    Case { id: id.into(), rule, make: Box::new(make) }
}

fn memory(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with(key)).expect("line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("number") * 1024
}

/// Every path below a directory.
fn tree(directory: &Path) -> BTreeSet<std::path::PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).expect("directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.insert(path);
    }
    found
}

#[test]
fn no_hostile_bundle_is_accepted_and_each_is_refused_for_its_own_reason() {
    let cases: Vec<Case> =
        [archive::cases(), documents::cases(), manifest::cases(), frame::cases(), signature::cases()]
            .into_iter()
            .flatten()
            .collect();
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let directory = tempfile::tempdir().expect("tempdir");
    let staging = directory.path().join("staging");
    fs::create_dir(&staging).expect("staging");
    let before = tree(directory.path());
    let measured = fs::write("/proc/self/clear_refs", "5").is_ok();
    if !measured {
        println!("skipped: this kernel does not let a process reset its peak memory");
    }
    let good = parts().bytes();
    let (mut ids, mut contents, mut wrong) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for Case { id, rule, make } in &cases {
        let bytes = make();
        assert!(ids.insert(id.clone()), "{id} twice");
        assert!(contents.insert(sha256(&bytes)), "{id} is the same bundle as another case");
        let _ = fs::write("/proc/self/clear_refs", "5");
        let resident = memory("VmRSS");
        match read_archive(&bytes[..], &staging, Limits::default(), None) {
            Ok(_) => wrong.push(format!("{id}: accepted")),
            Err(error) if error.rule() != Some(*rule) => wrong.push(format!("{id}: {rule:?} expected, {error:?}")),
            Err(_) => {}
        }
        let growth = memory("VmHWM").saturating_sub(resident);
        if measured && growth > MEMORY_BYTES_MAX {
            wrong.push(format!("{id}: {growth} bytes of memory"));
        }
        assert_eq!(tree(directory.path()), before, "{id} left something");
        read_archive(&good[..], &staging, Limits::default(), None).expect("a good bundle after it");
        assert!(is_empty(&staging));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
