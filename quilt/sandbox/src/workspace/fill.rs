//! From a tree to files, by a process that may do nothing else.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::stat::{Mode, mkdirat};

use crate::build::Cage;
use crate::sys;
use crate::workspace::tree::{Entry, Kind, Reader, malformed};

/// Fills the workspace from its tree and closes both. There is nothing in it yet and nobody else writes to it.
pub(crate) fn fill(cage: &mut Cage) -> io::Result<()> {
    let (Some(root), Some(tree)) = (cage.descriptors.workspace.take(), cage.descriptors.tree.take()) else {
        return Ok(());
    };
    let mut reader = Reader::new(File::from(tree))?;
    while let Some(entry) = reader.next()? {
        make(root.as_fd(), &entry, &mut reader)?;
    }
    Ok(())
}

fn make(root: BorrowedFd<'_>, entry: &Entry, reader: &mut Reader<File>) -> io::Result<()> {
    let path = CString::new(entry.path.as_slice()).map_err(|_| malformed())?;
    if entry.kind == Kind::Directory {
        return Ok(mkdirat(root, path.as_c_str(), Mode::from_bits_truncate(0o755))?);
    }
    let mode = if entry.kind == Kind::Program { 0o755 } else { 0o644 };
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let mut file = File::from(sys::make_beneath(root, &path, flags, mode)?);
    let copied = io::copy(&mut reader.source.by_ref().take(entry.size_bytes), &mut file)?;
    file.flush()?;
    if copied == entry.size_bytes { Ok(()) } else { Err(malformed()) }
}
