//! The rows that are not ours: bare Bun, bubblewrap in a limited leaf, crun with limits.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;

use crate::{EXPECTED, MEMORY_BYTES, PIDS, Row};

/// A helper process that starts the peer's command once per request line; it may sit in a cgroup leaf, so that what it starts
/// is limited without a move on the path.
pub(crate) struct Peer {
    name: &'static str,
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    leaves: Vec<PathBuf>,
}

impl Peer {
    fn start(name: &'static str, leaves: Vec<PathBuf>, argv: &[String]) -> anyhow::Result<Self> {
        let me = std::env::current_exe().context("own path")?;
        let list = leaves.iter().map(|leaf| leaf.display().to_string()).collect::<Vec<_>>().join(":");
        #[allow(clippy::disallowed_methods, reason = "a bench starts its peers")]
        let mut child = Command::new(me)
            .arg("--peer")
            .arg(list)
            .args(argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start the helper of {name}"))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("helper of {name} has no pipes")
        };
        Ok(Self { name, child, requests, answers: BufReader::new(answers), leaves })
    }
}

impl Row for Peer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self) -> anyhow::Result<u64> {
        self.requests.write_all(b"go\n").context("ask the helper")?;
        let mut line = String::new();
        self.answers.read_line(&mut line).context("read the helper's answer")?;
        line.trim().parse().with_context(|| format!("{} said {line:?}", self.name))
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
                std::thread::sleep(std::time::Duration::from_millis(10));
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

/// The helper's side: join the leaves, then run the command once per line and answer with microseconds.
pub(crate) fn serve(args: &[String]) -> anyhow::Result<()> {
    let [leaves, program, rest @ ..] = args else { bail!("--peer LEAVES PROGRAM ARGS…") };
    if program == "crun" {
        hide_unified_tree()?;
    }
    for leaf in leaves.split(':').filter(|leaf| !leaf.is_empty()) {
        fs::write(format!("{leaf}/cgroup.procs"), "0").with_context(|| format!("join {leaf}"))?;
    }
    let stdin = std::io::stdin();
    let mut stdout = std::io::stdout();
    for _ in stdin.lock().lines() {
        let start = Instant::now();
        #[allow(clippy::disallowed_methods, reason = "a bench starts its peers")]
        let output = Command::new(program).args(rest).stdin(Stdio::null()).output().context("run the peer")?;
        let micros = start.elapsed().as_micros();
        ensure!(
            output.stdout == EXPECTED,
            "{program} answered {:?}: {}",
            output.stdout,
            String::from_utf8_lossy(&output.stderr)
        );
        writeln!(stdout, "{micros}")?;
        stdout.flush()?;
    }
    Ok(())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Bun as it is on this machine: the floor.
pub(crate) fn bare(root: &Path, work: &Path) -> anyhow::Result<Peer> {
    Peer::start("bare", Vec::new(), &words(&[&text(&root.join("bin/bun")), &text(&work.join("hello.ts"))]))
}

/// bubblewrap with every namespace, in a leaf with our limits.
pub(crate) fn bubblewrap(root: &Path, work: &Path) -> anyhow::Result<Peer> {
    let leaves = limited_leaf(&format!("aria-bench-leaf-{}", std::process::id()))?;
    #[rustfmt::skip]
    let argv = words(&[
        "bwrap", "--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", "--clearenv", "--setenv", "HOME", "/tmp", "--ro-bind", &text(root), "/", "--proc", "/proc", "--dev", "/dev",
        "--tmpfs", "/tmp", "--ro-bind", &text(work), "/app", "--chdir", "/tmp", "/bin/bun", "/app/hello.ts",
    ]);
    Peer::start("bubblewrap", leaves, &argv)
}

/// One leaf per controller (v1) or one leaf (v2) with the limits every row gets.
fn limited_leaf(name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let v1 = Path::new("/sys/fs/cgroup/memory/cgroup.procs").exists();
    let settings: &[(&str, &str, String)] = if v1 {
        &[
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", MEMORY_BYTES.to_string()),
            ("/sys/fs/cgroup/pids", "pids.max", (PIDS + 4).to_string()),
            ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "100000".to_owned()),
        ]
    } else {
        &[
            ("/sys/fs/cgroup", "memory.max", MEMORY_BYTES.to_string()),
            ("/sys/fs/cgroup", "pids.max", (PIDS + 4).to_string()),
            ("/sys/fs/cgroup", "cpu.max", "100000 100000".to_owned()),
        ]
    };
    let mut leaves = Vec::new();
    for (parent, file, value) in settings {
        let leaf = Path::new(parent).join(name);
        if !leaf.exists() {
            fs::create_dir(&leaf).with_context(|| format!("create {}", leaf.display()))?;
            leaves.push(leaf.clone());
        }
        fs::write(leaf.join(file), value).with_context(|| format!("set {file}"))?;
    }
    Ok(leaves)
}

/// crun with the same limits, namespaces and root.
pub(crate) fn crun(root: &Path, work: &Path) -> anyhow::Result<Peer> {
    let bundle = work.join("crun");
    fs::create_dir_all(&bundle).context("create the crun bundle")?;
    fs::write(bundle.join("config.json"), crun_config(root, work)?.to_string()).context("write config.json")?;
    let id = format!("aria-bench-crun-{}", std::process::id());
    #[rustfmt::skip]
    let argv = words(&["crun", "--cgroup-manager=cgroupfs", "--root", &text(&work.join("crun-state")), "run", "--bundle", &text(&bundle), &id]);
    Peer::start("crun", Vec::new(), &argv)
}

fn crun_config(root: &Path, work: &Path) -> anyhow::Result<serde_json::Value> {
    let root = fs::canonicalize(root).context("tool root")?;
    let work = fs::canonicalize(work).context("work directory")?;
    let namespaces: Vec<_> =
        ["pid", "network", "ipc", "uts", "mount", "cgroup"].iter().map(|kind| json!({ "type": kind })).collect();
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": 1000, "gid": 1000 }, "args": ["/bin/bun", "/app/hello.ts"], "env": ["HOME=/tmp", "PATH=/bin"], "cwd": "/tmp",
            "capabilities": { "bounding": [], "effective": [], "permitted": [] }, "noNewPrivileges": true,
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }]
        },
        "root": { "path": root, "readonly": true },
        "hostname": "sandbox",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "size=65536k", "mode=1777"] },
            { "destination": "/app", "type": "bind", "source": work, "options": ["ro", "bind"] }
        ],
        "linux": {
            "namespaces": namespaces,
            "resources": { "memory": { "limit": MEMORY_BYTES }, "pids": { "limit": PIDS }, "cpu": { "quota": 100_000, "period": 100_000 } }
        }
    }))
}
