//! Whether a device installs a bundle that was sent to it: who vouches for it, is the name theirs, is it going forward, and does it
//! ask for more than what is there.
//!
//! A name belongs to the publisher of the first bundle that had it, also after that was removed. A publisher is one or more keys
//! that an operator put under one name, so keys can change hands over time and the name stays.

use aria_types::ErrorKind;
use semver::Version;

use crate::authority::{self, Change, Way};
use crate::bundle::Manifest;
use crate::digest::Digest;
use crate::name::Name;
use crate::signer::{Publisher, Signer, Verdict};

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Its checked manifest.
    pub manifest: &'a Manifest,
    /// Its identity.
    pub digest: Digest,
    /// What it may touch.
    pub authority_digest: Digest,
    /// What its signatures are worth.
    pub verdict: &'a Verdict,
    /// The signers behind a good verdict; others do not matter.
    pub signers: &'a [Signer],
    /// The authority the sender says is wanted.
    pub accepted: Option<Digest>,
}

/// What the device knows of the name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Whose it is.
    pub publisher: Option<&'a Publisher>,
    /// The highest version that was ever installed.
    pub highest: Option<&'a Version>,
    /// What is installed under the very version.
    pub same_version: Option<Digest>,
    /// The newest installed version: the one that is called today.
    pub newest: Option<&'a Manifest>,
    /// Exactly this interface and authority of this name were accepted from this publisher before.
    pub granted: bool,
}

/// What to do with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission {
    /// It is installed already.
    Present {
        /// Who vouches for it.
        signer: Signer,
    },
    /// Install it.
    Install {
        /// Who vouches for it.
        signer: Signer,
        /// What it may touch beyond or below the installed version.
        changes: Vec<Change>,
        /// The sender accepted that it may touch more, which is to be remembered.
        grants: bool,
    },
}

/// Why it is not installed. Nothing changes in any of these cases.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Nobody signed it.
    #[error("the bundle is not signed")]
    SignatureMissing,
    /// A signature does not hold.
    #[error("the signature of key {0} does not hold for this bundle")]
    SignatureBad(Digest),
    /// No key that signed it is trusted.
    #[error("the bundle is signed by key {0}, which this device does not trust")]
    SignerUnknown(Digest),
    /// The key was revoked.
    #[error("the bundle is signed by key {0}, which was revoked on this device")]
    SignerRevoked(Digest),
    /// The key's time is over.
    #[error("the bundle is signed by key {0}, which this device trusted for a time that is over")]
    SignerExpired(Digest),
    /// The name is somebody else's.
    #[error("the name {name} belongs to the publisher {owner} on this device, the bundle is signed by {signed_by}")]
    PublisherMismatch {
        /// Of the bundle.
        name: Name,
        /// Whose it is.
        owner: Publisher,
        /// Who signed.
        signed_by: Publisher,
    },
    /// It goes back.
    #[error("{name}@{offered} is older than {highest}, which was installed on this device")]
    Rollback {
        /// Of the bundle.
        name: Name,
        /// Its version.
        offered: Version,
        /// The highest seen.
        highest: Version,
    },
    /// Another content has this name and version.
    #[error("{name}@{version} is already installed with digest {installed}")]
    VersionTaken {
        /// Of the bundle.
        name: Name,
        /// Its version.
        version: Version,
        /// What is there.
        installed: Digest,
    },
    /// It may touch more than the installed version.
    #[error(
        "{name}@{version} may touch more than the installed version ({}); accept authority {authority} to install it",
        listed(.wider)
    )]
    AuthorityWidened {
        /// Of the bundle.
        name: Name,
        /// Its version.
        version: Version,
        /// What must be accepted.
        authority: Digest,
        /// What it may touch more; at least one.
        wider: Vec<Change>,
    },
}

/// Changes named in one line of text; a dry run tells the rest.
const LISTED_MAX: usize = 8;

fn listed(changes: &[Change]) -> String {
    let mut texts: Vec<String> = changes.iter().take(LISTED_MAX).map(ToString::to_string).collect();
    if changes.len() > LISTED_MAX {
        texts.push(format!("{} more", changes.len() - LISTED_MAX));
    }
    texts.join(", ")
}

impl Refusal {
    /// The kind callers act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::SignatureMissing
            | Self::SignatureBad(_)
            | Self::SignerUnknown(_)
            | Self::SignerRevoked(_)
            | Self::SignerExpired(_)
            | Self::PublisherMismatch { .. } => ErrorKind::Denied,
            Self::VersionTaken { .. } => ErrorKind::Exists,
            Self::Rollback { .. } | Self::AuthorityWidened { .. } => ErrorKind::State,
        }
    }

    /// The stable reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::SignatureMissing => "SIGNATURE_MISSING",
            Self::SignatureBad(_) => "SIGNATURE_BAD",
            Self::SignerUnknown(_) => "SIGNER_UNKNOWN",
            Self::SignerRevoked(_) => "SIGNER_REVOKED",
            Self::SignerExpired(_) => "SIGNER_EXPIRED",
            Self::PublisherMismatch { .. } => "PUBLISHER_MISMATCH",
            Self::Rollback { .. } => "BUNDLE_ROLLBACK",
            Self::VersionTaken { .. } => "VERSION_TAKEN",
            Self::AuthorityWidened { .. } => "AUTHORITY_WIDENED",
        }
    }
}

/// The one decision. Who vouches comes first, so that nobody without a key learns what is installed.
pub fn admit(offer: &Offer<'_>, known: &Known<'_>) -> Result<Admission, Refusal> {
    let signer = signer(offer, known)?;
    let (name, version) = (&offer.manifest.name, &offer.manifest.version);
    match known.same_version {
        Some(installed) if installed == offer.digest => return Ok(Admission::Present { signer }),
        Some(installed) => {
            return Err(Refusal::VersionTaken { name: name.clone(), version: version.clone(), installed });
        }
        None => {}
    }
    if let Some(highest) = known.highest.filter(|highest| version < highest) {
        return Err(Refusal::Rollback { name: name.clone(), offered: version.clone(), highest: highest.clone() });
    }
    let changes = known.newest.map(|newest| authority::diff(newest, offer.manifest)).unwrap_or_default();
    let wider: Vec<Change> = changes.iter().filter(|change| change.way == Way::Wider).cloned().collect();
    let accepted = offer.accepted == Some(offer.authority_digest);
    if !wider.is_empty() && !accepted && !known.granted {
        let authority = offer.authority_digest;
        return Err(Refusal::AuthorityWidened { name: name.clone(), version: version.clone(), authority, wider });
    }
    Ok(Admission::Install { signer, grants: !wider.is_empty() && accepted && !known.granted, changes })
}

fn signer(offer: &Offer<'_>, known: &Known<'_>) -> Result<Signer, Refusal> {
    let keys = match offer.verdict {
        Verdict::None => return Err(Refusal::SignatureMissing),
        Verdict::Bad(key) => return Err(Refusal::SignatureBad(*key)),
        Verdict::UnknownSigner(key) => return Err(Refusal::SignerUnknown(*key)),
        Verdict::Revoked(key) => return Err(Refusal::SignerRevoked(*key)),
        Verdict::Expired(key) => return Err(Refusal::SignerExpired(*key)),
        Verdict::Good(keys) => keys,
    };
    let mut good = keys.iter().filter_map(|key| offer.signers.iter().find(|signer| signer.key == *key));
    let first = good.clone().next().ok_or(Refusal::SignatureMissing)?;
    let Some(owner) = known.publisher else { return Ok(first.clone()) };
    good.find(|signer| signer.publisher == *owner).cloned().ok_or_else(|| Refusal::PublisherMismatch {
        name: offer.manifest.name.clone(),
        owner: owner.clone(),
        signed_by: first.publisher.clone(),
    })
}
