//! cgroup v2: one leaf with every controller.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::{Cgroup, Counters, OWN_PIDS, PERIOD_US, keyed, leaves_in, make_dirs, quota_us, read, remove_dir, write};
use crate::{Limits, OpenError};

const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// Reclaim begins this much, or a tenth, before the limit. The kernel puts a program in that zone to sleep, longer the deeper it
/// is in: through a wide one the way to the limit takes longer than a call may, and a program out of memory would end by its
/// deadline instead.
const HIGH_GAP_BYTES_MAX: u64 = 4 << 20;

/// The v2 backend.
#[derive(Debug)]
pub(crate) struct V2 {
    home: PathBuf,
}

/// Whether this unified tree has all controllers we need (on a hybrid machine it has none).
pub(crate) fn usable(root: &Path) -> bool {
    let offered = read(&root.join("cgroup.controllers")).unwrap_or_default();
    CONTROLLERS.iter().all(|wanted| offered.split_whitespace().any(|name| name == *wanted))
}

impl V2 {
    /// Makes `name` below `root` and hands the controllers down to it, level by level. No process is moved.
    pub(crate) fn open(root: &Path, name: &str) -> Result<V2, OpenError> {
        let home = root.join(name);
        make_dirs(&home)?;
        let mut level = root.to_path_buf();
        enable(&level)?;
        for part in Path::new(name).components() {
            if let Component::Normal(part) = part {
                level.push(part);
                enable(&level)?;
            }
        }
        Ok(V2 { home })
    }

    fn file(&self, leaf: &str, name: &str) -> PathBuf {
        self.home.join(leaf).join(name)
    }
}

fn enable(level: &Path) -> Result<(), OpenError> {
    let path = level.join("cgroup.subtree_control");
    let on = read(&path).unwrap_or_default();
    for controller in CONTROLLERS {
        if !on.split_whitespace().any(|name| name == controller) {
            write(&path, &format!("+{controller}"))
                .map_err(|source| OpenError::Cgroup { path: path.clone(), source })?;
        }
    }
    Ok(())
}

impl Cgroup for V2 {
    fn form(&self) -> String {
        "v2, cgroup.kill".into()
    }

    fn home(&self) -> &Path {
        &self.home
    }

    fn create(&self, leaf: &str) -> io::Result<()> {
        std::fs::create_dir(self.home.join(leaf))
    }

    fn enter(&self, leaf: &str, pid: u32) -> io::Result<()> {
        write(&self.file(leaf, "cgroup.procs"), &pid.to_string())
    }

    fn limit(&self, leaf: &str, limits: &Limits) -> io::Result<()> {
        let high = limits.memory_bytes - (limits.memory_bytes / 10).min(HIGH_GAP_BYTES_MAX);
        write(&self.file(leaf, "memory.high"), &high.to_string())?;
        write(&self.file(leaf, "memory.max"), &limits.memory_bytes.to_string())?;
        // Any process killed for memory takes the whole cage along: half a cage is nobody's result.
        write(&self.file(leaf, "memory.oom.group"), "1")?;
        let no_swap = self.file(leaf, "memory.swap.max");
        if no_swap.exists() {
            write(&no_swap, "0")?;
        }
        write(&self.file(leaf, "pids.max"), &(limits.pids + OWN_PIDS).to_string())?;
        self.limit_cpu(leaf, limits.cpu_millis)?;
        write(&self.file(leaf, "cgroup.max.descendants"), "0")
    }

    fn limit_cpu(&self, leaf: &str, millis: u32) -> io::Result<()> {
        write(&self.file(leaf, "cpu.max"), &format!("{} {PERIOD_US}", quota_us(millis)))
    }

    fn memory_bytes(&self, leaf: &str) -> u64 {
        read(&self.file(leaf, "memory.current")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn kill(&self, leaf: &str) -> io::Result<()> {
        let file = self.file(leaf, "cgroup.kill");
        let killed =
            if file.exists() { write(&file, "1") } else { super::kill_listed(&self.file(leaf, "cgroup.procs")) };
        // What has used up its share of the processor could not even end before the next period.
        if killed.is_ok() {
            let _ = write(&self.file(leaf, "cpu.max"), &format!("max {PERIOD_US}"));
        }
        killed
    }

    fn is_empty(&self, leaf: &str) -> bool {
        super::lists_nobody(&self.file(leaf, "cgroup.procs"))
    }

    fn counters(&self, leaf: &str) -> Counters {
        let text = |name: &str| read(&self.file(leaf, name)).unwrap_or_default();
        Counters {
            cpu_us: keyed(&text("cpu.stat"), "usage_usec"),
            memory_peak_bytes: text("memory.peak").trim().parse().unwrap_or(0),
            oom_kills: keyed(&text("memory.events"), "oom_kill"),
            pids_refused: keyed(&text("pids.events"), "max"),
        }
    }

    fn remove(&self, leaf: &str) -> io::Result<()> {
        remove_dir(&self.home.join(leaf))
    }

    fn leaves(&self) -> io::Result<Vec<String>> {
        leaves_in(&self.home)
    }

    fn close(&self) {
        // Not empty means somebody else put something there: leave it.
        let _ = std::fs::remove_dir(&self.home);
    }
    fn beside(&self, name: &str) -> Box<dyn Cgroup> {
        Box::new(V2 { home: self.home.with_file_name(name) })
    }
}
