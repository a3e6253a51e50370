//! How much of the counted resources this machine gives away.

use std::collections::BTreeMap;
use std::path::Path;

use aria_types::ResourceToken;
use aria_types::token::{Kind, Mode};
use quilt_core::Capacity;
use serde::Deserialize;

use crate::config::{ConfigError, value};

/// Graphics processors in the file.
const GPUS_MAX: usize = 32;

/// How much there is of a counted resource: thousandths of a core, bytes, holders at once of a graphics processor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceTable {
    /// `cpu`, `mem` or `gpu:<name>`.
    name: String,
    total: u64,
}

/// Executions and children at once. More cages than host uids would only fail later; where there are few, a quarter is for
/// children, because those who wait for them cannot make room.
pub(crate) fn slots(concurrent_max: usize, child_max: usize, uids: usize) -> (usize, usize) {
    if concurrent_max.saturating_add(child_max) <= uids {
        return (concurrent_max, child_max);
    }
    let children = child_max.min(uids / 4);
    (concurrent_max.min(uids - children), children)
}

/// What the machine has, unless the file says otherwise: all cores, half of the memory, no graphics processor.
pub(crate) fn capacity(tables: &[ResourceTable], slots: usize, child_slots: usize) -> Result<Capacity, ConfigError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut capacity = Capacity {
        slots: slots as u64,
        child_slots: child_slots as u64,
        cpu_millis: cores as u64 * 1000,
        mem_bytes: memory_bytes()? / 2,
        gpus: BTreeMap::new(),
    };
    for table in tables {
        let bad = |what: &str| value("resource", format!("{:?} {what}", table.name));
        match table.name.as_str() {
            "cpu" => capacity.cpu_millis = table.total,
            "mem" => capacity.mem_bytes = table.total,
            name => {
                let gpu = ResourceToken::parse(name)
                    .ok()
                    .filter(|token| token.kind() == Kind::Gpu && token.mode() == Mode::Use);
                gpu.ok_or_else(|| bad("is not cpu, mem or gpu:<name>"))?;
                if table.total == 0 {
                    return Err(bad("has a total of 0; leave it out instead"));
                }
                if capacity.gpus.insert(name.trim_start_matches("gpu:").to_owned(), table.total).is_some() {
                    return Err(bad("is there twice"));
                }
            }
        }
    }
    if capacity.gpus.len() > GPUS_MAX {
        return Err(value("resource", format!("there are more than {GPUS_MAX} graphics processors")));
    }
    Ok(capacity)
}

/// All memory of this machine, as the kernel reports it.
fn memory_bytes() -> Result<u64, ConfigError> {
    let path = Path::new("/proc/meminfo");
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.map(|kib| kib.saturating_mul(1024))
        .ok_or_else(|| value("/proc/meminfo", "does not say how much memory there is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn read(tables: &[(&str, u64)]) -> Result<Capacity, String> {
        let table = |(name, total): &(&str, u64)| ResourceTable { name: (*name).to_owned(), total: *total };
        capacity(&tables.iter().map(table).collect::<Vec<_>>(), 3, 2).map_err(|error| error.to_string())
    }

    #[test]
    fn a_silent_file_means_what_the_machine_has() {
        let found = read(&[]).unwrap();
        assert_eq!((found.slots, found.child_slots), (3, 2));
        assert!(found.cpu_millis >= 1000 && found.mem_bytes > 64 * MIB && found.gpus.is_empty());
    }

    #[test]
    fn there_are_never_more_slots_than_uids() {
        assert_eq!(slots(16, 16, 64), (16, 16));
        assert_eq!(slots(16, 16, 3), (3, 0));
        assert_eq!(slots(16, 16, 16), (12, 4));
        assert_eq!(slots(4, 2, 20), (4, 2));
    }

    #[test]
    fn the_file_decides() {
        let found = read(&[("cpu", 500), ("mem", MIB), ("gpu:0", 2)]).unwrap();
        assert_eq!((found.cpu_millis, found.mem_bytes, found.gpus.get("0")), (500, MIB, Some(&2)));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (tables, part) in [
            (&[("disk", 1)][..], "disk"),
            (&[("kv:a", 1)], "kv:a"),
            (&[("gpu:0:exclusive", 1)], "gpu:0:exclusive"),
            (&[("gpu:0", 0)], "total of 0"),
            (&[("gpu:0", 1), ("gpu:0", 1)], "twice"),
        ] {
            let why = read(tables).expect_err(part);
            assert!(why.contains(part), "{why}");
        }
    }
}
