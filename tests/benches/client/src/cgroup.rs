//! What the host sees of cgroups, on either version of their interface.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Whether this machine has its controllers in version 1 of the interface.
pub(crate) fn is_v1() -> bool {
    Path::new("/sys/fs/cgroup/memory/cgroup.procs").exists()
}

/// A group's directory in the hierarchy of one controller.
pub(crate) fn path(controller: &str, group: &str) -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    if is_v1() { root.join(controller).join(group) } else { root.join(group) }
}

/// Whether no process is listed in a group; one that is gone is empty.
pub(crate) fn is_empty(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.procs")).map_or(true, |text| text.trim().is_empty())
}

/// Leaves of cages below an engine's directory, in every hierarchy there is.
pub(crate) fn cages(group: &str) -> usize {
    let controllers: &[&str] = if is_v1() { &["memory", "pids", "cpu", "freezer", "unified"] } else { &["memory"] };
    let count = |controller: &&str| {
        fs::read_dir(path(controller, group))
            .map_or(0, |entries| entries.flatten().filter(|entry| entry.path().is_dir()).count())
    };
    controllers.iter().map(count).sum()
}

/// Bytes charged to a group and all below it, and how many of them are kernel memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    pub(crate) all: u64,
    pub(crate) kernel: u64,
}

/// `memory.usage_in_bytes` and `memory.kmem.usage_in_bytes`, or `memory.current` and the line `kernel` of `memory.stat`.
pub(crate) fn charge(group: &str) -> anyhow::Result<Charge> {
    let group = path("memory", group);
    let read = |name: &str| fs::read_to_string(group.join(name)).with_context(|| format!("read {name} of {group:?}"));
    let number = |name: &str| anyhow::Ok(read(name)?.trim().parse::<u64>()?);
    if is_v1() {
        return Ok(Charge { all: number("memory.usage_in_bytes")?, kernel: number("memory.kmem.usage_in_bytes")? });
    }
    let stat = read("memory.stat")?;
    let kernel = stat.lines().find_map(|line| line.strip_prefix("kernel ")?.parse().ok());
    Ok(Charge { all: number("memory.current")?, kernel: kernel.context("memory.stat has no line `kernel`")? })
}
