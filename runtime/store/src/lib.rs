//! Remembers: registry, runs, enrolled credentials, blobs.
//!
//! One directory, one SQLite file (WAL). What a method has acknowledged survives `kill -9` and a power cut; run starts, log
//! lines and times of use survive `kill -9`. Every method blocks; `now` is always an argument. `Store` is cheap to clone and may
//! be shared by threads.
//!
//! ```text
//! <data>/lock                    held while a process has the store open
//! <data>/aria.db                 the database
//! <data>/bundles/<hex>/app/      unpacked code of one installed bundle
//! <data>/blobs/<hex>             content-addressed bytes
//! <data>/staging/                half-done work, emptied at start
//! ```

mod blobs;
mod credentials;
mod db;
mod error;
mod files;
mod logs;
mod meta;
mod open;
mod registry;
mod runs;

pub use blobs::{BlobLease, BlobRef, BlobWriter};
pub use credentials::{Credential, Role};
pub use error::StoreError;
pub use logs::{LogEntry, LogPage, LogQuery, LogSource, StoredLog};
pub use open::{Config, Recovered, Store};
pub use registry::{BundleLease, BundleRecord, Installed, NewBundle};
pub use runs::{NewRun, RunEnd, RunRecord};
