//! The signature: its documents in the layout, the envelope, and the statement in that.

use aria_bundle::Rule;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::signed::{PAYLOAD_TYPE, statement, with_envelope};
use crate::support::{parts, read, sha256};
use crate::{Case, case};

type Change = fn(&mut Value);

const NOTHING: Change = |_| ();

/// Reading asks what an envelope says and of which bundle; whether a key stands behind it is judged later, so any 64 bytes will do.
fn bundle(statement_change: Change, envelope_change: Change, manifest: Change, index: Change) -> Vec<u8> {
    let image = parts().image();
    let staging = tempfile::tempdir().expect("tempdir");
    let mut said = statement(&read(&image.bytes(), staging.path()).expect("good"));
    statement_change(&mut said);
    let mut envelope = json!({"payloadType": PAYLOAD_TYPE, "payload": STANDARD.encode(said.to_string()),
        "signatures": [{"keyid": sha256(b"key").to_string(), "sig": STANDARD.encode([7; 64])}]});
    envelope_change(&mut envelope);
    with_envelope(&image, envelope.to_string().as_bytes(), manifest, index)
}

pub(crate) fn cases() -> Vec<Case> {
    let staging = tempfile::tempdir().expect("tempdir");
    read(&bundle(NOTHING, NOTHING, NOTHING, NOTHING), staging.path()).expect("what is changed below is good");
    let mut cases = statements();
    cases.extend(envelopes());
    cases.extend(layouts());
    cases
}

fn statements() -> Vec<Case> {
    use Rule::{FormatUnsupported, ManifestInvalid, SignatureInvalid};
    let changes: [(&str, Rule, Change); 21] = [
        ("another bundle", SignatureInvalid, |said| {
            said["subject"][0]["digest"]["sha256"] = sha256(b"other").hex().into()
        }),
        ("another version", SignatureInvalid, |said| said["subject"][0]["name"] = "weather@0.2.0".into()),
        ("another name", SignatureInvalid, |said| said["subject"][0]["name"] = "wind@0.1.0".into()),
        ("another version predicated", SignatureInvalid, |said| said["predicate"]["version"] = "0.2.0".into()),
        ("another bundle throughout", SignatureInvalid, |said| {
            said["subject"][0]["name"] = "wind@0.1.0".into();
            said["predicate"]["name"] = "wind".into();
        }),
        ("no subject", SignatureInvalid, |said| said["subject"] = json!([])),
        ("two subjects", SignatureInvalid, |said| {
            let subject = said["subject"][0].clone();
            said["subject"].as_array_mut().expect("array").push(subject);
        }),
        ("another interface", SignatureInvalid, |said| {
            said["predicate"]["interfaceDigest"] = sha256(b"x").to_string().into()
        }),
        ("another authority", SignatureInvalid, |said| {
            said["predicate"]["authorityDigest"] = sha256(b"x").to_string().into()
        }),
        ("another kind of statement", FormatUnsupported, |said| {
            said["_type"] = "https://in-toto.io/Statement/v0.1".into()
        }),
        ("another predicate", FormatUnsupported, |said| {
            said["predicateType"] = "https://slsa.dev/provenance/v1".into()
        }),
        ("a key more", ManifestInvalid, |said| said["more"] = 1.into()),
        ("a key more in the predicate", ManifestInvalid, |said| said["predicate"]["more"] = 1.into()),
        ("a key more in the subject", ManifestInvalid, |said| said["subject"][0]["uri"] = "x".into()),
        ("a second hash", ManifestInvalid, |said| said["subject"][0]["digest"]["sha1"] = "0".repeat(40).into()),
        ("only another hash", ManifestInvalid, |said| {
            said["subject"][0]["digest"] = json!({"sha512": "0".repeat(128)})
        }),
        ("a digest in capitals", ManifestInvalid, |said| {
            said["subject"][0]["digest"]["sha256"] = "A".repeat(64).into()
        }),
        ("no predicate", ManifestInvalid, |said| said["predicate"] = json!(null)),
        ("no authority", ManifestInvalid, |said| {
            drop(said["predicate"].as_object_mut().expect("object").remove("authorityDigest"))
        }),
        ("no interface", ManifestInvalid, |said| {
            drop(said["predicate"].as_object_mut().expect("object").remove("interfaceDigest"))
        }),
        ("a list", ManifestInvalid, |said| *said = json!([])),
    ];
    let made =
        |(id, rule, change)| case(format!("statement/{id}"), rule, move || bundle(change, NOTHING, NOTHING, NOTHING));
    changes.into_iter().map(made).collect()
}

fn envelopes() -> Vec<Case> {
    use Rule::{FormatUnsupported, JsonDepth, JsonDuplicateKey, JsonInvalid, ManifestInvalid, SignatureInvalid};
    let changes: [(&str, Rule, Change); 21] = [
        ("another payload type", FormatUnsupported, |envelope| envelope["payloadType"] = "text/plain".into()),
        ("no signatures", SignatureInvalid, |envelope| envelope["signatures"] = json!([])),
        ("signatures are no list", ManifestInvalid, |envelope| envelope["signatures"] = json!({})),
        ("a short signature", SignatureInvalid, |envelope| envelope["signatures"][0]["sig"] = "AAAA".into()),
        ("a long signature", SignatureInvalid, |envelope| {
            envelope["signatures"][0]["sig"] = STANDARD.encode([7; 65]).into()
        }),
        ("no base64", SignatureInvalid, |envelope| envelope["signatures"][0]["sig"] = "*".into()),
        ("base64 for URLs", SignatureInvalid, |envelope| {
            envelope["signatures"][0]["sig"] = format!("{}-_==", "A".repeat(84)).into()
        }),
        ("base64 without padding", SignatureInvalid, |envelope| {
            envelope["signatures"][0]["sig"] = "B".repeat(86).into()
        }),
        ("base64 with line ends", SignatureInvalid, |envelope| envelope["payload"] = "e30=\n".into()),
        ("base64 with a bit that is not there", SignatureInvalid, |envelope| envelope["payload"] = "e31=".into()),
        ("half a payload", SignatureInvalid, |envelope| envelope["payload"] = "a".into()),
        ("an empty payload", JsonInvalid, |envelope| envelope["payload"] = "".into()),
        ("a payload that is no JSON", JsonInvalid, |envelope| envelope["payload"] = STANDARD.encode("hello").into()),
        ("a payload with a key twice", JsonDuplicateKey, |envelope| {
            envelope["payload"] = STANDARD.encode("{\"_type\":1,\"_type\":2}").into();
        }),
        ("a deep payload", JsonDepth, |envelope| envelope["payload"] = STANDARD.encode("[".repeat(1000)).into()),
        ("a key id that is a name", ManifestInvalid, |envelope| envelope["signatures"][0]["keyid"] = "me".into()),
        ("a certificate beside the signature", ManifestInvalid, |envelope| {
            envelope["signatures"][0]["cert"] = "x".into()
        }),
        ("a key more", ManifestInvalid, |envelope| envelope["more"] = 1.into()),
        ("the same key twice", SignatureInvalid, |envelope| {
            let signature = envelope["signatures"][0].clone();
            envelope["signatures"].as_array_mut().expect("array").push(signature);
        }),
        ("nine signatures", SignatureInvalid, |envelope| {
            let signature =
                |number: u8| json!({"keyid": sha256(&[number]).to_string(), "sig": STANDARD.encode([0; 64])});
            envelope["signatures"] = (0..9).map(signature).collect();
        }),
        ("a list", ManifestInvalid, |envelope| *envelope = json!([])),
    ];
    let made =
        |(id, rule, change)| case(format!("envelope/{id}"), rule, move || bundle(NOTHING, change, NOTHING, NOTHING));
    changes.into_iter().map(made).collect()
}

fn layouts() -> Vec<Case> {
    use Rule::{
        FileNotListed, FormatUnsupported, ManifestInvalid, ManifestMissing, ManifestTwice, SignatureInvalid,
        SizeMismatch,
    };
    let documents: [(&str, Rule, Change); 13] = [
        ("another subject's size", SignatureInvalid, |manifest| manifest["subject"]["size"] = 1.into()),
        ("another subject", SignatureInvalid, |manifest| {
            manifest["subject"]["digest"] = sha256(b"x").to_string().into()
        }),
        ("no subject", ManifestInvalid, |manifest| drop(manifest.as_object_mut().expect("object").remove("subject"))),
        ("a subject of another type", FormatUnsupported, |manifest| {
            manifest["subject"]["mediaType"] = "text/plain".into()
        }),
        ("no envelope", SignatureInvalid, |manifest| manifest["layers"] = json!([])),
        ("two envelopes", SignatureInvalid, |manifest| {
            let layer = manifest["layers"][0].clone();
            manifest["layers"].as_array_mut().expect("array").push(layer);
        }),
        ("an envelope that is not there", ManifestMissing, |manifest| {
            manifest["layers"][0]["digest"] = sha256(b"x").to_string().into()
        }),
        ("an envelope of another size", SizeMismatch, |manifest| manifest["layers"][0]["size"] = 5.into()),
        ("an envelope of another type", FormatUnsupported, |manifest| {
            manifest["layers"][0]["mediaType"] = "application/json".into()
        }),
        ("a config of another type", FormatUnsupported, |manifest| {
            manifest["config"]["mediaType"] = "application/json".into()
        }),
        ("the kind of a bundle", FormatUnsupported, |manifest| {
            manifest["artifactType"] = "application/vnd.aria.bundle.v1".into()
        }),
        ("another schema version", FormatUnsupported, |manifest| manifest["schemaVersion"] = 1.into()),
        ("a key more", ManifestInvalid, |manifest| manifest["annotations"] = json!({})),
    ];
    let indices: [(&str, Rule, Change); 6] = [
        ("listed as a bundle", ManifestTwice, |index| {
            index["manifests"][1]["artifactType"] = "application/vnd.aria.bundle.v1".into()
        }),
        ("listed as nothing", ManifestTwice, |index| {
            drop(index["manifests"][1].as_object_mut().expect("object").remove("artifactType"))
        }),
        ("listed twice", ManifestTwice, |index| {
            let third = index["manifests"][1].clone();
            index["manifests"].as_array_mut().expect("array").push(third);
        }),
        ("not listed", FileNotListed, |index| drop(index["manifests"].as_array_mut().expect("array").pop())),
        ("listed first", ManifestInvalid, |index| index["manifests"].as_array_mut().expect("array").reverse()),
        ("listed with annotations", ManifestInvalid, |index| index["manifests"][1]["annotations"] = json!({})),
    ];
    let manifest =
        |(id, rule, change)| case(format!("signature/{id}"), rule, move || bundle(NOTHING, NOTHING, change, NOTHING));
    let index =
        |(id, rule, change)| case(format!("signature/{id}"), rule, move || bundle(NOTHING, NOTHING, NOTHING, change));
    documents.into_iter().map(manifest).chain(indices.into_iter().map(index)).collect()
}
