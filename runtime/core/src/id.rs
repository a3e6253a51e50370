//! Ids. Randomness comes from the caller.

use std::fmt;

/// One invocation: 32 lower-case hex characters, unique. Also the execution id Quilt sees.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InvocationId(Box<str>);

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an id: expected 32 lower-case hexadecimal digits")]
pub struct IdError;

impl InvocationId {
    /// Makes an id from 16 bytes of the system's random source.
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(hex(&random).into())
    }

    /// Checks an id from outside.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 32 && hex { Ok(Self(text.into())) } else { Err(IdError) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node's own name when nobody gave it one: `aria-` and 8 hex digits.
pub fn node_id(random: [u8; 4]) -> String {
    format!("aria-{}", hex(&random))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_and_parse_back() {
        let id = InvocationId::from_random([0xab; 16]);
        assert_eq!(id.as_str(), "ab".repeat(16));
        assert_eq!(InvocationId::parse(id.as_str()), Ok(id));
        assert_eq!(node_id([0, 1, 2, 255]), "aria-000102ff");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "ab", &"AB".repeat(16), &"g".repeat(32), &"a".repeat(33)] {
            assert_eq!(InvocationId::parse(text), Err(IdError), "{text}");
        }
    }
}
