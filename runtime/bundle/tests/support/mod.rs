//! A writer of bundles for tests: right by default, wrong wherever a test wants it.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::Path;

use aria_bundle::{BundleError, Expected, Limits, Staged, read_archive};
use aria_core::Digest;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

/// One tar entry, every field of its header open to change.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) prefix: Vec<u8>,
    pub(crate) flag: u8,
    pub(crate) mode: Vec<u8>,
    pub(crate) uid: Vec<u8>,
    pub(crate) mtime: Vec<u8>,
    pub(crate) size: Option<Vec<u8>>,
    pub(crate) link: Vec<u8>,
    pub(crate) magic: Vec<u8>,
    pub(crate) device: Vec<u8>,
    pub(crate) tail: Vec<u8>,
    pub(crate) checksum_off_by: u64,
    pub(crate) padding: u8,
    pub(crate) content: Vec<u8>,
}

pub(crate) fn file(name: &str, content: &[u8]) -> Entry {
    Entry {
        name: name.into(),
        prefix: vec![],
        flag: b'0',
        mode: b"0000644\0".into(),
        uid: b"0000000\0".into(),
        mtime: b"00000000000\0".into(),
        size: None,
        link: vec![],
        magic: b"ustar\x0000".into(),
        device: b"0000000\0".into(),
        tail: vec![],
        checksum_off_by: 0,
        padding: 0,
        content: content.into(),
    }
}

pub(crate) fn directory(name: &str) -> Entry {
    Entry { flag: b'5', mode: b"0000755\0".into(), ..file(name, b"") }
}

impl Entry {
    pub(crate) fn flag(self, flag: u8) -> Self {
        Self { flag, ..self }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name);
        put(100, &self.mode);
        put(108, &self.uid);
        put(116, b"0000000\0");
        let size = self.size.clone().unwrap_or_else(|| format!("{:011o}\0", self.content.len()).into());
        put(124, &size);
        put(136, &self.mtime);
        put(148, b"        ");
        put(156, &[self.flag]);
        put(157, &self.link);
        put(257, &self.magic);
        put(329, &self.device);
        put(337, &self.device);
        put(345, &self.prefix);
        put(500, &self.tail);
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{:06o}\0 ", sum + self.checksum_off_by).as_bytes());
        out.extend_from_slice(&block);
        out.extend_from_slice(&self.content);
        out.resize(out.len().next_multiple_of(512), self.padding);
    }
}

/// A tar with its two zero blocks and padding.
pub(crate) fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = tar_open(entries);
    out.resize(out.len() + 1024, 0);
    out.resize(out.len().next_multiple_of(10_240), 0);
    out
}

/// A tar without its end.
pub(crate) fn tar_open(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut out));
    out
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).expect("compress")
}

/// A bundle of one tool; its parts can be replaced before it is written.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) manifest: Value,
    /// Replaces the code layer's tar entries (made of `files`).
    pub(crate) entries: Option<Vec<Entry>>,
    /// Replaces the code layer's tar.
    pub(crate) layer_tar: Option<Vec<u8>>,
    /// Replaces the code layer's blob.
    pub(crate) layer: Option<Vec<u8>>,
    /// Replaces the manifest's text.
    pub(crate) config: Option<Vec<u8>>,
}

pub(crate) fn parts() -> Parts {
    let files = vec![
        ("code/forecast.js".to_owned(), b"export const tool = {};\n".to_vec()),
        ("code/forecast.js.map".to_owned(), b"{}".to_vec()),
        ("src/deep/er/forecast.ts".to_owned(), b"export class Weather {}\n".repeat(40)),
    ];
    let manifest = json!({
        "format": 1, "name": "weather", "version": "0.1.0", "description": "", "authors": [], "license": "",
        "engine": ">=0.1.0",
        "tools": [{
            "name": "forecast", "title": "", "description": "The weather of tomorrow.",
            "input": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false},
            "output": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "number"},
            "annotations": {"readOnly": true},
            "tokens": ["kv:orders:ro"], "egress": ["api.example.com:443"], "secrets": ["stripe"],
            "limits": {"memoryBytes": 268435456, "pids": 64},
            "timeoutMs": 30000, "approval": "never", "spawn": false, "runtime": "bun", "entry": "code/forecast.js"
        }],
        "agents": [], "teams": [], "pipelines": [], "dependencies": [],
        "source": {"digest": format!("sha256:{}", "0".repeat(64))},
        "builder": {"name": "arc", "version": "0.1.0"},
        "files": []
    });
    Parts { files, manifest, entries: None, layer_tar: None, layer: None, config: None }.listing_its_files()
}

/// The archive's pieces, in the order in which they are written.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) layout: Value,
    pub(crate) index: Value,
    pub(crate) image: Value,
    pub(crate) blobs: Vec<Vec<u8>>,
}

impl Parts {
    pub(crate) fn listing_its_files(mut self) -> Self {
        let list = |(path, bytes): &(String, Vec<u8>)| json!({"path": path, "size": bytes.len(), "sha256": sha256(bytes).hex()});
        self.manifest["files"] = self.files.iter().map(list).collect();
        self
    }

    pub(crate) fn manifest(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.manifest);
        self
    }

    pub(crate) fn entries(mut self, change: impl FnOnce(&mut Vec<Entry>)) -> Self {
        let mut entries = self.code_entries();
        change(&mut entries);
        self.entries = Some(entries);
        self
    }

    pub(crate) fn code_entries(&self) -> Vec<Entry> {
        self.entries.clone().unwrap_or_else(|| self.files.iter().map(|(path, bytes)| file(path, bytes)).collect())
    }

    pub(crate) fn code_tar(&self) -> Vec<u8> {
        self.layer_tar.clone().unwrap_or_else(|| tar(&self.code_entries()))
    }

    pub(crate) fn image(&self) -> Image {
        let layer = self.layer.clone().unwrap_or_else(|| zstd(&self.code_tar()));
        let config = self.config.clone().unwrap_or_else(|| self.manifest.to_string().into_bytes());
        let image = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.aria.bundle.v1",
            "config": describe("application/vnd.aria.manifest.v1+json", &config),
            "layers": [describe("application/vnd.aria.code.v1.tar+zstd", &layer)],
        });
        let (name, version) = (&self.manifest["name"], &self.manifest["version"]);
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "", "size": 0,
                "annotations": {"org.opencontainers.image.ref.name": version, "org.opencontainers.image.title": name}}],
        });
        Image { layout: json!({"imageLayoutVersion": "1.0.0"}), index, image, blobs: vec![config, layer] }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.image().bytes()
    }
}

pub(crate) fn describe(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(bytes).to_string(), "size": bytes.len()})
}

impl Image {
    pub(crate) fn change(mut self, change: impl FnOnce(&mut Image)) -> Self {
        change(&mut self);
        self
    }

    /// The outer entries; the index is made to name the image manifest.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let image = self.image.to_string().into_bytes();
        let mut index = self.index.clone();
        if index["manifests"][0]["digest"] == "" {
            index["manifests"][0]["digest"] = sha256(&image).to_string().into();
            index["manifests"][0]["size"] = image.len().into();
        }
        let mut blobs: Vec<Entry> = self.blobs.iter().chain([&image]).map(|bytes| blob(bytes)).collect();
        blobs.sort_by(|a, b| a.name.cmp(&b.name));
        let documents =
            [file("oci-layout", self.layout.to_string().as_bytes()), file("index.json", index.to_string().as_bytes())];
        documents.into_iter().chain(blobs).collect()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        tar(&self.entries())
    }
}

pub(crate) fn blob(bytes: &[u8]) -> Entry {
    file(&format!("blobs/sha256/{}", sha256(bytes).hex()), bytes)
}

pub(crate) fn read(bytes: &[u8], staging: &Path) -> Result<Staged, BundleError> {
    read_archive(bytes, staging, Limits::default(), None)
}

pub(crate) fn expecting(bytes: &[u8]) -> Option<Expected> {
    Some(Expected { size_bytes: bytes.len() as u64, sha256: sha256(bytes) })
}

pub(crate) fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).expect("staging exists").next().is_none()
}
