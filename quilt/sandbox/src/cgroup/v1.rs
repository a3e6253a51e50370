//! cgroup v1: one leaf each in the memory, pids and cpu hierarchies, and one in the unified tree where there is one,
//! for `cgroup.kill` and the CPU time of everything in the cage.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::oom::{Leaves, OomWatch};
use super::{Cgroup, Counters, OWN_PIDS, PERIOD_US, keyed, leaves_in, make_dirs, quota_us, read, remove_dir, write};
use crate::{Limits, OpenError};

/// The v1 backend.
#[derive(Debug)]
pub(crate) struct V1 {
    homes: Arc<Homes>,
    /// `None` where nothing is started, only cleaned.
    oom: Option<OomWatch>,
}

/// Our directory in every hierarchy.
#[derive(Debug)]
struct Homes {
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
        let homes = Arc::new(Homes {
            memory: memory.join(name),
            pids: pids.join(name),
            cpu: cpu.join(name),
            unified: unified.map(|root| root.join(name)),
        });
        for home in homes.all() {
            make_dirs(home)?;
        }
        let failed = |source| OpenError::Cgroup { path: homes.memory.clone(), source };
        let oom = OomWatch::start(homes.clone()).map_err(failed)?;
        Ok(V1 { homes, oom: Some(oom) })
    }
}

impl Homes {
    /// The one that is locked first: it is made before the others and removed after them.
    fn all(&self) -> impl Iterator<Item = &Path> {
        [&self.memory, &self.pids, &self.cpu].into_iter().chain(self.unified.as_ref()).map(PathBuf::as_path)
    }

    /// The unified leaf's kill file, where the kernel has one (5.14 and later).
    fn kill_file(&self, leaf: &str) -> Option<PathBuf> {
        self.unified.as_ref().map(|home| home.join(leaf).join("cgroup.kill")).filter(|file| file.exists())
    }

    fn kill(&self, leaf: &str) -> io::Result<()> {
        let killed = match self.kill_file(leaf) {
            Some(file) => write(&file, "1"),
            None => super::kill_listed(&self.memory.join(leaf).join("cgroup.procs")),
        };
        // What has used up its share of the processor could not even end before the next period.
        if killed.is_ok() {
            let _ = write(&self.cpu.join(leaf).join("cpu.cfs_quota_us"), "-1");
        }
        killed
    }
}

impl Leaves for Homes {
    fn oom_kills(&self, leaf: &str) -> u64 {
        keyed(&read(&self.memory.join(leaf).join("memory.oom_control")).unwrap_or_default(), "oom_kill")
    }

    fn end(&self, leaf: &str) {
        // Fails only when the leaf is gone.
        let _ = self.kill(leaf);
    }
}

impl Cgroup for V1 {
    fn form(&self) -> String {
        let unified = self.homes.unified.as_ref().is_some_and(|home| home.join("cgroup.kill").exists());
        format!("v1, {}", if unified { "cgroup.kill" } else { "pid namespace kill" })
    }

    fn home(&self) -> &Path {
        &self.homes.memory
    }

    fn create(&self, leaf: &str) -> io::Result<()> {
        for home in self.homes.all() {
            if let Err(error) = std::fs::create_dir(home.join(leaf)) {
                let _ = self.remove(leaf);
                return Err(error);
            }
        }
        // Where the kernel gives no such word, the program's own end tells what killed it.
        let _ = self.oom.as_ref().map(|oom| oom.watch(leaf, &self.homes.memory.join(leaf)));
        Ok(())
    }

    fn enter(&self, leaf: &str, pid: u32) -> io::Result<()> {
        for home in self.homes.all() {
            write(&home.join(leaf).join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    fn limit(&self, leaf: &str, limits: &Limits) -> io::Result<()> {
        let memory = self.homes.memory.join(leaf);
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
        write(&self.homes.pids.join(leaf).join("pids.max"), &(limits.pids + OWN_PIDS).to_string())?;
        let cpu = self.homes.cpu.join(leaf);
        write(&cpu.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
        self.limit_cpu(leaf, limits.cpu_millis)
    }

    fn limit_cpu(&self, leaf: &str, millis: u32) -> io::Result<()> {
        write(&self.homes.cpu.join(leaf).join("cpu.cfs_quota_us"), &quota_us(millis).to_string())
    }

    fn memory_bytes(&self, leaf: &str) -> u64 {
        let text = read(&self.homes.memory.join(leaf).join("memory.usage_in_bytes"));
        text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn events_file(&self, leaf: &str) -> PathBuf {
        self.homes.unified.as_ref().unwrap_or(&self.homes.memory).join(leaf).join("cgroup.events")
    }

    fn kill(&self, leaf: &str) -> io::Result<()> {
        self.homes.kill(leaf)
    }

    fn is_empty(&self, leaf: &str) -> bool {
        super::lists_nobody(&self.homes.memory.join(leaf).join("cgroup.procs"))
    }

    fn counters(&self, leaf: &str) -> Counters {
        let text = |home: &Path, file: &str| read(&home.join(leaf).join(file)).unwrap_or_default();
        Counters {
            cpu_us: self.homes.unified.as_ref().map_or(0, |home| keyed(&text(home, "cpu.stat"), "usage_usec")),
            memory_peak_bytes: text(&self.homes.memory, "memory.max_usage_in_bytes").trim().parse().unwrap_or(0),
            oom_kills: self.homes.oom_kills(leaf),
            pids_refused: keyed(&text(&self.homes.pids, "pids.events"), "max"),
        }
    }

    fn remove(&self, leaf: &str) -> io::Result<()> {
        if let Some(oom) = &self.oom {
            oom.forget(leaf);
        }
        // The unified leaf last: it is what a retry needs to kill again.
        self.homes.all().try_for_each(|home| remove_dir(&home.join(leaf)))
    }

    fn leaves(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for home in self.homes.all() {
            names.extend(leaves_in(home)?);
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn close(&self) {
        let (memory, others) = (&self.homes.memory, self.homes.all().skip(1));
        for home in others.chain([memory.as_path()]) {
            // Not empty means somebody else put something there: leave it.
            let _ = std::fs::remove_dir(home);
        }
    }
    fn beside(&self, name: &str) -> Box<dyn Cgroup> {
        let Homes { memory, pids, cpu, unified } = self.homes.as_ref();
        let beside = |home: &PathBuf| home.with_file_name(name);
        let homes = Homes {
            memory: beside(memory),
            pids: beside(pids),
            cpu: beside(cpu),
            unified: unified.as_ref().map(beside),
        };
        Box::new(V1 { homes: Arc::new(homes), oom: None })
    }
}
