//! Ports: traits at the seams where two real implementations meet. Futures are boxed std futures, so this crate needs no
//! async runtime.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use aria_types::ErrorKind;

/// A boxed future, as all ports return them.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs one program somewhere (in a sandbox, later in a component or on a peer). Dropping the returned future cancels the run.
pub trait Execute: Send + Sync {
    /// Runs to the end. Every event reaches `sink` before the future resolves; a slow sink slows the program down.
    /// `door` yields frames for the guest door after those of the request, without their length prefix, each at most
    /// [`crate::guest::FRAME_BYTES_MAX`]; its end is the end of nothing, the door stays open.
    fn execute<'a>(
        &'a self,
        request: ExecuteRequest,
        stdin: Option<Box<dyn ByteSource>>,
        door: Option<Box<dyn ByteSource>>,
        sink: &'a mut dyn EventSink,
    ) -> BoxFuture<'a, Result<Ended, ExecuteError>>;

    /// What the engine says of itself; `Err` when it cannot be reached.
    fn status(&self) -> BoxFuture<'_, Result<EngineStatus, ExecuteError>>;
}

/// Takes events one at a time; the future resolves when the consumer has room for the next one.
pub trait EventSink: Send {
    /// Delivers one event.
    fn event<'a>(&'a mut self, event: ExecuteEvent) -> BoxFuture<'a, ()>;
}

/// Bytes for the program: stdin, where a piece is at most 64 KiB and `None` is end of file, or whole frames for its door.
pub trait ByteSource: Send {
    /// The next piece.
    fn next<'a>(&'a mut self) -> BoxFuture<'a, Option<Vec<u8>>>;
}

/// Which system calls the program gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Profile {
    /// May start child processes.
    Tool,
    /// One process with threads.
    ToolNoexec,
    /// One process with threads that makes no machine code of its own.
    ToolNojit,
}

/// A tree of which the program gets a private copy at `/workspace`, of the size `Limits::disk_bytes`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Workspace {
    /// Host file in the tree format.
    pub tree: PathBuf,
    /// The program may change it.
    pub writable: bool,
    /// Report what it changed, not only how much.
    pub collect: bool,
}

/// Bounds of one run; zero means the engine's default.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Thousandths of one core.
    pub cpu_millis: u32,
    /// Size of `/tmp`, of `/out` and of `/workspace`, bytes each.
    pub disk_bytes: u64,
    /// Milliseconds from the program's start.
    pub wall_ms: u64,
    /// Live bytes of stdout and stderr together.
    pub output_bytes: u64,
}

/// How a cage is made ready before there is a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Warm {
    /// Frame for a cage that serves any run of the same program. It answers a frame of no bytes.
    pub prepare: Vec<u8>,
    /// For a cage of this run's kind alone.
    pub shelf: Option<Shelf>,
}

/// Cages that have loaded the code of one tool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shelf {
    /// The same for runs of the same code and module.
    pub key: String,
    /// Frame that makes them load it.
    pub prepare: Vec<u8>,
}

/// One program to run.
#[derive(Clone, Debug)]
pub struct ExecuteRequest {
    /// 32 lower-case hex characters, unique.
    pub execution_id: String,
    /// Who it runs for.
    pub owner: String,
    /// Canonical token texts.
    pub tokens: Vec<String>,
    /// `argv[0]` is an absolute path in the sandbox.
    pub argv: Vec<String>,
    /// Added to the sandbox's own environment.
    pub env: BTreeMap<String, String>,
    /// System-call profile.
    pub profile: Profile,
    /// Host directory seen at `/app`.
    pub code_dir: Option<PathBuf>,
    /// Host files seen at `/in/<name>`.
    pub files: Vec<(String, PathBuf)>,
    /// Open the guest door and write these frames into it.
    pub door_frames: Option<Vec<Vec<u8>>>,
    /// Give it `/out` and report what is left there.
    pub collect_out: bool,
    /// Bounds.
    pub limits: Limits,
    /// The live execution this one is a child of: what the child waits for, the parent waits for.
    pub parent_execution_id: Option<String>,
    /// 1 to 9, higher first; 0 is the engine's default.
    pub priority: u32,
    /// Longest time to wait for tokens, milliseconds; zero is the engine's default.
    pub wait_ms: u64,
    /// What asks, for rules of the policy: `tool:<bundle>.<tool>` or `exec`.
    pub subject: String,
    /// May start in a cage that was made before the call.
    pub warm: Option<Warm>,
    /// Seen at `/workspace`.
    pub workspace: Option<Workspace>,
}

/// What happens while a program runs, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExecuteEvent {
    /// It waits for tokens or a place; comes again when the reason changes.
    Queued {
        /// Reason for people.
        why: String,
    },
    /// It holds its tokens.
    Granted {
        /// The lease.
        lease_id: String,
        /// Rises with every grant.
        fence: u64,
        /// The tokens are its own for so long, unless renewed.
        ttl_ms: u64,
    },
    /// The lease lasts so much longer, from now.
    Renewed {
        /// From now.
        ttl_ms: u64,
    },
    /// The lease is over and the program is being ended.
    Revoked {
        /// For people.
        reason: String,
    },
    /// The program's first instruction is about to run.
    Started {
        /// Engine's name of the cage.
        sandbox_id: String,
    },
    /// Bytes it wrote.
    Stdout(Vec<u8>),
    /// Bytes it wrote.
    Stderr(Vec<u8>),
    /// One frame it wrote to the guest door, not interpreted.
    Frame(Vec<u8>),
    /// A file it left in `/out`; its bytes follow as `OutChunk`s.
    OutFile {
        /// Checked: no slash, 1 to 255 bytes, UTF-8.
        name: String,
        /// Bytes that follow.
        size_bytes: u64,
    },
    /// What it changed in a workspace it may write to; the changes follow as `OutChunk`s.
    WorkspaceChanges {
        /// How much.
        changes: ChangeCounts,
        /// Bytes that follow.
        size_bytes: u64,
    },
    /// Next bytes of the last `OutFile` or of the `WorkspaceChanges`.
    OutChunk(Vec<u8>),
}

/// Paths of a workspace that are not what they were.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ChangeCounts {
    /// Were not there.
    pub added: u32,
    /// Have another content, kind or execute bit.
    pub changed: u32,
    /// Are gone.
    pub deleted: u32,
}

/// Why the program is no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndReason {
    /// It returned this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// The system-call filter ended it.
    Seccomp,
    /// Its time was over.
    Deadline,
    /// Its memory limit ended it.
    OomKilled,
    /// It failed after being refused a process.
    PidsLimit,
    /// It failed with a full disk.
    DiskLimit,
    /// It wrote more than allowed.
    OutputTooLarge,
    /// The engine stops.
    Shutdown,
    /// Its lease was not renewed in time, or taken away.
    Revoked,
    /// It passed descriptors through the guest door.
    DoorMisused,
}

/// The end of a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended {
    /// Why.
    pub reason: EndReason,
    /// More, for people; may be empty.
    pub detail: String,
    /// What it used.
    pub usage: Usage,
}

/// What a run used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Milliseconds from start to end.
    pub wall_ms: u64,
    /// CPU milliseconds.
    pub cpu_ms: u64,
    /// Highest memory charge.
    pub memory_peak_bytes: u64,
    /// Bytes written to stdout.
    pub stdout_bytes: u64,
    /// Bytes written to stderr.
    pub stderr_bytes: u64,
}

/// The engine could not run it. The program never ran, or its end is unknown because the engine went away.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct ExecuteError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// Stable reason, for example `QUILT_DOWN`, `TOKEN_NOT_ALLOWED`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Facts for programs, for example `token`, `rules` and `fix`.
    pub metadata: BTreeMap<String, String>,
}

/// The engine's view of itself.
#[derive(Clone, Debug, Default)]
pub struct EngineStatus {
    /// `name: state` of each cage layer.
    pub layers: Vec<String>,
    /// Cages alive.
    pub sandboxes: u32,
}
