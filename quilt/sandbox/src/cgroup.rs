//! One leaf per cage: its limits, its counters and its end.
//!
//! The same trait over cgroup v2 and over v1 controllers; which one is decided once, from `/proc/mounts`. Leaves are
//! direct children of one directory per engine, and only names we gave (`LEAF_PREFIX`) are ever touched.

mod oom;
pub(crate) mod v1;
pub(crate) mod v2;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Limits;

/// What our leaves are called; nothing else below our directory is ours.
pub(crate) const LEAF_PREFIX: &str = "cage-";
/// Our own processes in a leaf: launcher and shim.
pub(crate) const OWN_PIDS: u32 = 2;
/// Length of a CPU period, microseconds.
pub(crate) const PERIOD_US: u64 = 100_000;
/// The kernel refuses a smaller quota.
const QUOTA_US_MIN: u64 = 1_000;
const REMOVE_WAIT_MAX: Duration = Duration::from_secs(5);

/// What a leaf has counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counters {
    /// CPU time, microseconds.
    pub(crate) cpu_us: u64,
    /// Highest memory charge, bytes; 0 where the kernel does not say.
    pub(crate) memory_peak_bytes: u64,
    /// Processes killed for memory.
    pub(crate) oom_kills: u64,
    /// Forks and clones refused by the process limit.
    pub(crate) pids_refused: u64,
}

/// A control-group tree that can hold our leaves.
pub(crate) trait Cgroup: Send + Sync + std::fmt::Debug {
    /// `v1` or `v2`, with what it ends a cage with.
    fn form(&self) -> String;
    /// The directory all leaves are in; locked while the engine lives.
    fn home(&self) -> &Path;
    /// Makes an empty leaf without limits.
    fn create(&self, leaf: &str) -> io::Result<()>;
    /// Moves a process into the leaf. May take tens of milliseconds: never on a call's path.
    fn enter(&self, leaf: &str, pid: u32) -> io::Result<()>;
    /// Sets all limits; `OWN_PIDS` come on top of `limits.pids`.
    fn limit(&self, leaf: &str, limits: &Limits) -> io::Result<()>;
    /// Sets the share of a processor alone.
    fn limit_cpu(&self, leaf: &str, millis: u32) -> io::Result<()>;
    /// What it is charged for at this moment, bytes; 0 where it cannot be read.
    fn memory_bytes(&self, leaf: &str) -> u64;
    /// The file that says whether the leaf is frozen.
    fn events_file(&self, leaf: &str) -> PathBuf {
        self.home().join(leaf).join("cgroup.events")
    }
    /// Sends SIGKILL to every process in the leaf, also to ones being forked right now. Does not wait.
    fn kill(&self, leaf: &str) -> io::Result<()>;
    /// Whether no living process is left in it.
    fn is_empty(&self, leaf: &str) -> bool;
    /// Reads all counters; what cannot be read is 0.
    fn counters(&self, leaf: &str) -> Counters;
    /// One attempt to remove the leaf; busy while a process is in it. A leaf that is gone is fine.
    fn remove(&self, leaf: &str) -> io::Result<()>;
    /// Names of all leaves there are, of this life or an earlier one.
    fn leaves(&self) -> io::Result<Vec<String>>;
    /// Removes our directory if it is empty; that of `home`, which is locked, last.
    fn close(&self);
    /// The tree of another engine, beside ours: only to clean it.
    fn beside(&self, name: &str) -> Box<dyn Cgroup>;
}

/// Kills what is in the leaf and removes it. The kernel lets go of a leaf only after the last process in it has been
/// reaped, by us or by init, so this tries again until the bound.
pub(crate) fn destroy(cgroup: &dyn Cgroup, leaf: &str) -> io::Result<()> {
    let deadline = Instant::now() + REMOVE_WAIT_MAX;
    let mut pause = Duration::from_micros(200);
    loop {
        match cgroup.remove(leaf) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => {}
        }
        // A leaf that is being removed controller by controller may have lost the file already.
        let _ = cgroup.kill(leaf);
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Where cgroup file systems are mounted, from `/proc/mounts` text.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Mounts {
    pub(crate) unified: Option<PathBuf>,
    pub(crate) memory: Option<PathBuf>,
    pub(crate) pids: Option<PathBuf>,
    pub(crate) cpu: Option<PathBuf>,
}

impl Mounts {
    pub(crate) fn parse(text: &str) -> Mounts {
        let mut mounts = Mounts::default();
        for line in text.lines() {
            let mut fields = line.split(' ').skip(1);
            let (Some(path), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let path = PathBuf::from(path);
            if kind == "cgroup2" {
                mounts.unified.get_or_insert(path);
            } else if kind == "cgroup" {
                for option in options.split(',') {
                    let slot = match option {
                        "memory" => &mut mounts.memory,
                        "pids" => &mut mounts.pids,
                        "cpu" => &mut mounts.cpu,
                        _ => continue,
                    };
                    slot.get_or_insert(path.clone());
                }
            }
        }
        mounts
    }
}

/// The tree of this machine, with our directory `name` made in it.
pub(crate) fn detect(name: &str) -> Result<Box<dyn Cgroup>, crate::OpenError> {
    let text = fs::read_to_string("/proc/mounts")
        .map_err(|source| crate::OpenError::Cgroup { path: "/proc/mounts".into(), source })?;
    let mounts = Mounts::parse(&text);
    if let Some(root) = &mounts.unified
        && v2::usable(root)
    {
        return Ok(Box::new(v2::V2::open(root, name)?));
    }
    let Mounts { unified, memory: Some(memory), pids: Some(pids), cpu: Some(cpu) } = mounts else {
        let detail = format!("neither cgroup v2 nor v1 offers memory, pids and cpu: {mounts:?}");
        return Err(crate::OpenError::Layer { layer: "cgroup", detail });
    };
    Ok(Box::new(v1::V1::open(unified.as_deref(), &memory, &pids, &cpu, name)?))
}

/// Microseconds of CPU a period may use.
pub(crate) fn quota_us(cpu_millis: u32) -> u64 {
    (u64::from(cpu_millis) * PERIOD_US / 1000).max(QUOTA_US_MIN)
}

/// Writes a value to a cgroup file that exists; one write, as the kernel wants it.
pub(crate) fn write(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// Reads a cgroup file; they are one page at most, except lists of pids.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}

/// The number after `key ` in a flat keyed file, or 0.
pub(crate) fn keyed(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find_map(|(name, value)| (name == key).then(|| value.trim().parse().unwrap_or(0)))
        .unwrap_or(0)
}

/// Names of our leaves below `home`; none when it does not exist.
pub(crate) fn leaves_in(home: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(home) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string()
            && name.starts_with(LEAF_PREFIX)
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether `cgroup.procs` lists nobody; a leaf that is gone is empty. Zombies are not listed on v2 and harmless on v1.
pub(crate) fn lists_nobody(procs: &Path) -> bool {
    match read(procs) {
        Ok(text) => text.trim().is_empty(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// `rmdir` that is content when there is nothing.
pub(crate) fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `mkdir` that is content when it is there.
pub(crate) fn make_dirs(path: &Path) -> Result<(), crate::OpenError> {
    fs::create_dir_all(path).map_err(|source| crate::OpenError::Cgroup { path: path.into(), source })
}

/// SIGKILL to every pid in `cgroup.procs` of a leaf. Only where the kernel has no `cgroup.kill`: all of a cage is in one
/// pid namespace, so the end of its shim takes along whatever is forked meanwhile.
pub(crate) fn kill_listed(procs: &Path) -> io::Result<()> {
    for pid in read(procs)?.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 1) {
        match nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
