//! Signatures: what is read, what is refused while reading, and that no changed byte keeps a good verdict.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "in a test they are assertions")]

#[path = "support/author.rs"]
mod author;
#[path = "support/signed.rs"]
mod signed;
mod support;

use aria_bundle::{Rule, Standing, judge};
use aria_core::{Digest, UnixMs, Verdict};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use author::pair;
use signed::{statement, with_envelope};
use support::{Image, is_empty, parts, read, sha256};

/// A bundle with the documents of its signature, each open to change before the next is made of it.
struct Signed {
    image: Image,
    statement: Value,
    envelope: Box<dyn Fn(&mut Value)>,
    manifest: Box<dyn Fn(&mut Value)>,
    index: Box<dyn Fn(&mut Value)>,
}

fn signed() -> Signed {
    let image = parts().image();
    let staging = tempfile::tempdir().unwrap();
    let statement = statement(&read(&image.bytes(), staging.path()).unwrap());
    Signed { image, statement, envelope: Box::new(|_| ()), manifest: Box::new(|_| ()), index: Box::new(|_| ()) }
}

impl Signed {
    fn bytes(&self) -> Vec<u8> {
        let mut envelope = author::envelope(&self.statement, &[1]);
        (self.envelope)(&mut envelope);
        with_envelope(&self.image, envelope.to_string().as_bytes(), &self.manifest, &self.index)
    }
}

fn trusting(id: &Digest) -> Option<Standing> {
    let key = pair(1).1;
    (*id == key.id()).then_some(Standing { key, revoked: false, expires_at: None })
}

fn verdict(bytes: &[u8]) -> Result<Verdict, Option<Rule>> {
    // Thousands of them: in memory where the machine has such a place.
    let staging = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let verdict = match read(bytes, staging.path()) {
        Ok(staged) => Ok(judge(&staged.signatures, UnixMs(0), trusting)),
        Err(error) => Err(error.rule()),
    };
    assert!(is_empty(staging.path()));
    verdict
}

#[test]
fn a_signed_bundle_is_the_same_bundle_with_a_good_verdict() {
    let (staging, signed) = (tempfile::tempdir().unwrap(), signed());
    let staged = read(&signed.bytes(), staging.path()).unwrap();
    assert_eq!(staged.digest, read(&signed.image.bytes(), staging.path()).unwrap().digest);
    assert_eq!(judge(&staged.signatures, UnixMs(0), trusting), Verdict::Good(vec![pair(1).1.id()]));
    assert_eq!(judge(&staged.signatures, UnixMs(0), |_| None), Verdict::UnknownSigner(pair(1).1.id()));
    assert_eq!(verdict(&signed.image.bytes()), Ok(Verdict::None));
    let place = tempfile::tempdir().unwrap();
    let installed = staged.commit(place.path()).unwrap();
    assert!(installed.join("signature.json").is_file(), "it can be judged again later");
}

#[test]
fn no_changed_byte_keeps_a_good_verdict() {
    let bytes = signed().bytes();
    let good = Verdict::Good(vec![pair(1).1.id()]);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert_ne!(verdict(&changed), Ok(good.clone()), "byte {at}");
    }
}

#[track_caller]
fn refused(rule: Rule, spoil: impl FnOnce(&mut Signed)) {
    let mut signed = signed();
    spoil(&mut signed);
    assert_eq!(verdict(&signed.bytes()), Err(Some(rule)));
}

#[test]
fn a_statement_about_something_else_is_refused() {
    use Rule::{FormatUnsupported, SignatureInvalid};
    let other = sha256(b"other");
    refused(SignatureInvalid, |signed| signed.statement["subject"][0]["digest"]["sha256"] = other.hex().into());
    refused(SignatureInvalid, |signed| signed.statement["subject"][0]["name"] = "weather@0.2.0".into());
    refused(SignatureInvalid, |signed| signed.statement["predicate"]["version"] = "0.2.0".into());
    refused(SignatureInvalid, |signed| signed.statement["subject"] = json!([]));
    refused(SignatureInvalid, |signed| {
        let subject = signed.statement["subject"][0].clone();
        signed.statement["subject"].as_array_mut().unwrap().push(subject);
    });
    for digest in ["interfaceDigest", "authorityDigest"] {
        refused(SignatureInvalid, |signed| signed.statement["predicate"][digest] = other.to_string().into());
    }
    refused(FormatUnsupported, |signed| signed.statement["_type"] = "https://in-toto.io/Statement/v0.1".into());
    refused(FormatUnsupported, |signed| signed.statement["predicateType"] = "urn:other".into());
    refused(Rule::ManifestInvalid, |signed| signed.statement["predicate"]["more"] = 1.into());
}

#[test]
fn an_envelope_that_is_none_is_refused() {
    use Rule::{FormatUnsupported, ManifestInvalid, SignatureInvalid};
    let spoil = |change: fn(&mut Value)| move |signed: &mut Signed| signed.envelope = Box::new(change);
    refused(FormatUnsupported, spoil(|envelope| envelope["payloadType"] = "text/plain".into()));
    refused(SignatureInvalid, spoil(|envelope| envelope["signatures"] = json!([])));
    refused(SignatureInvalid, spoil(|envelope| envelope["signatures"][0]["sig"] = "AAAA".into()));
    refused(SignatureInvalid, spoil(|envelope| envelope["signatures"][0]["sig"] = "*".into()));
    refused(SignatureInvalid, spoil(|envelope| envelope["payload"] = "a".into()));
    refused(ManifestInvalid, spoil(|envelope| envelope["signatures"][0]["keyid"] = "me".into()));
    refused(ManifestInvalid, spoil(|envelope| envelope["more"] = 1.into()));
    refused(
        SignatureInvalid,
        spoil(|envelope| {
            let signature = envelope["signatures"][0].clone();
            envelope["signatures"].as_array_mut().unwrap().push(signature);
        }),
    );
    refused(
        SignatureInvalid,
        spoil(|envelope| {
            let signatures = (0..9).map(|number| {
                let keyid = sha256(&[number]).to_string();
                json!({"keyid": keyid, "sig": STANDARD.encode([0; 64])})
            });
            envelope["signatures"] = signatures.collect();
        }),
    );
}

#[test]
fn the_documents_around_the_envelope_are_checked() {
    use Rule::{FormatUnsupported, ManifestTwice, SignatureInvalid};
    let manifest = |change: fn(&mut Value)| move |signed: &mut Signed| signed.manifest = Box::new(change);
    refused(SignatureInvalid, manifest(|manifest| manifest["subject"]["size"] = 1.into()));
    refused(SignatureInvalid, manifest(|manifest| manifest["layers"] = json!([])));
    refused(FormatUnsupported, manifest(|manifest| manifest["config"]["mediaType"] = "application/json".into()));
    refused(FormatUnsupported, manifest(|manifest| manifest["artifactType"] = "application/vnd.aria.bundle.v1".into()));
    let index = |change: fn(&mut Value)| move |signed: &mut Signed| signed.index = Box::new(change);
    refused(
        ManifestTwice,
        index(|index| index["manifests"][1]["artifactType"] = "application/vnd.aria.bundle.v1".into()),
    );
    refused(ManifestTwice, index(|index| drop(index["manifests"][1].as_object_mut().unwrap().remove("artifactType"))));
    refused(
        ManifestTwice,
        index(|index| {
            let third = index["manifests"][1].clone();
            index["manifests"].as_array_mut().unwrap().push(third);
        }),
    );
    // Without its entry in the index the signature belongs to nothing.
    refused(Rule::FileNotListed, index(|index| drop(index["manifests"].as_array_mut().unwrap().pop())));
}
