//! Names inside an archive: which bytes are a path, and which paths are the same to somebody's file system.
//!
//! A path that passes is relative and plain on every system that might unpack it. The set of seen paths keeps hashes only, so
//! its size depends on the number of entries, not on the length of their names.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::error::{BundleError, Rule, refuse};

const SEGMENT_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 1024;
const SEGMENTS_MAX: usize = 32;

/// Checks the raw bytes of a path without trailing slash and returns it as text.
pub(crate) fn check(raw: &[u8]) -> Result<&str, BundleError> {
    let shown = String::from_utf8_lossy(raw);
    let no = |rule, detail: &str| Err(refuse(rule, &shown, detail));
    let Ok(path) = std::str::from_utf8(raw) else { return no(Rule::NameChars, "the name is not UTF-8") };
    if path.chars().any(|c| c.is_control() || deceives(c)) {
        return no(Rule::NameChars, "the name has a control or bidirectional character");
    }
    if path.starts_with('/') {
        return no(Rule::PathEscape, "the path is absolute");
    }
    if path.contains('\\') || has_drive(path) {
        return no(Rule::PathEscape, "the path has a backslash or a drive letter");
    }
    if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return no(Rule::PathEscape, "the path has an empty, `.` or `..` segment");
    }
    if path.len() > PATH_BYTES_MAX || path.split('/').any(|segment| segment.len() > SEGMENT_BYTES_MAX) {
        return no(Rule::NameTooLong, "a segment is longer than 255 bytes or the path longer than 1,024");
    }
    if path.split('/').count() > SEGMENTS_MAX {
        return no(Rule::NameTooLong, "the path is deeper than 32 segments");
    }
    if !is_nfc(path) {
        return no(Rule::Collision, "the name is not in Unicode NFC");
    }
    Ok(path)
}

fn has_drive(path: &str) -> bool {
    matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
}

// Marks that reorder text, break lines or are invisible: a name must look like what it is.
fn deceives(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What a path is in its archive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    File,
    Directory,
}

/// Every path of an archive so far, and every directory those paths imply.
#[derive(Debug)]
pub(crate) struct Paths {
    seen: HashMap<[u8; 32], Seen>,
    entries_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    exact: [u8; 32],
    kind: Kind,
    /// It had an entry of its own, not only files below it.
    explicit: bool,
}

impl Paths {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { seen: HashMap::new(), entries_max }
    }

    /// Adds a checked path; refuses what would meet another one on any file system.
    pub(crate) fn add(&mut self, path: &str, kind: Kind) -> Result<(), BundleError> {
        let folded = fold(path);
        let (mut exact_hash, mut folded_hash) = (Sha256::new(), Sha256::new());
        let last = path.split('/').count();
        for (index, (exact, folded)) in path.split('/').zip(folded.split('/')).enumerate() {
            exact_hash.update(exact);
            exact_hash.update(b"/");
            folded_hash.update(folded);
            folded_hash.update(b"/");
            let explicit = index + 1 == last;
            let kind = if explicit { kind } else { Kind::Directory };
            let seen = Seen { exact: exact_hash.clone().finalize().into(), kind, explicit };
            self.meet(path, folded_hash.clone().finalize().into(), seen)?;
        }
        Ok(())
    }

    fn meet(&mut self, path: &str, key: [u8; 32], new: Seen) -> Result<(), BundleError> {
        let count = self.seen.len();
        let Some(old) = self.seen.get_mut(&key) else {
            if count >= self.entries_max {
                return Err(refuse(Rule::TooManyFiles, path, format!("more than {} entries", self.entries_max)));
            }
            self.seen.insert(key, new);
            return Ok(());
        };
        if old.exact != new.exact {
            return Err(refuse(Rule::Collision, path, "another path differs only in case or Unicode form"));
        }
        if old.kind != new.kind {
            return Err(refuse(Rule::Duplicate, path, "the same path is a file and a directory"));
        }
        if old.explicit && new.explicit {
            return Err(refuse(Rule::Duplicate, path, "the path appears twice"));
        }
        old.explicit |= new.explicit;
        Ok(())
    }
}

// Lower, upper, lower: `ẞ`, `ß` and `SS` meet, as do `ſ` and `s`, without a table of our own.
fn fold(path: &str) -> String {
    path.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::{Directory, File};

    #[track_caller]
    fn check_one(raw: impl AsRef<[u8]>, expected: Option<Rule>) {
        assert_eq!(check(raw.as_ref()).err().and_then(|error| error.rule()), expected);
    }

    #[test]
    fn plain_paths_pass() {
        for path in ["a", "code/main.js", "src/ünïcode/文件.ts", "a b/c", "...", "a..b", ".hidden", "ab:c"] {
            check_one(path, None);
        }
        check_one("a".repeat(255), None);
        check_one(vec!["a"; 32].join("/"), None);
        check_one(vec!["a".repeat(255); 4].join("/"), None);
    }

    #[test]
    fn paths_that_leave_are_refused() {
        let paths = [
            "",
            ".",
            "..",
            "../x",
            "a/../../x",
            "a/..",
            "a/./b",
            "./a",
            "a//b",
            "/x",
            "//x",
            "a/",
            "C:\\x",
            "a\\b",
            "C:/x",
            "c:",
        ];
        for path in paths {
            check_one(path, Some(Rule::PathEscape));
        }
    }

    #[test]
    fn characters_that_deceive_are_refused() {
        for path in [
            "a\0b",
            "a\nb",
            "a\x1b[31m",
            "a\x7f",
            "a\u{85}b",
            "a\u{202e}sj.b",
            "\u{2066}a",
            "a\u{200f}",
            "a\u{2028}b",
            "\u{feff}a",
        ] {
            check_one(path, Some(Rule::NameChars));
        }
        check_one(b"a\xff", Some(Rule::NameChars));
        check_one(b"\xc0\xae\xc0\xae/x", Some(Rule::NameChars));
        check_one(b"\xed\xa0\x80", Some(Rule::NameChars));
    }

    #[test]
    fn long_names_are_refused() {
        check_one("a".repeat(256), Some(Rule::NameTooLong));
        check_one(vec!["a"; 33].join("/"), Some(Rule::NameTooLong));
        check_one(vec!["a".repeat(204); 5].join("/"), None);
        check_one(format!("{}b", vec!["a".repeat(204); 5].join("/")), Some(Rule::NameTooLong));
    }

    #[test]
    fn other_unicode_forms_are_refused() {
        check_one("e\u{301}", Some(Rule::Collision));
        check_one("\u{e9}", None);
        check_one("\u{212b}", Some(Rule::Collision));
    }

    #[track_caller]
    fn check_all(paths: &[(&str, Kind)], expected: Option<Rule>) {
        let mut set = Paths::new(100);
        let end = paths.iter().try_for_each(|(path, kind)| set.add(path, *kind));
        assert_eq!(end.err().and_then(|error| error.rule()), expected, "{paths:?}");
    }

    #[test]
    fn different_paths_live_together() {
        check_all(&[("a", Directory), ("a/b", File), ("a/c", File), ("ab", File)], None);
        check_all(&[("a/b", File), ("a", Directory)], None);
    }

    #[test]
    fn the_same_path_twice_is_refused() {
        check_all(&[("a", File), ("a", File)], Some(Rule::Duplicate));
        check_all(&[("a", Directory), ("a", Directory)], Some(Rule::Duplicate));
        check_all(&[("a", File), ("a/b", File)], Some(Rule::Duplicate));
        check_all(&[("a/b", File), ("a", File)], Some(Rule::Duplicate));
        check_all(&[("a", File), ("a", Directory)], Some(Rule::Duplicate));
    }

    #[test]
    fn paths_equal_under_folding_are_refused() {
        for (one, other) in [
            ("a/x", "A/y"),
            ("readme", "README"),
            ("stra\u{df}e", "STRASSE"),
            ("\u{1e9e}", "ss"),
            ("\u{17f}", "s"),
            ("\u{3c3}", "\u{3c2}"),
            ("K", "\u{6b}"),
        ] {
            check_all(&[(one, File), (other, File)], Some(Rule::Collision));
        }
        check_all(&[("a/b", File), ("A", File)], Some(Rule::Collision));
    }

    #[test]
    fn implied_directories_count() {
        let mut set = Paths::new(3);
        assert!(set.add("a/b/c", File).is_ok());
        assert_eq!(set.add("d", File).err().and_then(|error| error.rule()), Some(Rule::TooManyFiles));
    }
}
