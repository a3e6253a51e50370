//! What things are and what should happen next. No I/O, no async runtime, no clock, no randomness of its own.

pub mod active;
pub mod admission;
pub mod authority;
pub mod bundle;
pub mod canonical;
pub mod dependency;
pub mod digest;
pub mod egress;
pub mod env;
pub mod guest;
pub mod hot;
pub mod id;
pub mod invocation;
pub mod json;
pub mod kv;
pub mod name;
pub mod outcome;
pub mod plan;
pub mod port;
pub mod request;
pub mod secret;
pub mod session;
pub mod signer;
pub mod time;
pub mod vector;

pub use active::Active;
pub use bundle::{Annotations, Approval, Composite, CompositeKind, FileEntry, Manifest, Program, Tool, ToolLimits};
pub use dependency::Dependency;
pub use digest::{Digest, DigestError};
pub use id::InvocationId;
pub use name::{Name, NameError, ToolName};
pub use outcome::{Failed, FailedReason, FileRef, Outcome};
pub use signer::{Publisher, Verdict};
pub use time::UnixMs;
