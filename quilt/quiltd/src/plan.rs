//! A request from the wire, checked once into values that can be acted on. Pure: nothing is opened here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use aria_protocol::quilt::v1 as pb;
use aria_types::ResourceToken;
use aria_types::frame::FRAME_BYTES_MAX;
use quilt_core::{LeaseRequest, PRIORITY_DEFAULT, PRIORITY_MAX};
use quilt_sandbox::{Access, Profile};

use crate::fault::Fault;
use crate::limits::{LimitRange, Limits};

/// The kernel refuses a longer single argument or variable.
const STRING_BYTES_MAX: usize = 128 * 1024 - 1;
/// All arguments and variables together; well below what the kernel takes.
const STRINGS_BYTES_MAX: usize = 1 << 20;
const ARGS_MAX: usize = 4096;
const VARIABLES_MAX: usize = 512;
const FILES_MAX: usize = 64;
const FRAMES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 255;
/// A prepare frame is written before anybody reads, so it must fit the buffer of any socket.
const PREPARE_BYTES_MAX: usize = 16 * 1024;

/// What every program has in its environment. A request adds to it and may replace it.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("HOME", "/tmp"),
    ("PATH", "/bin"),
    ("TMPDIR", "/tmp"),
    ("LANG", "C.UTF-8"),
    ("TZ", "UTC"),
    // A cage lives for one run: a cache on disk would be written and never read.
    ("BUN_RUNTIME_TRANSPILER_CACHE_PATH", "0"),
];

/// One execution, everything about it known to be well formed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) lease: LeaseRequest,
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) profile: Profile,
    pub(crate) code_dir: Option<PathBuf>,
    pub(crate) files: Vec<(String, PathBuf)>,
    /// Frames to write first; `None`: no guest door.
    pub(crate) door: Option<Vec<Vec<u8>>>,
    /// The caller takes the door itself.
    pub(crate) direct_door: bool,
    pub(crate) stdin: bool,
    pub(crate) out: bool,
    pub(crate) workspace: Option<Workspace>,
    /// How a cage is made ready before there is a call.
    pub(crate) warm: Option<Warm>,
    pub(crate) limits: Limits,
}

/// What makes a cage ready for any run of the same program, and for runs of one shelf.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Warm {
    pub(crate) prepare: Vec<u8>,
    pub(crate) shelf: Option<Shelf>,
}

/// A key and the frame that makes a cage ready for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Shelf {
    pub(crate) key: String,
    pub(crate) prepare: Vec<u8>,
}

/// A tree for `/workspace`.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    pub(crate) tree: PathBuf,
    pub(crate) access: Access,
    /// Send what changed, not only how much.
    pub(crate) collect: bool,
}

/// Checks a request; the first rule that is broken is the answer.
pub(crate) fn plan(range: &LimitRange, mut request: pb::ExecuteRequest) -> Result<Plan, Fault> {
    execution_id(&request.execution_id)?;
    text("owner", &request.owner)?;
    let mut program = request.program.take().ok_or_else(|| Fault::spec("program", "is missing"))?;
    let workspace = program.workspace.take().map(|asked| workspace(&request, asked)).transpose()?;
    let profile = match program.profile() {
        pb::Profile::Tool => Profile::Tool,
        pb::Profile::ToolNoexec => Profile::ToolNoexec,
        pb::Profile::ToolNojit => Profile::ToolNojit,
        pb::Profile::Unspecified => return Err(Fault::spec("program.profile", "is not a known profile")),
    };
    argv(&program.argv)?;
    let env = environment(std::mem::take(&mut program.env))?;
    let strings = program.argv.iter().map(String::len).chain(env.iter().map(|(name, value)| name.len() + value.len()));
    if strings.sum::<usize>() > STRINGS_BYTES_MAX {
        return Err(Fault::spec(
            "program.argv",
            format!("with the environment is more than {STRINGS_BYTES_MAX} bytes"),
        ));
    }
    let warm = warm(&mut program)?;
    let direct_door = program.direct_door && program.guest_door;
    let door = door(program.guest_door, program.door_frames)?;
    let code_dir =
        if program.code_dir.is_empty() { None } else { Some(host_path("program.code_dir", &program.code_dir)?) };
    Ok(Plan {
        lease: lease(&mut request)?,
        argv: program.argv,
        env,
        profile,
        code_dir,
        files: files(program.files)?,
        door,
        direct_door,
        stdin: program.stdin,
        out: program.collect_out,
        workspace,
        warm,
        limits: range.fill(asked(request.limits.unwrap_or_default()))?,
    })
}

/// Everything of a request that is about its lease.
fn lease(request: &mut pb::ExecuteRequest) -> Result<LeaseRequest, Fault> {
    let parent = match std::mem::take(&mut request.parent_execution_id) {
        id if id.is_empty() => None,
        id => {
            execution_id(&id).map_err(|_| Fault::spec("parent_execution_id", "is not 32 lower-case hex characters"))?;
            Some(id)
        }
    };
    if request.lent && parent.is_none() {
        return Err(Fault::spec("lent", "without a parent_execution_id"));
    }
    if !request.subject.is_empty() {
        text("subject", &request.subject)?;
    }
    let priority = match request.priority {
        0 => PRIORITY_DEFAULT,
        asked => u8::try_from(asked).ok().filter(|asked| *asked <= PRIORITY_MAX).ok_or_else(|| {
            Fault::spec("priority", format!("is between 1 and {PRIORITY_MAX}, or 0 for {PRIORITY_DEFAULT}"))
        })?,
    };
    Ok(LeaseRequest {
        execution_id: request.execution_id.clone(),
        owner: request.owner.clone(),
        subject: request.subject.clone(),
        tokens: std::mem::take(&mut request.tokens),
        priority,
        // The ledger has a bound of its own.
        wait: if request.wait_ms == 0 { Duration::MAX } else { Duration::from_millis(request.wait_ms) },
        parent,
        lent: request.lent,
    })
}

/// A workspace is a resource like others: who has it holds a token for it.
fn workspace(request: &pb::ExecuteRequest, asked: pb::Workspace) -> Result<Workspace, Fault> {
    const FIELD: &str = "program.workspace";
    let tree = host_path(FIELD, &asked.tree)?;
    let access = if asked.writable { Access::ReadWrite } else { Access::ReadOnly };
    let mode = if asked.writable { "rw" } else { "ro" };
    let needed = ResourceToken::parse(&format!("fs:workspace:{}:{mode}", request.execution_id))
        .map_err(|_| Fault::spec("execution_id", "is no scope of a token"))?;
    let holds = |text: &String| ResourceToken::parse(text).is_ok_and(|held| held.covers(&needed));
    if !request.tokens.iter().any(holds) {
        return Err(Fault::spec(FIELD, format!("without a token that covers {needed}")));
    }
    Ok(Workspace { tree, access, collect: asked.collect && asked.writable })
}

/// Checks the id of an execution: 32 lower-case hex characters.
pub(crate) fn execution_id(id: &str) -> Result<(), Fault> {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if id.len() == 32 && id.bytes().all(hex) {
        return Ok(());
    }
    Err(Fault::spec("execution_id", "is not 32 lower-case hex characters"))
}

fn text(field: &'static str, text: &str) -> Result<(), Fault> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Fault::spec(field, format!("is not 1 to {NAME_BYTES_MAX} bytes without control characters")));
    }
    Ok(())
}

fn argv(argv: &[String]) -> Result<(), Fault> {
    let first = argv.first().ok_or_else(|| Fault::spec("program.argv", "is empty"))?;
    if !first.starts_with('/') {
        return Err(Fault::spec("program.argv", "does not begin with an absolute path"));
    }
    if argv.len() > ARGS_MAX {
        return Err(Fault::spec("program.argv", format!("has more than {ARGS_MAX} entries")));
    }
    argv.iter().try_for_each(|arg| string("program.argv", arg))
}

fn string(field: &'static str, value: &str) -> Result<(), Fault> {
    if value.contains('\0') {
        return Err(Fault::spec(field, "has a NUL byte"));
    }
    if value.len() > STRING_BYTES_MAX {
        return Err(Fault::spec(field, format!("has an entry of more than {STRING_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn environment(asked: impl IntoIterator<Item = (String, String)>) -> Result<BTreeMap<String, String>, Fault> {
    let mut env: BTreeMap<String, String> =
        ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for (name, value) in asked {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let starts_well = name.bytes().next().is_some_and(|first| letter(first) && !first.is_ascii_digit());
        if !starts_well || !name.bytes().all(letter) || name.len() > NAME_BYTES_MAX {
            return Err(Fault::spec("program.env", format!("{:?} is not the name of a variable", shown(&name))));
        }
        string("program.env", &value)?;
        env.insert(name, value);
    }
    if env.len() > VARIABLES_MAX {
        return Err(Fault::spec("program.env", format!("has more than {VARIABLES_MAX} variables")));
    }
    Ok(env)
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

fn host_path(field: &'static str, path: &str) -> Result<PathBuf, Fault> {
    if !path.starts_with('/') || path.contains('\0') || path.len() >= 4096 {
        return Err(Fault::spec(field, "is not an absolute path"));
    }
    // `..` would be refused when it is opened as well; here it gets a message that names it.
    if path.split('/').any(|segment| segment == "..") {
        return Err(Fault::spec(field, "has a .. segment"));
    }
    Ok(PathBuf::from(path))
}

fn files(asked: Vec<pb::InputFile>) -> Result<Vec<(String, PathBuf)>, Fault> {
    const FIELD: &str = "program.files";
    if asked.len() > FILES_MAX {
        return Err(Fault::spec(FIELD, format!("has more than {FILES_MAX} entries")));
    }
    let mut names = BTreeSet::new();
    let mut files = Vec::with_capacity(asked.len());
    for file in asked {
        text(FIELD, &file.name)?;
        if file.name.contains('/') || file.name == "." || file.name == ".." {
            return Err(Fault::spec(FIELD, format!("{:?} is not the name of a file", shown(&file.name))));
        }
        if !names.insert(file.name.clone()) {
            return Err(Fault::spec(FIELD, format!("{:?} is there twice", shown(&file.name))));
        }
        let path = host_path(FIELD, &file.path)?;
        files.push((file.name, path));
    }
    Ok(files)
}

fn door(asked: bool, frames: Vec<Vec<u8>>) -> Result<Option<Vec<Vec<u8>>>, Fault> {
    const FIELD: &str = "program.door_frames";
    if !asked {
        return if frames.is_empty() { Ok(None) } else { Err(Fault::spec(FIELD, "without a guest door")) };
    }
    if frames.len() > FRAMES_MAX {
        return Err(Fault::spec(FIELD, format!("has more than {FRAMES_MAX} entries")));
    }
    frames.iter().try_for_each(|frame| frame_size(FIELD, frame))?;
    Ok(Some(frames))
}

/// Checks one frame that goes into a guest door.
pub(crate) fn frame_size(field: &'static str, frame: &[u8]) -> Result<(), Fault> {
    if frame.len() <= FRAME_BYTES_MAX {
        return Ok(());
    }
    Err(Fault::spec(field, format!("a frame of {} bytes is longer than {FRAME_BYTES_MAX}", frame.len())))
}

fn warm(program: &mut pb::Program) -> Result<Option<Warm>, Fault> {
    if !program.warm {
        return Ok(None);
    }
    let frame = |field, frame: Vec<u8>| match frame.len() {
        1..=PREPARE_BYTES_MAX => Ok(frame),
        _ => Err(Fault::spec(field, format!("is not 1 to {PREPARE_BYTES_MAX} bytes"))),
    };
    let prepare = frame("program.prepare", std::mem::take(&mut program.prepare))?;
    let key = std::mem::take(&mut program.shelf);
    if key.is_empty() {
        return Ok(Some(Warm { prepare, shelf: None }));
    }
    text("program.shelf", &key)?;
    let shelf = Shelf { key, prepare: frame("program.prepare_shelf", std::mem::take(&mut program.prepare_shelf))? };
    Ok(Some(Warm { prepare, shelf: Some(shelf) }))
}

fn asked(limits: pb::Limits) -> Limits {
    Limits {
        memory_bytes: limits.memory_bytes,
        pids: limits.pids,
        cpu_millis: limits.cpu_millis,
        disk_bytes: limits.disk_bytes,
        output_bytes: limits.output_bytes,
        wall_ms: limits.wall_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::tests::range;

    fn good() -> pb::ExecuteRequest {
        pb::ExecuteRequest {
            execution_id: "0123456789abcdef0123456789abcdef".into(),
            owner: "ann".into(),
            tokens: vec![],
            program: Some(pb::Program {
                argv: vec!["/bin/true".into()],
                profile: pb::Profile::Tool.into(),
                ..pb::Program::default()
            }),
            ..pb::ExecuteRequest::default()
        }
    }

    #[track_caller]
    fn refused(part: &str, spoil: impl FnOnce(&mut pb::ExecuteRequest, &mut pb::Program)) {
        let mut request = good();
        let mut program = request.program.take().unwrap();
        spoil(&mut request, &mut program);
        request.program = Some(program);
        let fault = plan(&range(), request).expect_err(part);
        assert!(fault.reason == "SPEC_INVALID" && fault.message.contains(part), "{fault}");
    }

    #[test]
    fn a_good_request_gets_the_usual_environment() {
        let plan = plan(&range(), good()).unwrap();
        assert_eq!(plan.env.get("HOME").map(String::as_str), Some("/tmp"));
        assert_eq!(plan.env.len(), ENVIRONMENT.len());
        assert!(plan.door.is_none() && plan.code_dir.is_none());
    }

    #[test]
    fn a_request_may_replace_a_variable() {
        let mut request = good();
        let env = std::collections::HashMap::from([("TZ".into(), "Europe/Vienna".into())]);
        request.program.as_mut().unwrap().env = env;
        assert_eq!(plan(&range(), request).unwrap().env["TZ"], "Europe/Vienna");
    }

    #[test]
    fn ids_and_owners() {
        refused("execution_id", |request, _| request.execution_id = "0123456789ABCDEF0123456789ABCDEF".into());
        refused("execution_id", |request, _| request.execution_id = "../../etc".into());
        refused("execution_id", |request, _| request.execution_id.clear());
        refused("owner", |request, _| request.owner.clear());
        refused("owner", |request, _| request.owner = "ann\nroot".into());
        refused("owner", |request, _| request.owner = "a".repeat(256));
    }

    #[test]
    fn what_is_about_the_lease() {
        refused("parent_execution_id", |request, _| request.parent_execution_id = "mother".into());
        refused("lent", |request, _| request.lent = true);
        refused("subject", |request, _| request.subject = "a\nb".into());
        refused("priority", |request, _| request.priority = 10);
        refused("priority", |request, _| request.priority = 260);
        let lease = |priority, wait_ms| {
            let plan = plan(&range(), pb::ExecuteRequest { priority, wait_ms, ..good() }).unwrap();
            (plan.lease.priority, plan.lease.wait)
        };
        assert_eq!(lease(0, 0), (4, Duration::MAX));
        assert_eq!(lease(9, 5), (9, Duration::from_millis(5)));
    }

    #[test]
    fn a_missing_program_is_named() {
        let request = pb::ExecuteRequest { program: None, ..good() };
        assert_eq!(plan(&range(), request).unwrap_err().message, "program: is missing");
    }

    #[test]
    fn arguments() {
        refused("is empty", |_, program| program.argv.clear());
        refused("absolute", |_, program| program.argv = vec!["bun".into()]);
        refused("absolute", |_, program| program.argv = vec![String::new()]);
        refused("NUL", |_, program| program.argv.push("a\0b".into()));
        refused("131071", |_, program| program.argv.push("x".repeat(128 * 1024)));
        refused("4096", |_, program| program.argv.extend(vec![String::new(); 4096]));
        refused("1048576", |_, program| program.argv.extend(vec!["x".repeat(100_000); 11]));
        refused("profile", |_, program| program.profile = 0);
        refused("profile", |_, program| program.profile = 77);
    }

    #[test]
    fn variables() {
        for name in ["", "A=B", "1A", "A-B", "A B", "A\0", "Ä", &"A".repeat(256)] {
            refused("program.env", |_, program| drop(program.env.insert(name.to_owned(), "x".into())));
        }
        refused("NUL", |_, program| drop(program.env.insert("A".into(), "x\0".into())));
        refused("131071", |_, program| drop(program.env.insert("A".into(), "x".repeat(128 * 1024))));
        refused("512", |_, program| program.env.extend((0..600).map(|n| (format!("V{n}"), String::new()))));
    }

    #[test]
    fn paths() {
        refused("absolute", |_, program| program.code_dir = "code".into());
        refused("..", |_, program| program.code_dir = "/srv/code/../secret".into());
        refused("absolute", |_, program| program.code_dir = "/srv/a\0b".into());
    }

    #[test]
    fn files_have_plain_names_once() {
        let file = |name: &str| pb::InputFile { name: name.into(), path: "/srv/f".into() };
        for name in ["", ".", "..", "a/b", "/a", "a\0", "a\nb", &"x".repeat(256)] {
            refused("program.files", |_, program| program.files = vec![file(name)]);
        }
        refused("twice", |_, program| program.files = vec![file("a"), file("a")]);
        refused("more than 64", |_, program| program.files = vec![file("a"); 65]);
        refused("..", |_, program| {
            program.files = vec![pb::InputFile { name: "a".into(), path: "/srv/../etc/shadow".into() }];
        });
    }

    #[test]
    fn door_frames() {
        refused("without a guest door", |_, program| program.door_frames = vec![vec![]]);
        refused("longer than 1048576", |_, program| {
            program.guest_door = true;
            program.door_frames = vec![vec![0; FRAME_BYTES_MAX + 1]];
        });
        refused("more than 64", |_, program| {
            program.guest_door = true;
            program.door_frames = vec![vec![]; 65];
        });
    }

    #[test]
    fn what_may_be_made_ready_says_how() {
        refused("program.prepare", |_, program| program.warm = true);
        refused("program.prepare", |_, program| {
            (program.warm, program.prepare) = (true, vec![0; PREPARE_BYTES_MAX + 1]);
        });
        let warm = |program: &mut pb::Program| (program.warm, program.prepare) = (true, b"p".to_vec());
        refused("program.prepare_shelf", |_, program| {
            warm(program);
            program.shelf = "k".into();
        });
        refused("program.shelf", |_, program| {
            warm(program);
            program.shelf = "a\nb".into();
        });
        let mut request = good();
        warm(request.program.as_mut().unwrap());
        assert_eq!(plan(&range(), request).unwrap().warm, Some(Warm { prepare: b"p".to_vec(), shelf: None }));
    }

    #[test]
    fn limits_above_the_maximum() {
        refused("limits: memory_bytes", |request, _| {
            request.limits = Some(pb::Limits { memory_bytes: 1 << 40, ..pb::Limits::default() });
        });
    }
}
