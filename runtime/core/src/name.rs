//! Names of bundles and tools, and the two together: `<bundle>.<tool>`.

use std::fmt;
use std::str::FromStr;

/// Longest name, bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// A bundle's or tool's name: `a-z`, digits and `-`, 1 to 63 bytes, starts with a letter.
///
/// ```
/// # use aria_core::Name;
/// assert!(Name::parse("order-lookup").is_ok());
/// assert!(Name::parse("../etc").is_err());
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(Box<str>);

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Zero bytes.
    #[error("name is empty")]
    Empty,
    /// More than 63 bytes.
    #[error("name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// The first character is no letter.
    #[error("name does not start with a letter a-z")]
    Start,
    /// A character that is not `a-z`, `0-9` or `-`.
    #[error("name has a character other than a-z, 0-9 and -")]
    Character,
    /// Not `<bundle>.<tool>`.
    #[error("tool name is not <bundle>.<tool>")]
    NoDot,
}

impl Name {
    /// Checks `text`; nothing is trimmed or folded.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let first = *text.as_bytes().first().ok_or(NameError::Empty)?;
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err(NameError::Character);
        }
        if !first.is_ascii_lowercase() {
            return Err(NameError::Start);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// What callers write: `<bundle>.<tool>`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ToolName {
    /// The bundle.
    pub bundle: Name,
    /// The tool in it.
    pub tool: Name,
}

impl ToolName {
    /// Checks `text`: two names with one dot between them.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (bundle, tool) = text.split_once('.').ok_or(NameError::NoDot)?;
        Ok(Self { bundle: Name::parse(bundle)?, tool: Name::parse(tool)? })
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.bundle, self.tool)
    }
}

impl FromStr for ToolName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), NameError>) {
        assert_eq!(Name::parse(text).map(|n| assert_eq!(n.as_str(), text)), expected);
    }

    #[test]
    fn ordinary_names_are_accepted() {
        for text in ["a", "weather", "order-lookup", "a1-2", &"x".repeat(63)] {
            check(text, Ok(()));
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        check("", Err(NameError::Empty));
        check(&"x".repeat(64), Err(NameError::TooLong));
        check("1a", Err(NameError::Start));
        check("-a", Err(NameError::Start));
        for text in ["Weather", "a_b", "a.b", "a b", "a\0", "é", "a/../b", "a\n"] {
            check(text, Err(NameError::Character));
        }
    }

    #[test]
    fn tool_names_have_exactly_one_dot() {
        assert_eq!(ToolName::parse("weather.forecast").map(|n| n.to_string()), Ok("weather.forecast".into()));
        assert_eq!(ToolName::parse("weather"), Err(NameError::NoDot));
        assert_eq!(ToolName::parse("a.b.c"), Err(NameError::Character));
        assert_eq!(ToolName::parse(".b"), Err(NameError::Empty));
    }
}
