//! From a request and what the device knows to exactly one program: arguments, profile, limits, frames.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aria_types::{ErrorKind, ResourceToken};

use crate::bundle::{Approval, Manifest, Tool};
use crate::env::{self, EnvError};
use crate::guest::{self, FRAME_BYTES_MAX};
use crate::id::InvocationId;
use crate::name::ToolName;
use crate::port::{ExecuteRequest, Limits, Profile, Shelf, Warm, Workspace};
use crate::session;

/// Longest tool input, bytes of JSON.
pub const INPUT_BYTES_MAX: usize = 1 << 20;
/// Most files given to one run.
pub const FILES_MAX: usize = 64;
/// Most program arguments.
pub const ARGS_MAX: usize = 1024;
/// All program arguments together, bytes.
pub const ARGS_BYTES_MAX: usize = 128 << 10;
/// Longest file name, bytes.
pub const FILE_NAME_BYTES_MAX: usize = 255;

const BUN: [&str; 5] = ["/bin/bun", "--no-install", "--env-file=/dev/null", "--config=/dev/null", "--no-orphans"];
/// Tells a program that holds tokens which descriptor its guest door is.
const DOOR_ENV: &str = "ARIA_DOOR";
const HARNESS: &str = "/lib/aria/harness.js";
/// Runs before the code of a process that holds net tokens and sends its requests through the door.
const NET: [&str; 2] = ["--preload", "/lib/aria/net.js"];

/// What a device allows one run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeviceLimits {
    /// Where nothing is asked.
    pub default: Limits,
    /// Never above this.
    pub max: Limits,
}

/// One file given to a run: its name in `/in`, and the stored blob.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InputFile {
    /// Name as the caller gave it; checked by the plan.
    pub name: String,
    /// Host path of the blob.
    pub path: PathBuf,
}

/// A tool call, looked up but not yet planned.
#[derive(Clone, Debug)]
pub struct ToolCall<'a> {
    /// The call's id.
    pub invocation: &'a InvocationId,
    /// Who calls.
    pub owner: &'a str,
    /// As callers write it.
    pub name: &'a ToolName,
    /// The tool.
    pub tool: &'a Tool,
    /// The run that calls it, if one does.
    pub parent: Option<&'a InvocationId>,
    /// The bundle's code directory on the host.
    pub code_dir: PathBuf,
    /// JSON text, checked against the tool's schema; not empty.
    pub input_json: &'a str,
    /// Files for `/in`.
    pub files: Vec<InputFile>,
    /// Shortens the tool's own timeout; zero keeps it.
    pub timeout_ms: u64,
    /// Key of cages kept for it, if it is called often enough.
    pub shelf: Option<String>,
}

/// A program to run once.
#[derive(Clone, Debug)]
pub struct ProgramCall<'a> {
    /// The run's id.
    pub invocation: &'a InvocationId,
    /// Who calls.
    pub owner: &'a str,
    /// The ephemeral bundle.
    pub manifest: &'a Manifest,
    /// Its code directory on the host.
    pub code_dir: PathBuf,
    /// Arguments after the script.
    pub args: Vec<String>,
    /// Added environment.
    pub env: BTreeMap<String, String>,
    /// Token texts as the caller wrote them.
    pub tokens: Vec<String>,
    /// Bounds it asks for; zero is the device's default.
    pub limits: Limits,
    /// System-call profile.
    pub profile: Profile,
    /// Files for `/in`.
    pub files: Vec<InputFile>,
    /// What to find at `/workspace`.
    pub session: Option<Session>,
}

/// A caller's directory of which a program gets a private copy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session {
    /// Host path of the blob with its tree.
    pub tree: PathBuf,
    /// Keep what the program changed.
    pub collect: bool,
}

/// Why a call cannot become a program.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// The tool wants a person asked, and nobody can be asked yet.
    #[error("tool {tool} has approval {approval:?}, and this device cannot ask anybody yet")]
    ApprovalRequired {
        /// Its name.
        tool: String,
        /// As the manifest spells it.
        approval: &'static str,
    },
    /// The input's text, or the frame it travels in, is too long.
    #[error("input of {bytes} bytes, limit is {limit_bytes}")]
    InputTooLarge {
        /// Its length, as sent to the guest.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// Not a plain file name.
    #[error(
        "file name {name:?} is empty, longer than {FILE_NAME_BYTES_MAX} bytes, `.`, `..`, or has a slash or control character"
    )]
    FileName {
        /// The name, cut.
        name: String,
    },
    /// Two files of one name.
    #[error("file name {name:?} is given twice")]
    FileTwice {
        /// The name.
        name: String,
    },
    /// Too many files.
    #[error("{count} files, limit is {FILES_MAX}")]
    FilesTooMany {
        /// How many.
        count: usize,
    },
    /// A limit above the device's maximum.
    #[error("limit {name} is {asked}, this device allows at most {max}")]
    LimitTooLarge {
        /// Which limit.
        name: &'static str,
        /// What was asked.
        asked: u64,
        /// What is allowed.
        max: u64,
    },
    /// The environment is refused.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// Arguments are too many, too long, or have a NUL.
    #[error("program arguments: {what}")]
    Args {
        /// What is wrong.
        what: &'static str,
    },
    /// A token text is not a token.
    #[error("token {text:?}: {message}")]
    Token {
        /// The text, cut.
        text: String,
        /// Why.
        message: String,
    },
    /// A session without the right to it.
    #[error("a session needs a token fs:workspace with mode ro or rw")]
    SessionToken,
    /// The bundle has no program.
    #[error("bundle {bundle} names no program to run")]
    NoProgram {
        /// Its name.
        bundle: String,
    },
}

impl PlanError {
    /// The kind callers act on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ApprovalRequired { .. } => ErrorKind::Denied,
            // All others are the caller's mistake.
            _ => ErrorKind::Invalid,
        }
    }

    /// Stable reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ApprovalRequired { .. } => "APPROVAL_REQUIRED",
            Self::InputTooLarge { .. } => "INPUT_TOO_LARGE",
            Self::FileName { .. } | Self::FileTwice { .. } | Self::FilesTooMany { .. } => "FILE_NAME",
            Self::LimitTooLarge { .. } => "LIMIT_TOO_LARGE",
            Self::Env(_) => "ENV_REFUSED",
            Self::Args { .. } => "ARGS_INVALID",
            Self::Token { .. } => "TOKEN_SYNTAX",
            Self::SessionToken => "SESSION_TOKEN",
            Self::NoProgram { .. } => "PROGRAM_MISSING",
        }
    }
}

/// Plans a tool call. What the tool asks for is cut to what the device allows; the caller can only shorten the timeout.
pub fn plan_tool(call: ToolCall<'_>, device: &DeviceLimits) -> Result<ExecuteRequest, PlanError> {
    if call.tool.approval != Approval::Never {
        let (tool, approval) = (call.tool.name.to_string(), call.tool.approval.as_str());
        return Err(PlanError::ApprovalRequired { tool, approval });
    }
    if call.input_json.len() > INPUT_BYTES_MAX {
        return Err(PlanError::InputTooLarge { bytes: call.input_json.len(), limit_bytes: INPUT_BYTES_MAX });
    }
    check_files(&call.files)?;
    let module = format!("/app/{}", call.tool.entry);
    let frame = guest::invoke_frame(call.invocation.as_str(), &module, call.input_json);
    if frame.len() > FRAME_BYTES_MAX {
        return Err(PlanError::InputTooLarge { bytes: frame.len(), limit_bytes: FRAME_BYTES_MAX });
    }
    let tokens = token_texts(&tool_tokens(call.tool)?);
    Ok(ExecuteRequest {
        execution_id: call.invocation.to_string(),
        owner: call.owner.to_owned(),
        argv: runtime(&tokens).chain([HARNESS]).map(str::to_owned).collect(),
        tokens,
        env: BTreeMap::new(),
        profile: profile(call.tool),
        code_dir: Some(call.code_dir),
        files: call.files.into_iter().map(|file| (file.name, file.path)).collect(),
        door_frames: Some(vec![frame]),
        collect_out: true,
        limits: tool_limits(call.tool, call.timeout_ms, device),
        parent_execution_id: call.parent.map(ToString::to_string),
        priority: 0,
        wait_ms: 0,
        subject: format!("tool:{}", call.name),
        warm: Some(warm(call.shelf, &module)),
        workspace: None,
    })
}

fn profile(tool: &Tool) -> Profile {
    match (tool.spawn, tool.jit) {
        (true, _) => Profile::Tool,
        (false, true) => Profile::ToolNoexec,
        (false, false) => Profile::ToolNojit,
    }
}

/// Plans a program. Everything it asks for is checked, nothing is cut silently.
pub fn plan_program(call: ProgramCall<'_>, device: &DeviceLimits) -> Result<ExecuteRequest, PlanError> {
    let program = call
        .manifest
        .program
        .as_ref()
        .ok_or_else(|| PlanError::NoProgram { bundle: call.manifest.name.to_string() })?;
    check_files(&call.files)?;
    check_args(&call.args)?;
    env::check(&call.env)?;
    let limits = asked_limits(call.limits, device)?;
    let tokens = call.tokens.iter().map(|text| parse_token(text)).collect::<Result<Vec<_>, _>>()?;
    let (workspace, tokens) = match call.session {
        None => (None, tokens),
        Some(session) => {
            let (writable, tokens) = session::scope(tokens, call.invocation)?;
            let workspace = Workspace { tree: session.tree, writable, collect: session.collect && writable };
            (Some(workspace), tokens)
        }
    };
    let tokens = token_texts(&tokens);
    let mut env = call.env;
    if !tokens.is_empty() {
        // After the check: what the caller may set is not what the device sets.
        env.insert(DOOR_ENV.to_owned(), "3".to_owned());
    }
    let script = format!("/app/{}", program.entry);
    Ok(ExecuteRequest {
        execution_id: call.invocation.to_string(),
        owner: call.owner.to_owned(),
        argv: runtime(&tokens).map(str::to_owned).chain([script]).chain(call.args).collect(),
        env,
        profile: call.profile,
        code_dir: Some(call.code_dir),
        files: call.files.into_iter().map(|file| (file.name, file.path)).collect(),
        // What holds nothing has nothing to ask for.
        door_frames: (!tokens.is_empty()).then(Vec::new),
        tokens,
        collect_out: true,
        limits,
        parent_execution_id: None,
        priority: 0,
        wait_ms: 0,
        subject: "exec".to_owned(),
        // Its first instruction is its own, so there is nothing to make ready.
        warm: None,
        workspace,
    })
}

fn warm(shelf: Option<String>, module: &str) -> Warm {
    let shelf = shelf.map(|key| Shelf { key, prepare: guest::prepare_frame(Some(module)) });
    Warm { prepare: guest::prepare_frame(None), shelf }
}

fn parse_token(text: &str) -> Result<ResourceToken, PlanError> {
    text.parse::<ResourceToken>()
        .map_err(|error| PlanError::Token { text: text.chars().take(128).collect(), message: error.to_string() })
}

/// Hosts and secrets a tool names are tokens like the others.
fn tool_tokens(tool: &Tool) -> Result<Vec<ResourceToken>, PlanError> {
    let hosts = tool.egress.iter().map(|host| parse_token(&format!("net:{host}")));
    let secrets = tool.secrets.iter().map(|name| parse_token(&format!("secret:{name}")));
    tool.tokens.iter().cloned().map(Ok).chain(hosts).chain(secrets).collect()
}

/// The runtime with its options; what may use the network gets the way to it.
fn runtime(tokens: &[String]) -> impl Iterator<Item = &'static str> + use<> {
    let net = tokens.iter().any(|token| token.starts_with("net:"));
    BUN.into_iter().chain(NET.into_iter().filter(move |_| net))
}

fn token_texts(tokens: &[ResourceToken]) -> Vec<String> {
    let mut texts: Vec<String> = tokens.iter().map(ToString::to_string).collect();
    texts.sort();
    texts.dedup();
    texts
}

fn tool_limits(tool: &Tool, timeout_ms: u64, device: &DeviceLimits) -> Limits {
    let DeviceLimits { default, max } = *device;
    let timeout = if timeout_ms == 0 { tool.timeout_ms } else { tool.timeout_ms.min(timeout_ms) };
    Limits {
        memory_bytes: tool.limits.memory_bytes.unwrap_or(default.memory_bytes).min(max.memory_bytes),
        pids: tool.limits.pids.unwrap_or(default.pids).min(max.pids),
        cpu_millis: tool.limits.cpu_millis.unwrap_or(default.cpu_millis).min(max.cpu_millis),
        disk_bytes: tool.limits.disk_bytes.unwrap_or(default.disk_bytes).min(max.disk_bytes),
        wall_ms: timeout.min(max.wall_ms),
        output_bytes: tool.limits.output_bytes.unwrap_or(default.output_bytes).min(max.output_bytes),
    }
}

fn asked_limits(asked: Limits, device: &DeviceLimits) -> Result<Limits, PlanError> {
    let DeviceLimits { default, max } = *device;
    let one = |name, asked: u64, default: u64, max: u64| match asked {
        0 => Ok(default.min(max)),
        asked if asked > max => Err(PlanError::LimitTooLarge { name, asked, max }),
        asked => Ok(asked),
    };
    // Both 32-bit results are at most a 32-bit maximum.
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(Limits {
        memory_bytes: one("memory_bytes", asked.memory_bytes, default.memory_bytes, max.memory_bytes)?,
        pids: narrow(one("pids", asked.pids.into(), default.pids.into(), max.pids.into())?),
        cpu_millis: narrow(one(
            "cpu_millis",
            asked.cpu_millis.into(),
            default.cpu_millis.into(),
            max.cpu_millis.into(),
        )?),
        disk_bytes: one("disk_bytes", asked.disk_bytes, default.disk_bytes, max.disk_bytes)?,
        wall_ms: one("wall_ms", asked.wall_ms, default.wall_ms, max.wall_ms)?,
        output_bytes: one("output_bytes", asked.output_bytes, default.output_bytes, max.output_bytes)?,
    })
}

fn check_files(files: &[InputFile]) -> Result<(), PlanError> {
    if files.len() > FILES_MAX {
        return Err(PlanError::FilesTooMany { count: files.len() });
    }
    for (index, file) in files.iter().enumerate() {
        if !is_file_name(&file.name) {
            return Err(PlanError::FileName { name: file.name.chars().take(64).collect() });
        }
        if files.iter().take(index).any(|other| other.name == file.name) {
            return Err(PlanError::FileTwice { name: file.name.clone() });
        }
    }
    Ok(())
}

/// Whether `name` can stand in `/in` and `/out`: 1 to 255 bytes, no slash, no control character, not `.` or `..`.
pub fn is_file_name(name: &str) -> bool {
    let length = (1..=FILE_NAME_BYTES_MAX).contains(&name.len());
    length && name != "." && name != ".." && !name.chars().any(|c| c == '/' || c.is_control())
}

fn check_args(args: &[String]) -> Result<(), PlanError> {
    let bytes: usize = args.iter().map(|arg| arg.len().saturating_add(1)).sum();
    if args.len() > ARGS_MAX || bytes > ARGS_BYTES_MAX {
        return Err(PlanError::Args { what: "more than 1,024 or longer than 128 KiB together" });
    }
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err(PlanError::Args { what: "a NUL byte in an argument" });
    }
    Ok(())
}
