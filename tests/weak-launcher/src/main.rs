//! Test only: runs one program in a cage with named layers left out, so that a hostile case can show that it fires.
//!
//! It links the product's own step lists and filters them; no shipped binary can do that. The program gets this
//! process's input and outputs. Exit code: the program's own, 128 and the signal that ended it, 125 when it never ran.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod layers;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use quilt_sandbox::Limits;
use quilt_sandbox::for_weak_launcher::{self as steps, Leaf, Request, Step, Template};

use layers::Without;

/// Our cgroup directory; shared by all weak launchers, and left in place.
const HOME: &str = "quilt-weak";
const NEVER_RAN: i32 = 125;
const USAGE: &str = "usage: weak-launcher --root DIR [--app DIR] [--without LAYER,…] [--profile tool|tool-noexec]
         [--env NAME=VALUE]… [--uid N] [--memory BYTES] [--pids N] [--cpu MILLIS] [--disk BYTES] -- PROGRAM [ARGUMENT…]
";
const ENVIRONMENT: [&str; 6] =
    ["HOME=/tmp", "PATH=/bin", "TMPDIR=/tmp", "LANG=C.UTF-8", "TZ=UTC", "BUN_RUNTIME_TRANSPILER_CACHE_PATH=0"];
/// As good as none, and accepted by every kernel.
const NO_LIMITS: Limits = Limits { memory_bytes: 1 << 50, pids: 1 << 20, cpu_millis: 1_000_000, disk_bytes: 1 << 40 };

/// What to run, and how weakly.
#[derive(Debug)]
struct Options {
    root: PathBuf,
    app: Option<PathBuf>,
    without: Without,
    noexec: bool,
    env: Vec<String>,
    uid: u32,
    limits: Limits,
    argv: Vec<String>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}{}", layers::help());
        return;
    }
    let code = parse(arguments).and_then(|options| run(&options)).unwrap_or_else(|error| {
        eprintln!("weak-launcher: {error:#}");
        NEVER_RAN
    });
    std::process::exit(code);
}

fn parse(arguments: Vec<String>) -> Result<Options> {
    let mut options = Options {
        root: PathBuf::new(),
        app: None,
        without: Without::default(),
        noexec: false,
        env: ENVIRONMENT.map(str::to_owned).to_vec(),
        uid: 900_000,
        limits: Limits { memory_bytes: 256 << 20, pids: 64, cpu_millis: 1000, disk_bytes: 64 << 20 },
        argv: Vec::new(),
    };
    let mut arguments = arguments.into_iter();
    while let Some(name) = arguments.next() {
        if name == "--" {
            options.argv = arguments.by_ref().collect();
            break;
        }
        let value = arguments.next().with_context(|| format!("{name} needs a value\n{USAGE}"))?;
        match name.as_str() {
            "--root" => options.root = value.into(),
            "--app" => options.app = Some(value.into()),
            "--without" => options.without = Without::parse(&value)?,
            "--profile" if value == "tool" || value == "tool-noexec" => options.noexec = value == "tool-noexec",
            "--env" => options.env.push(value),
            "--uid" => options.uid = value.parse().context("--uid")?,
            "--memory" => options.limits.memory_bytes = value.parse().context("--memory")?,
            "--pids" => options.limits.pids = value.parse().context("--pids")?,
            "--cpu" => options.limits.cpu_millis = value.parse().context("--cpu")?,
            "--disk" => options.limits.disk_bytes = value.parse().context("--disk")?,
            _ => bail!("{name} {value}?\n{USAGE}"),
        }
    }
    if options.argv.is_empty() || !options.root.join("bin").is_dir() {
        bail!("a root with a /bin and a program are needed\n{USAGE}");
    }
    options.root = options.root.canonicalize()?;
    Ok(options)
}

/// The outermost process: stays outside, cleans up.
fn run(options: &Options) -> Result<i32> {
    let (entered, enter) = nix::unistd::pipe()?;
    let Some(launcher) = steps::fork()? else {
        drop(enter);
        // Nothing happens before the parent has put us into our leaf.
        let mut byte = [0];
        let placed = nix::unistd::read(&entered, &mut byte).is_ok_and(|got| got == 1);
        let code = if placed { finish(launcher_process(options)) } else { NEVER_RAN };
        steps::exit_now(code)
    };
    drop(entered);
    let limit = |name, wanted, none| if options.without.has(name) { none } else { wanted };
    let limits = Limits {
        memory_bytes: limit("memory", options.limits.memory_bytes, NO_LIMITS.memory_bytes),
        pids: limit("pids", options.limits.pids.into(), NO_LIMITS.pids.into()) as u32,
        cpu_millis: limit("cpu", options.limits.cpu_millis.into(), NO_LIMITS.cpu_millis.into()) as u32,
        disk_bytes: options.limits.disk_bytes,
    };
    let leaf = Leaf::enter(HOME, launcher as u32, &limits);
    if leaf.is_ok() {
        nix::unistd::write(&enter, &[1])?;
    }
    drop(enter);
    let code = steps::reap_until(launcher)?;
    leaf.map(|_| code).context("cgroup leaf")
}

fn finish(result: Result<i32>) -> i32 {
    result.unwrap_or_else(|error| {
        eprintln!("weak-launcher: {error:#}");
        NEVER_RAN
    })
}

fn all<C>(list: &[Step<C>], on: &mut C) -> Result<()> {
    list.iter().try_for_each(|step| (step.run)(on).with_context(|| format!("step {}", step.name)))
}

fn launcher_process(options: &Options) -> Result<i32> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let without = &options.without;
    // Mounts are made while the host's files can still be named.
    let size = (!without.has("disk")).then_some(options.limits.disk_bytes);
    let executable = without.has("noexec");
    let uid = if without.has("uid") { 0 } else { options.uid };
    let scratch = || steps::scratch(uid, size, executable).context("scratch mount");
    let scratch = [scratch()?, scratch()?];
    let app = options.app.as_deref().map(|path| mount_app(path, executable)).transpose()?;
    let root = if without.has("ro-root") || without.has("root-read-only") {
        overlay(&options.root)?
    } else {
        options.root.clone()
    };
    let mut template = steps::template(root);
    all(&without.template(), &mut template)?;
    let (started, report) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let request = Request {
        argv: options.argv.clone(),
        env: options.env.clone(),
        noexec: options.noexec,
        uid: options.uid,
        file_bytes_max: if without.has("disk") {
            u64::MAX
        } else {
            options.limits.disk_bytes + options.limits.memory_bytes
        },
        scratch,
        app,
        started: report,
    };
    let Some(shim) = steps::fork()? else {
        drop(started);
        steps::exit_now(finish(shim_process(without, &mut template, request)))
    };
    drop(request);
    Ok(steps::reap_until(shim)?)
}

fn mount_app(path: &Path, executable: bool) -> Result<OwnedFd> {
    let directory = File::open(path).with_context(|| format!("open {path:?}"))?;
    steps::given(&directory.into(), executable).context("app mount")
}

/// A writable view of the root whose changes end with this process.
fn overlay(root: &Path) -> Result<PathBuf> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).context("mount namespace for the overlay")?;
    mount(Some("none"), "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let scratch = Path::new("/mnt");
    mount(Some("weak"), scratch, Some("tmpfs"), MsFlags::empty(), None::<&str>).context("tmpfs for the overlay")?;
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| scratch.join(name));
    for directory in [&upper, &work, &merged] {
        std::fs::create_dir(directory)?;
    }
    let options = format!("lowerdir={},upperdir={},workdir={}", root.display(), upper.display(), work.display());
    mount(Some("weak"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str())).context("overlay")?;
    // So that the mount alone decides who may write.
    for directory in ["", "bin", "etc", "lib", "app", "in"] {
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(merged.join(directory), everyone)?;
    }
    // Something no directory right of the cage covers: only Landlock keeps the program from reading it.
    std::fs::write(merged.join("forbidden"), "forbidden\n")?;
    Ok(merged)
}

fn shim_process(without: &Without, template: &mut Template, request: Request) -> Result<i32> {
    all(&without.park(), template)?;
    let mut cage = steps::cage(request)?;
    all(&without.cage(), &mut cage)?;
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let Some(child) = steps::fork()? else {
        let mut program = steps::program(cage);
        let ended = all(&without.program(), &mut program).map(|()| NEVER_RAN);
        steps::exit_now(finish(ended))
    };
    Ok(steps::reap_until(child)?)
}
