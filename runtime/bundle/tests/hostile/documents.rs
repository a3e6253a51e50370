//! The OCI documents, the order of the entries, and the files against the manifest's list.

use aria_bundle::Rule;
use serde_json::{Value, json};

use crate::support::{Entry, Image, directory, file, parts, sha256, tar};
use crate::{Case, case};

type ImageChange = fn(&mut Image);
type EntriesChange = fn(&mut Vec<Entry>);
type FilesChange = fn(&mut Value);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    order(&mut cases);
    images(&mut cases);
    files(&mut cases);
    limits(&mut cases);
    cases
}

fn order(cases: &mut Vec<Case>) {
    let changes: [(&str, Rule, EntriesChange); 13] = [
        ("index first", Rule::ManifestOrder, |entries| entries.swap(0, 1)),
        ("a blob before the index", Rule::ManifestOrder, |entries| entries.swap(1, 2)),
        ("blobs first", Rule::ManifestOrder, |entries| entries.rotate_left(2)),
        ("blobs unsorted", Rule::ManifestOrder, |entries| entries.swap(2, 3)),
        ("no entry", Rule::ManifestMissing, Vec::clear),
        ("only the marker", Rule::ManifestMissing, |entries| entries.truncate(1)),
        ("no blobs", Rule::ManifestMissing, |entries| entries.truncate(2)),
        ("a file beside them", Rule::FileNotListed, |entries| entries.push(file("readme", b""))),
        ("a file beside the blobs", Rule::FileNotListed, |entries| entries.push(file("blobs/readme", b""))),
        ("a blob of another hash", Rule::FileNotListed, |entries| entries.push(file("blobs/sha512/00", b""))),
        ("a blob in capitals", Rule::FileNotListed, |entries| {
            entries.push(file(&format!("blobs/sha256/{}", "F".repeat(64)), b""))
        }),
        ("a blob that is not its name", Rule::DigestMismatch, |entries| entries[3].content[0] ^= 1),
        ("a directory beside them", Rule::EntryType, |entries| entries.push(directory("extra"))),
    ];
    for (id, rule, change) in changes {
        cases.push(case(format!("order/{id}"), rule, move || {
            let mut entries = parts().image().entries();
            change(&mut entries);
            tar(&entries)
        }));
    }
    for (name, place) in [("oci-layout", 0), ("index.json", 1)] {
        let texts: [(&str, Rule, &[u8]); 6] = [
            ("empty", Rule::JsonInvalid, b""),
            ("no JSON", Rule::JsonInvalid, b"hello"),
            ("not UTF-8", Rule::JsonInvalid, b"{\"\xff\":1}"),
            ("a list", Rule::ManifestInvalid, b"[]"),
            ("a key twice", Rule::JsonDuplicateKey, b"{\"a\":1,\"a\":1}"),
            ("cut", Rule::JsonInvalid, b"{\"imageLayoutVersion\":"),
        ];
        for (id, rule, text) in texts {
            cases.push(case(format!("{name}/{id}"), rule, move || {
                let mut entries = parts().image().entries();
                entries[place].content = text.into();
                tar(&entries)
            }));
        }
        cases.push(case(format!("{name}/deep"), Rule::JsonDepth, move || {
            let mut entries = parts().image().entries();
            entries[place].content = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into();
            tar(&entries)
        }));
        cases.push(case(format!("{name}/more than a mebibyte"), Rule::EntryTooLarge, move || {
            let mut entries = parts().image().entries();
            entries[place].content = vec![b' '; (1 << 20) + 1];
            tar(&entries)
        }));
    }
}

fn annotation(image: &mut Image, key: &str, value: Value) {
    image.index["manifests"][0]["annotations"][format!("org.opencontainers.image.{key}")] = value;
}

fn grow(size: &mut Value) {
    *size = (size.as_u64().expect("size") + 1).into();
}

fn images(cases: &mut Vec<Case>) {
    let changes: [(&str, Rule, ImageChange); 39] = [
        ("layout version", Rule::FormatUnsupported, |image| image.layout["imageLayoutVersion"] = json!("2.0.0")),
        ("layout version is a number", Rule::ManifestInvalid, |image| image.layout["imageLayoutVersion"] = json!(1)),
        ("layout key", Rule::ManifestInvalid, |image| image.layout["more"] = json!(1)),
        ("index version", Rule::FormatUnsupported, |image| image.index["schemaVersion"] = json!(1)),
        ("index version is text", Rule::ManifestInvalid, |image| image.index["schemaVersion"] = json!("2")),
        ("index type", Rule::FormatUnsupported, |image| image.index["mediaType"] = json!("text/plain")),
        ("index key", Rule::ManifestInvalid, |image| image.index["subject"] = json!({})),
        ("index annotations", Rule::ManifestInvalid, |image| image.index["annotations"] = json!({})),
        ("no manifest", Rule::ManifestMissing, |image| image.index["manifests"] = json!([])),
        ("manifests are no list", Rule::ManifestInvalid, |image| image.index["manifests"] = json!({})),
        ("two manifests", Rule::ManifestTwice, |image| {
            let one = image.index["manifests"][0].clone();
            image.index["manifests"] = json!([one.clone(), one]);
        }),
        ("three manifests", Rule::ManifestTwice, |image| {
            let one = image.index["manifests"][0].clone();
            image.index["manifests"] = json!([one.clone(), one.clone(), one]);
        }),
        ("a manifest of another type", Rule::FormatUnsupported, |image| {
            image.index["manifests"][0]["mediaType"] = json!("application/vnd.docker.distribution.manifest.v2+json");
        }),
        ("a manifest for a platform", Rule::ManifestInvalid, |image| {
            image.index["manifests"][0]["platform"] = json!({})
        }),
        ("a manifest from elsewhere", Rule::ManifestInvalid, |image| {
            image.index["manifests"][0]["urls"] = json!(["https://example.com/x"]);
        }),
        ("a manifest that is not there", Rule::ManifestMissing, |image| {
            image.index["manifests"][0]["digest"] = sha256(b"absent").to_string().into();
            image.index["manifests"][0]["size"] = 6.into();
        }),
        ("another name", Rule::ManifestInvalid, |image| annotation(image, "title", json!("wind"))),
        ("another version", Rule::ManifestInvalid, |image| annotation(image, "ref.name", json!("0.1.1"))),
        ("no name", Rule::ManifestInvalid, |image| annotation(image, "title", json!(null))),
        ("one annotation more", Rule::ManifestInvalid, |image| annotation(image, "url", json!("x"))),
        ("image version", Rule::FormatUnsupported, |image| image.image["schemaVersion"] = json!(3)),
        ("image type", Rule::FormatUnsupported, |image| image.image["mediaType"] = json!("application/json")),
        ("artifact type", Rule::FormatUnsupported, |image| image.image["artifactType"] = json!("application/x")),
        ("config type", Rule::FormatUnsupported, |image| image.image["config"]["mediaType"] = json!("application/x")),
        ("layer type", Rule::FormatUnsupported, |image| {
            image.image["layers"][0]["mediaType"] = json!("application/wasm")
        }),
        ("no layers", Rule::ManifestInvalid, |image| image.image["layers"] = json!([])),
        ("layers are no list", Rule::ManifestInvalid, |image| image.image["layers"] = json!({})),
        ("17 layers", Rule::ManifestInvalid, |image| {
            image.image["layers"] = vec![image.image["layers"][0].clone(); 17].into();
        }),
        ("a layer twice", Rule::FileMissing, |image| {
            image.image["layers"] = vec![image.image["layers"][0].clone(); 2].into();
        }),
        ("a subject", Rule::ManifestInvalid, |image| image.image["subject"] = json!({})),
        ("config size", Rule::SizeMismatch, |image| grow(&mut image.image["config"]["size"])),
        ("config size is negative", Rule::ManifestInvalid, |image| image.image["config"]["size"] = json!(-1)),
        ("layer size", Rule::SizeMismatch, |image| grow(&mut image.image["layers"][0]["size"])),
        ("layer gone", Rule::FileMissing, |image| drop(image.blobs.pop())),
        ("config gone", Rule::ManifestMissing, |image| drop(image.blobs.remove(0))),
        ("embedded data", Rule::ManifestInvalid, |image| image.image["config"]["data"] = json!("e30=")),
        ("a layer from elsewhere", Rule::ManifestInvalid, |image| {
            image.image["layers"][0]["urls"] = json!(["https://example.com/x"]);
        }),
        ("a digest of another kind", Rule::ManifestInvalid, |image| {
            image.image["config"]["digest"] = json!("sha512:00")
        }),
        ("a blob nobody names", Rule::FileNotListed, |image| image.blobs.push(vec![1])),
    ];
    for (id, rule, change) in changes {
        cases.push(case(format!("oci/{id}"), rule, move || parts().image().change(change).bytes()));
    }
}

fn files(cases: &mut Vec<Case>) {
    let changes: [(&str, Rule, EntriesChange); 6] = [
        ("not listed", Rule::FileNotListed, |entries| entries.push(file("code/extra.js", b""))),
        ("an empty directory", Rule::FileNotListed, |entries| entries.push(directory("code/empty"))),
        ("missing", Rule::FileMissing, |entries| drop(entries.pop())),
        ("all missing", Rule::FileMissing, Vec::clear),
        ("another size", Rule::SizeMismatch, |entries| entries[0].content.push(b'!')),
        ("another content", Rule::DigestMismatch, |entries| entries[0].content[0] ^= 1),
    ];
    for (id, rule, change) in changes {
        cases.push(case(format!("files/{id}"), rule, move || parts().entries(change).bytes()));
    }
    let listed: [(&str, Rule, FilesChange); 9] = [
        ("twice", Rule::Duplicate, |files| {
            let first = files[0].clone();
            files.as_array_mut().expect("array").push(first);
        }),
        ("outside", Rule::PathEscape, |files| files[0]["path"] = json!("../x")),
        ("absolute", Rule::PathEscape, |files| files[0]["path"] = json!("/code/x")),
        ("with a control character", Rule::NameChars, |files| files[0]["path"] = json!("code/\u{1b}x")),
        ("too long", Rule::NameTooLong, |files| files[0]["path"] = json!("x".repeat(256))),
        ("in two cases", Rule::Collision, |files| {
            let mut twin = files[0].clone();
            twin["path"] = json!("CODE/forecast.js");
            files.as_array_mut().expect("array").push(twin);
        }),
        ("too large", Rule::EntryTooLarge, |files| files[0]["size"] = json!(1u64 << 40)),
        ("absent but empty", Rule::FileMissing, |files| {
            let absent = json!({"path": "src/z", "size": 0, "sha256": sha256(b"").hex()});
            files.as_array_mut().expect("array").push(absent);
        }),
        ("with another digest", Rule::DigestMismatch, |files| files[1]["sha256"] = json!(sha256(b"x").hex())),
    ];
    for (id, rule, change) in listed {
        cases.push(case(format!("files/listed {id}"), rule, move || {
            parts().manifest(|manifest| change(&mut manifest["files"])).bytes()
        }));
    }
}

fn limits(cases: &mut Vec<Case>) {
    cases.push(case("limits/10,001 blobs", Rule::TooManyFiles, || {
        let mut image = parts().image();
        image.blobs.extend((0..10_001u32).map(|number| number.to_le_bytes().to_vec()));
        image.bytes()
    }));
    cases.push(case("limits/directories that listed paths imply", Rule::TooManyFiles, || {
        let listed = |number: u32| {
            let path = format!("{}x", format!("{number}/").repeat(16));
            json!({"path": path, "size": 0, "sha256": sha256(b"").hex()})
        };
        parts().manifest(|manifest| manifest["files"] = (0..700).map(listed).collect()).bytes()
    }));
}
