//! What a configuration and a request must be before anything is done with them.

use std::path::{Component, Path};

use crate::wire::FILES_MAX;
use crate::{Config, OpenError, SpawnError, Spec};

/// Entries the root must have, each a directory a mount goes onto.
const MOUNT_POINTS: [&str; 7] = ["proc", "tmp", "dev", "app", "in", "out", "workspace"];
const NAME_BYTES_MAX: usize = 255;
/// The first uid that cannot be a login user's or a service's.
const UID_MIN: u32 = 65_536;

fn config_error(what: String) -> OpenError {
    OpenError::Config { what }
}

/// Checks the configuration; the root's path as text.
pub(crate) fn check_config(config: &Config) -> Result<String, OpenError> {
    let rootfs = &config.rootfs;
    let Some(text) = rootfs.to_str() else {
        return Err(config_error(format!("rootfs {rootfs:?} is not UTF-8")));
    };
    if !rootfs.is_absolute() || !config.init.is_absolute() {
        return Err(config_error(format!("rootfs {rootfs:?} and init {:?} must be absolute paths", config.init)));
    }
    for name in MOUNT_POINTS {
        let point = rootfs.join(name);
        if !point.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Err(config_error(format!("rootfs has no directory {name:?} at {point:?}")));
        }
    }
    if !config.init.is_file() {
        return Err(config_error(format!("init {:?} is not a file", config.init)));
    }
    let name = Path::new(&config.cgroup_name);
    if config.cgroup_name.is_empty() || !name.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(config_error(format!("cgroup_name {:?} is not a relative path", config.cgroup_name)));
    }
    let last = config.uid_base.checked_add(config.uid_count);
    // The last two ids mean "nobody" and "none".
    if config.uid_base < UID_MIN || config.uid_count == 0 || last.is_none_or(|last| last > u32::MAX - 2) {
        let range = format!("uid_base {} with uid_count {}", config.uid_base, config.uid_count);
        return Err(config_error(format!("{range} is not a range of at least one uid from {UID_MIN} up")));
    }
    Ok(text.to_owned())
}

fn spec_error(what: impl Into<String>) -> SpawnError {
    SpawnError::Spec { what: what.into() }
}

/// Checks a request as far as values go; what the kernel must be asked comes in the steps.
pub(crate) fn check(spec: &Spec) -> Result<(), SpawnError> {
    match spec.argv.first() {
        Some(program) if program.starts_with('/') => {}
        Some(program) => return Err(spec_error(format!("program {program:?} is not an absolute path"))),
        None => return Err(spec_error("argv is empty")),
    }
    if spec.argv.iter().any(|argument| argument.contains('\0')) {
        return Err(spec_error("an argument has a NUL in it"));
    }
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(spec_error(format!("environment variable {name:?} has a bad name, or a NUL in its value")));
        }
    }
    if spec.files.len() > FILES_MAX {
        return Err(spec_error(format!("{} files are more than {FILES_MAX}", spec.files.len())));
    }
    for (index, (name, _)) in spec.files.iter().enumerate() {
        check_file_name(name)?;
        if spec.files[..index].iter().any(|(earlier, _)| earlier == name) {
            return Err(spec_error(format!("file name {name:?} is given twice")));
        }
    }
    let limits = &spec.limits;
    if limits.memory_bytes == 0 || limits.pids == 0 || limits.cpu_millis == 0 || limits.disk_bytes == 0 {
        return Err(spec_error(format!("a limit of 0 in {limits:?}")));
    }
    Ok(())
}

fn check_file_name(name: &str) -> Result<(), SpawnError> {
    let plain = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name != "." && name != "..";
    if plain && !name.contains('/') && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(spec_error(format!("{name:?} is not a file name")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Profile};
    use std::collections::BTreeMap;

    fn spec() -> Spec {
        Spec {
            argv: vec!["/bin/bun".into()],
            env: BTreeMap::new(),
            profile: Profile::Tool,
            app: None,
            files: Vec::new(),
            out: false,
            workspace: None,
            door: false,
            stdin: false,
            limits: Limits { memory_bytes: 1, pids: 1, cpu_millis: 1, disk_bytes: 1 },
        }
    }

    #[track_caller]
    fn refused(change: impl Fn(&mut Spec)) {
        let mut spec = spec();
        change(&mut spec);
        assert!(matches!(check(&spec), Err(SpawnError::Spec { .. })), "{spec:?}");
    }

    #[test]
    fn a_plain_request_is_accepted() {
        assert!(check(&spec()).is_ok());
    }

    #[test]
    fn malformed_requests_are_refused() {
        refused(|spec| spec.argv.clear());
        refused(|spec| spec.argv[0] = "bun".into());
        refused(|spec| spec.argv.push("a\0b".into()));
        refused(|spec| drop(spec.env.insert("A=B".into(), String::new())));
        refused(|spec| drop(spec.env.insert(String::new(), String::new())));
        refused(|spec| drop(spec.env.insert("A".into(), "\0".into())));
        refused(|spec| spec.limits.pids = 0);
        refused(|spec| spec.limits.memory_bytes = 0);
    }

    #[test]
    fn file_names_are_single_visible_segments() {
        for good in ["a", "ä b.txt", "..a", &"x".repeat(255)] {
            assert!(check_file_name(good).is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", "a/b", "/a", "a\n", "a\0", &"x".repeat(256)] {
            assert!(check_file_name(bad).is_err(), "{bad:?}");
        }
    }
}
