//! Fences that rise across restarts and power cuts.
//!
//! Each life of the engine takes a block of numbers nobody had before and writes that down, durably, before it uses the
//! first of them. What a crash leaves unused is lost; there are enough.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// Grants one life can make. The rest of 64 bits is enough for four thousand million lives.
const BLOCK: u64 = 1 << 32;

/// The block of fences could not be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FenceError {
    #[error("{action} {path:?}")]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path:?} does not hold a number; restore it, or remove it once nothing guarded by older fences is left")]
    Damaged { path: PathBuf },
}

/// Takes the next block, in `dir` (made if absent).
pub(crate) fn reserve(dir: &Path) -> Result<Range<u64>, FenceError> {
    let step = |action, path: &Path| {
        let path = path.to_owned();
        move |source| FenceError::File { action, path, source }
    };
    let new: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(step("create", dir))?;
    // Or a power cut takes a new directory, and with it every fence ever given.
    for parent in new.into_iter().filter_map(Path::parent) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(step("sync", parent))?;
    }
    let lock_path = dir.join("fence.lock");
    let lock = options().open(&lock_path).map_err(step("open", &lock_path))?;
    let _lock =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| step("lock", &lock_path)(errno.into()))?;

    let path = dir.join("fence");
    let start = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u64>().map_err(|_| FenceError::Damaged { path: path.clone() })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 1,
        Err(source) => return Err(step("read", &path)(source)),
    };
    let end = start.checked_add(BLOCK).ok_or_else(|| FenceError::Damaged { path: path.clone() })?;
    let next = dir.join("fence.next");
    write_durably(&next, end).map_err(step("write", &next))?;
    fs::rename(&next, &path).map_err(step("replace", &path))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(step("sync", dir))?;
    Ok(start..end)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    options
}

fn write_durably(path: &Path, number: u64) -> io::Result<()> {
    let mut file = options().truncate(true).open(path)?;
    writeln!(file, "{number}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lives_share_a_fence() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made/below");
        let lives: Vec<Range<u64>> = (0..4).map(|_| reserve(&dir).unwrap()).collect();
        assert_eq!(lives[0].start, 1);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&dir).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
        assert!(lives.windows(2).all(|pair| pair[0].end == pair[1].start && !pair[1].is_empty()));
    }

    #[test]
    fn an_interrupted_write_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let first = reserve(dir.path()).unwrap();
        fs::write(dir.path().join("fence.next"), "12").unwrap();
        assert_eq!(reserve(dir.path()).unwrap().start, first.end);
    }

    #[test]
    fn a_damaged_file_is_an_error_not_a_fresh_start() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "x", "-1", "18446744073709551615"] {
            fs::write(dir.path().join("fence"), text).unwrap();
            assert!(matches!(reserve(dir.path()), Err(FenceError::Damaged { .. })), "{text:?}");
        }
    }
}
