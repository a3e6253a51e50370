//! Finding a disk without udev: by node, by GPT partition label, or by the serial number the machine gave it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::InitError;

/// How a disk is named on the kernel command line.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum DiskSpec<'a> {
    Node(&'a str),
    PartLabel(&'a str),
    Serial(&'a str),
}

impl<'a> DiskSpec<'a> {
    /// Reads `/dev/NAME`, `partlabel:NAME` or `serial:NAME`.
    pub(crate) fn parse(spec: &'a str) -> Result<DiskSpec<'a>, InitError> {
        let refused = || InitError::DiskSpec { spec: spec.to_owned() };
        let parsed = if let Some(label) = spec.strip_prefix("partlabel:") {
            DiskSpec::PartLabel(label)
        } else if let Some(serial) = spec.strip_prefix("serial:") {
            DiskSpec::Serial(serial)
        } else {
            DiskSpec::Node(spec.strip_prefix("/dev/").ok_or_else(refused)?)
        };
        let (DiskSpec::PartLabel(name) | DiskSpec::Serial(name) | DiskSpec::Node(name)) = &parsed;
        if name.is_empty() || name.contains('/') || *name == ".." { Err(refused()) } else { Ok(parsed) }
    }
}

/// Waits until the disk is there, at most `patience`. The kernel finds disks while we run, so absence at first is normal.
pub(crate) fn wait(option: &'static str, spec: &str, patience: Duration) -> Result<PathBuf, InitError> {
    let wanted = DiskSpec::parse(spec)?;
    let started = Instant::now();
    loop {
        if let Some(node) = find(&wanted, Path::new("/sys/class/block")) {
            return Ok(node);
        }
        if started.elapsed() >= patience {
            return Err(InitError::DiskMissing { option, spec: spec.to_owned(), waited_s: patience.as_secs() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One look; the first match in name order, so two equal disks give the same answer at every boot.
fn find(wanted: &DiskSpec<'_>, class: &Path) -> Option<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(class).ok()?.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    names
        .into_iter()
        .find(|name| matches(wanted, &class.join(name), name.to_str().unwrap_or_default()))
        .map(|name| Path::new("/dev").join(name))
}

fn matches(wanted: &DiskSpec<'_>, entry: &Path, name: &str) -> bool {
    match wanted {
        DiskSpec::Node(node) => name == *node,
        DiskSpec::PartLabel(label) => {
            let uevent = fs::read_to_string(entry.join("uevent")).unwrap_or_default();
            uevent.lines().any(|line| line.strip_prefix("PARTNAME=") == Some(label))
        }
        DiskSpec::Serial(serial) => {
            fs::read_to_string(entry.join("serial")).is_ok_and(|found| found.trim_end() == *serial)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(class: &Path, name: &str, file: &str, text: &str) {
        fs::create_dir_all(class.join(name)).unwrap();
        fs::write(class.join(name).join(file), text).unwrap();
    }

    #[track_caller]
    fn found(class: &Path, spec: &str) -> Option<PathBuf> {
        find(&DiskSpec::parse(spec).unwrap(), class)
    }

    #[test]
    fn disks_are_found_by_all_three_names() {
        let class = std::env::temp_dir().join(format!("aria-init-disk-{}", std::process::id()));
        block(&class, "vda", "serial", "aria-root\n");
        block(&class, "vdb1", "uevent", "DEVTYPE=partition\nPARTNAME=data\n");
        block(&class, "vdc1", "uevent", "PARTNAME=data\n");
        assert_eq!(found(&class, "/dev/vda"), Some("/dev/vda".into()));
        assert_eq!(found(&class, "serial:aria-root"), Some("/dev/vda".into()));
        assert_eq!(found(&class, "partlabel:data"), Some("/dev/vdb1".into()));
        assert_eq!(found(&class, "partlabel:dat"), None);
        assert_eq!(found(&class, "serial:aria"), None);
        fs::remove_dir_all(class).unwrap();
    }

    #[test]
    fn other_spellings_are_refused() {
        for spec in ["", "vda", "partlabel:", "serial:", "/dev/", "/dev/../etc", "label:x", "/dev/.."] {
            assert!(matches!(DiskSpec::parse(spec), Err(InitError::DiskSpec { .. })), "{spec}");
        }
    }
}
