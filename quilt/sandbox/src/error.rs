//! What can go wrong while a cage is built, read or removed, each saying which step it was.

use std::io;
use std::path::PathBuf;

/// Why the engine could not be opened. Nothing of ours is left running.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A value in `Config` cannot work.
    #[error("sandbox configuration: {what}")]
    Config {
        /// What is wrong, for the operator.
        what: String,
    },
    /// A layer every cage needs is missing on this machine.
    #[error("this machine cannot give a cage its {layer}: {detail}")]
    Layer {
        /// Name as in `Engine::layers`.
        layer: &'static str,
        /// What was found instead.
        detail: String,
    },
    /// Another engine holds the same `cgroup_name`.
    #[error("cgroup {path:?} is in use by another engine")]
    InUse {
        /// The locked directory.
        path: PathBuf,
    },
    /// What a previous life left could not be removed.
    #[error("remove what a previous engine left in {path:?}")]
    Recover {
        /// The cgroup directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The cgroup tree could not be prepared.
    #[error("prepare cgroup {path:?}")]
    Cgroup {
        /// File or directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The first launcher did not come up.
    #[error("start the first launcher")]
    Launcher(#[source] SpawnError),
}

/// Why a program could not be started. Everything done so far has been undone.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The request itself cannot work; the caller can fix it.
    #[error("{what}")]
    Spec {
        /// What is wrong.
        what: String,
    },
    /// The tree does not fit into its workspace.
    #[error("the files need more than the {bytes_max} bytes of the workspace, or are too many")]
    WorkspaceFull {
        /// Size of the workspace.
        bytes_max: u64,
    },
    /// What was given as a tree is none.
    #[error("the workspace's tree is malformed")]
    WorkspaceMalformed(#[source] io::Error),
    /// All host uids are taken by live cages.
    #[error("all {uid_count} cage uids are in use")]
    NoUid {
        /// How many there are.
        uid_count: u32,
    },
    /// The engine is shutting down.
    #[error("the engine is closing")]
    Closing,
    /// One named step failed.
    #[error("step {step}")]
    Step {
        /// Name of the step, as in `steps`.
        step: &'static str,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The launcher or the shim ended before the program was started.
    #[error("the launcher ended during step {step}")]
    Died {
        /// The last step it was known to be in.
        step: &'static str,
    },
}

/// Why `/out` or the changes in `/workspace` could not be handed back.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The program was started without it, or may not write to it.
    #[error("the cage has no writable {place}")]
    NoOut {
        /// `/out` or `/workspace`.
        place: &'static str,
    },
    /// The program has not ended.
    #[error("the program is still running")]
    Running,
    /// More files than allowed.
    #[error("{place} holds more than {count_max} files")]
    TooMany {
        /// `/out` or `/workspace`.
        place: &'static str,
        /// The limit.
        count_max: usize,
    },
    /// More bytes than allowed.
    #[error("{place} holds more than {bytes_max} bytes")]
    TooLarge {
        /// `/out`, or the changes in `/workspace`.
        place: &'static str,
        /// The limit.
        bytes_max: u64,
    },
    /// Something there has a name, or stands at a depth, that cannot be handed back.
    #[error("{place}/{name:?} {why}")]
    Entry {
        /// `/out` or `/workspace`.
        place: &'static str,
        /// Name, lossy.
        name: String,
        /// Why it is refused.
        why: &'static str,
    },
    /// The kernel refused.
    #[error("read what the program left")]
    Read(#[source] io::Error),
}

/// Why a cage could not be removed completely.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// Processes were still there after the bound.
    #[error("processes of cage {id} are still alive after the kill")]
    Alive {
        /// The cage.
        id: String,
    },
    /// The kernel refused.
    #[error("remove cgroup of cage {id}")]
    Cgroup {
        /// The cage.
        id: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
}
