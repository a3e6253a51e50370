//! Bundles that need other bundles: ranges of versions, and what a removal would leave without what it needs.

use std::collections::BTreeSet;
use std::fmt;

use semver::{Version, VersionReq};

use crate::Name;

/// Longest text of a range, bytes.
pub const RANGE_BYTES_MAX: usize = 128;

/// A range of versions: `^`, `~`, `=` or `>=` and one whole version. The part of the usual grammars on which all of them agree;
/// a pre-release is in a range only when the range names one of the same `x.y.z`.
///
/// ```
/// # use aria_core::dependency::Range;
/// let range = Range::parse("^1.2.0").unwrap();
/// assert!(range.holds(&"1.9.1".parse().unwrap()) && !range.holds(&"2.0.0".parse().unwrap()));
/// assert!(Range::parse("1.x").is_err());
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Range {
    text: Box<str>,
    compiled: VersionReq,
}

/// Why a text is no range.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not `^`, `~`, `=` or `>=` followed by a whole version such as 1.2.0")]
pub struct NotARange;

impl Range {
    /// Checks `text`; nothing is trimmed or completed.
    pub fn parse(text: &str) -> Result<Self, NotARange> {
        let version = ["^", "~", ">=", "="].iter().find_map(|operator| text.strip_prefix(operator)).ok_or(NotARange)?;
        let whole = Version::parse(version).map_err(|_| NotARange)?;
        if text.len() > RANGE_BYTES_MAX || !whole.build.is_empty() {
            return Err(NotARange);
        }
        Ok(Self { text: text.into(), compiled: VersionReq::parse(text).map_err(|_| NotARange)? })
    }

    /// Whether a version is in it.
    pub fn holds(&self, version: &Version) -> bool {
        self.compiled.matches(version)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Another bundle that must be there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dependency {
    /// Its name.
    pub name: Name,
    /// Which versions of it will do.
    pub range: Range,
}

/// One installed version and what it needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// The bundle.
    pub name: Name,
    /// Its version.
    pub version: Version,
    /// What it needs.
    pub dependencies: Vec<Dependency>,
}

/// The first dependency that none of `installed` meets.
pub fn unmet<'a>(
    needed: &'a [Dependency],
    installed: impl Iterator<Item = (&'a Name, &'a Version)> + Clone,
) -> Option<&'a Dependency> {
    let met =
        |one: &&Dependency| installed.clone().any(|(name, version)| *name == one.name && one.range.holds(version));
    needed.iter().find(|one| !met(one))
}

/// Who would lack something if `going` (places in `all`) went, and had it before: their places, those who lack something only
/// because of them included. Ends after at most one round for each bundle.
pub fn dependants(all: &[Node], going: &BTreeSet<usize>) -> BTreeSet<usize> {
    let nothing = BTreeSet::new();
    let mut gone = going.clone();
    loop {
        let loses = |(place, node): (usize, &Node)| {
            let loses = !gone.contains(&place) && lacks(node, all, &gone) && !lacks(node, all, &nothing);
            loses.then_some(place)
        };
        let next: BTreeSet<usize> = all.iter().enumerate().filter_map(loses).collect();
        if next.is_empty() {
            return &gone - going;
        }
        gone.extend(next);
    }
}

/// Whether `node` lacks something when `gone` (places in `all`) are not there.
fn lacks(node: &Node, all: &[Node], gone: &BTreeSet<usize>) -> bool {
    let left = all.iter().enumerate().filter(|(place, _)| !gone.contains(place));
    unmet(&node.dependencies, left.map(|(_, node)| (&node.name, &node.version))).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, version: &str, needs: &[(&str, &str)]) -> Node {
        let dependency = |(name, range): &(&str, &str)| Dependency {
            name: Name::parse(name).unwrap(),
            range: Range::parse(range).unwrap(),
        };
        let dependencies = needs.iter().map(dependency).collect();
        Node { name: Name::parse(name).unwrap(), version: Version::parse(version).unwrap(), dependencies }
    }

    #[test]
    fn ranges_are_what_every_grammar_agrees_on() {
        let holds = |range: &str, version: &str| Range::parse(range).unwrap().holds(&Version::parse(version).unwrap());
        for (range, inside, outside) in [
            ("^1.2.0", "1.9.0", "2.0.0"),
            ("^0.2.3", "0.2.9", "0.3.0"),
            ("^0.0.3", "0.0.3", "0.0.4"),
            ("~1.2.3", "1.2.9", "1.3.0"),
            ("=1.2.3", "1.2.3", "1.2.4"),
            (">=1.2.3", "7.0.0", "1.2.2"),
            ("^1.2.0-rc.1", "1.2.0-rc.2", "1.3.0-rc.1"),
        ] {
            assert!(holds(range, inside) && !holds(range, outside), "{range}");
        }
        for bad in [
            "",
            "1.2.3",
            "*",
            "^1",
            "^1.2",
            "1.x",
            ">1.0.0",
            "<2.0.0",
            "^1.0.0 || ^2.0.0",
            "^1.0.0, <1.5.0",
            "^ 1.0.0",
            "^1.0.0+b",
            "=v1.0.0",
        ] {
            assert_eq!(Range::parse(bad), Err(NotARange), "{bad}");
        }
        assert_eq!(Range::parse(&format!("^1.0.0-{}", "a".repeat(RANGE_BYTES_MAX))), Err(NotARange));
    }

    #[test]
    fn a_bundle_with_another_version_that_will_do_is_not_needed() {
        let all = [node("base", "1.0.0", &[]), node("base", "1.1.0", &[]), node("top", "1.0.0", &[("base", "^1.0.0")])];
        assert_eq!(dependants(&all, &[0].into()), BTreeSet::new());
        assert_eq!(dependants(&all, &[0, 1].into()), [2].into());
        assert_eq!(dependants(&all, &[0, 1, 2].into()), BTreeSet::new());
    }

    #[test]
    fn dependants_of_dependants_count_too() {
        let all =
            [node("a", "1.0.0", &[]), node("b", "1.0.0", &[("a", "=1.0.0")]), node("c", "1.0.0", &[("b", "^1.0.0")])];
        assert_eq!(dependants(&all, &[0].into()), [1, 2].into());
        assert_eq!(dependants(&all, &[2].into()), BTreeSet::new());
    }

    #[test]
    fn who_lacked_something_before_is_not_counted() {
        let all = [node("a", "1.0.0", &[]), node("b", "1.0.0", &[("a", "^1.0.0"), ("gone", "^1.0.0")])];
        assert_eq!(dependants(&all, &[0].into()), BTreeSet::new());
    }
}
