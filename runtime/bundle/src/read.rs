//! The reader: an `.aria` file in pieces of any size in, a [`Staged`] bundle out.
//!
//! While bytes arrive only the outer archive is taken apart: blobs go to files and are hashed on the way. What they mean is
//! checked in [`Reader::finish`], when every byte is known to be the one its name promises.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use aria_core::{Digest, Manifest};
use semver::Version;
use sha2::{Digest as _, Sha256};

use crate::digest::{authority_digest, interface_digest, of_bytes};
use crate::error::{BundleError, Rule, refuse};
use crate::limits::Limits;
use crate::manifest;
use crate::oci::{self, Descriptor, Index};
use crate::path::{Kind, Paths};
use crate::signature::{self, Signatures};
use crate::stage::{Directory, Stage, Staged, StagedFile, io_error};
use crate::tar::{Entry, Sink, Tar};
use crate::unpack::{Tree, file_bytes};

const BLOBS: &str = "blobs";
/// The runtime version that `engine` ranges are about; all crates of the workspace share it.
const ENGINE: &str = env!("CARGO_PKG_VERSION");

/// What the sender said the file is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expected {
    /// Its length.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// Takes one `.aria` file. Dropping it at any time removes everything it wrote.
#[derive(Debug)]
pub struct Reader {
    /// `None` after an error: the staging directory is gone then.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    tar: Tar,
    paths: Paths,
    layout: Layout,
    limits: Limits,
    expected: Option<Expected>,
    hash: Sha256,
    size_bytes: u64,
}

impl Reader {
    /// Makes a fresh private directory (0700) below `staging`, which must exist and be on the file system of the place where
    /// bundles are installed. With `expected`, a file of another length or content is refused too.
    pub fn new(staging: &Path, limits: Limits, expected: Option<Expected>) -> Result<Self, BundleError> {
        if let Some(Expected { size_bytes, .. }) = expected {
            check_file_size(size_bytes, &limits)?;
        }
        let stage = Stage::new(staging)?;
        let open = Open {
            tar: Tar::new("bundle", limits),
            paths: Paths::new(limits.entries_max),
            layout: Layout::new(stage, limits)?,
            limits,
            expected,
            hash: Sha256::new(),
            size_bytes: 0,
        };
        Ok(Self { open: Some(open) })
    }

    /// Takes the next bytes; any length, also none. Writes to the staging directory and so may block.
    /// After an error the staging directory is removed and every further call is [`BundleError::Poisoned`].
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        let mut open = self.open.take().ok_or(BundleError::Poisoned)?;
        open.feed(bytes)?;
        self.open = Some(open);
        Ok(())
    }

    /// Bytes taken so far.
    pub fn size_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.size_bytes)
    }

    /// The file is complete: checks what could not be checked before and unpacks the code. May take seconds for a large bundle.
    pub fn finish(self) -> Result<Staged, BundleError> {
        self.open.ok_or(BundleError::Poisoned)?.finish()
    }
}

/// Reads a whole file from `source`, which may be a file, a blob or a channel.
pub fn read_archive(
    mut source: impl Read,
    staging: &Path,
    limits: Limits,
    expected: Option<Expected>,
) -> Result<Staged, BundleError> {
    let mut reader = Reader::new(staging, limits, expected)?;
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = match source.read(&mut piece) {
            Ok(0) => return reader.finish(),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(io_error("read bundle from", Path::new("source"), error)),
        };
        reader.feed(piece.get(..count).unwrap_or_default())?;
    }
}

fn check_file_size(size_bytes: u64, limits: &Limits) -> Result<(), BundleError> {
    if size_bytes <= limits.file_bytes_max {
        return Ok(());
    }
    let detail = format!("{size_bytes} bytes, limit is {}", limits.file_bytes_max);
    Err(refuse(Rule::BundleTooLarge, "bundle", detail))
}

impl Open {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        self.size_bytes += bytes.len() as u64;
        check_file_size(self.size_bytes, &self.limits)?;
        if let Some(expected) = self.expected.filter(|expected| self.size_bytes > expected.size_bytes) {
            let detail = format!("more than the {} bytes announced", expected.size_bytes);
            return Err(refuse(Rule::SizeMismatch, "bundle", detail));
        }
        self.hash.update(bytes);
        self.tar.feed(bytes, &mut self.paths, &mut self.layout)
    }

    fn finish(self) -> Result<Staged, BundleError> {
        self.tar.finish()?;
        if let Some(expected) = self.expected {
            if self.size_bytes != expected.size_bytes {
                let detail = format!("{} bytes, {} were announced", self.size_bytes, expected.size_bytes);
                return Err(refuse(Rule::SizeMismatch, "bundle", detail));
            }
            if Digest::new(self.hash.finalize().into()) != expected.sha256 {
                return Err(refuse(Rule::DigestMismatch, "bundle", "the file is not the one announced"));
            }
        }
        self.layout.finish(self.size_bytes)
    }
}

/// The OCI layout as it arrives: marker, index, then blobs by digest.
#[derive(Debug)]
struct Layout {
    limits: Limits,
    expects: Expects,
    document: Vec<u8>,
    index: Option<Index>,
    blobs: BTreeMap<Digest, u64>,
    writing: Option<(Digest, StagedFile, Sha256)>,
    directory: Directory,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expects {
    Marker,
    Index,
    Blobs,
}

impl Layout {
    fn new(stage: Stage, limits: Limits) -> Result<Self, BundleError> {
        let directory = stage.root.make(BLOBS)?;
        let (document, blobs) = (Vec::new(), BTreeMap::new());
        Ok(Self { limits, expects: Expects::Marker, document, index: None, blobs, writing: None, directory, stage })
    }

    fn begin_document(&mut self, entry: &Entry) -> Result<(), BundleError> {
        if entry.size_bytes > self.limits.json_bytes_max as u64 {
            let detail = format!("{} bytes, limit is {}", entry.size_bytes, self.limits.json_bytes_max);
            return Err(refuse(Rule::EntryTooLarge, &entry.path, detail));
        }
        self.document.clear();
        Ok(())
    }

    fn begin_blob(&mut self, entry: &Entry) -> Result<(), BundleError> {
        let Some(hex) = entry.path.strip_prefix("blobs/sha256/") else {
            return Err(refuse(Rule::FileNotListed, &entry.path, "not a part of a bundle"));
        };
        let digest = Digest::from_hex(hex).map_err(|_| {
            refuse(Rule::FileNotListed, &entry.path, "the name of a blob is 64 lower-case hexadecimal digits")
        })?;
        if self.expects != Expects::Blobs || self.blobs.last_key_value().is_some_and(|(last, _)| *last > digest) {
            return Err(refuse(
                Rule::ManifestOrder,
                &entry.path,
                "entries are oci-layout, index.json, blobs by digest",
            ));
        }
        self.blobs.insert(digest, entry.size_bytes);
        let file = self.directory.create(hex, false)?;
        self.writing = Some((digest, file, Sha256::new()));
        Ok(())
    }

    /// The staged file of a described blob, at its beginning.
    fn open(&mut self, wanted: &Descriptor, place: &str, missing: Rule) -> Result<StagedFile, BundleError> {
        let Some(size_bytes) = self.blobs.remove(&wanted.digest) else {
            return Err(refuse(
                missing,
                place,
                format!("blob {} is not in the bundle, or is used twice", wanted.digest),
            ));
        };
        if size_bytes != wanted.size_bytes {
            let detail = format!("blob {} has {size_bytes} bytes, {} are declared", wanted.digest, wanted.size_bytes);
            return Err(refuse(Rule::SizeMismatch, place, detail));
        }
        self.directory.open(&wanted.digest.hex())
    }

    fn read_document(&mut self, wanted: &Descriptor, place: &str) -> Result<Vec<u8>, BundleError> {
        if wanted.size_bytes > self.limits.json_bytes_max as u64 {
            let detail = format!("{} bytes, limit is {}", wanted.size_bytes, self.limits.json_bytes_max);
            return Err(refuse(Rule::EntryTooLarge, place, detail));
        }
        let mut blob = self.open(wanted, place, Rule::ManifestMissing)?;
        let mut bytes = Vec::new();
        blob.file.read_to_end(&mut bytes).map_err(|source| io_error("read", &blob.path, source))?;
        Ok(bytes)
    }

    /// The envelope's text, what it states and who signed it. Whether a signature holds is not asked here.
    fn signatures(
        &mut self,
        of: &Descriptor,
        bundle: &Descriptor,
    ) -> Result<(Vec<u8>, signature::Statement, Signatures), BundleError> {
        let json = self.read_document(of, "index.json/manifests/1")?;
        let image = oci::signature_image(&json, &self.limits)?;
        if image.subject != *bundle {
            return Err(refuse(Rule::SignatureInvalid, "signature/subject", "it is about another bundle"));
        }
        if self.read_document(&image.config, "signature/config")? != oci::EMPTY {
            return Err(refuse(Rule::SignatureInvalid, "signature/config", "not empty"));
        }
        let json = self.read_document(&image.envelope, "signature/layers/0")?;
        let (envelope, statement) = signature::envelope(&json, "envelope", &self.limits)?;
        if statement.bundle != bundle.digest {
            return Err(refuse(Rule::SignatureInvalid, "envelope/payload/subject", "it is about another bundle"));
        }
        Ok((json, statement, Signatures(Some(envelope))))
    }

    fn finish(mut self, size_bytes: u64) -> Result<Staged, BundleError> {
        let index = match (self.expects, self.index.take()) {
            (_, Some(index)) => index,
            (Expects::Marker, _) => return Err(refuse(Rule::ManifestMissing, "oci-layout", "not in the bundle")),
            _ => return Err(refuse(Rule::ManifestMissing, "index.json", "not in the bundle")),
        };
        let image_json = self.read_document(&index.manifest, "index.json/manifests/0")?;
        let image = oci::image(&image_json, &self.limits)?;
        let config = self.read_document(&image.config, "image/config")?;
        let manifest = manifest::parse_within(&config, &self.limits)?;
        check_names(&index, &manifest)?;

        let app = self.stage.make_app()?;
        let mut tree = Tree::new(app, &manifest.files, self.limits);
        for (number, layer) in image.layers.iter().enumerate() {
            let label = format!("layer {number}");
            let mut blob = self.open(layer, &label, Rule::FileMissing)?;
            tree.layer(&mut blob, layer.size_bytes, &label)?;
        }
        let tree_bytes = tree.finish()?;
        let (interface_digest, authority_digest) = (interface_digest(&manifest), authority_digest(&manifest));
        let (envelope_json, signatures) = match &index.signature {
            None => (None, Signatures::default()),
            Some(signature) => {
                let (json, statement, signatures) = self.signatures(signature, &index.manifest)?;
                let said = (&statement.interface_digest, &statement.authority_digest);
                if (statement.name.as_str(), statement.version.as_str()) != (&index.name, &index.version)
                    || said != (&interface_digest, &authority_digest)
                {
                    return Err(refuse(Rule::SignatureInvalid, "signature", "it describes another bundle"));
                }
                (Some(json), signatures)
            }
        };
        if let Some(digest) = self.blobs.keys().next() {
            return Err(refuse(
                Rule::FileNotListed,
                format!("blobs/sha256/{}", digest.hex()),
                "nothing refers to this blob",
            ));
        }

        // The manifest is kept twice: here and in the registry.
        let envelope_bytes = envelope_json.as_ref().map_or(0, Vec::len);
        let documents =
            [image_json.len(), config.len(), config.len(), envelope_bytes].map(|bytes| file_bytes(bytes as u64));
        let unpacked_bytes = documents.iter().fold(tree_bytes, |sum, bytes| sum.saturating_add(*bytes));

        self.stage.discard(BLOBS)?;
        for (name, bytes) in [("image.json", &image_json), ("manifest.json", &config)] {
            self.stage.root.create(name, false)?.write(bytes)?;
        }
        if let Some(json) = &envelope_json {
            self.stage.root.create("signature.json", false)?.write(json)?;
        }
        let manifest_json =
            String::from_utf8(config).map_err(|_| refuse(Rule::JsonInvalid, "manifest", "not UTF-8"))?;
        Ok(Staged {
            digest: of_bytes(&image_json),
            interface_digest,
            authority_digest,
            signatures,
            manifest,
            manifest_json,
            size_bytes,
            unpacked_bytes,
            stage: self.stage,
        })
    }
}

fn check_names(index: &Index, manifest: &Manifest) -> Result<(), BundleError> {
    if index.name != manifest.name.as_str() || index.version != manifest.version.to_string() {
        let detail = format!("names {}@{}, the manifest another bundle", index.name, index.version);
        return Err(refuse(Rule::ManifestInvalid, "index.json/manifests/0/annotations", detail));
    }
    let runs = Version::parse(ENGINE).is_ok_and(|engine| manifest.runs_on(&engine));
    if !runs {
        let detail = format!("needs a runtime {}, this one is {ENGINE}", manifest.engine);
        return Err(refuse(Rule::FormatUnsupported, "manifest/engine", detail));
    }
    Ok(())
}

impl Sink for Layout {
    fn begin(&mut self, entry: &Entry) -> Result<(), BundleError> {
        let directory = entry.kind == Kind::Directory;
        match (entry.path.as_str(), self.expects, directory) {
            ("blobs" | "blobs/sha256", _, true) => Ok(()),
            (_, _, true) => Err(refuse(Rule::EntryType, &entry.path, "a directory where the format has none")),
            ("oci-layout", Expects::Marker, false) | ("index.json", Expects::Index, false) => {
                self.begin_document(entry)
            }
            ("oci-layout" | "index.json", _, false) => {
                Err(refuse(Rule::ManifestOrder, &entry.path, "entries are oci-layout, index.json, blobs by digest"))
            }
            _ => self.begin_blob(entry),
        }
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        match &mut self.writing {
            Some((_, file, hash)) => {
                hash.update(bytes);
                file.write(bytes)
            }
            None => {
                self.document.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn end(&mut self, entry: &Entry) -> Result<(), BundleError> {
        if let Some((digest, _, hash)) = self.writing.take() {
            if Digest::new(hash.finalize().into()) == digest {
                return Ok(());
            }
            return Err(refuse(Rule::DigestMismatch, &entry.path, "the content is not that of its name"));
        }
        match self.expects {
            Expects::Marker if entry.kind == Kind::File => {
                oci::check_layout(&self.document, &self.limits)?;
                self.expects = Expects::Index;
            }
            Expects::Index if entry.kind == Kind::File => {
                self.index = Some(oci::index(&self.document, &self.limits)?);
                self.expects = Expects::Blobs;
            }
            _ => {}
        }
        Ok(())
    }
}
