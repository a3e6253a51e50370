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
