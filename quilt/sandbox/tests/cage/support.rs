//! One engine per test, and programs given as TypeScript.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use quilt_sandbox::{Config, Engine, Exit, Io, Limits, OutLimits, Profile, Sandbox, Spec, Usage};

const PRELUDE: &str = include_str!("probes/prelude.ts");
pub(crate) const LIMITS: Limits = Limits { memory_bytes: 256 << 20, pids: 64, cpu_millis: 2000, disk_bytes: 16 << 20 };
const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Nothing here takes that long; a test that does has found a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn tool_root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../out/tool-root"))
}

/// Why cages cannot be built here, if so.
pub(crate) fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".into());
    }
    if !tool_root().join("bin/bun").exists() {
        return Some("needs out/tool-root".into());
    }
    let memory = Path::new("/sys/fs/cgroup/memory");
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    (!memory.exists() && !controllers.contains("memory")).then(|| "needs a memory cgroup controller".into())
}

/// Leaves the test with a reason where cages cannot be built.
#[macro_export]
macro_rules! needs_cages {
    () => {
        if let Some(reason) = $crate::support::missing() {
            println!("skipped: {reason}");
            return;
        }
    };
}

pub(crate) fn config() -> Config {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    Config {
        rootfs: tool_root().canonicalize().expect("the tool root"),
        init: env!("CARGO_BIN_EXE_quilt-init").into(),
        cgroup_name: format!("quilt-test-{}-{number}", std::process::id()),
        // Tests run side by side, each with its own engine.
        uid_base: 400_000 + (std::process::id() % 1000) * 10_000 + number * 100,
        uid_count: 100,
        pool: 1,
    }
}

pub(crate) fn engine() -> Engine {
    Engine::open(config()).expect("the engine opens")
}

/// A bundle directory with one script and the prelude beside it.
pub(crate) struct App {
    pub(crate) dir: tempfile::TempDir,
}

impl App {
    pub(crate) fn new(script: &str) -> App {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        fs::write(dir.path().join("main.ts"), script).expect("written");
        fs::write(dir.path().join("prelude.ts"), PRELUDE).expect("written");
        App { dir }
    }

    pub(crate) fn spec(&self) -> Spec {
        let flags =
            ["/bin/bun", "--no-install", "--env-file=/dev/null", "--config=/dev/null", "--no-orphans", "/app/main.ts"];
        let env = [("HOME", "/tmp"), ("PATH", "/bin"), ("TMPDIR", "/tmp"), ("BUN_RUNTIME_TRANSPILER_CACHE_PATH", "0")];
        Spec {
            argv: flags.map(str::to_owned).to_vec(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect::<BTreeMap<_, _>>(),
            profile: Profile::Tool,
            app: Some(File::open(self.dir.path()).expect("opens").into()),
            files: Vec::new(),
            out: false,
            workspace: None,
            door: false,
            stdin: false,
            limits: LIMITS,
        }
    }
}

/// A finished program.
#[derive(Debug)]
#[allow(dead_code, reason = "all of it is shown when a test fails")]
pub(crate) struct Run {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) usage: Usage,
    pub(crate) took: Duration,
}

impl Run {
    /// The program's last line, as JSON, if it did its work.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.exit, Exit::Code(0), "{self:?}");
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a script to its end in a cage of `engine`.
#[track_caller]
pub(crate) fn run_on(engine: &Engine, script: &str, change: impl FnOnce(&mut Spec)) -> Run {
    let app = App::new(script);
    let mut spec = app.spec();
    change(&mut spec);
    let wants_out = spec.out;
    let begin = Instant::now();
    let (mut sandbox, io) = engine.spawn(spec).expect("starts");
    let (stdout, stderr) = drain(&io, &sandbox);
    let exit = sandbox.exit();
    if wants_out {
        sandbox.collect_out(OutLimits { count_max: 256, bytes_max: 64 << 20 }).expect("collects");
    }
    let took = begin.elapsed();
    let usage = sandbox.destroy().expect("is destroyed");
    Run { exit, stdout, stderr, usage, took }
}

/// Runs a script to its end in a cage of its own engine.
#[track_caller]
pub(crate) fn run(script: &str) -> Run {
    run_on(&engine(), script, |_| {})
}

/// Reads both outputs until they close; keeps a bounded part.
pub(crate) fn drain(io: &Io, sandbox: &Sandbox) -> (String, String) {
    let deadline = Instant::now() + PATIENCE;
    let mut texts = [Vec::new(), Vec::new()];
    let mut open = [true, true];
    while open[0] || open[1] {
        let fds: Vec<(usize, &OwnedFd)> =
            [&io.stdout, &io.stderr].into_iter().enumerate().filter(|(n, _)| open[*n]).collect();
        let mut polled: Vec<_> = fds.iter().map(|(_, fd)| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut polled, PollTimeout::from(1000u16)).expect("polls");
        for (n, fd) in fds {
            let mut chunk = [0; 65536];
            match nix::unistd::read(fd, &mut chunk) {
                Ok(0) => open[n] = false,
                Ok(got) if texts[n].len() < OUTPUT_BYTES_MAX => texts[n].extend_from_slice(&chunk[..got]),
                Ok(_) | Err(nix::errno::Errno::EAGAIN) => {}
                Err(error) => panic!("read output: {error}"),
            }
        }
        if Instant::now() > deadline {
            sandbox.kill();
        }
    }
    let [stdout, stderr] = texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (stdout, stderr)
}

/// Waits until `fd` is readable.
#[track_caller]
pub(crate) fn wait_readable(fd: &OwnedFd, wait_max: Duration) {
    let timeout = PollTimeout::try_from(wait_max).expect("a short wait");
    let mut polled = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    assert_ne!(poll(&mut polled, timeout).expect("polls"), 0, "nothing to read within {wait_max:?}");
}

/// Reads a line from a program that goes on living.
#[track_caller]
pub(crate) fn read_line(fd: &OwnedFd) -> String {
    let mut line = Vec::new();
    loop {
        wait_readable(fd, PATIENCE);
        let mut byte = [0];
        match nix::unistd::read(fd, &mut byte).expect("reads") {
            0 => break,
            _ if byte[0] == b'\n' => break,
            _ => line.push(byte[0]),
        }
    }
    String::from_utf8_lossy(&line).into_owned()
}

/// A sandbox whose program has said "ready" and waits for its end.
pub(crate) fn started(engine: &Engine, script: &str, change: impl FnOnce(&mut Spec)) -> (Sandbox, Io, App) {
    let app = App::new(script);
    let mut spec = app.spec();
    change(&mut spec);
    let (sandbox, io) = engine.spawn(spec).expect("starts");
    assert_eq!(read_line(&io.stdout), "ready");
    (sandbox, io, app)
}

/// Host pids of everything that lives in a cage: launcher, shim, program and the rest.
pub(crate) fn pids_of(id: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if groups.contains(&format!("/{id}\n")) && !status.contains("State:\tZ") {
            found.push(pid);
        }
    }
    found.sort_unstable();
    found
}

/// The host pid of the program itself: pid 2 of the cage.
#[track_caller]
pub(crate) fn program_pid(id: &str) -> u32 {
    pid_inside(id, 2)
}

/// The host pid of the shim: pid 1 of the cage.
#[track_caller]
pub(crate) fn shim_pid(id: &str) -> u32 {
    pid_inside(id, 1)
}

#[track_caller]
fn pid_inside(id: &str, inside: u32) -> u32 {
    let is_it = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with(&format!("\t{inside}")))
    };
    pids_of(id).into_iter().find(is_it).expect("the process is in the cage")
}

/// Host pids of all children of a process, zombies too.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

pub(crate) fn text_of(mut file: &File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).expect("reads");
    text
}
