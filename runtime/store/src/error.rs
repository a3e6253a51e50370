//! Why the store did not do it.

use std::io;
use std::path::PathBuf;

use aria_core::Digest;
use aria_core::admission::Refusal;
use aria_core::signer::TrustRefusal;
use aria_types::ErrorKind;

/// Why the store did not do it. What was asked has no effect then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite.
    #[error("{doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// A file or directory.
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
    /// The database was written by a newer program.
    #[error("database has schema {found}, this program knows up to {known}")]
    SchemaTooNew {
        /// In the file.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A row that this program cannot have written.
    #[error("damaged row: {what}")]
    Corrupt {
        /// Which value.
        what: &'static str,
    },
    /// Another program has this data directory.
    #[error("data directory {path:?} is in use by another process")]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The bundle is not for this device, or may not be called.
    #[error(transparent)]
    Refused(Refusal),
    /// The key is not taken up.
    #[error(transparent)]
    NotTrusted(TrustRefusal),
    /// No such signer.
    #[error("key {0} was never trusted on this device")]
    SignerUnknown(Digest),
    /// As many names as a device remembers.
    #[error("the device remembers {limit} names of bundles, which is as many as it may")]
    TooManyNames {
        /// The limit.
        limit: u64,
    },
    /// No such bundle.
    #[error("bundle {0} is not installed")]
    BundleUnknown(String),
    /// It needs another bundle first.
    #[error("{bundle} needs {name} {range}, which is not installed")]
    DependencyMissing {
        /// What was to be installed.
        bundle: String,
        /// What it needs.
        name: String,
        /// Which versions of that.
        range: String,
    },
    /// Other bundles would lack something.
    #[error("{bundle} is needed by {}", .dependants.join(", "))]
    InUse {
        /// What was to be removed, or moved from.
        bundle: String,
        /// `name@version` of each.
        dependants: Vec<String>,
    },
    /// Calls of this bundle went nowhere else before.
    #[error("calls of {0} went to no other version before that is still installed")]
    NoPrevious(String),
    /// More than one bundle has a tool of this name.
    #[error("more than one bundle has a tool named {tool}: {}", .candidates.join(", "))]
    ToolAmbiguous {
        /// The short name.
        tool: String,
        /// The whole names.
        candidates: Vec<String>,
    },
    /// No such blob, or somebody else's.
    #[error("blob {0} is not stored for this caller")]
    BlobUnknown(Digest),
    /// An upload cannot go on there.
    #[error("the first {held_bytes} bytes of blob {blob} are kept, the upload goes on at {offset_bytes}")]
    OffsetMismatch {
        /// Which.
        blob: Digest,
        /// What is kept of it.
        held_bytes: u64,
        /// Where the sender wants to go on.
        offset_bytes: u64,
    },
    /// One blob above its limit.
    #[error("blob of {bytes} bytes, limit is {limit_bytes}")]
    BlobTooLarge {
        /// Its length.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// Bytes are not those of their digest or length.
    #[error("blob {expected}: {what}")]
    DigestMismatch {
        /// What was announced.
        expected: Digest,
        /// What differs.
        what: String,
    },
    /// The quota is full of things in use.
    #[error("{needed_bytes} bytes do not fit the quota of {quota_bytes} bytes for {of}")]
    DiskQuota {
        /// Blobs or bundles.
        of: &'static str,
        /// What was asked.
        needed_bytes: u64,
        /// The quota.
        quota_bytes: u64,
    },
    /// As many bundles as may be.
    #[error("{limit} versions of bundles are installed, which is as many as may be")]
    TooManyBundles {
        /// The limit.
        limit: u64,
    },
    /// No such run.
    #[error("run {0} is unknown")]
    RunUnknown(String),
    /// A one-time right was used before.
    #[error("{0} was used before")]
    AlreadyUsed(String),
    /// As many secrets as one device keeps.
    #[error("the device keeps at most {limit} secrets; remove one first")]
    SecretsFull {
        /// How many.
        limit: usize,
    },
    /// The right it was to be written with is over.
    #[error("the lease is over")]
    LeaseOver,
    /// Somebody who came later has written there.
    #[error("{of} was written with fence {last}, this lease has {fence}")]
    Fenced {
        /// What.
        of: String,
        /// Of the late writer.
        fence: u64,
        /// Of the last one.
        last: u64,
    },
    /// No room for what a tool keeps.
    #[error("more than {limit} {of}")]
    KvFull {
        /// What is bounded.
        of: &'static str,
        /// The bound.
        limit: u64,
    },
    /// A vector of another length than the collection's.
    #[error("a vector of {found} dimensions, the collection has {expected}")]
    Dimension {
        /// Its length.
        found: u64,
        /// The collection's.
        expected: u64,
    },
    /// Only what is new may be written, and this is not.
    #[error("{what:?} exists")]
    Exists {
        /// What.
        what: String,
    },
    /// Changes that a watcher asked for are not kept any more.
    #[error("changes up to version {known_from} are not kept any more, asked was for those after {from}")]
    KvChangesGone {
        /// What was asked.
        from: u64,
        /// The first that can be.
        known_from: u64,
    },
    /// A write that did not reach the disk.
    #[error("the write did not reach the disk: {why}")]
    NotCommitted {
        /// The cause.
        why: String,
    },
    /// Too many writes wait.
    #[error("too many writes wait for the disk")]
    Overloaded,
    /// The caller's own step inside an install.
    #[error("place the bundle directory")]
    Place(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// The kind callers act on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::NotTrusted(refusal) => refusal.kind(),
            Self::DependencyMissing { .. } | Self::InUse { .. } | Self::NoPrevious(_) => ErrorKind::State,
            Self::ToolAmbiguous { .. } => ErrorKind::Invalid,
            Self::LeaseOver | Self::Fenced { .. } | Self::OffsetMismatch { .. } => ErrorKind::Conflict,
            Self::KvFull { .. } | Self::Overloaded | Self::SecretsFull { .. } => ErrorKind::Exhausted,
            Self::KvChangesGone { .. } => ErrorKind::State,
            Self::Dimension { .. } => ErrorKind::Invalid,
            Self::Exists { .. } => ErrorKind::Exists,
            Self::NotCommitted { .. } => ErrorKind::Internal,
            Self::BundleUnknown(_) | Self::BlobUnknown(_) | Self::RunUnknown(_) | Self::SignerUnknown(_) => {
                ErrorKind::NotFound
            }
            Self::BlobTooLarge { .. }
            | Self::DiskQuota { .. }
            | Self::TooManyBundles { .. }
            | Self::TooManyNames { .. } => ErrorKind::Exhausted,
            Self::DigestMismatch { .. } | Self::Corrupt { .. } => ErrorKind::Damaged,
            Self::AlreadyUsed(_) => ErrorKind::Denied,
            Self::SchemaTooNew { .. } | Self::Busy { .. } => ErrorKind::State,
            Self::Io { source, .. } if is_full(source) => ErrorKind::Exhausted,
            Self::Database { source, .. } if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                ErrorKind::Exhausted
            }
            Self::Database { .. } | Self::Io { .. } | Self::Place(_) => ErrorKind::Internal,
        }
    }

    /// The stable reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::NotTrusted(refusal) => refusal.reason(),
            Self::SignerUnknown(_) => "KEY_UNKNOWN",
            Self::TooManyNames { .. } => "NAMES_FULL",
            Self::DependencyMissing { .. } => "DEPENDENCY_MISSING",
            Self::InUse { .. } => "BUNDLE_IN_USE",
            Self::NoPrevious(_) => "NO_PREVIOUS",
            Self::ToolAmbiguous { .. } => "TOOL_AMBIGUOUS",
            Self::OffsetMismatch { .. } => "OFFSET_MISMATCH",
            Self::LeaseOver => "LEASE_EXPIRED",
            Self::Fenced { .. } => "FENCED",
            Self::KvFull { .. } => "KV_FULL",
            Self::KvChangesGone { .. } => "CHANGES_GONE",
            Self::Dimension { .. } => "DIMENSION",
            Self::Exists { .. } => "EXISTS",
            Self::NotCommitted { .. } => "STORE_IO",
            Self::Overloaded => "STORE_BUSY",
            Self::BundleUnknown(_) => "BUNDLE_UNKNOWN",
            Self::BlobUnknown(_) => "BLOB_UNKNOWN",
            Self::RunUnknown(_) => "RUN_UNKNOWN",
            Self::BlobTooLarge { .. } => "BLOB_TOO_LARGE",
            Self::DiskQuota { .. } | Self::TooManyBundles { .. } => "DISK_QUOTA",
            Self::DigestMismatch { .. } => "DIGEST_MISMATCH",
            Self::Corrupt { .. } => "STORE_CORRUPT",
            Self::AlreadyUsed(_) => "ALREADY_USED",
            Self::SecretsFull { .. } => "SECRETS_FULL",
            Self::SchemaTooNew { .. } => "SCHEMA_TOO_NEW",
            Self::Busy { .. } => "STORE_BUSY",
            Self::Database { .. } | Self::Io { .. } if self.kind() == ErrorKind::Exhausted => "DISK_QUOTA",
            Self::Database { .. } | Self::Io { .. } | Self::Place(_) => "STORE_IO",
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
