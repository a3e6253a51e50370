//! From places in bundled JavaScript back to the TypeScript they came from (source map revision 3).
//!
//! The map comes with the bundle and is as untrusted as its code: its size is bounded, and whatever does not hold leaves a stack
//! line as it was.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

/// Largest map read; a map is about three times its JavaScript.
const MAP_BYTES_MAX: u64 = 16 << 20;
/// Stack lines looked at; engines stop at 10 to 100 themselves.
const LINES_MAX: usize = 100;
/// Where the bundle is in the sandbox.
const ROOT: &str = "/app/";
/// Lines of our own code say nothing to the tool's author.
const HARNESS: &str = "/lib/aria/";

/// The stack with every place it can find mapped, and the harness left out. Reads at most a few files below `code_dir`.
pub(crate) fn map_stack(stack: &str, code_dir: &Path) -> String {
    let mut maps: HashMap<String, Option<SourceMap>> = HashMap::new();
    let mut mapped = Vec::new();
    for line in stack.lines().take(LINES_MAX).filter(|line| !line.contains(HARNESS)) {
        let Some(place) = Place::find(line) else {
            mapped.push(line.to_owned());
            continue;
        };
        // One map per entry module; a stack that names many files is made up.
        if maps.len() >= 4 && !maps.contains_key(place.file) {
            mapped.push(line.to_owned());
            continue;
        }
        let map = maps.entry(place.file.to_owned()).or_insert_with(|| SourceMap::read(code_dir, place.file));
        let original = map.as_ref().and_then(|map| map.original(place.line, place.column));
        mapped.push(match original {
            Some((source, line_number, column)) => {
                format!("{}{source}:{line_number}:{column}{}", place.before, place.after)
            }
            None => line.to_owned(),
        });
    }
    mapped.join("\n")
}

/// `…/app/<file>:<line>:<column>…` in a stack line; line and column count from 1.
struct Place<'a> {
    before: &'a str,
    file: &'a str,
    line: u32,
    column: u32,
    after: &'a str,
}

impl<'a> Place<'a> {
    fn find(text: &'a str) -> Option<Self> {
        let start = text.find(ROOT)?;
        let before = text.get(..start)?;
        let before = before.strip_suffix("file://").unwrap_or(before);
        let rest = text.get(start + ROOT.len()..)?;
        let (file, numbers) = rest.split_once(':')?;
        let (line, rest) = number(numbers)?;
        let (column, after) = number(rest.strip_prefix(':')?)?;
        let plain = !file.is_empty() && file.split('/').all(|part| !matches!(part, "" | "." | ".."));
        plain.then_some(Self { before, file, line, column, after })
    }
}

fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|symbol: char| !symbol.is_ascii_digit()).unwrap_or(text.len());
    Some((text.get(..end)?.parse().ok()?, text.get(end..)?))
}

struct SourceMap {
    /// Paths in the bundle.
    sources: Vec<String>,
    mappings: String,
}

impl SourceMap {
    fn read(code_dir: &Path, file: &str) -> Option<Self> {
        let path = code_dir.join(format!("{file}.map"));
        let found = std::fs::symlink_metadata(&path).ok()?;
        if !found.is_file() || found.len() > MAP_BYTES_MAX {
            return None;
        }
        let mut map: Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        let Value::String(mappings) = map.get_mut("mappings")?.take() else { return None };
        let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
        let sources = map.get("sources")?.as_array()?.iter().map(|source| resolve(dir, source.as_str().unwrap_or("")));
        Some(Self { sources: sources.collect(), mappings })
    }

    /// The source, line and column (from 1) of a place in the generated file.
    fn original(&self, line: u32, column: u32) -> Option<(&str, u32, u32)> {
        let line = usize::try_from(line.checked_sub(1)?).ok()?;
        let column = i64::from(column.checked_sub(1)?);
        let mut state = Segment::default();
        let mut best: Option<Segment> = None;
        for (index, text) in self.mappings.split(';').enumerate().take(line + 1) {
            state.generated = 0;
            for segment in text.split(',').filter(|segment| !segment.is_empty()) {
                let has_source = state.advance(segment)?;
                if index == line && has_source && state.generated <= column {
                    best = Some(state);
                }
            }
        }
        let best = best?;
        let source = self.sources.get(usize::try_from(best.source).ok()?)?;
        let from_one = |value: i64| value.checked_add(1).and_then(|value| u32::try_from(value).ok());
        Some((source, from_one(best.line)?, from_one(best.column)?))
    }
}

/// The running values of a map's deltas.
#[derive(Clone, Copy, Default)]
struct Segment {
    generated: i64,
    source: i64,
    line: i64,
    column: i64,
}

impl Segment {
    /// Adds one segment; whether it names a source, or `None` when it is not one.
    fn advance(&mut self, text: &str) -> Option<bool> {
        let mut digits = text.bytes();
        self.generated = self.generated.checked_add(vlq(&mut digits)?)?;
        if digits.len() == 0 {
            return Some(false);
        }
        self.source = self.source.checked_add(vlq(&mut digits)?)?;
        self.line = self.line.checked_add(vlq(&mut digits)?)?;
        self.column = self.column.checked_add(vlq(&mut digits)?)?;
        Some(true)
    }
}

/// One base-64 variable-length number.
fn vlq(digits: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let mut value: i64 = 0;
    // Seven digits hold 34 bits, more than any column.
    for shift in (0..35).step_by(5) {
        let digit = i64::from(base64_digit(digits.next()?)?);
        value |= (digit & 31) << shift;
        if digit & 32 == 0 {
            return Some(if value & 1 == 1 { -(value >> 1) } else { value >> 1 });
        }
    }
    None
}

fn base64_digit(symbol: u8) -> Option<u8> {
    match symbol {
        b'A'..=b'Z' => Some(symbol - b'A'),
        b'a'..=b'z' => Some(symbol - b'a' + 26),
        b'0'..=b'9' => Some(symbol - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// A source relative to the directory of its map, as a path in the bundle.
fn resolve(dir: &str, source: &str) -> String {
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in source.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/").chars().filter(|symbol| !symbol.is_control()).take(1024).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(map: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("code")).unwrap();
        std::fs::write(dir.path().join("code/a.js.map"), map).unwrap();
        dir
    }

    // Generated line 1: column 0 is src/a.ts 1:1. Line 2: column 2 is 4:3, column 10 is 5:1.
    const MAP: &str = r#"{"version":3,"sources":["../src/a.ts"],"names":[],"mappings":"AAAA;EAGE,QACF"}"#;

    #[test]
    fn places_become_those_of_the_source() {
        let dir = bundle(MAP);
        let stack = "Error: no\n    at f (/app/code/a.js:2:5)\n    at /app/code/a.js:2:11\n    at run (/lib/aria/harness.js:9:9)";
        let mapped = map_stack(stack, dir.path());
        assert_eq!(mapped, "Error: no\n    at f (src/a.ts:4:3)\n    at src/a.ts:5:1");
    }

    #[test]
    fn what_cannot_be_mapped_stays() {
        let stack = "at f (/app/code/a.js:9:5)\nat /app/code/../../etc/passwd:1:1\nat /app/code/b.js:1:1\nat native";
        assert_eq!(map_stack(stack, bundle(MAP).path()), stack);
        for map in [
            "",
            "{}",
            r#"{"sources":[],"mappings":"AAAA"}"#,
            r#"{"sources":["a"],"mappings":"!!!!;gggggggggggggggggg"}"#,
        ] {
            let stack = "at f (/app/code/a.js:1:1)";
            assert_eq!(map_stack(stack, bundle(map).path()), stack, "{map}");
        }
    }

    #[test]
    fn a_map_that_is_a_link_is_not_followed() {
        let dir = bundle("");
        let path = dir.path().join("code/a.js.map");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(dir.path().join("elsewhere"), MAP).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        let stack = "at f (/app/code/a.js:1:1)";
        assert_eq!(map_stack(stack, dir.path()), stack);
    }
}
