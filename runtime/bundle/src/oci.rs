//! The OCI documents around the manifest: layout marker, index, image manifest. Only what the format uses is accepted.

use aria_core::Digest;
use serde_json::Value;

use crate::error::{BundleError, Rule, refuse};
use crate::fields::{Fields, document};
use crate::limits::Limits;

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE_TYPE: &str = "application/vnd.aria.bundle.v1";
const CONFIG_TYPE: &str = "application/vnd.aria.manifest.v1+json";
const CODE_TYPE: &str = "application/vnd.aria.code.v1.tar+zstd";
const SIGNATURE_TYPE: &str = "application/vnd.aria.signature.v1";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const ENVELOPE_TYPE: &str = "application/vnd.dsse.envelope.v1+json";
const LAYERS_MAX: usize = 16;
/// The content of an empty config blob (OCI image specification, "Guidance for an Empty Descriptor").
pub(crate) const EMPTY: &[u8] = b"{}";

/// Bytes by content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Descriptor {
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
}

/// What `index.json` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Index {
    pub(crate) manifest: Descriptor,
    pub(crate) name: String,
    pub(crate) version: String,
    /// The signatures' manifest.
    pub(crate) signature: Option<Descriptor>,
}

/// What a signature's manifest says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SignatureImage {
    pub(crate) config: Descriptor,
    pub(crate) envelope: Descriptor,
    /// The manifest it is about.
    pub(crate) subject: Descriptor,
}

/// What the image manifest says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Image {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

pub(crate) fn check_layout(json: &[u8], limits: &Limits) -> Result<(), BundleError> {
    let mut at = Fields::new(document(json, "oci-layout", limits)?, "oci-layout")?;
    if at.text("imageLayoutVersion")? != "1.0.0" {
        return Err(refuse(Rule::FormatUnsupported, "oci-layout/imageLayoutVersion", "this device reads 1.0.0"));
    }
    at.end()
}

pub(crate) fn index(json: &[u8], limits: &Limits) -> Result<Index, BundleError> {
    let mut at = Fields::new(document(json, "index.json", limits)?, "index.json")?;
    schema_version(&mut at)?;
    if let Some(media_type) = at.optional("mediaType") {
        expect_type(&at, "mediaType", &media_type, INDEX_TYPE)?;
    }
    let mut manifests = at.array("manifests")?;
    let place = at.place("manifests");
    at.end()?;
    if manifests.len() > 2 {
        return Err(refuse(Rule::ManifestTwice, place, "more than one bundle and one manifest of signatures"));
    }
    let signature = if manifests.len() == 2 { manifests.pop() } else { None };
    let bundle = manifests.pop().ok_or_else(|| refuse(Rule::ManifestMissing, &place, "the index names no manifest"))?;
    let mut bundle = Fields::new(bundle, format!("{place}/0"))?;
    let mut annotations = bundle.object("annotations")?;
    let version = annotations.text("org.opencontainers.image.ref.name")?;
    let name = annotations.text("org.opencontainers.image.title")?;
    annotations.end()?;
    let signature = signature.map(|signature| signature_descriptor(signature, format!("{place}/1"))).transpose()?;
    Ok(Index { manifest: descriptor(bundle, MANIFEST_TYPE)?, name, version, signature })
}

/// The second manifest is nothing but signatures: another bundle beside the first is refused.
fn signature_descriptor(json: Value, place: String) -> Result<Descriptor, BundleError> {
    let mut at = Fields::new(json, place)?;
    let kind = at.optional("artifactType");
    if kind.as_ref().and_then(Value::as_str) != Some(SIGNATURE_TYPE) {
        let detail = format!("a second manifest that is no {SIGNATURE_TYPE}");
        return Err(refuse(Rule::ManifestTwice, at.place("artifactType"), detail));
    }
    descriptor(at, MANIFEST_TYPE)
}

/// The manifest of the signatures, linked to the bundle by `subject` (OCI image specification 1.1).
pub(crate) fn signature_image(json: &[u8], limits: &Limits) -> Result<SignatureImage, BundleError> {
    let mut at = Fields::new(document(json, "signature", limits)?, "signature")?;
    schema_version(&mut at)?;
    for (key, expected) in [("mediaType", MANIFEST_TYPE), ("artifactType", SIGNATURE_TYPE)] {
        let found = at.value(key)?;
        expect_type(&at, key, &found, expected)?;
    }
    let config = descriptor(at.object("config")?, EMPTY_TYPE)?;
    let subject = descriptor(at.object("subject")?, MANIFEST_TYPE)?;
    let mut layers = at.array("layers")?;
    let place = at.place("layers");
    at.end()?;
    let (Some(layer), true) = (layers.pop(), layers.is_empty()) else {
        return Err(refuse(Rule::SignatureInvalid, place, "not exactly one envelope"));
    };
    let envelope = descriptor(Fields::new(layer, format!("{place}/0"))?, ENVELOPE_TYPE)?;
    Ok(SignatureImage { config, envelope, subject })
}

pub(crate) fn image(json: &[u8], limits: &Limits) -> Result<Image, BundleError> {
    let mut at = Fields::new(document(json, "image", limits)?, "image")?;
    schema_version(&mut at)?;
    for (key, expected) in [("mediaType", MANIFEST_TYPE), ("artifactType", BUNDLE_TYPE)] {
        let found = at.value(key)?;
        expect_type(&at, key, &found, expected)?;
    }
    let config = descriptor(at.object("config")?, CONFIG_TYPE)?;
    let layers = at.array("layers")?;
    if layers.is_empty() || layers.len() > LAYERS_MAX {
        return Err(at.wrong("layers", format!("{} layers, 1 to {LAYERS_MAX} are possible", layers.len())));
    }
    let place = at.place("layers");
    at.end()?;
    let layer = |(index, layer)| descriptor(Fields::new(layer, format!("{place}/{index}"))?, CODE_TYPE);
    Ok(Image { config, layers: layers.into_iter().enumerate().map(layer).collect::<Result<_, _>>()? })
}

fn schema_version(at: &mut Fields) -> Result<(), BundleError> {
    if at.integer("schemaVersion")? == 2 {
        return Ok(());
    }
    Err(refuse(Rule::FormatUnsupported, at.place("schemaVersion"), "this device reads version 2"))
}

fn descriptor(mut at: Fields, media_type: &str) -> Result<Descriptor, BundleError> {
    let found = at.value("mediaType")?;
    expect_type(&at, "mediaType", &found, media_type)?;
    let descriptor = Descriptor { digest: at.digest("digest")?, size_bytes: at.integer("size")? };
    at.end()?;
    Ok(descriptor)
}

fn expect_type(at: &Fields, key: &str, found: &Value, expected: &str) -> Result<(), BundleError> {
    if found == expected {
        return Ok(());
    }
    Err(refuse(Rule::FormatUnsupported, at.place(key), format!("expected {expected}")))
}
