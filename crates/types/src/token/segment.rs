//! What may stand between two colons of a token, and which characters may stand in a token at all.

use super::{Mode, TOKEN_BYTES_MAX, TokenError};

/// Longest segment, bytes.
const SEGMENT_BYTES_MAX: usize = 63;

/// One name or scope of a token: `a-z`, digits, `.`, `-` and `_`, 1 to 63 bytes, not a mode word, and no dot or dash at
/// either end, so that it is never `..`, a hidden file or an option.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Segment(Box<str>);

impl Segment {
    /// Reads one segment.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.is_empty() {
            return Err(TokenError::EmptySegment);
        }
        if text.len() > SEGMENT_BYTES_MAX {
            return Err(TokenError::SegmentTooLong { segment: text.into() });
        }
        text.chars().try_for_each(check_character)?;
        if text.contains(':') {
            return Err(TokenError::Character { found: ':' });
        }
        if text.starts_with(['.', '-']) || text.ends_with(['.', '-']) || text.contains("..") {
            return Err(TokenError::SegmentShape { segment: text.into() });
        }
        if Mode::parse(text).is_some() {
            return Err(TokenError::Reserved { word: text.into() });
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A segment made of a number and at most one letter, which is always well formed.
    pub(super) fn of_quantity(number: u64, unit: &str) -> Self {
        Self(format!("{number}{unit}").into_boxed_str())
    }
}

/// The rules for the text as a whole, so that the first bad character is named whatever segment it is in.
pub(super) fn check_text(text: &str) -> Result<(), TokenError> {
    if text.is_empty() {
        return Err(TokenError::Empty);
    }
    if text.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong { bytes: text.len() });
    }
    text.chars().try_for_each(check_character)
}

fn check_character(found: char) -> Result<(), TokenError> {
    match found {
        'a'..='z' | '0'..='9' | '.' | '-' | '_' | ':' => Ok(()),
        'A'..='Z' => Err(TokenError::UpperCase { found }),
        '*' | '?' | '[' | ']' | '{' | '}' => Err(TokenError::Wildcard { found }),
        '/' | '\\' => Err(TokenError::PathSeparator { found }),
        '%' => Err(TokenError::Encoded),
        _ if !found.is_ascii() => Err(TokenError::NotAscii { found }),
        _ if found.is_ascii_whitespace() || found.is_ascii_control() => Err(TokenError::Space { found }),
        _ => Err(TokenError::Character { found }),
    }
}
