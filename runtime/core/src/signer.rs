//! Keys that vouch for bundles, whom they speak for, and when a device takes one up.

use std::fmt;
use std::str::FromStr;

use aria_types::ErrorKind;

use crate::digest::Digest;
use crate::time::UnixMs;

/// Signers one device knows, revoked ones counted; they stay, so that a revoked key is never trusted again.
pub const SIGNERS_MAX: usize = 1000;

/// Whom keys speak for: letters, digits, `.`, `_`, `-`, `@`, 1 to 63 bytes, beginning with a letter or digit.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Publisher(Box<str>);

/// A text is no publisher's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a publisher is letters, digits, . _ - @, 1 to 63 bytes, beginning with a letter or digit")]
pub struct NotAPublisher;

impl Publisher {
    /// Checks `text`; nothing is trimmed or folded.
    pub fn parse(text: &str) -> Result<Self, NotAPublisher> {
        let good = (1..=63).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(|symbol| symbol.is_ascii_alphanumeric() || "._-@".contains(symbol));
        if good { Ok(Self(text.into())) } else { Err(NotAPublisher) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Publisher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for Publisher {
    type Err = NotAPublisher;

    fn from_str(text: &str) -> Result<Self, NotAPublisher> {
        Self::parse(text)
    }
}

/// What the signatures of one bundle are worth on one device at one time. Keys by the digest of their DER SubjectPublicKeyInfo.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nobody signed it.
    None,
    /// A signature that claims a known key does not hold.
    Bad(Digest),
    /// Only keys this device does not know.
    UnknownSigner(Digest),
    /// The key was revoked.
    Revoked(Digest),
    /// The key's time is over.
    Expired(Digest),
    /// Trusted keys signed exactly this bundle; at least one, in the bundle's order.
    Good(Vec<Digest>),
}

/// A key that is trusted, and whom it speaks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signer {
    /// The key.
    pub key: Digest,
    /// Its publisher.
    pub publisher: Publisher,
}

/// A key as the device knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// The key and its publisher.
    pub signer: Signer,
    /// Not trusted from here on; `None`: no end.
    pub expires_at: Option<UnixMs>,
    /// It was revoked.
    pub revoked: bool,
}

/// What trusting a key changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taken {
    /// It is new.
    New,
    /// It is known and gets another end.
    OtherEnd,
    /// Nothing.
    Unchanged,
}

/// Why a key is not trusted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TrustRefusal {
    /// What was revoked stays revoked.
    #[error("key {0} was revoked on this device; a revoked key is not trusted again, make a new one")]
    Revoked(Digest),
    /// A key speaks for one publisher.
    #[error("key {key} is trusted on this device for the publisher {publisher}")]
    OtherPublisher {
        /// The key.
        key: Digest,
        /// Whom it speaks for.
        publisher: Publisher,
    },
    /// Another key speaks for the publisher, and nobody said that this one does too.
    #[error("another key speaks for the publisher {0} on this device")]
    PublisherTaken(Publisher),
    /// The end is not in the future.
    #[error("the key would be trusted until a time that is over")]
    Over,
    /// As many keys as may be.
    #[error("the device knows {SIGNERS_MAX} keys, which is as many as it may")]
    Full,
}

impl TrustRefusal {
    /// The kind callers act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Revoked(_) => ErrorKind::State,
            Self::OtherPublisher { .. } | Self::PublisherTaken(_) => ErrorKind::Exists,
            Self::Over => ErrorKind::Invalid,
            Self::Full => ErrorKind::Exhausted,
        }
    }

    /// The stable reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Revoked(_) => "SIGNER_REVOKED",
            Self::OtherPublisher { .. } => "SIGNER_EXISTS",
            Self::PublisherTaken(_) => "PUBLISHER_TAKEN",
            Self::Over => "EXPIRES_PAST",
            Self::Full => "SIGNERS_FULL",
        }
    }
}

/// Whether a device takes up a key. `joins`: whoever asks says that it is one more key of a publisher that has others, revoked ones
/// counted. Without that a publisher's name, and with it the names of its bundles, is not handed to another key.
pub fn take_up(
    known: &[Standing],
    new: &Signer,
    expires_at: Option<UnixMs>,
    joins: bool,
    now: UnixMs,
) -> Result<Taken, TrustRefusal> {
    if expires_at.is_some_and(|end| end <= now) {
        return Err(TrustRefusal::Over);
    }
    if let Some(there) = known.iter().find(|there| there.signer.key == new.key) {
        return match there {
            there if there.revoked => Err(TrustRefusal::Revoked(new.key)),
            there if there.signer.publisher != new.publisher => {
                Err(TrustRefusal::OtherPublisher { key: new.key, publisher: there.signer.publisher.clone() })
            }
            there if there.expires_at == expires_at => Ok(Taken::Unchanged),
            _ => Ok(Taken::OtherEnd),
        };
    }
    if !joins && known.iter().any(|there| there.signer.publisher == new.publisher) {
        return Err(TrustRefusal::PublisherTaken(new.publisher.clone()));
    }
    if known.len() >= SIGNERS_MAX { Err(TrustRefusal::Full) } else { Ok(Taken::New) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_000);

    fn key(n: u8) -> Digest {
        Digest::new([n; 32])
    }

    fn signer(n: u8, publisher: &str) -> Signer {
        Signer { key: key(n), publisher: Publisher::parse(publisher).unwrap() }
    }

    fn standing(n: u8, publisher: &str) -> Standing {
        Standing { signer: signer(n, publisher), expires_at: None, revoked: false }
    }

    #[track_caller]
    fn check(known: &[Standing], new: &Signer, joins: bool, expected: Result<Taken, &str>) {
        let found = take_up(known, new, None, joins, NOW);
        assert_eq!(found.as_ref().map_err(TrustRefusal::reason).copied(), expected);
    }

    #[test]
    fn a_new_key_is_taken_up_once() {
        check(&[], &signer(1, "ann"), false, Ok(Taken::New));
        check(&[standing(1, "ann")], &signer(1, "ann"), false, Ok(Taken::Unchanged));
        check(&[standing(1, "ann")], &signer(2, "bob"), false, Ok(Taken::New));
    }

    #[test]
    fn a_publisher_is_not_handed_over_in_passing() {
        check(&[standing(1, "ann")], &signer(2, "ann"), false, Err("PUBLISHER_TAKEN"));
        check(&[standing(1, "ann")], &signer(2, "ann"), true, Ok(Taken::New));
        let revoked = Standing { revoked: true, ..standing(1, "ann") };
        check(&[revoked], &signer(2, "ann"), false, Err("PUBLISHER_TAKEN"));
        check(&[standing(1, "ann")], &signer(1, "bob"), true, Err("SIGNER_EXISTS"));
    }

    #[test]
    fn a_revoked_key_stays_revoked() {
        let revoked = Standing { revoked: true, ..standing(1, "ann") };
        check(&[revoked], &signer(1, "ann"), true, Err("SIGNER_REVOKED"));
    }

    #[test]
    fn an_end_is_in_the_future_and_can_be_changed() {
        let known = [standing(1, "ann")];
        let until = |end| take_up(&known, &signer(1, "ann"), Some(UnixMs(end)), false, NOW);
        assert_eq!(until(1_000), Err(TrustRefusal::Over));
        assert_eq!(until(1_001), Ok(Taken::OtherEnd));
    }

    #[test]
    fn there_is_a_bound() {
        let known: Vec<Standing> = (0..SIGNERS_MAX)
            .map(|n| {
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&n.to_le_bytes());
                let publisher = Publisher::parse(&format!("p{n}")).unwrap();
                let signer = Signer { key: Digest::new(bytes), publisher };
                Standing { signer, expires_at: None, revoked: false }
            })
            .collect();
        check(&known, &signer(255, "new"), false, Err("SIGNERS_FULL"));
    }

    #[test]
    fn a_publisher_is_a_plain_word() {
        for good in ["ann", "Ann@laptop.example", "a_b-c.9", &"x".repeat(63)] {
            assert_eq!(Publisher::parse(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-ann", ".a", "a b", "a/b", "é", "a\n", &"x".repeat(64)] {
            assert_eq!(Publisher::parse(bad), Err(NotAPublisher), "{bad:?}");
        }
    }
}
