//! A bundle with one manifest of signatures beside it, its documents open to change.

#![allow(dead_code, reason = "each test binary uses a part")]

use serde_json::{Value, json};

use super::support::{Image, blob, describe, file, tar};

pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const SIGNATURE_TYPE: &str = "application/vnd.aria.signature.v1";

/// The file with this envelope in it. `manifest` and `index` change those documents before the next is made of them.
pub(crate) fn with_envelope(
    image: &Image,
    envelope: &[u8],
    manifest: impl FnOnce(&mut Value),
    index: impl FnOnce(&mut Value),
) -> Vec<u8> {
    let empty = b"{}".to_vec();
    let bundle = image.image.to_string().into_bytes();
    let mut signatures = json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "artifactType": SIGNATURE_TYPE,
        "config": describe("application/vnd.oci.empty.v1+json", &empty),
        "layers": [describe("application/vnd.dsse.envelope.v1+json", envelope)],
        "subject": describe(MANIFEST_TYPE, &bundle)});
    manifest(&mut signatures);
    let signatures = signatures.to_string().into_bytes();
    let mut entries = image.entries();
    let mut listed: Value = serde_json::from_slice(&entries[1].content).expect("index");
    let mut descriptor = describe(MANIFEST_TYPE, &signatures);
    descriptor["artifactType"] = SIGNATURE_TYPE.into();
    listed["manifests"].as_array_mut().expect("manifests").push(descriptor);
    index(&mut listed);
    entries[1] = file("index.json", listed.to_string().as_bytes());
    entries.extend([blob(envelope), blob(&empty), blob(&signatures)]);
    entries[2..].sort_by(|a, b| a.name.cmp(&b.name));
    tar(&entries)
}

/// What a good envelope's payload says of the bundle.
pub(crate) fn statement(staged: &aria_bundle::Staged) -> Value {
    let (name, version) = (staged.manifest.name.as_str(), staged.manifest.version.to_string());
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": format!("{name}@{version}"), "digest": {"sha256": staged.digest.hex()}}],
        "predicateType": "urn:aria:bundle:v1",
        "predicate": {"name": name, "version": version, "interfaceDigest": staged.interface_digest.to_string(),
            "authorityDigest": staged.authority_digest.to_string()},
    })
}
