//! The cgroup v2 tree: `system/{quiltd,ariad}` for the services, `quilt` for the cages, controllers handed down to both.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use crate::cmdline::Options;
use crate::console;
use crate::error::InitError;

const ROOT: &str = "/sys/fs/cgroup";
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "io"];

/// Makes the tree. A controller this kernel lacks is a message; quiltd decides whether it can work without.
pub(crate) fn prepare(options: &Options) -> Result<(), InitError> {
    hand_down(ROOT);
    for group in ["system", "quilt"] {
        make(&format!("{ROOT}/{group}"))?;
        hand_down(&format!("{ROOT}/{group}"));
    }
    for service in ["quiltd", "ariad"] {
        make(&format!("{ROOT}/system/{service}"))?;
    }
    limit("system/ariad/memory.max", &options.ariad_memory_bytes.to_string());
    limit("system/ariad/memory.oom.group", "1");
    limit("system/ariad/pids.max", "256");
    Ok(())
}

fn make(path: &str) -> Result<(), InitError> {
    if Path::new(path).is_dir() {
        return Ok(());
    }
    fs::create_dir(path).map_err(|source| InitError::File { doing: "make cgroup", path: path.into(), source })
}

fn hand_down(group: &str) {
    for controller in CONTROLLERS {
        if let Err(cause) = fs::write(format!("{group}/cgroup.subtree_control"), format!("+{controller}")) {
            console::say(&format!("cgroup controller {controller} for {group}: {cause}"));
        }
    }
}

fn limit(file: &str, value: &str) {
    if let Err(cause) = fs::write(format!("{ROOT}/{file}"), value) {
        console::say(&format!("limit {file} {value}: {cause}"));
    }
}

/// The file through which a process joins `system/<service>`.
pub(crate) fn door(service: &str) -> Result<File, InitError> {
    let path = format!("{ROOT}/system/{service}/cgroup.procs");
    OpenOptions::new().write(true).open(&path).map_err(|source| InitError::File {
        doing: "open",
        path: path.into(),
        source,
    })
}

/// Ends every process below `system/<service>` or `quilt`; used only when the machine goes down.
pub(crate) fn kill(group: &str) {
    let _ = fs::write(format!("{ROOT}/{group}/cgroup.kill"), "1");
}
