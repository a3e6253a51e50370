//! Remembers: registry, signers, runs, enrolled credentials, blobs, the audit.
//!
//! One directory, one SQLite file (WAL). What a method has acknowledged survives `kill -9` and a power cut; run starts, log
//! lines and times of use survive `kill -9`. Every method blocks; `now` is always an argument. `Store` is cheap to clone and may
//! be shared by threads.
//!
//! ```text
//! <data>/lock                    held while a process has the store open
//! <data>/aria.db                 the database
//! <data>/state.db                what tools keep: key-value tables, vectors
//! <data>/bundles/<hex>/app/      unpacked code of one installed bundle
//! <data>/blobs/<hex>             content-addressed bytes
//! <data>/staging/                half-done work, emptied at start
//! ```

mod audit;
mod audit_detail;
mod blobs;
mod commit;
mod credentials;
mod db;
mod error;
mod files;
mod history;
mod kv;
mod kv_write;
mod logs;
mod meta;
mod open;
mod partial;
mod registry;
mod runs;
mod secrets;
mod signers;
mod state;
mod vector;
mod versions;

pub use audit::{AuditEvent, AuditKind, AuditPage, AuditQuery, AuditRecord, run_subject};
pub use audit_detail::Detail;
pub use blobs::{BlobLease, BlobRef, BlobWriter};
pub use credentials::{Credential, Role};
pub use error::StoreError;
pub use history::History;
pub use kv::{KvChange, KvChanges, KvEntry, KvPage, KvTable, KvWrite, KvWritten};
pub use logs::{LogEntry, LogPage, LogQuery, LogSource, StoredLog};
pub use open::{Config, Recovered, Store};
pub use registry::{BundleLease, BundleRecord, Installed, NewBundle};
pub use runs::{NewRun, RunEnd, RunQuery, RunRecord};
pub use secrets::{SecretRecord, Secrets};
pub use signers::{NewSigner, SignerRecord};
pub use state::{Right, StateLimits};
pub use vector::{VectorCollection, VectorRow, VectorWrite};
pub use versions::{DEPRECATED_BYTES_MAX, Dependants, Pointer};
