//! The `.aria` format: bytes from anybody in, a verified bundle in a directory out.
//!
//! [`Reader`] takes the file as it arrives and writes only below a private staging directory. [`Reader::finish`] gives a
//! [`Staged`] bundle when every rule of the format holds; dropping either removes the directory. Everything blocks: callers
//! with an async runtime use its blocking pool. Memory does not grow with the file: at most the zstd window (8 MiB), three
//! JSON documents of at most 1 MiB with their parsed form, and a hash per path.

mod composites;
mod digest;
mod error;
mod fields;
mod limits;
mod manifest;
mod oci;
mod path;
mod read;
mod signature;
mod stage;
mod tar;
mod unpack;
mod zstd_frame;

pub use digest::{authority_digest, interface_digest};
pub use error::{BundleError, Rule};
pub use limits::Limits;
pub use manifest::parse as parse_manifest;
pub use read::{Expected, Reader, read_archive};
pub use signature::{NotAKey, PublicKey, Signatures, Standing, judge};
pub use stage::Staged;
