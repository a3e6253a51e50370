//! What must hold for a root tree before anything boots it. Reads a directory, changes nothing, names every violation.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use crate::elf;
use crate::layout::Layout;

/// One thing that is wrong with a tree. Paths are inside the image.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Violation {
    Missing {
        path: String,
    },
    NotExecutable {
        path: String,
    },
    SetId {
        path: String,
        mode: u32,
    },
    WorldWritable {
        path: String,
        mode: u32,
    },
    /// Root could not read or enter it without its override.
    Unreadable {
        path: String,
        mode: u32,
    },
    DanglingLink {
        path: String,
        target: String,
    },
    SpecialFile {
        path: String,
    },
    NotStatic {
        path: String,
    },
    UnresolvedLibrary {
        path: String,
        library: String,
    },
    BrokenProgram {
        path: String,
        reason: String,
    },
    Shell {
        path: String,
    },
    OsRelease {
        key: &'static str,
    },
    TooLarge {
        bytes: u64,
        bytes_max: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Missing { path } => write!(out, "{path} is missing"),
            Violation::NotExecutable { path } => write!(out, "{path} is not executable"),
            Violation::SetId { path, mode } => {
                write!(out, "{path} has mode {mode:o}: set-id and sticky bits have no place in an image")
            }
            Violation::WorldWritable { path, mode } => write!(out, "{path} has mode {mode:o}: anybody could write it"),
            Violation::Unreadable { path, mode } => write!(out, "{path} has mode {mode:o}: services could not read it"),
            Violation::DanglingLink { path, target } => {
                write!(out, "{path} points to {target}, which is not in the image")
            }
            Violation::SpecialFile { path } => write!(out, "{path} is neither file, directory nor link"),
            Violation::NotStatic { path } => write!(out, "{path} is not a static program"),
            Violation::UnresolvedLibrary { path, library } => {
                write!(out, "{path} needs {library}, which is not in its tree")
            }
            Violation::BrokenProgram { path, reason } => write!(out, "{path}: {reason}"),
            Violation::Shell { path } => write!(out, "{path} is a shell or a box of commands"),
            Violation::OsRelease { key } => write!(out, "os-release has no {key}"),
            Violation::TooLarge { bytes, bytes_max } => {
                write!(out, "the tree has {bytes} bytes, the budget is {bytes_max}")
            }
        }
    }
}

const SHELLS: [&str; 10] = ["sh", "ash", "bash", "dash", "zsh", "ksh", "fish", "busybox", "toybox", "sash"];
const OS_RELEASE_KEYS: [&str; 5] = ["IMAGE_ID", "IMAGE_VERSION", "VARIANT_ID", "BUILD_ROUTE", "IMAGE_EPOCH"];
/// Where the loader looks, below the root a program lives in.
const LIBRARY_DIRECTORIES: [&str; 6] =
    ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"];
/// Links into these appear when the machine is up.
const LIVE_TREES: [&str; 4] = ["run", "proc", "dev", "sys"];

/// Every violation, sorted; empty when the tree may be built into an image.
pub(crate) fn check(tree: &Path, layout: &Layout) -> io::Result<Vec<Violation>> {
    let mut entries = BTreeMap::new();
    walk(tree, Path::new(""), &mut entries)?;
    let mut found = Vec::new();
    let mut bytes = 0;
    for (path, about) in &entries {
        bytes += if about.is_file() { about.len() } else { 0 };
        entry(tree, path, about, &mut found)?;
    }
    if bytes > layout.image.tree_bytes_max {
        found.push(Violation::TooLarge { bytes, bytes_max: layout.image.tree_bytes_max });
    }
    required(&entries, layout, &mut found);
    programs(tree, &entries, layout, &mut found);
    os_release(tree, &mut found);
    found.sort();
    Ok(found)
}

type Entries = BTreeMap<PathBuf, fs::Metadata>;

fn walk(tree: &Path, below: &Path, entries: &mut Entries) -> io::Result<()> {
    for entry in fs::read_dir(tree.join(below))? {
        let path = below.join(entry?.file_name());
        let about = tree.join(&path).symlink_metadata()?;
        if about.is_dir() {
            walk(tree, &path, entries)?;
        }
        entries.insert(path, about);
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn entry(tree: &Path, path: &Path, about: &fs::Metadata, found: &mut Vec<Violation>) -> io::Result<()> {
    let kind = about.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(tree.join(path))?;
        if !resolves(tree, path, &target) {
            found.push(Violation::DanglingLink { path: shown(path), target: shown(&target) });
        }
        return Ok(());
    }
    if kind.is_block_device() || kind.is_char_device() || kind.is_fifo() || kind.is_socket() {
        found.push(Violation::SpecialFile { path: shown(path) });
        return Ok(());
    }
    let mode = about.mode() & 0o7777;
    if mode & 0o7000 != 0 {
        found.push(Violation::SetId { path: shown(path), mode });
    }
    if mode & 0o002 != 0 {
        found.push(Violation::WorldWritable { path: shown(path), mode });
    }
    if mode & if kind.is_dir() { 0o555 } else { 0o444 } != if kind.is_dir() { 0o555 } else { 0o444 } {
        found.push(Violation::Unreadable { path: shown(path), mode });
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if kind.is_file() && SHELLS.contains(&name) {
        found.push(Violation::Shell { path: shown(path) });
    }
    Ok(())
}

/// Whether a link's target is in the tree, or in one that the running machine mounts. Never looks outside the tree.
fn resolves(tree: &Path, link: &Path, target: &Path) -> bool {
    let start =
        if target.is_absolute() { PathBuf::new() } else { link.parent().unwrap_or(Path::new("")).to_path_buf() };
    let mut at = start;
    for part in target.components() {
        match part {
            Component::Normal(name) => at.push(name),
            Component::ParentDir => {
                at.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let first = at.components().next().and_then(|part| part.as_os_str().to_str().map(str::to_owned));
    first.is_some_and(|first| LIVE_TREES.contains(&first.as_str())) || tree.join(&at).symlink_metadata().is_ok()
}

fn required(entries: &Entries, layout: &Layout, found: &mut Vec<Violation>) {
    let tool_root = layout.tool_root.required.iter().map(|path| format!("{}/{path}", layout.tool_root.path));
    let programs = layout.programs.iter().map(|program| program.path.clone());
    let wanted = layout.tree.directories.iter().chain(&layout.tree.required).cloned().chain(tool_root).chain(programs);
    found.extend(wanted.filter(|path| !entries.contains_key(Path::new(path))).map(|path| Violation::Missing { path }));
}

fn programs(tree: &Path, entries: &Entries, layout: &Layout, found: &mut Vec<Violation>) {
    let ours: Vec<&Path> = layout.programs.iter().map(|program| Path::new(&program.path)).collect();
    for (path, about) in entries.iter().filter(|(_, about)| about.is_file()) {
        let needs = match elf::needs(&tree.join(path)) {
            Ok(Some(needs)) => needs,
            Ok(None) if ours.contains(&path.as_path()) => {
                found.push(Violation::BrokenProgram { path: shown(path), reason: "not an ELF program".to_owned() });
                continue;
            }
            Ok(None) => continue,
            Err(error) => {
                found.push(Violation::BrokenProgram { path: shown(path), reason: error.to_string() });
                continue;
            }
        };
        let executable = about.permissions().mode() & 0o111 == 0o111;
        if ours.contains(&path.as_path()) {
            if !executable {
                found.push(Violation::NotExecutable { path: shown(path) });
            }
            if needs != elf::Needs::default() {
                found.push(Violation::NotStatic { path: shown(path) });
            }
        }
        unresolved(entries, layout, path, needs, found);
    }
}

fn unresolved(entries: &Entries, layout: &Layout, path: &Path, needs: elf::Needs, found: &mut Vec<Violation>) {
    let root = if path.starts_with(&layout.tool_root.path) { Path::new(&layout.tool_root.path) } else { Path::new("") };
    let interpreter = needs.interpreter.iter().map(|path| (path, root.join(path.trim_start_matches('/'))));
    for (name, at) in interpreter {
        if !entries.contains_key(&at) {
            found.push(Violation::UnresolvedLibrary { path: shown(path), library: name.clone() });
        }
    }
    for library in needs.libraries {
        if !LIBRARY_DIRECTORIES.iter().any(|directory| entries.contains_key(&root.join(directory).join(&library))) {
            found.push(Violation::UnresolvedLibrary { path: shown(path), library });
        }
    }
}

fn os_release(tree: &Path, found: &mut Vec<Violation>) {
    let text = fs::read_to_string(tree.join("usr/lib/os-release")).unwrap_or_default();
    let has = |key: &str| {
        text.lines().any(|line| {
            line.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')).is_some_and(|value| !value.is_empty())
        })
    };
    found.extend(OS_RELEASE_KEYS.into_iter().filter(|key| !has(key)).map(|key| Violation::OsRelease { key }));
}

#[cfg(test)]
#[path = "contract_test.rs"]
mod tests;
