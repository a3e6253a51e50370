//! What a dead cage changed in its workspace: by comparing files with the tree they came from, byte by byte.
//!
//! Nothing is opened that is not a regular file or a directory, no link is followed, and what the program made of its tree
//! (depth, number, apparent size) is bounded before it is read.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::dir::Dir;
use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstatat};

use crate::workspace::tree::{self, ENTRIES_MAX, Entry, FRAME_BYTES, Kind, Reader};
use crate::{CollectError, sys};

const WORKSPACE: &str = "/workspace";
/// Bytes compared at once.
const PIECE_BYTES: usize = 64 << 10;
const S_IXUSR: u32 = 0o100;

/// What stands at a path, and for the tree where its content begins.
#[derive(Clone, Copy, Debug)]
struct Found {
    kind: Kind,
    size_bytes: u64,
    offset: u64,
}

/// What a program changed. Holds the workspace alive until it is dropped.
#[derive(Debug)]
pub struct Changes {
    /// Paths that were not there, also of things that cannot be handed over.
    pub added: u32,
    /// Paths with another content, kind or execute bit.
    pub changed: u32,
    /// Paths that are not there any more.
    pub deleted: u32,
    root: OwnedFd,
    entries: Vec<Entry>,
}

/// Compares the workspace below `root` with the tree it was made from. Only when no process of the cage is left: then
/// nothing in it can change between two looks.
pub(crate) fn find(root: OwnedFd, tree: File) -> Result<Changes, CollectError> {
    let before = index(&tree).map_err(CollectError::Read)?;
    let now = walk(root.as_fd())?;
    let mut changes = Changes { added: 0, changed: 0, deleted: 0, root, entries: Vec::new() };
    for (path, found) in &now {
        match before.get(path) {
            None => changes.added += 1,
            Some(old) if same(changes.root.as_fd(), path, found, &tree, old).map_err(CollectError::Read)? => continue,
            Some(_) => changes.changed += 1,
        }
        changes.entries.push(Entry { kind: found.kind, size_bytes: found.size_bytes, path: path.clone() });
    }
    for path in before.into_keys().filter(|path| !now.contains_key(path)) {
        changes.deleted += 1;
        changes.entries.push(Entry { kind: Kind::Deleted, size_bytes: 0, path });
    }
    changes.entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(changes)
}

/// The tree by its paths. It was unpacked before, so it is well formed.
fn index(tree: &File) -> io::Result<BTreeMap<Vec<u8>, Found>> {
    let mut reader = Reader::new(At { file: tree, position: 0 })?;
    let mut paths = BTreeMap::new();
    while let Some(Entry { kind, size_bytes, path }) = reader.next()? {
        let offset = reader.skip(size_bytes)?;
        paths.insert(path, Found { kind, size_bytes, offset });
    }
    Ok(paths)
}

/// A file from its beginning, whatever the position of its descriptor: the cage had it too.
struct At<'a> {
    file: &'a File,
    position: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(bytes, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl io::Seek for At<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let position = match to {
            io::SeekFrom::Start(position) => Some(position),
            io::SeekFrom::Current(by) => self.position.checked_add_signed(by),
            io::SeekFrom::End(_) => None,
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Everything below `root` by its path.
fn walk(root: BorrowedFd<'_>) -> Result<BTreeMap<Vec<u8>, Found>, CollectError> {
    let mut paths = BTreeMap::new();
    let mut open = vec![Vec::new()];
    while let Some(directory) = open.pop() {
        for (path, found) in list(root, &directory)? {
            if !tree::is_path(&path) {
                let name = String::from_utf8_lossy(&path).into_owned();
                return Err(CollectError::Entry { place: WORKSPACE, name, why: "is too deep or has too long a path" });
            }
            if paths.len() == ENTRIES_MAX {
                return Err(CollectError::TooMany { place: WORKSPACE, count_max: ENTRIES_MAX });
            }
            if found.kind == Kind::Directory {
                open.push(path.clone());
            }
            paths.insert(path, found);
        }
    }
    Ok(paths)
}

fn list(root: BorrowedFd<'_>, directory: &[u8]) -> Result<Vec<(Vec<u8>, Found)>, CollectError> {
    let fd = open(root, directory, libc::O_DIRECTORY).map_err(CollectError::Read)?;
    let mut names = Dir::from_fd(fd).map_err(|error| CollectError::Read(error.into()))?;
    let mut found = Vec::new();
    let entries = names.iter().collect::<Result<Vec<_>, _>>().map_err(|error| CollectError::Read(error.into()))?;
    for entry in &entries {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat =
            fstatat(&names, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|error| CollectError::Read(error.into()))?;
        let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFREG if stat.st_mode & S_IXUSR == 0 => Kind::File,
            SFlag::S_IFREG => Kind::Program,
            _ => Kind::Other,
        };
        let size_bytes = if kind.has_content() { stat.st_size.unsigned_abs() } else { 0 };
        let above = if directory.is_empty() { vec![] } else { [directory, b"/"].concat() };
        found.push(([&above, name.to_bytes()].concat(), Found { kind, size_bytes, offset: 0 }));
    }
    Ok(found)
}

/// A directory or a regular file, both known to be one.
fn open(root: BorrowedFd<'_>, path: &[u8], kind: i32) -> io::Result<OwnedFd> {
    let path = CString::new(if path.is_empty() { b"." } else { path }).map_err(|_| tree::malformed())?;
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    sys::open_beneath(root, &path, flags | kind)
}

fn same(root: BorrowedFd<'_>, path: &[u8], now: &Found, tree: &File, before: &Found) -> io::Result<bool> {
    if now.kind != before.kind || now.size_bytes != before.size_bytes {
        return Ok(false);
    }
    if !now.kind.has_content() {
        return Ok(true);
    }
    let file = File::from(open(root, path, 0)?);
    let (mut ours, mut theirs) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut at = 0;
    while at < now.size_bytes {
        let length = usize::try_from(now.size_bytes - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let (Some(ours), Some(theirs)) = (ours.get_mut(..length), theirs.get_mut(..length)) else { break };
        tree.read_exact_at(ours, before.offset + at)?;
        file.read_exact_at(theirs, at)?;
        if ours != theirs {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

impl Changes {
    /// The changes as a stream in the tree format, with `deleted` and `other` records where there are such, if their
    /// content is at most `bytes_max`.
    pub fn stream(self, bytes_max: u64) -> Result<ChangeStream, CollectError> {
        let content = self.entries.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.size_bytes));
        if content > bytes_max {
            return Err(CollectError::TooLarge { place: WORKSPACE, bytes_max });
        }
        let size_bytes = self.entries.iter().fold(FRAME_BYTES, |sum, entry| sum.saturating_add(entry.bytes()));
        let last = tree::end(self.entries.len());
        let pending = io::Cursor::new(tree::MAGIC.to_vec());
        let entries = self.entries.into_iter();
        Ok(ChangeStream { size_bytes, root: self.root, entries, last: Some(last), pending, content: None })
    }
}

/// Reads the changes; the bytes of each file come from the workspace when it is their turn.
#[derive(Debug)]
pub struct ChangeStream {
    /// Exactly so many bytes come.
    pub size_bytes: u64,
    root: OwnedFd,
    entries: std::vec::IntoIter<Entry>,
    last: Option<Vec<u8>>,
    pending: io::Cursor<Vec<u8>>,
    content: Option<io::Take<File>>,
}

impl Read for ChangeStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.pending.read(bytes)?;
            if count > 0 || bytes.is_empty() {
                return Ok(count);
            }
            if let Some(content) = &mut self.content {
                let count = content.read(bytes)?;
                if count > 0 {
                    return Ok(count);
                }
                if content.limit() > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.content = None;
            }
            let Some(entry) = self.entries.next() else {
                let Some(last) = self.last.take() else { return Ok(0) };
                self.pending = io::Cursor::new(last);
                continue;
            };
            if entry.kind.has_content() {
                let file = File::from(open(self.root.as_fd(), &entry.path, 0)?);
                self.content = Some(file.take(entry.size_bytes));
            }
            self.pending = io::Cursor::new(entry.header());
        }
    }
}
