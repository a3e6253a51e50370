//! Whoever signs bundles in tests: keys made of one byte, and files with their signatures.

#![allow(dead_code, reason = "each test binary uses a part")]

use aria_bundle::PublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::signed::{PAYLOAD_TYPE, statement, with_envelope};
use super::support::{Image, read};

const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The key pair of a seed.
pub(crate) fn pair(seed: u8) -> (Ed25519KeyPair, PublicKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let key = PublicKey::from_spki(&[SPKI_PREFIX.as_slice(), pair.public_key().as_ref()].concat()).unwrap();
    (pair, key)
}

/// An envelope over this statement, signed by the keys of these seeds.
pub(crate) fn envelope(statement: &Value, seeds: &[u8]) -> Value {
    let payload = statement.to_string();
    let message = format!("DSSEv1 {} {PAYLOAD_TYPE} {} {payload}", PAYLOAD_TYPE.len(), payload.len());
    let signature = |seed: &u8| {
        let (pair, key) = pair(*seed);
        json!({"keyid": key.id().to_string(), "sig": STANDARD.encode(pair.sign(message.as_bytes()))})
    };
    let signatures: Vec<Value> = seeds.iter().map(signature).collect();
    json!({"payloadType": PAYLOAD_TYPE, "payload": STANDARD.encode(&payload), "signatures": signatures})
}

/// A bundle file signed by the keys of these seeds, its envelope open to change.
pub(crate) fn signed_by(image: &Image, seeds: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let staging = tempfile::tempdir().unwrap();
    let statement = statement(&read(&image.bytes(), staging.path()).unwrap());
    let mut envelope = envelope(&statement, seeds);
    change(&mut envelope);
    with_envelope(image, envelope.to_string().as_bytes(), |_| (), |_| ())
}
