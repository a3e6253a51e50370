//! Code layers into the staged `app` directory: decompressed, taken apart, each file compared with the manifest while it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read, Seek, SeekFrom};

use aria_core::{Digest, FileEntry};
use sha2::{Digest as _, Sha256};

use crate::error::{BundleError, Rule, refuse};
use crate::limits::Limits;
use crate::path::{Kind, Paths};
use crate::stage::{Directory, StagedFile, io_error};
use crate::tar::{Entry, Sink, Tar};
use crate::zstd_frame;

const PIECE_BYTES: usize = 64 << 10;
/// The block of the file systems there are.
const BLOCK_BYTES: u64 = 4096;

/// The tree all layers of a bundle unpack into.
pub(crate) struct Tree<'a> {
    app: Directory,
    listed: BTreeMap<&'a str, Listed<'a>>,
    paths: Paths,
    limits: Limits,
    unpacked_bytes: u64,
    parent: Option<(String, Directory)>,
    writing: Option<Writing>,
}

struct Listed<'a> {
    entry: &'a FileEntry,
    found: bool,
}

struct Writing {
    file: StagedFile,
    hash: Sha256,
    expected: Digest,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(app: Directory, files: &'a [FileEntry], limits: Limits) -> Self {
        let listed = files.iter().map(|entry| (entry.path.as_str(), Listed { entry, found: false })).collect();
        let paths = Paths::new(limits.entries_max);
        Self { app, listed, paths, limits, unpacked_bytes: 0, parent: None, writing: None }
    }

    /// Unpacks one layer from its staged blob.
    pub(crate) fn layer(&mut self, blob: &mut StagedFile, size_bytes: u64, label: &str) -> Result<(), BundleError> {
        let file = &mut blob.file;
        let frame = zstd_frame::scan(file, size_bytes, self.limits.zstd_window_bytes_max, label)?;
        self.check_size(frame.content_bytes, size_bytes, label)?;
        file.seek(SeekFrom::Start(0)).map_err(|source| io_error("read", &blob.path, source))?;
        let mut decoder = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(PIECE_BYTES, &*file))
            .map_err(|source| io_error("set up decompression of", &blob.path, source))?
            .single_frame();
        decoder
            .window_log_max(self.limits.zstd_window_bytes_max.ilog2())
            .map_err(|source| io_error("set up decompression of", &blob.path, source))?;
        let (mut tar, mut piece, mut out) = (Tar::new(label, self.limits), vec![0; PIECE_BYTES], 0);
        // The parser writes through `self`, so the set of paths steps out while it runs.
        let mut paths = std::mem::replace(&mut self.paths, Paths::new(0));
        loop {
            let count = decoder.read(&mut piece).map_err(|error| refuse(Rule::ZstdFrame, label, error.to_string()))?;
            out += count as u64;
            if out > frame.content_bytes || (count == 0 && out < frame.content_bytes) {
                let detail = format!("the frame declares {} bytes and holds another number", frame.content_bytes);
                return Err(refuse(Rule::ZstdFrame, label, detail));
            }
            if count == 0 {
                break;
            }
            tar.feed(piece.get(..count).unwrap_or_default(), &mut paths, self)?;
        }
        self.paths = paths;
        tar.finish()
    }

    /// Every listed file was there. Returns what the tree takes on a disk.
    pub(crate) fn finish(self) -> Result<u64, BundleError> {
        match self.listed.values().find(|listed| !listed.found) {
            Some(missing) => Err(refuse(Rule::FileMissing, &missing.entry.path, "listed in the manifest, in no layer")),
            None => Ok(tree_bytes(self.listed.values().map(|listed| listed.entry))),
        }
    }

    // The frame declares its size, so a bomb is refused before its first byte is unpacked.
    fn check_size(&mut self, content_bytes: u64, packed_bytes: u64, label: &str) -> Result<(), BundleError> {
        let Limits { ratio_max, ratio_floor_bytes, unpacked_bytes_max, .. } = self.limits;
        if content_bytes > ratio_floor_bytes && content_bytes > packed_bytes.saturating_mul(ratio_max) {
            let detail = format!("{packed_bytes} bytes unpack to {content_bytes}, more than {ratio_max} to 1");
            return Err(refuse(Rule::Ratio, label, detail));
        }
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(content_bytes);
        if self.unpacked_bytes > unpacked_bytes_max {
            let detail = format!("unpacks to {} bytes, limit is {unpacked_bytes_max}", self.unpacked_bytes);
            return Err(refuse(Rule::BundleTooLarge, label, detail));
        }
        Ok(())
    }

    fn directory(&self, path: &str) -> Result<(), BundleError> {
        let below = format!("{path}/");
        let next = self.listed.range(below.as_str()..).next();
        if next.is_some_and(|(file, _)| file.starts_with(&below)) {
            return Ok(());
        }
        Err(refuse(Rule::FileNotListed, path, "a directory without a listed file in it"))
    }

    fn create(&mut self, path: &str, executable: bool) -> Result<StagedFile, BundleError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if self.parent.as_ref().is_none_or(|(open, _)| open != parent) {
            let mut directory = self.app.again()?;
            for segment in parent.split('/').filter(|segment| !segment.is_empty()) {
                directory = directory.make(segment)?;
            }
            self.parent = Some((parent.to_owned(), directory));
        }
        let directory = self.parent.as_ref().map_or(&self.app, |(_, directory)| directory);
        directory.create(name, executable)
    }
}

/// What a file takes on a disk, which gives whole blocks, with what is written down of it. A bundle of many tiny files would
/// otherwise cost nothing.
pub(crate) fn file_bytes(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(BLOCK_BYTES).saturating_add(1).saturating_mul(BLOCK_BYTES)
}

fn tree_bytes<'a>(files: impl Iterator<Item = &'a FileEntry>) -> u64 {
    let mut directories = BTreeSet::new();
    let mut bytes = 0_u64;
    for file in files {
        bytes = bytes.saturating_add(file_bytes(file.size_bytes));
        directories.extend(file.path.match_indices('/').filter_map(|(end, _)| file.path.get(..end)));
    }
    bytes.saturating_add((directories.len() as u64).saturating_mul(file_bytes(0)))
}

impl Sink for Tree<'_> {
    fn begin(&mut self, entry: &Entry) -> Result<(), BundleError> {
        let Entry { path, kind, size_bytes, executable } = entry;
        if *kind == Kind::Directory {
            return self.directory(path);
        }
        let Some(listed) = self.listed.get_mut(path.as_str()) else {
            return Err(refuse(Rule::FileNotListed, path, "not among the manifest's files"));
        };
        if listed.entry.size_bytes != *size_bytes {
            let detail = format!("{size_bytes} bytes, the manifest says {}", listed.entry.size_bytes);
            return Err(refuse(Rule::SizeMismatch, path, detail));
        }
        listed.found = true;
        let expected = listed.entry.sha256;
        let file = self.create(path, *executable)?;
        self.writing = Some(Writing { file, hash: Sha256::new(), expected });
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        writing.hash.update(bytes);
        writing.file.write(bytes)
    }

    fn end(&mut self, entry: &Entry) -> Result<(), BundleError> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        if Digest::new(writing.hash.finalize().into()) == writing.expected {
            return Ok(());
        }
        Err(refuse(Rule::DigestMismatch, &entry.path, "the content is not that of the manifest's digest"))
    }
}
