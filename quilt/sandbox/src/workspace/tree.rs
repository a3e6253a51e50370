//! The tree format: directories and files in one stream of bytes.
//!
//! Eight bytes of magic, then records: kind (1 byte), length of the path (u16), size (u64), both little endian, the path, the
//! content. Paths rise strictly by their bytes, so each is there once and a directory comes before what is in it. The last
//! record has no path, and for size the number of records before it; nothing follows. There are no links, owners or times.

use std::io::{self, BufReader, Read, Seek};

pub(crate) const MAGIC: [u8; 8] = *b"aria-tr1";
/// Records of one tree.
pub(crate) const ENTRIES_MAX: usize = 65_536;
/// Bytes of one path; `openat2` takes four times as much.
pub(crate) const PATH_BYTES_MAX: usize = 1024;
/// Segments of one path.
pub(crate) const DEPTH_MAX: usize = 64;
const SEGMENT_BYTES_MAX: usize = 255;
const HEADER_BYTES: usize = 11;
const END: u8 = b'e';

/// What stands at a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Directory,
    File,
    /// A file its owner may execute.
    Program,
    /// Only in changes: it is gone.
    Deleted,
    /// Only in changes: neither file nor directory, so it cannot be handed over.
    Other,
}

impl Kind {
    fn letter(self) -> u8 {
        match self {
            Kind::Directory => b'd',
            Kind::File => b'f',
            Kind::Program => b'x',
            Kind::Deleted => b'-',
            Kind::Other => b'o',
        }
    }

    pub(crate) fn has_content(self) -> bool {
        matches!(self, Kind::File | Kind::Program)
    }
}

/// One record; its content follows in the stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) size_bytes: u64,
    pub(crate) path: Vec<u8>,
}

impl Entry {
    /// The record without its content.
    pub(crate) fn header(&self) -> Vec<u8> {
        header(self.kind.letter(), self.size_bytes, &self.path)
    }

    /// Bytes of the record with its content.
    pub(crate) fn bytes(&self) -> u64 {
        self.size_bytes.saturating_add((HEADER_BYTES + self.path.len()) as u64)
    }
}

/// The last record.
pub(crate) fn end(entries: usize) -> Vec<u8> {
    header(END, entries as u64, &[])
}

/// Bytes of magic and last record.
pub(crate) const FRAME_BYTES: u64 = (MAGIC.len() + HEADER_BYTES) as u64;

fn header(letter: u8, size_bytes: u64, path: &[u8]) -> Vec<u8> {
    let mut bytes = vec![letter];
    // A path of ours is at most `PATH_BYTES_MAX` long.
    bytes.extend_from_slice(&(path.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&size_bytes.to_le_bytes());
    bytes.extend_from_slice(path);
    bytes
}

/// What is not a tree. An errno, because it crosses a process border as one.
pub(crate) fn malformed() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADMSG)
}

/// Reads records one after the other; the caller takes or skips the content of each before the next.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    pub(crate) source: BufReader<R>,
    last: Vec<u8>,
    entries: usize,
}

impl<R: Read> Reader<R> {
    /// Checks the magic.
    pub(crate) fn new(source: R) -> io::Result<Self> {
        let mut source = BufReader::with_capacity(64 << 10, source);
        let mut magic = [0; MAGIC.len()];
        exact(&mut source, &mut magic)?;
        if magic == MAGIC { Ok(Self { source, last: Vec::new(), entries: 0 }) } else { Err(malformed()) }
    }

    /// The next record; `None` after the last one.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut header = [0; HEADER_BYTES];
        exact(&mut self.source, &mut header)?;
        let [letter, a, b, size @ ..] = header;
        let (path_bytes, size_bytes) = (usize::from(u16::from_le_bytes([a, b])), u64::from_le_bytes(size));
        if letter == END {
            let right = path_bytes == 0 && size_bytes == self.entries as u64 && self.source.read(&mut [0])? == 0;
            return if right { Ok(None) } else { Err(malformed()) };
        }
        let kind = match letter {
            b'd' if size_bytes == 0 => Kind::Directory,
            b'f' => Kind::File,
            b'x' => Kind::Program,
            _ => return Err(malformed()),
        };
        if path_bytes > PATH_BYTES_MAX || self.entries == ENTRIES_MAX {
            return Err(malformed());
        }
        let mut path = vec![0; path_bytes];
        exact(&mut self.source, &mut path)?;
        if !is_path(&path) || path <= self.last {
            return Err(malformed());
        }
        self.last.clone_from(&path);
        self.entries += 1;
        Ok(Some(Entry { kind, size_bytes, path }))
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Leaves out the content of a record; where it began.
    pub(crate) fn skip(&mut self, size_bytes: u64) -> io::Result<u64> {
        let at = self.source.stream_position()?;
        self.source.seek_relative(i64::try_from(size_bytes).map_err(|_| malformed())?)?;
        Ok(at)
    }
}

/// The end of the bytes inside a record means that this is no tree.
fn exact(source: &mut impl Read, bytes: &mut [u8]) -> io::Result<()> {
    source.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed(),
        _ => error,
    })
}

/// Relative, nothing but names in it, and bounded.
pub(crate) fn is_path(path: &[u8]) -> bool {
    let mut segments = path.split(|byte| *byte == b'/');
    path.len() <= PATH_BYTES_MAX && segments.clone().count() <= DEPTH_MAX && segments.all(is_segment)
}

fn is_segment(segment: &[u8]) -> bool {
    let length = (1..=SEGMENT_BYTES_MAX).contains(&segment.len());
    length && segment != b"." && segment != b".." && !segment.contains(&0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tree as arc would send it.
    pub(crate) fn tree(entries: &[(Kind, &[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (kind, path, content) in entries {
            let entry = Entry { kind: *kind, size_bytes: content.len() as u64, path: path.to_vec() };
            bytes.extend(entry.header());
            bytes.extend_from_slice(content);
        }
        bytes.extend(end(entries.len()));
        bytes
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<Entry>> {
        let mut reader = Reader::new(io::Cursor::new(bytes))?;
        let mut entries = Vec::new();
        while let Some(entry) = reader.next()? {
            reader.skip(entry.size_bytes)?;
            entries.push(entry);
        }
        Ok(entries)
    }

    #[track_caller]
    fn refused(bytes: &[u8]) {
        let error = read(bytes).expect_err("is no tree");
        assert_eq!(error.raw_os_error(), Some(libc::EBADMSG), "{error}");
    }

    const GOOD: [(Kind, &[u8], &[u8]); 3] =
        [(Kind::Directory, b"a", b""), (Kind::File, b"a/\xff", b"one"), (Kind::Program, b"b", b"")];

    #[test]
    fn what_is_written_is_read() {
        let found = read(&tree(&GOOD)).expect("reads");
        let seen: Vec<_> = found.iter().map(|entry| (entry.kind, entry.path.as_slice(), entry.size_bytes)).collect();
        assert_eq!(seen, [(Kind::Directory, &b"a"[..], 0), (Kind::File, b"a/\xff", 3), (Kind::Program, b"b", 0)]);
        assert!(read(&tree(&[])).expect("an empty tree").is_empty());
    }

    #[test]
    fn every_shortened_or_longer_tree_is_refused() {
        let whole = tree(&GOOD);
        for length in 0..whole.len() {
            refused(&whole[..length]);
        }
        refused(&[&whole[..], b"x"].concat());
    }

    #[test]
    fn paths_that_leave_repeat_or_fall_are_refused() {
        let long = [b'x'; 256];
        let deep = b"a/".repeat(DEPTH_MAX);
        for path in [
            &b""[..],
            b"/a",
            b"a/",
            b"a//b",
            b".",
            b"..",
            b"a/../b",
            b"a/./b",
            b"a\0b",
            &long,
            &[&deep[..], b"a"].concat(),
        ] {
            refused(&tree(&[(Kind::File, path, b"")]));
        }
        refused(&tree(&[(Kind::File, b"a", b""), (Kind::File, b"a", b"")]));
        refused(&tree(&[(Kind::File, b"b", b""), (Kind::File, b"a", b"")]));
    }

    #[test]
    fn kinds_of_changes_and_directories_with_content_are_refused() {
        refused(&tree(&[(Kind::Deleted, b"a", b"")]));
        refused(&tree(&[(Kind::Other, b"a", b"")]));
        refused(&tree(&[(Kind::Directory, b"a", b"x")]));
        refused(&[&MAGIC[..], &header(b'l', 0, b"a"), &end(1)].concat());
        refused(&[&MAGIC[..], &end(1)].concat());
        refused(b"aria-tr2");
        let huge = Entry { kind: Kind::File, size_bytes: u64::MAX, path: b"a".to_vec() };
        refused(&[&MAGIC[..], &huge.header(), &end(1)].concat());
    }
}
