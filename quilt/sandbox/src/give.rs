//! Puts a copy of a directory into the `/app` of a cage that is already running.
//!
//! Such a cage waits without any code of a call. Its `/app` is a file system of its own, empty, and read-only for everybody
//! inside; the engine holds the only way to write to it. Nothing enters the cage and no mount changes: files appear.
//! A directory that is too large for a copy, or is not made of plain files and directories, is refused, and the call
//! gets a cage that is made for it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod, mkdirat};

use crate::sys;

/// Bytes of all files together; the copy is memory of the host.
pub(crate) const BYTES_MAX: u64 = 4 << 20;
/// Files and directories together.
const ENTRIES_MAX: usize = 512;
const DEPTH_MAX: usize = 16;
const PIECE_BYTES: usize = 64 * 1024;

/// What is left of the bounds.
struct Left {
    bytes: u64,
    entries: usize,
}

fn too_much() -> io::Error {
    io::Error::from_raw_os_error(libc::EFBIG)
}

/// Copies what is below `from` (O_PATH is enough) to below `to`. After an error `to` holds a part of it.
pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut left = Left { bytes: BYTES_MAX, entries: ENTRIES_MAX };
    directory(open(from, c".", OFlag::O_DIRECTORY)?, to, DEPTH_MAX, &mut left)
}

fn open(dir: BorrowedFd<'_>, name: &CStr, kind: OFlag) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | kind;
    sys::open_beneath(dir, name, flags.bits())
}

fn directory(from: OwnedFd, to: BorrowedFd<'_>, depth_left: usize, left: &mut Left) -> io::Result<()> {
    let mut listing = Dir::from_fd(from.try_clone()?)?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let name = entry?.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        left.entries = left.entries.checked_sub(1).ok_or_else(too_much)?;
        names.push(name);
    }
    for name in names {
        entry(from.as_fd(), to, &name, depth_left, left)?;
    }
    Ok(())
}

fn entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CString, depth: usize, left: &mut Left) -> io::Result<()> {
    let source = open(from, name, OFlag::empty())?;
    let found = File::from(source);
    let metadata = found.metadata()?;
    if metadata.is_dir() {
        let depth = depth.checked_sub(1).ok_or_else(too_much)?;
        mkdirat(to, name.as_c_str(), Mode::from_bits_truncate(0o755))?;
        let inner = sys::open_beneath(to, name, (OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).bits())?;
        return directory(found.into(), inner.as_fd(), depth, left);
    }
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    file(found, to, name, left)
}

fn file(mut from: File, to: BorrowedFd<'_>, name: &CStr, left: &mut Left) -> io::Result<()> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut target = File::from(nix::fcntl::openat(to, name, flags, Mode::from_bits_truncate(0o444))?);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let got = match from.read(&mut piece) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        left.bytes = left.bytes.checked_sub(got as u64).ok_or_else(too_much)?;
        target.write_all(piece.get(..got).unwrap_or_default())?;
    }
    // Whatever the umask of this process is.
    Ok(fchmod(&target, Mode::from_bits_truncate(0o444))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn check(fill: impl Fn(&Path)) -> (io::Result<()>, tempfile::TempDir) {
        let (source, target) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        fill(source.path());
        let at = |dir: &tempfile::TempDir| File::open(dir.path()).expect("opens");
        let copied = copy(at(&source).as_fd(), at(&target).as_fd());
        (copied, target)
    }

    #[track_caller]
    fn refused(fill: impl Fn(&Path)) {
        assert!(check(fill).0.is_err());
    }

    #[test]
    fn a_tree_of_files_arrives_as_it_is() {
        let large = vec![7; 3 * PIECE_BYTES + 1];
        let (copied, target) = check(|dir| {
            fs::create_dir_all(dir.join("a/b")).expect("directories");
            fs::write(dir.join("a/b/c.js"), &large).expect("written");
            fs::write(dir.join("empty"), "").expect("written");
        });
        copied.expect("copies");
        assert_eq!(fs::read(target.path().join("a/b/c.js")).expect("is there"), large);
        assert_eq!(fs::read(target.path().join("empty")).expect("is there"), b"");
    }

    #[test]
    fn what_is_no_plain_file_is_refused() {
        refused(|dir| std::os::unix::fs::symlink("/etc/passwd", dir.join("link")).expect("links"));
        refused(|dir| std::os::unix::fs::symlink("/etc", dir.join("link")).expect("links"));
        refused(|dir| nix::unistd::mkfifo(&dir.join("pipe"), Mode::from_bits_truncate(0o600)).expect("makes"));
        refused(|dir| drop(std::os::unix::net::UnixListener::bind(dir.join("socket")).expect("binds")));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        refused(|dir| fs::write(dir.join("a"), vec![0; BYTES_MAX as usize + 1]).expect("written"));
        refused(|dir| (0..=ENTRIES_MAX).for_each(|n| fs::write(dir.join(n.to_string()), "").expect("written")));
        refused(|dir| fs::create_dir_all(dir.join("d/".repeat(DEPTH_MAX + 1))).expect("directories"));
    }
}
