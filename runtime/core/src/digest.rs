//! A SHA-256 as the project writes it: `sha256:<hex>` to people, bare hex in file names. Hashing itself is done by those who hold the bytes.

use std::fmt;

/// Thirty-two bytes of SHA-256.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest([u8; 32]);

/// Why a text is not a digest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a SHA-256: expected 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl Digest {
    /// Wraps the hash value.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 lower-case hex digits, nothing before or after them.
    pub fn from_hex(text: &str) -> Result<Self, DigestError> {
        let text: &[u8; 64] = text.as_bytes().try_into().map_err(|_| DigestError)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let [high, low] = pair else { return Err(DigestError) };
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Self(bytes))
    }

    /// Reads `sha256:<hex>`.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        Self::from_hex(text.strip_prefix("sha256:").ok_or(DigestError)?)
    }

    /// 64 lower-case hex digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The value.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(DigestError),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_comes_back() {
        let text = format!("sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(Digest::parse(&text).map(|d| d.to_string()), Ok(text));
    }

    #[test]
    fn other_texts_are_refused() {
        let hex = "0123456789abcdef".repeat(4);
        for text in
            ["".into(), hex.to_uppercase(), hex[1..].into(), format!("{hex}0"), format!("sha256:{hex}"), "é".repeat(32)]
        {
            assert_eq!(Digest::from_hex(&text), Err(DigestError), "{text}");
        }
        for text in [hex.clone(), format!("sha512:{hex}"), format!("SHA256:{hex}")] {
            assert_eq!(Digest::parse(&text), Err(DigestError), "{text}");
        }
    }
}
