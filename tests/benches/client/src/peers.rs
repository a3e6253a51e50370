//! The rows that are not ours: the bare program, bubblewrap in a limited leaf, crun with limits.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::UsageWho;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::json;

use crate::cgroup;
use crate::sample::{Row, Sample, cpu, micros};
use crate::stand::{CPU_MILLIS, DISK_BYTES, MEMORY_BYTES, PIDS, Payload, Stand};

/// A helper process that starts the peer's command once per request line; it may sit in a cgroup leaf, so that what it starts
/// is limited without a move on the path.
pub(crate) struct Peer {
    name: String,
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    leaves: Vec<PathBuf>,
}

impl Peer {
    fn start(name: &str, payload: Payload, leaves: Vec<PathBuf>, argv: &[String]) -> anyhow::Result<Self> {
        let me = std::env::current_exe().context("own path")?;
        let list = leaves.iter().map(|leaf| leaf.display().to_string()).collect::<Vec<_>>().join(":");
        #[allow(clippy::disallowed_methods, reason = "a bench starts its peers")]
        let mut child = Command::new(me)
            .args(["--peer", &list, payload.name()])
            .args(argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start the helper of {name}"))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("helper of {name} has no pipes")
        };
        let name = format!("{}/{name}", payload.name());
        Ok(Self { name, child, requests, answers: BufReader::new(answers), leaves })
    }
}

impl Row for Peer {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn run(&mut self) -> anyhow::Result<Sample> {
        self.requests.write_all(b"go\n").context("ask the helper")?;
        let mut line = String::new();
        self.answers.read_line(&mut line).context("read the helper's answer")?;
        let (wall, cpu) = line.trim().split_once(' ').with_context(|| format!("{} said {line:?}", self.name))?;
        let time = |text: &str| anyhow::Ok(Duration::from_secs_f64(text.parse::<f64>()? / 1e6));
        Ok(Sample { wall: time(wall)?, cpu: Some(time(cpu)?) })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A bench that ends must not leave its helper or its leaves; nothing more can be done if that fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for leaf in &self.leaves {
            for _ in 0..50 {
                if fs::remove_dir(leaf).is_ok() || !leaf.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// crun refuses a hybrid machine; in a mount namespace of the helper's own it sees the v1 controllers alone.
fn hide_unified_tree() -> anyhow::Result<()> {
    let unified = Path::new("/sys/fs/cgroup/unified");
    if !unified.join("cgroup.procs").exists() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS).context("own mount namespace")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("private mounts")?;
    umount2(unified, MntFlags::MNT_DETACH).context("hide the unified tree")
}

/// The helper's side: join the leaves, then run the command once per line and answer with wall and CPU microseconds.
pub(crate) fn serve(args: &[String]) -> anyhow::Result<()> {
    let [leaves, payload, argv @ ..] = args else { bail!("--peer LEAVES PAYLOAD PROGRAM ARGS…") };
    let payload = Payload::parse(payload)?;
    if argv.first().is_some_and(|program| program == "crun") {
        hide_unified_tree()?;
    }
    for leaf in leaves.split(':').filter(|leaf| !leaf.is_empty()) {
        join(Path::new(leaf))?;
    }
    // A peer may end before its own pid 1 is accounted for; then that comes to us.
    nix::sys::prctl::set_child_subreaper(true).context("adopt orphans")?;
    let stdin = std::io::stdin();
    let mut stdout = std::io::stdout();
    for _ in stdin.lock().lines() {
        let before = cpu(UsageWho::RUSAGE_CHILDREN)?;
        let wall = timed(payload, argv)?;
        reap_orphans()?;
        let cpu = cpu(UsageWho::RUSAGE_CHILDREN)?.saturating_sub(before);
        writeln!(stdout, "{} {}", micros(wall), micros(cpu))?;
        stdout.flush()?;
    }
    Ok(())
}

/// Moves this process into a cgroup leaf.
pub(crate) fn join(leaf: &Path) -> anyhow::Result<()> {
    fs::write(leaf.join("cgroup.procs"), "0").with_context(|| format!("join {}", leaf.display()))
}

/// Start (by vfork), program, output, end.
fn timed(payload: Payload, argv: &[String]) -> anyhow::Result<Duration> {
    let [program, rest @ ..] = argv else { bail!("no program") };
    #[allow(clippy::disallowed_methods, reason = "a bench starts its peers")]
    let mut command = Command::new(program);
    command.args(rest).stdin(Stdio::null());
    let start = Instant::now();
    let output = command.output().with_context(|| format!("run {program}"))?;
    let wall = start.elapsed();
    payload
        .check(output.status.code().unwrap_or(-1), &output.stdout)
        .with_context(|| format!("{program}: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(wall)
}

fn reap_orphans() -> anyhow::Result<()> {
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("reap what the peer left"),
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The program as it is on this machine: the floor, made by vfork, exec and wait.
pub(crate) fn bare(stand: &Stand, app: &Path, payload: Payload) -> anyhow::Result<Peer> {
    Peer::start("bare", payload, Vec::new(), &payload.argv_at(&stand.root, app))
}

/// bubblewrap with every namespace, in a leaf with our limits.
pub(crate) fn bubblewrap(stand: &Stand, app: &Path, payload: Payload) -> anyhow::Result<Peer> {
    let leaves = limited_leaf(&format!("aria-bench-leaf-{}-{}", Stand::number(), payload.name()))?;
    #[rustfmt::skip]
    let mut argv = words(&[
        "bwrap", "--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", "--clearenv", "--setenv", "HOME", "/tmp", "--ro-bind", &text(&stand.root), "/", "--proc", "/proc", "--dev", "/dev",
        "--tmpfs", "/tmp", "--ro-bind", &text(app), "/app", "--chdir", "/tmp",
    ]);
    argv.extend(payload.argv());
    Peer::start("bubblewrap", payload, leaves, &argv)
}

/// One leaf per controller (v1) or one leaf (v2) with the limits every row gets.
fn limited_leaf(name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let quota = (u64::from(CPU_MILLIS) * 100).to_string();
    if cgroup::is_v1() {
        return Ok(vec![
            leaf("/sys/fs/cgroup/memory", name, "memory.limit_in_bytes", &MEMORY_BYTES.to_string())?,
            leaf("/sys/fs/cgroup/pids", name, "pids.max", &(PIDS + 4).to_string())?,
            leaf("/sys/fs/cgroup/cpu", name, "cpu.cfs_quota_us", &quota)?,
        ]);
    }
    let one = leaf("/sys/fs/cgroup", name, "memory.max", &MEMORY_BYTES.to_string())?;
    fs::write(one.join("pids.max"), (PIDS + 4).to_string()).context("set pids.max")?;
    fs::write(one.join("cpu.max"), format!("{quota} 100000")).context("set cpu.max")?;
    Ok(vec![one])
}

fn leaf(parent: &str, name: &str, file: &str, value: &str) -> anyhow::Result<PathBuf> {
    let leaf = Path::new(parent).join(name);
    fs::create_dir(&leaf).with_context(|| format!("create {}", leaf.display()))?;
    fs::write(leaf.join(file), value).with_context(|| format!("set {file}"))?;
    Ok(leaf)
}

/// crun with the same limits, namespaces and root.
pub(crate) fn crun(stand: &Stand, app: &Path, payload: Payload) -> anyhow::Result<Peer> {
    let bundle = stand.work.join(format!("crun-{}", payload.name()));
    fs::create_dir_all(&bundle).context("create the crun bundle")?;
    let config = crun_config(&stand.root, app, &payload.argv());
    fs::write(bundle.join("config.json"), config.to_string()).context("write config.json")?;
    let id = format!("aria-bench-{}-{}", Stand::number(), payload.name());
    let state = text(&stand.work.join("crun-state"));
    let argv = ["crun", "--cgroup-manager=cgroupfs", "--root", &state, "run", "--bundle", &text(&bundle), &id];
    Peer::start("crun", payload, Vec::new(), &words(&argv))
}

fn crun_config(root: &Path, app: &Path, argv: &[String]) -> serde_json::Value {
    let namespaces: Vec<_> =
        ["pid", "network", "ipc", "uts", "mount", "cgroup"].iter().map(|kind| json!({ "type": kind })).collect();
    let size = format!("size={DISK_BYTES}");
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": 1000, "gid": 1000 }, "args": argv, "env": ["HOME=/tmp", "PATH=/bin"], "cwd": "/tmp",
            "capabilities": { "bounding": [], "effective": [], "permitted": [] }, "noNewPrivileges": true,
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }]
        },
        "root": { "path": root, "readonly": true },
        "hostname": "sandbox",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", size, "mode=1777"] },
            { "destination": "/app", "type": "bind", "source": app, "options": ["ro", "bind"] }
        ],
        "linux": {
            "namespaces": namespaces,
            "resources": {
                "memory": { "limit": MEMORY_BYTES }, "pids": { "limit": PIDS },
                "cpu": { "quota": u64::from(CPU_MILLIS) * 100, "period": 100_000 }
            }
        }
    })
}
