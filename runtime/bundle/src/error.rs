//! Why a bundle is refused. Each rule of the format has its own reason; nothing is left on disk in any of these cases.

use std::io;
use std::path::PathBuf;

use aria_types::ErrorKind;

/// The rule that was broken.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Rule {
    /// Absolute, `..`, `.`, empty segment, backslash or drive letter.
    PathEscape,
    /// A hard or symbolic link.
    Link,
    /// Neither a file nor a directory, or the wrong one of the two.
    EntryType,
    /// Set-id or sticky bits, or bits that are no permission.
    Mode,
    /// The same path twice, or as file and directory.
    Duplicate,
    /// Two paths equal but for case or Unicode form, or a name that is not in NFC.
    Collision,
    /// A segment, path or depth above its limit.
    NameTooLong,
    /// Invalid UTF-8, NUL, control or bidirectional-override characters.
    NameChars,
    /// PAX, GNU or another extension of the ustar header.
    TarExtension,
    /// A sparse entry.
    Sparse,
    /// A header field that is not what ustar says.
    TarHeader,
    /// The header's checksum is wrong.
    TarChecksum,
    /// More entries than allowed.
    TooManyFiles,
    /// One entry or document above its limit.
    EntryTooLarge,
    /// The file, or everything unpacked, above its limit.
    BundleTooLarge,
    /// Unpacks to more than 100 times its size.
    Ratio,
    /// Ends before it is complete.
    Truncated,
    /// Something after the end, or in padding that must be zero.
    TrailingBytes,
    /// Not one plain zstd frame of the profile.
    ZstdFrame,
    /// `oci-layout`, `index.json`, the OCI manifest or the config blob is absent.
    ManifestMissing,
    /// More than one bundle in the index.
    ManifestTwice,
    /// Entries in another order than the format's.
    ManifestOrder,
    /// A file or blob that nothing names.
    FileNotListed,
    /// A named file or blob that is not there.
    FileMissing,
    /// Bytes are not those of their digest.
    DigestMismatch,
    /// A length differs from the one declared.
    SizeMismatch,
    /// Not JSON.
    JsonInvalid,
    /// An object with the same key twice.
    JsonDuplicateKey,
    /// JSON nested too deep.
    JsonDepth,
    /// A version, media type or feature this device does not know.
    FormatUnsupported,
    /// The manifest says something it may not; the place in it is in the text.
    ManifestInvalid,
    /// A signature that is none, or that is about another bundle.
    SignatureInvalid,
}

impl Rule {
    /// The stable reason callers see.
    pub fn reason(self) -> &'static str {
        match self {
            Self::PathEscape => "PATH_ESCAPE",
            Self::Link => "LINK",
            Self::EntryType => "ENTRY_TYPE",
            Self::Mode => "MODE",
            Self::Duplicate => "DUPLICATE",
            Self::Collision => "COLLISION",
            Self::NameTooLong => "NAME_TOO_LONG",
            Self::NameChars => "NAME_CHARS",
            Self::TarExtension => "TAR_EXTENSION",
            Self::Sparse => "SPARSE",
            Self::TarHeader => "TAR_HEADER",
            Self::TarChecksum => "TAR_CHECKSUM",
            Self::TooManyFiles => "TOO_MANY_FILES",
            Self::EntryTooLarge => "ENTRY_TOO_LARGE",
            Self::BundleTooLarge => "BUNDLE_TOO_LARGE",
            Self::Ratio => "RATIO",
            Self::Truncated => "TRUNCATED",
            Self::TrailingBytes => "TRAILING_BYTES",
            Self::ZstdFrame => "ZSTD_FRAME",
            Self::ManifestMissing => "MANIFEST_MISSING",
            Self::ManifestTwice => "MANIFEST_TWICE",
            Self::ManifestOrder => "MANIFEST_ORDER",
            Self::FileNotListed => "FILE_NOT_LISTED",
            Self::FileMissing => "FILE_MISSING",
            Self::DigestMismatch => "DIGEST_MISMATCH",
            Self::SizeMismatch => "SIZE_MISMATCH",
            Self::JsonInvalid => "JSON_INVALID",
            Self::JsonDuplicateKey => "JSON_DUPLICATE_KEY",
            Self::JsonDepth => "JSON_DEPTH",
            Self::FormatUnsupported => "FORMAT_UNSUPPORTED",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::SignatureInvalid => "SIGNATURE_INVALID",
        }
    }
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The bytes break a rule.
    #[error("{place}: {detail}")]
    Refused {
        /// The rule.
        rule: Rule,
        /// Where: an entry's path, a layer, a place in the manifest; shown escaped.
        place: String,
        /// What is wrong there.
        detail: String,
    },
    /// The staging directory's disk or its permissions.
    #[error("{doing} {path:?}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// `feed` or `finish` after an error, which already told the reason.
    #[error("the bundle was refused before")]
    Poisoned,
}

impl BundleError {
    /// The kind callers act on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { rule: Rule::BundleTooLarge, .. } => ErrorKind::Exhausted,
            Self::Refused { rule: Rule::DigestMismatch, .. } => ErrorKind::Damaged,
            Self::Refused { .. } => ErrorKind::Invalid,
            Self::Io { source, .. } if is_full(source) => ErrorKind::Exhausted,
            Self::Io { .. } | Self::Poisoned => ErrorKind::Internal,
        }
    }

    /// The stable reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused { rule, .. } => rule.reason(),
            Self::Io { source, .. } if is_full(source) => "DISK_QUOTA",
            Self::Io { .. } => "STORE_IO",
            Self::Poisoned => "BUG",
        }
    }

    /// The rule, when one was broken.
    pub fn rule(&self) -> Option<Rule> {
        match self {
            Self::Refused { rule, .. } => Some(*rule),
            _ => None,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// A refusal at a place whose name comes from outside; control characters in it are escaped and it is cut.
pub(crate) fn refuse(rule: Rule, place: impl AsRef<str>, detail: impl Into<String>) -> BundleError {
    let place = place.as_ref().chars().take(200).flat_map(char::escape_debug).collect();
    BundleError::Refused { rule, place, detail: detail.into() }
}
