//! cgroup v1: one leaf each in the memory, pids and cpu hierarchies, and one in the unified tree where there is one,
//! for `cgroup.kill` and the CPU time of everything in the cage.

use std::io;
use std::path::{Path, PathBuf};

use super::{Cgroup, Counters, OWN_PIDS, PERIOD_US, keyed, leaves_in, make_dirs, quota_us, read, remove_dir, write};
use crate::{Limits, OpenError};

/// The v1 backend.
#[derive(Debug)]
pub(crate) struct V1 {
    memory: PathBuf,
    pids: PathBuf,
    cpu: PathBuf,
    unified: Option<PathBuf>,
}

impl V1 {
    /// Makes our directory in every hierarchy.
    pub(crate) fn open(
        unified: Option<&Path>,
        memory: &Path,
        pids: &Path,
        cpu: &Path,
        name: &str,
    ) -> Result<V1, OpenError> {
        let opened = V1 {
            memory: memory.join(name),
            pids: pids.join(name),
            cpu: cpu.join(name),
            unified: unified.map(|root| root.join(name)),
        };
        for home in opened.homes() {
            make_dirs(home)?;
        }
        Ok(opened)
    }

    fn homes(&self) -> impl Iterator<Item = &Path> {
        [&self.memory, &self.pids, &self.cpu].into_iter().chain(self.unified.as_ref()).map(PathBuf::as_path)
    }

    /// The unified leaf's kill file, where the kernel has one (5.14 and later).
    fn kill_file(&self, leaf: &str) -> Option<PathBuf> {
        self.unified.as_ref().map(|home| home.join(leaf).join("cgroup.kill")).filter(|file| file.exists())
    }
}

impl Cgroup for V1 {
    fn form(&self) -> String {
        let unified = self.unified.as_ref().is_some_and(|home| home.join("cgroup.kill").exists());
        format!("v1, {}", if unified { "cgroup.kill" } else { "pid namespace kill" })
    }

    fn home(&self) -> &Path {
        &self.memory
    }

    fn create(&self, leaf: &str) -> io::Result<()> {
        for home in self.homes() {
            if let Err(error) = std::fs::create_dir(home.join(leaf)) {
                let _ = self.remove(leaf);
                return Err(error);
            }
        }
        Ok(())
    }

    fn enter(&self, leaf: &str, pid: u32) -> io::Result<()> {
        for home in self.homes() {
            write(&home.join(leaf).join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    fn limit(&self, leaf: &str, limits: &Limits) -> io::Result<()> {
        let memory = self.memory.join(leaf);
        let bytes = limits.memory_bytes.to_string();
        let alone = || write(&memory.join("memory.limit_in_bytes"), &bytes);
        // No swap: memory and swap together are worth no more than memory. Absent without swap accounting.
        let with_swap = memory.join("memory.memsw.limit_in_bytes");
        if with_swap.exists() {
            // The first may never be above the second: when both rise it goes second.
            let lowered = alone();
            write(&with_swap, &bytes)?;
            lowered.or_else(|_| alone())?;
        } else {
            alone()?;
        }
        write(&self.pids.join(leaf).join("pids.max"), &(limits.pids + OWN_PIDS).to_string())?;
        let cpu = self.cpu.join(leaf);
        write(&cpu.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
        self.limit_cpu(leaf, limits.cpu_millis)
    }

    fn limit_cpu(&self, leaf: &str, millis: u32) -> io::Result<()> {
        write(&self.cpu.join(leaf).join("cpu.cfs_quota_us"), &quota_us(millis).to_string())
    }

    fn memory_bytes(&self, leaf: &str) -> u64 {
        let text = read(&self.memory.join(leaf).join("memory.usage_in_bytes"));
        text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn events_file(&self, leaf: &str) -> PathBuf {
        self.unified.as_ref().unwrap_or(&self.memory).join(leaf).join("cgroup.events")
    }

    fn kill(&self, leaf: &str) -> io::Result<()> {
        let killed = match self.kill_file(leaf) {
            Some(file) => write(&file, "1"),
            None => super::kill_listed(&self.memory.join(leaf).join("cgroup.procs")),
        };
        // What has used up its share of the processor could not even end before the next period.
        let _ = write(&self.cpu.join(leaf).join("cpu.cfs_quota_us"), "-1");
        killed
    }

    fn is_empty(&self, leaf: &str) -> bool {
        super::lists_nobody(&self.memory.join(leaf).join("cgroup.procs"))
    }

    fn counters(&self, leaf: &str) -> Counters {
        let text = |home: &Path, file: &str| read(&home.join(leaf).join(file)).unwrap_or_default();
        Counters {
            cpu_us: self.unified.as_ref().map_or(0, |home| keyed(&text(home, "cpu.stat"), "usage_usec")),
            memory_peak_bytes: text(&self.memory, "memory.max_usage_in_bytes").trim().parse().unwrap_or(0),
            oom_kills: keyed(&text(&self.memory, "memory.oom_control"), "oom_kill"),
            pids_refused: keyed(&text(&self.pids, "pids.events"), "max"),
        }
    }

    fn remove(&self, leaf: &str) -> io::Result<()> {
        // The unified leaf last: it is what a retry needs to kill again.
        self.homes().try_for_each(|home| remove_dir(&home.join(leaf)))
    }

    fn leaves(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for home in self.homes() {
            names.extend(leaves_in(home)?);
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn close(&self) {
        for home in self.homes() {
            // Not empty means somebody else put something there: leave it.
            let _ = std::fs::remove_dir(home);
        }
    }
}
