//! The root tree: programs, tool root, overlay and the few generated files, every mode set explicitly.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::layout::Layout;

/// Where the parts come from.
pub(crate) struct Sources {
    pub(crate) binaries: PathBuf,
    pub(crate) tool_root: PathBuf,
    pub(crate) overlay: PathBuf,
}

/// Facts only this build knows.
pub(crate) struct Release {
    pub(crate) version: String,
    /// Seconds since 1970; the device's clock never starts before it.
    pub(crate) epoch: u64,
}

/// Makes the tree at `root`, which must not exist. Owners are whoever runs this; the file system image makes them root.
pub(crate) fn assemble(root: &Path, layout: &Layout, sources: &Sources, release: &Release) -> Result<()> {
    directory(root)?;
    for path in &layout.tree.directories {
        directory(&root.join(path))?;
    }
    copy_tree(&sources.overlay, root)?;
    for program in &layout.programs {
        copy(&sources.binaries.join(&program.name), &root.join(&program.path), 0o755)?;
    }
    copy_tree(&sources.tool_root, &root.join(&layout.tool_root.path))?;
    write(&root.join("usr/lib/os-release"), &os_release(layout, release))?;
    write(&root.join("etc/hostname"), &format!("{}\n", layout.image.hostname))?;
    for (path, target) in &layout.tree.links {
        symlink(target, root.join(path)).with_context(|| format!("link {path} to {target}"))?;
    }
    Ok(())
}

pub(crate) fn os_release(layout: &Layout, release: &Release) -> String {
    let image = &layout.image;
    format!(
        "NAME=Aria\nID=aria\nPRETTY_NAME=\"Aria {version}\"\nVERSION_ID={version}\nIMAGE_ID={id}\nIMAGE_VERSION={version}\nVARIANT_ID={variant}\nBUILD_ROUTE={route}\nIMAGE_EPOCH={epoch}\n",
        version = release.version,
        id = image.id,
        variant = image.variant,
        route = image.route,
        epoch = release.epoch,
    )
}

/// Makes a directory and its missing parents, each 0755 whatever the umask is.
fn directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        directory(parent)?;
    }
    fs::create_dir(path).with_context(|| format!("make {}", path.display()))?;
    mode(path, 0o755)
}

fn mode(path: &Path, bits: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(bits))
        .with_context(|| format!("set the mode of {}", path.display()))
}

fn copy(from: &Path, to: &Path, bits: u32) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    mode(to, bits)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    mode(path, 0o644)
}

/// Modes become 0644 or 0755, except that set-id bits are carried over for the contract to find.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    directory(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let source = entry?.path();
        let target = to.join(source.file_name().unwrap_or_default());
        let about = source.symlink_metadata()?;
        if about.is_symlink() {
            symlink(fs::read_link(&source)?, &target).with_context(|| format!("link {}", target.display()))?;
        } else if about.is_dir() {
            copy_tree(&source, &target)?;
        } else {
            let bits = about.permissions().mode();
            copy(&source, &target, bits & 0o7000 | if bits & 0o111 != 0 { 0o755 } else { 0o644 })?;
        }
    }
    Ok(())
}
