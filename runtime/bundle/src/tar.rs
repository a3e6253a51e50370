//! A push parser for the strict ustar profile: bytes in, entries out, everything else refused.
//!
//! Own code and not a library, because general readers accept PAX and GNU extensions, and where two of those disagree two
//! readers see two archives. Holds one header block at a time.

use crate::error::{BundleError, Rule, refuse};
use crate::limits::Limits;
use crate::path::{self, Kind, Paths};

mod header;

use header::Header;

pub(crate) const BLOCK: usize = 512;
const RECORD: u64 = 10_240;

/// One entry, its path checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    /// Relative path.
    pub(crate) path: String,
    /// File or directory.
    pub(crate) kind: Kind,
    /// Length of its content.
    pub(crate) size_bytes: u64,
    /// Any execute bit.
    pub(crate) executable: bool,
}

/// Takes the entries of one archive, in order.
pub(crate) trait Sink {
    /// An entry begins.
    fn begin(&mut self, entry: &Entry) -> Result<(), BundleError>;
    /// Next bytes of its content.
    fn data(&mut self, bytes: &[u8]) -> Result<(), BundleError>;
    /// The content of `entry`, which may be empty, is complete.
    fn end(&mut self, entry: &Entry) -> Result<(), BundleError>;
}

/// The parser of one archive.
#[derive(Debug)]
pub(crate) struct Tar {
    label: String,
    limits: Limits,
    state: State,
    block: [u8; BLOCK],
    filled: usize,
    position: u64,
    /// The entry whose content is being read.
    entry: Option<Entry>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Header,
    Data { left: u64, padding: u64 },
    Padding { left: u64 },
    SecondZero,
    Tail { left: u64 },
}

impl Tar {
    /// `label` names the archive in errors.
    pub(crate) fn new(label: impl Into<String>, limits: Limits) -> Self {
        Self {
            label: label.into(),
            limits,
            state: State::Header,
            block: [0; BLOCK],
            filled: 0,
            position: 0,
            entry: None,
        }
    }

    /// Takes the next bytes of the archive. `paths` is shared by archives that unpack into one tree.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], paths: &mut Paths, sink: &mut dyn Sink) -> Result<(), BundleError> {
        while !bytes.is_empty() {
            let used = match self.state {
                State::Header | State::SecondZero => self.block(bytes, paths, sink)?,
                State::Data { left, padding } => self.data(bytes, left, padding, sink)?,
                State::Padding { left } => {
                    let used = self.zeros(bytes, left, "padding after an entry is not zero")?;
                    let left = left - used as u64;
                    self.state = if left == 0 { State::Header } else { State::Padding { left } };
                    used
                }
                State::Tail { left: 0 } => {
                    return Err(self.refuse(Rule::TrailingBytes, "bytes after the end of the archive"));
                }
                State::Tail { left } => {
                    let used = self.zeros(bytes, left, "padding after the last entry is not zero")?;
                    self.state = State::Tail { left: left - used as u64 };
                    used
                }
            };
            self.position += used as u64;
            bytes = bytes.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// No more bytes come.
    pub(crate) fn finish(&self) -> Result<(), BundleError> {
        match self.state {
            State::Tail { left: 0 } => Ok(()),
            _ => Err(self.refuse(Rule::Truncated, format!("ends at byte {} before it is complete", self.position))),
        }
    }

    fn block(&mut self, bytes: &[u8], paths: &mut Paths, sink: &mut dyn Sink) -> Result<usize, BundleError> {
        let used = bytes.len().min(BLOCK - self.filled);
        if let (Some(to), Some(from)) = (self.block.get_mut(self.filled..self.filled + used), bytes.get(..used)) {
            to.copy_from_slice(from);
        }
        self.filled += used;
        if self.filled < BLOCK {
            return Ok(used);
        }
        self.filled = 0;
        let zero = self.block.iter().all(|byte| *byte == 0);
        self.state = match (self.state, zero) {
            (State::SecondZero, true) => {
                let end = self.position + used as u64;
                State::Tail { left: end.next_multiple_of(RECORD) - end }
            }
            (State::SecondZero, false) => {
                return Err(self.refuse(Rule::TrailingBytes, "an entry after the end of the archive"));
            }
            (_, true) => State::SecondZero,
            (_, false) => self.entry(paths, sink)?,
        };
        Ok(used)
    }

    fn entry(&mut self, paths: &mut Paths, sink: &mut dyn Sink) -> Result<State, BundleError> {
        let Header { raw_path, kind, size_bytes, executable } = header::parse(&self.block, &self.label)?;
        let path = path::check(&raw_path)?.to_owned();
        if size_bytes > self.limits.entry_bytes_max {
            let detail = format!("{size_bytes} bytes, limit is {}", self.limits.entry_bytes_max);
            return Err(refuse(Rule::EntryTooLarge, &path, detail));
        }
        paths.add(&path, kind)?;
        let entry = Entry { path, kind, size_bytes, executable };
        sink.begin(&entry)?;
        if size_bytes == 0 {
            sink.end(&entry)?;
            return Ok(State::Header);
        }
        self.entry = Some(entry);
        let padding = size_bytes.next_multiple_of(BLOCK as u64) - size_bytes;
        Ok(State::Data { left: size_bytes, padding })
    }

    fn data(&mut self, bytes: &[u8], left: u64, padding: u64, sink: &mut dyn Sink) -> Result<usize, BundleError> {
        let content = first(bytes, left);
        sink.data(content)?;
        let left = left - content.len() as u64;
        self.state = match (left, padding) {
            (0, 0) => State::Header,
            (0, padding) => State::Padding { left: padding },
            (left, padding) => State::Data { left, padding },
        };
        if let Some(entry) = self.entry.take_if(|_| left == 0) {
            sink.end(&entry)?;
        }
        Ok(content.len())
    }

    fn zeros(&self, bytes: &[u8], left: u64, what: &str) -> Result<usize, BundleError> {
        let zeros = first(bytes, left);
        if zeros.iter().any(|byte| *byte != 0) {
            return Err(self.refuse(Rule::TrailingBytes, what));
        }
        Ok(zeros.len())
    }

    fn refuse(&self, rule: Rule, detail: impl Into<String>) -> BundleError {
        refuse(rule, &self.label, detail)
    }
}

/// At most `count` bytes from the front.
fn first(bytes: &[u8], count: u64) -> &[u8] {
    let end = usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keeps what a well-behaved sink may rely on.
    #[derive(Default)]
    struct Recorder {
        entries: Vec<(Entry, Vec<u8>)>,
        open: bool,
    }

    impl Sink for Recorder {
        fn begin(&mut self, entry: &Entry) -> Result<(), BundleError> {
            assert!(!self.open, "an entry inside another");
            self.open = true;
            self.entries.push((entry.clone(), Vec::new()));
            Ok(())
        }

        fn data(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
            assert!(self.open && !bytes.is_empty());
            self.entries.last_mut().expect("begun").1.extend_from_slice(bytes);
            Ok(())
        }

        fn end(&mut self, entry: &Entry) -> Result<(), BundleError> {
            let (begun, bytes) = self.entries.last().expect("begun");
            assert!(self.open && entry == begun && bytes.len() as u64 == entry.size_bytes);
            self.open = false;
            Ok(())
        }
    }

    type Parsed = (Result<(), Option<Rule>>, Vec<(Entry, Vec<u8>)>);

    fn parse(bytes: &[u8], piece: usize) -> Parsed {
        let (mut tar, mut paths) = (Tar::new("test", Limits::default()), Paths::new(100));
        let mut recorder = Recorder::default();
        let mut answer = Ok(());
        for piece in bytes.chunks(piece) {
            answer = answer.and_then(|()| tar.feed(piece, &mut paths, &mut recorder));
        }
        (answer.and_then(|()| tar.finish()).map_err(|error| error.rule()), recorder.entries)
    }

    fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (path, content) in files {
            let mut block = [0; BLOCK];
            let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
            put(0, path.as_bytes());
            put(100, b"0000644\x000000000\x000000000\0");
            put(124, format!("{:011o}\x0000000000000\0", content.len()).as_bytes());
            put(148, b"        0");
            put(257, b"ustar\x0000");
            let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            out.extend_from_slice(&block);
            out.extend_from_slice(content);
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        out.resize((out.len() + 2 * BLOCK).next_multiple_of(RECORD as usize), 0);
        out
    }

    fn files() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
        let file = ("[a-z]{1,8}(/[a-z]{1,8}){0,3}\\.x", prop::collection::vec(any::<u8>(), 0..1500));
        prop::collection::vec(file, 0..6).prop_map(|mut files| {
            files.sort();
            files.dedup_by(|a, b| a.0 == b.0);
            files
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_in_pieces_of_any_size(files in files(), piece in 1usize..3000) {
            let (answer, entries) = parse(&archive(&files), piece);
            prop_assert_eq!(answer, Ok(()));
            let read: Vec<(String, Vec<u8>)> = entries.into_iter().map(|(entry, bytes)| (entry.path, bytes)).collect();
            prop_assert_eq!(read, files);
        }

        #[test]
        fn any_bytes_are_refused_with_a_rule(bytes in prop::collection::vec(any::<u8>(), 0..5000), piece in 1usize..1000) {
            let (answer, _) = parse(&bytes, piece);
            prop_assert!(matches!(answer, Err(Some(_))));
        }

        #[test]
        fn a_changed_archive_reads_the_same_in_any_pieces(
            files in files(), at in any::<prop::sample::Index>(), byte in any::<u8>(), piece in 1usize..2000,
        ) {
            let mut bytes = archive(&files);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let (whole, pieces) = (parse(&bytes, bytes.len()), parse(&bytes, piece));
            prop_assert_eq!(whole.0, pieces.0);
            prop_assert_eq!(whole.1.len(), pieces.1.len());
        }

        // The checksum is made right again, so that the fields behind it are reached.
        #[test]
        fn a_changed_header_is_read_or_refused_with_a_rule(
            changes in prop::collection::vec((0usize..BLOCK, any::<u8>()), 1..4),
        ) {
            let mut bytes = archive(&[("a.x".into(), b"content".to_vec())]);
            for (at, byte) in changes.iter().filter(|(at, _)| !(148..156).contains(at)) {
                bytes[*at] = *byte;
            }
            bytes[148..156].fill(b' ');
            let sum: u64 = bytes[..BLOCK].iter().map(|byte| u64::from(*byte)).sum();
            bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let (answer, entries) = parse(&bytes, 512);
            prop_assert!(matches!(answer, Ok(()) | Err(Some(_))));
            prop_assert!(entries.len() <= 1);
        }
    }
}
