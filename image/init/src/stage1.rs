//! Stage 1, in the initramfs: modules, the root disk, and the move onto it.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use crate::cmdline::{Options, Outcome};
use crate::error::InitError;
use crate::{console, disk, sys};

const MODULE_LIST: &str = "/lib/modules/load";
const NEW_ROOT: &str = "/newroot";
const NEXT: &str = "/sbin/init";
/// Long enough for a slow emulated disk, short enough that a wrong command line is a message and not a hang.
const ROOT_PATIENCE: Duration = Duration::from_secs(30);

/// Ends only in an error: success is the other program.
pub(crate) fn run() -> Result<Outcome, InitError> {
    mount_kernel_trees()?;
    let options = Options::current();
    load_modules();
    let root = disk::wait("aria.root", &options.root, ROOT_PATIENCE)?;
    mount_at("erofs", &root, NEW_ROOT)?;
    console::say(&format!("root {} mounted read-only after {:.2} s", root.display(), crate::run::now().as_secs_f64()));
    forget_initramfs();
    switch().map(|never| match never {})
}

fn mount_kernel_trees() -> Result<(), InitError> {
    let hidden = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for (kind, at, flags) in
        [("proc", "/proc", hidden), ("sysfs", "/sys", hidden), ("devtmpfs", "/dev", MsFlags::MS_NOSUID)]
    {
        mount(Some(kind), at, Some(kind), flags, None::<&str>).map_err(|source| InitError::Mount {
            fs: kind.to_owned(),
            at: at.into(),
            source,
        })?;
    }
    Ok(())
}

fn mount_at(kind: &str, device: &Path, at: &str) -> Result<(), InitError> {
    mount(Some(device), at, Some(kind), MsFlags::MS_RDONLY, None::<&str>).map_err(|source| InitError::Mount {
        fs: format!("{kind} {}", device.display()),
        at: at.into(),
        source,
    })
}

/// Loads the list in its order. A module that does not load is a message: if it mattered, the root disk will not appear.
fn load_modules() {
    let Ok(list) = fs::read_to_string(MODULE_LIST) else {
        return console::say(&format!("no module list at {MODULE_LIST}, assuming a kernel without modules"));
    };
    for path in list.lines().filter(|line| !line.is_empty()) {
        if let Err(cause) = fs::File::open(path).and_then(|file| sys::load_module(&file)) {
            console::say(&format!("load module {path}: {cause}"));
        }
    }
}

/// The initramfs lives in memory; what is no longer needed is given back before the real root hides it.
fn forget_initramfs() {
    for path in ["/lib", "/init"] {
        let path = PathBuf::from(path);
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

fn switch() -> Result<Infallible, InitError> {
    for tree in ["dev", "proc", "sys"] {
        let (from, to) = (format!("/{tree}"), format!("{NEW_ROOT}/{tree}"));
        mount(Some(from.as_str()), to.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .map_err(InitError::Switch)?;
    }
    nix::unistd::chdir(NEW_ROOT).map_err(InitError::Switch)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(InitError::Switch)?;
    nix::unistd::chroot(".").map_err(InitError::Switch)?;
    nix::unistd::chdir("/").map_err(InitError::Switch)?;
    let program = CString::from(c"/sbin/init");
    nix::unistd::execv(&program, &[&program]).map_err(|source| InitError::Exec { program: NEXT.into(), source })
}
