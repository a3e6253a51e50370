//! What a caller asks for and what it is told.

use std::collections::BTreeMap;

use aria_core::port::{ByteSource, ChangeCounts, Limits, Profile, Usage};
use aria_core::{Digest, InvocationId, Outcome};
use aria_store::BlobRef;

/// A file for `/in`, put as a blob before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileInput {
    /// Its name there.
    pub name: String,
    /// Its content.
    pub sha256: Digest,
}

/// A tree for `/workspace`, put as a blob before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionInput {
    /// Its content.
    pub tree: Digest,
    /// Keep what the program changed.
    pub collect: bool,
}

/// One call of a tool.
#[derive(Clone, Debug)]
pub struct InvokeCall {
    /// Whose run it is.
    pub owner: String,
    /// `<bundle>.<tool>`, or `<tool>` where one bundle alone has it.
    pub tool: String,
    /// An `.aria` file, a blob of the owner, to take the tool from instead of what is installed.
    pub bundle: Option<Digest>,
    /// JSON text; empty means `{}`.
    pub input_json: String,
    /// Files for `/in`.
    pub files: Vec<FileInput>,
    /// Shortens the tool's timeout; zero keeps it.
    pub timeout_ms: u64,
}

/// One run of a program.
pub struct ExecCall {
    /// Whose run it is.
    pub owner: String,
    /// The `.aria` file, a blob of the owner.
    pub bundle: Digest,
    /// Arguments after the script.
    pub args: Vec<String>,
    /// Added environment.
    pub env: BTreeMap<String, String>,
    /// Token texts.
    pub tokens: Vec<String>,
    /// Bounds; zero is the device's default.
    pub limits: Limits,
    /// System-call profile.
    pub profile: Profile,
    /// Files for `/in`.
    pub files: Vec<FileInput>,
    /// What to find at `/workspace`.
    pub session: Option<SessionInput>,
    /// The program's stdin.
    pub stdin: Option<Box<dyn ByteSource>>,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What happens to a run, in order: queued? notice* granted started (log|output|progress)* finished.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEvent {
    /// It waits.
    Queued {
        /// Which run.
        invocation: InvocationId,
        /// For people.
        why: String,
    },
    /// Something to know that does not stop it.
    Notice {
        /// Stable.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// It holds its tokens.
    Granted {
        /// Which run.
        invocation: InvocationId,
        /// The lease.
        lease_id: String,
        /// Rises with every grant.
        fence: u64,
    },
    /// It runs.
    Started {
        /// Which run.
        invocation: InvocationId,
        /// Its cage.
        sandbox_id: String,
    },
    /// The tool logged a line.
    Log {
        /// `debug`, `info`, `warn`, `error`.
        level: &'static str,
        /// The line.
        message: String,
        /// JSON object text or empty.
        fields_json: String,
    },
    /// Bytes it wrote.
    Output {
        /// Where to.
        stream: OutputStream,
        /// As they came.
        data: Vec<u8>,
    },
    /// How far it is.
    Progress {
        /// 0 to 1; negative when unknown.
        fraction: f64,
        /// For people.
        message: String,
    },
    /// The end.
    Finished(Finished),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Which run.
    pub invocation: InvocationId,
    /// The one outcome.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// What it changed in its session; only of a program that returned.
    pub session: Option<SessionChanges>,
}

/// What a program changed in its session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionChanges {
    /// How much.
    pub counts: ChangeCounts,
    /// The changes, if they were to be kept.
    pub changes: Option<BlobRef>,
}
