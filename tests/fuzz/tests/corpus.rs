//! Every saved input of every target, once: what was ever found stays fixed, and no parser's memory grows with what it is told.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(corpus(target))
        .unwrap_or_else(|error| panic!("corpus of {target}: {error}"))
        .map(|entry| entry.expect("entry").path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_target_holds_on_its_corpus() {
    for target in TARGETS {
        let files = inputs(target.name);
        assert!(files.len() >= 5, "the corpus of {} is suspiciously small", target.name);
        for file in files {
            let bytes = fs::read(&file).expect("read");
            if std::panic::catch_unwind(|| (target.run)(&bytes)).is_err() {
                panic!("{} does not hold on {}", target.name, file.display());
            }
        }
    }
}

#[test]
fn every_corpus_has_a_target() {
    let root = corpus("");
    for entry in fs::read_dir(&root).expect("corpus") {
        let name = entry.expect("entry").file_name();
        let name = name.to_str().expect("UTF-8");
        assert!(fuzz::find(name).is_some(), "corpus/{name} belongs to no target");
    }
}
