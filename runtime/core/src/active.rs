//! Which version of a bundle calls go to, and which one they went to before.

use semver::Version;

/// The pointer of one bundle's name. Without a pin it follows the newest version; a pin holds it where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Active {
    /// Calls go here.
    pub version: Version,
    /// Calls went here before the pointer last moved, if that version is still installed.
    pub previous: Option<Version>,
    /// Newer versions do not move the pointer.
    pub pinned: bool,
}

impl Active {
    /// A version was installed beside what there was.
    #[must_use]
    pub fn installed(before: Option<Self>, new: Version) -> Self {
        match before {
            None => Self { version: new, previous: None, pinned: false },
            Some(active) if active.pinned || new <= active.version => active,
            Some(active) => active.moved(new, false),
        }
    }

    /// Somebody chose a version.
    #[must_use]
    pub fn pin(self, version: Version) -> Self {
        self.moved(version, true)
    }

    /// Somebody wants the newest version again, now and later.
    #[must_use]
    pub fn follow(self, newest: Version) -> Self {
        self.moved(newest, false)
    }

    /// Back to where calls went before, and pinned there; `None` when nothing is known of before. Twice is as not at all.
    #[must_use]
    pub fn back(self) -> Option<Self> {
        let previous = self.previous.clone()?;
        Some(self.moved(previous, true))
    }

    /// Versions were removed; `left` are those still installed. `None` when there are none. A pin ends with its version.
    #[must_use]
    pub fn removed(self, left: &[Version]) -> Option<Self> {
        let previous = self.previous.filter(|version| left.contains(version));
        if left.contains(&self.version) {
            return Some(Self { previous, ..self });
        }
        Some(Self { version: left.iter().max()?.clone(), previous: None, pinned: false })
    }

    fn moved(self, version: Version, pinned: bool) -> Self {
        let previous = if version == self.version { self.previous } else { Some(self.version) };
        Self { version, previous, pinned }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn at(text: &str, previous: Option<&str>, pinned: bool) -> Active {
        Active { version: version(text), previous: previous.map(version), pinned }
    }

    #[test]
    fn a_newer_version_takes_the_calls_and_an_older_one_does_not() {
        let first = Active::installed(None, version("1.0.0"));
        assert_eq!(first, at("1.0.0", None, false));
        let second = Active::installed(Some(first), version("1.1.0"));
        assert_eq!(second, at("1.1.0", Some("1.0.0"), false));
        assert_eq!(Active::installed(Some(second.clone()), version("1.0.5")), second);
        assert_eq!(Active::installed(Some(second.clone()), version("1.1.0-rc.1")), second);
    }

    #[test]
    fn a_pin_holds_against_newer_versions_until_it_is_lifted() {
        let pinned = at("1.1.0", Some("1.0.0"), false).pin(version("1.0.0"));
        assert_eq!(pinned, at("1.0.0", Some("1.1.0"), true));
        assert_eq!(Active::installed(Some(pinned.clone()), version("2.0.0")), pinned);
        assert_eq!(pinned.follow(version("2.0.0")), at("2.0.0", Some("1.0.0"), false));
        assert_eq!(at("1.0.0", Some("0.9.0"), false).pin(version("1.0.0")), at("1.0.0", Some("0.9.0"), true));
    }

    #[test]
    fn back_goes_to_the_version_before_and_twice_is_as_not_at_all() {
        let back = at("1.1.0", Some("1.0.0"), false).back().unwrap();
        assert_eq!(back, at("1.0.0", Some("1.1.0"), true));
        assert_eq!(back.back().unwrap(), at("1.1.0", Some("1.0.0"), true));
        assert_eq!(at("1.0.0", None, false).back(), None);
    }

    #[test]
    fn what_is_removed_is_not_pointed_at() {
        let left = |texts: &[&str]| texts.iter().map(|text| version(text)).collect::<Vec<_>>();
        let pinned = at("1.1.0", Some("1.0.0"), true);
        assert_eq!(pinned.clone().removed(&left(&["1.1.0", "2.0.0"])), Some(at("1.1.0", None, true)));
        assert_eq!(pinned.clone().removed(&left(&["1.0.0", "1.0.1"])), Some(at("1.0.1", None, false)));
        assert_eq!(pinned.removed(&[]), None);
    }
}
