//! Builds and destroys one cage.
//!
//! Synchronous, no async runtime: the daemon wraps the descriptors it gets back. A cage serves one program and is never
//! reused. `Engine::open` also removes whatever a previous life of the daemon, or another engine that is dead, left behind.

mod build;
mod cgroup;
mod collect;
mod engine;
mod error;
pub mod for_fuzz;
pub mod for_weak_launcher;
mod give;
mod home;
mod identity;
pub mod init;
mod landlock;
mod launcher;
mod pool;
mod probe;
mod pulse;
mod sandbox;
mod seccomp;
mod shelf;
mod spec;
mod steps;
mod sys;
mod uids;
mod wire;
mod workspace;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use engine::Engine;
pub use error::{CollectError, DestroyError, OpenError, SpawnError};
pub use quilt_core::ShelfBounds;
pub use sandbox::Sandbox;
pub use shelf::{Ask, OwnShelf, ShelfConfig, Shelves};
pub use sys::adopt_orphans;
pub use workspace::{ChangeStream, Changes};

/// Where cages are built and what they may use at most. Paths are absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// Read-only root of every cage: Bun, its libraries, the harness; empty directories `proc tmp dev app in out workspace`.
    pub rootfs: PathBuf,
    /// The `quilt-init` program.
    pub init: PathBuf,
    /// Name of our directory below the cgroup roots, unique on this machine (several engines may run beside each other).
    pub cgroup_name: String,
    /// First host uid given to cages; `uid_count` of them from here, none a login uid.
    pub uid_base: u32,
    /// How many host uids there are, so how many cages at once.
    pub uid_count: u32,
    /// Launchers kept ready: parked in their cgroup leaf and pivoted, no program started.
    pub pool: usize,
}

/// Which system calls the program gets.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Profile {
    /// May start child processes.
    Tool,
    /// One process with threads; `execve` only once, by us.
    ToolNoexec,
    /// As `ToolNoexec`, and nothing becomes executable that is not a file of the root: no machine code of its own.
    ToolNojit,
}

/// Upper bounds of one cage; every value is already inside the configured maxima.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Resident memory and page cache, bytes.
    pub memory_bytes: u64,
    /// Processes and threads of the program.
    pub pids: u32,
    /// Thousandths of one core.
    pub cpu_millis: u32,
    /// Size of `/tmp`, of `/out` and of `/workspace`, bytes each.
    pub disk_bytes: u64,
}

/// One program and its cage.
#[derive(Debug)]
pub struct Spec {
    /// `argv[0]` is an absolute path in the cage.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// System-call profile.
    pub profile: Profile,
    /// Directory to see at `/app`, opened by the caller (O_PATH | O_DIRECTORY | O_NOFOLLOW).
    pub app: Option<OwnedFd>,
    /// Regular files to see at `/in/<name>`, opened by the caller (O_PATH | O_NOFOLLOW). Names have no slash.
    pub files: Vec<(String, OwnedFd)>,
    /// Give the program a writable `/out` and keep it readable after the end.
    pub out: bool,
    /// Give the program a private copy of a tree at `/workspace`.
    pub workspace: Option<Workspace>,
    /// Hand the program one end of a stream socket as descriptor 3.
    pub door: bool,
    /// Give the program a stdin pipe; otherwise it reads `/dev/null`.
    pub stdin: bool,
    /// Bounds.
    pub limits: Limits,
}

/// A tree and what the program may do with its copy. The copy is memory of the cage, like `/tmp`.
#[derive(Debug)]
pub struct Workspace {
    /// In the tree format, opened for reading by the caller, at its beginning.
    pub tree: OwnedFd,
    /// What the program may do.
    pub access: Access,
}

/// What a program may do with its workspace.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Access {
    /// Look.
    ReadOnly,
    /// Change everything.
    ReadWrite,
}

/// The host's ends of a running program's descriptors, non-blocking.
#[derive(Debug)]
pub struct Io {
    /// Write end, if asked for.
    pub stdin: Option<OwnedFd>,
    /// Read end.
    pub stdout: OwnedFd,
    /// Read end.
    pub stderr: OwnedFd,
    /// Our end of the guest door, if asked for.
    pub door: Option<OwnedFd>,
    /// Becomes readable when the program has ended: then call `Sandbox::exit`. Wait on it, never read from it.
    pub exit: OwnedFd,
}

/// When a cage was made. However early, it serves one call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// For its call.
    New,
    /// Ahead of it, for any call of the same shape.
    Generic,
    /// Ahead of it, for calls of one owner, directory and key.
    Own,
}

/// How the program ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// The system-call filter killed it (SIGSYS).
    Seccomp,
    /// The memory limit killed it.
    OomKilled,
    /// We killed it, or somebody on the host did; nothing in the cage can cause this.
    Killed,
}

/// What the cage used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// CPU time of everything in the cage.
    pub cpu: Duration,
    /// Highest memory charge.
    pub memory_peak_bytes: u64,
    /// A process or thread was refused at least once.
    pub pids_limit_hit: bool,
    /// `/tmp`, `/out` or a writable `/workspace` is full (bytes or inodes) at the end.
    pub disk_full: bool,
}

/// One defence and what this machine has of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layer {
    /// Stable name, for `status` and for messages.
    pub name: &'static str,
    /// What was found.
    pub state: LayerState,
    /// `Engine::open` refuses a machine where this one is absent.
    pub required: bool,
}

/// What a machine has of a layer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LayerState {
    /// In force in every cage; the text says which form (`abi 7`, `v1`, …) and may be empty.
    Active(String),
    /// Not there; the text says why.
    Absent(String),
}

/// Bounds of what is taken out of `/out`.
#[derive(Clone, Copy, Debug)]
pub struct OutLimits {
    /// Files at most.
    pub count_max: usize,
    /// Bytes of all files together at most.
    pub bytes_max: u64,
}

/// A regular file the program left directly in `/out`.
#[derive(Debug)]
pub struct OutFile {
    /// 1 to 255 bytes of UTF-8 without control characters and without a slash.
    pub name: String,
    /// Its length; nobody can change it any more.
    pub size_bytes: u64,
    /// Opened for reading, at offset 0.
    pub file: File,
}
