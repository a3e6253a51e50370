//! Hostile bundles, each breaking exactly one rule: refused with that rule's reason, nothing left behind, and the next good
//! bundle accepted from the same staging directory.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use aria_bundle::{Expected, Limits, Rule, read_archive};
use aria_types::ErrorKind;
use serde_json::{Value, json};
use support::{Entry, Image, Parts, directory, file, is_empty, parts, read, sha256, tar, tar_open, zstd};

#[track_caller]
fn check(what: &str, bytes: &[u8], expected: Rule) {
    check_within(what, bytes, Limits::default(), expected);
}

#[track_caller]
fn check_within(what: &str, bytes: &[u8], limits: Limits, expected: Rule) {
    let staging = tempfile::tempdir().expect("tempdir");
    let refused = read_archive(bytes, staging.path(), limits, None).expect_err(what);
    assert_eq!(refused.rule(), Some(expected), "{what}: {refused}");
    assert!(is_empty(staging.path()), "{what}: staging is not empty");
    read(&parts().bytes(), staging.path()).expect("a good bundle after it");
}

/// The same change to a tar's entries at both levels: in the code layer and in the file itself.
#[track_caller]
fn check_both(what: &str, change: impl Fn(&mut Vec<Entry>), expected: Rule) {
    check(&format!("inner: {what}"), &parts().entries(&change).bytes(), expected);
    let mut outer = parts().image().entries();
    change(&mut outer);
    check(&format!("outer: {what}"), &tar(&outer), expected);
}

/// As `check_both`, for the bytes of the tar.
#[track_caller]
fn check_both_bytes(what: &str, change: impl Fn(&mut Vec<u8>), expected: Rule) {
    let mut inner = parts();
    let mut layer = inner.code_tar();
    change(&mut layer);
    inner.layer_tar = Some(layer);
    check(&format!("inner: {what}"), &inner.bytes(), expected);
    let mut outer = parts().bytes();
    change(&mut outer);
    check(&format!("outer: {what}"), &outer, expected);
}

fn last(entries: &mut [Entry]) -> &mut Entry {
    entries.last_mut().expect("entries")
}

fn push(name: &str) -> impl Fn(&mut Vec<Entry>) + '_ {
    move |entries| entries.push(file(name, b""))
}

#[test]
fn paths_that_leave_the_bundle() {
    for name in ["../x", "a/../../x", "/x", "C:\\x", "C:/x", "", ".", "a/./b", "a//b", "x/", "..", "\\\\host\\share"] {
        check_both(name, push(name), Rule::PathEscape);
    }
    let prefixed = |entries: &mut Vec<Entry>| entries.push(Entry { prefix: b"..".into(), ..file("x", b"") });
    check_both("a prefix that leaves", prefixed, Rule::PathEscape);
    check_both("a directory that leaves", |entries| entries.push(directory("../x/")), Rule::PathEscape);
    check_both("the root directory", |entries| entries.push(directory("/")), Rule::PathEscape);
    check_both("here", |entries| entries.push(directory("./")), Rule::PathEscape);
}

#[test]
fn links_of_any_kind() {
    for (flag, target) in [(b'1', "oci-layout"), (b'1', "/etc/passwd"), (b'2', "/etc"), (b'2', "../.."), (b'2', "code")]
    {
        let link = |entries: &mut Vec<Entry>| {
            entries.push(Entry { link: target.into(), ..file("link", b"").flag(flag) });
            entries.push(file("link/through", b"x"));
        };
        check_both(target, link, Rule::Link);
    }
    check_both("a file with a link target", |entries| last(entries).link = b"x".into(), Rule::Link);
}

#[test]
fn entries_that_are_neither_file_nor_directory() {
    for flag in [b'3', b'4', b'6', b'7', b'8', b'9', b'Z', b' ', 0xff] {
        check_both("type", |entries| entries.push(file("dev", b"").flag(flag)), Rule::EntryType);
    }
    check(
        "index.json is a directory",
        &tar(&[file("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}"), directory("index.json")]),
        Rule::EntryType,
    );
}

#[test]
fn modes_with_more_than_permissions() {
    for mode in ["0004755\0", "0002755\0", "0001777\0", "0100644\0", "0007777\0"] {
        check_both(mode, |entries| last(entries).mode = mode.into(), Rule::Mode);
    }
}

#[test]
fn paths_that_appear_twice_or_as_both_kinds() {
    check_both("twice", |entries| entries.push(entries[0].clone()), Rule::Duplicate);
    check_both(
        "file, then directory",
        |entries| entries.push(directory(&String::from_utf8_lossy(&entries[0].name.clone()))),
        Rule::Duplicate,
    );
    let under = |entries: &mut Vec<Entry>| {
        entries.push(file(&format!("{}/x", String::from_utf8_lossy(&entries[0].name.clone())), b""))
    };
    check_both("file, then a file below it", under, Rule::Duplicate);
    check(
        "a directory twice",
        &parts().entries(|entries| entries.extend([directory("code"), directory("code/")])).bytes(),
        Rule::Duplicate,
    );
}

#[test]
fn paths_that_some_file_system_takes_for_another() {
    let upper = |entries: &mut Vec<Entry>| {
        let name = String::from_utf8_lossy(&entries[0].name).to_uppercase();
        entries.push(file(&name, b""));
    };
    check_both("case", upper, Rule::Collision);
    check_both("not in NFC", push("code/e\u{301}.js"), Rule::Collision);
    check_both("Kelvin sign", push("code/\u{212a}.js"), Rule::Collision);
    let twins = parts_with(&[("src/stra\u{df}e.ts", b"1"), ("src/STRASSE.ts", b"2")]);
    check("folded twins that are both listed", &twins.bytes(), Rule::Collision);
    let directories = parts_with(&[("src/Lib/a.ts", b"1"), ("src/lib/b.ts", b"2")]);
    check("directories that differ in case", &directories.bytes(), Rule::Collision);
}

#[test]
fn names_that_are_too_long_or_too_deep() {
    check_both("depth", push(&vec!["a"; 33].join("/")), Rule::NameTooLong);
    let long = parts_with(&[(&format!("src/{}", "x".repeat(256)), b"")]);
    check("a long segment in the manifest", &long.bytes(), Rule::NameTooLong);
    let path = parts_with(&[(&vec!["x".repeat(200); 6].join("/"), b"")]);
    check("a long path in the manifest", &path.bytes(), Rule::NameTooLong);
}

#[test]
fn names_with_characters_that_deceive() {
    for name in ["a\nb", "a\x1b[2J", "a\u{7f}", "a\u{202e}txt.exe", "\u{2066}x", "a\u{feff}"] {
        check_both(name, push(name), Rule::NameChars);
    }
    for raw in [&b"a\xffb"[..], b"\xc3", b"a\0b"] {
        check_both("raw bytes", |entries| last(entries).name = raw.into(), Rule::NameChars);
    }
}

#[test]
fn extension_headers() {
    let pax = b"30 mtime=1350244992.023960108\n";
    for flag in [b'x', b'g', b'X', b'L', b'K', b'N', b'V', b'M', b'D', b'A'] {
        check_both("header", |entries| entries.insert(0, file("././@PaxHeader", pax).flag(flag)), Rule::TarExtension);
    }
    check_both("GNU magic", |entries| last(entries).magic = b"ustar  \0".into(), Rule::TarExtension);
    check_both(
        "base-256 size",
        |entries| last(entries).size = Some(b"\x80\0\0\0\0\0\0\0\0\0\0\x05".into()),
        Rule::TarExtension,
    );
    check_both("bytes after the prefix", |entries| last(entries).tail = b"tar\0".into(), Rule::TarExtension);
    check_both("sparse", |entries| entries.push(file("s", b"").flag(b'S')), Rule::Sparse);
}

#[test]
fn headers_that_are_not_ustar() {
    check_both("no magic", |entries| last(entries).magic = vec![0; 8], Rule::TarHeader);
    check_both("version", |entries| last(entries).magic = b"ustar\x0001".into(), Rule::TarHeader);
    check_both("decimal size", |entries| last(entries).size = Some(b"00000000089\0".into()), Rule::TarHeader);
    check_both("negative size", |entries| last(entries).size = Some(b"-0000000001\0".into()), Rule::TarHeader);
    check_both("no size", |entries| last(entries).size = Some(vec![0; 12]), Rule::TarHeader);
    check_both("text after the mode", |entries| last(entries).mode = b"644\0x77\0".into(), Rule::TarHeader);
    check_both("a device number", |entries| last(entries).device = b"0000001\0".into(), Rule::TarHeader);
    check_both("checksum", |entries| last(entries).checksum_off_by = 1, Rule::TarChecksum);
    check_both(
        "a directory with a size",
        |entries| entries.push(Entry { content: b"x".into(), ..directory("code/d") }),
        Rule::SizeMismatch,
    );
}

#[test]
fn more_than_the_limits() {
    let few = Limits { entries_max: 12, ..Limits::default() };
    let many = parts_with(
        &(0..20)
            .map(|n| format!("src/{n}.ts"))
            .collect::<Vec<_>>()
            .iter()
            .map(|p| (p.as_str(), &b""[..]))
            .collect::<Vec<_>>(),
    );
    check_within("files", &many.bytes(), few, Rule::TooManyFiles);
    let mut blobs = parts().image();
    blobs.blobs.extend((0..20u8).map(|n| vec![n]));
    check_within("blobs", &blobs.bytes(), few, Rule::TooManyFiles);

    let small = Limits { entry_bytes_max: 4000, ..Limits::default() };
    let noise: Vec<u8> = (0..5000u32).flat_map(|n| sha256(&n.to_le_bytes()).bytes()[..1].to_vec()).collect();
    check_within("one file", &parts_with(&[("src/big", &noise)]).bytes(), small, Rule::EntryTooLarge);
    check_within(
        "the file",
        &parts().bytes(),
        Limits { file_bytes_max: 8000, ..Limits::default() },
        Rule::BundleTooLarge,
    );
    let unpacked = Limits { unpacked_bytes_max: 8000, ..Limits::default() };
    check_within("the sum of layers", &parts().bytes(), unpacked, Rule::BundleTooLarge);
    let json = Limits { json_bytes_max: 600, ..Limits::default() };
    check_within("the manifest", &parts().bytes(), json, Rule::EntryTooLarge);
    let index = Limits { json_bytes_max: 100, ..Limits::default() };
    check_within("the index", &parts().bytes(), index, Rule::EntryTooLarge);
    let huge = |entries: &mut Vec<Entry>| last(entries).size = Some(b"77777777777\0".into());
    check_both("a size of 8 GiB", huge, Rule::EntryTooLarge);
}

#[test]
fn a_file_announced_larger_than_allowed_is_refused_before_its_first_byte() {
    let staging = tempfile::tempdir().expect("tempdir");
    let expected = Expected { size_bytes: (256 << 20) + 1, sha256: sha256(b"") };
    let error = aria_bundle::Reader::new(staging.path(), Limits::default(), Some(expected)).expect_err("too large");
    assert_eq!((error.reason(), error.kind()), ("BUNDLE_TOO_LARGE", ErrorKind::Exhausted));
    assert!(is_empty(staging.path()));
}

#[test]
fn bombs() {
    let zeros = vec![0; 4 << 20];
    let bomb = parts_with(&[("src/zeros", &zeros)]);
    check("4 MiB of zeros", &bomb.bytes(), Rule::Ratio);
    // A frame that declares little and holds much, and the other way round.
    let honest = zstd(&parts().code_tar());
    for (declared, what) in [(10_240u64 - 512, "less"), (10_240 + 512, "more")] {
        let mut parts = parts();
        parts.layer = Some(declare(&honest, declared));
        check(what, &parts.bytes(), Rule::ZstdFrame);
    }
    let mut small = parts();
    small.layer = Some(zstd(&vec![0; 900 << 10]));
    check("zeros that are no archive", &small.bytes(), Rule::TrailingBytes);
}

#[test]
fn frames_that_are_not_one_plain_frame() {
    let tar = parts().code_tar();
    let one = zstd(&tar);
    let (front, back) = tar.split_at(5120);
    let streamed = zstd::stream::encode_all(&tar[..], 3).expect("compress");
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    let cases: [(&str, Vec<u8>, Rule); 8] = [
        ("two frames that join", [zstd(front), zstd(back)].concat(), Rule::ZstdFrame),
        ("an empty frame after it", [one.clone(), zstd(b"")].concat(), Rule::ZstdFrame),
        ("a skippable frame before it", [&skippable[..], &one].concat(), Rule::ZstdFrame),
        ("a skippable frame after it", [&one[..], &skippable].concat(), Rule::ZstdFrame),
        ("a byte after it", [&one[..], b"x"].concat(), Rule::TrailingBytes),
        ("no content size", streamed, Rule::ZstdFrame),
        ("no compression at all", tar.clone(), Rule::ZstdFrame),
        ("half of it", one[..one.len() / 2].to_vec(), Rule::Truncated),
    ];
    for (what, layer, rule) in cases {
        check(what, &Parts { layer: Some(layer), ..parts() }.bytes(), rule);
    }
    let mut damaged = one.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    let bytes = Parts { layer: Some(damaged), ..parts() }.bytes();
    let staging = tempfile::tempdir().expect("tempdir");
    assert!(read(&bytes, staging.path()).is_err() && is_empty(staging.path()));
}

#[test]
fn archives_that_do_not_end_where_they_should() {
    check_both_bytes("a record more", |bytes| bytes.resize(bytes.len() + 10_240, 0), Rule::TrailingBytes);
    check_both_bytes("a byte in the padding", |bytes| *bytes.last_mut().expect("bytes") = 1, Rule::TrailingBytes);
    check_both_bytes("another archive", |bytes| bytes.extend(parts().code_tar()), Rule::TrailingBytes);
    check_both_bytes("no padding", |bytes| bytes.truncate(bytes.len() - 512), Rule::Truncated);
    check_both_bytes("nothing", Vec::clear, Rule::Truncated);
    check_both("padding after content", |entries| last(entries).padding = 1, Rule::TrailingBytes);
    let hidden = |open: Vec<u8>| [open, vec![0; 512], tar(&[file("hidden", b"")])].concat();
    check("an entry after one zero block", &hidden(tar_open(&parts().image().entries())), Rule::TrailingBytes);
    let inner = Parts { layer_tar: Some(hidden(tar_open(&parts().code_entries()))), ..parts() };
    check("inner: an entry after one zero block", &inner.bytes(), Rule::TrailingBytes);
}

#[test]
fn layouts_out_of_order_or_incomplete() {
    let entries = parts().image().entries();
    let [layout, index, blobs @ ..] = &entries[..] else { panic!("five entries") };
    let join = |parts: &[&[Entry]]| tar(&parts.concat());
    check("index first", &join(&[&[index.clone(), layout.clone()], blobs]), Rule::ManifestOrder);
    check("blobs first", &join(&[blobs, &[layout.clone(), index.clone()]]), Rule::ManifestOrder);
    check(
        "blobs unsorted",
        &join(&[&entries[..2], &blobs.iter().rev().cloned().collect::<Vec<_>>()]),
        Rule::ManifestOrder,
    );
    check("nothing", &tar(&[]), Rule::ManifestMissing);
    check("only the marker", &tar(&entries[..1]), Rule::ManifestMissing);
    check("no blobs", &tar(&entries[..2]), Rule::ManifestMissing);
    check("a file beside them", &join(&[&entries, &[file("readme", b"")]]), Rule::FileNotListed);
    check(
        "a blob nobody names",
        &parts().image().change(|image| image.blobs.push(vec![1])).bytes(),
        Rule::FileNotListed,
    );
    check("a blob of another hash", &join(&[&entries, &[file("blobs/sha512/00", b"")]]), Rule::FileNotListed);
    check(
        "a blob in capitals",
        &join(&[&entries, &[file(&format!("blobs/sha256/{}", "F".repeat(64)), b"")]]),
        Rule::FileNotListed,
    );
    let mut lying = entries.clone();
    last(&mut lying).content[0] ^= 1;
    check("a blob that is not its name", &tar(&lying), Rule::DigestMismatch);
    check("a directory beside them", &join(&[&entries, &[directory("extra")]]), Rule::EntryType);
}

#[track_caller]
fn check_image(what: &str, change: impl FnOnce(&mut Image), expected: Rule) {
    check(what, &parts().image().change(change).bytes(), expected);
}

#[test]
fn oci_documents_that_say_something_else() {
    check_image("layout version", |image| image.layout["imageLayoutVersion"] = json!("2.0.0"), Rule::FormatUnsupported);
    check_image("layout key", |image| image.layout["more"] = json!(1), Rule::ManifestInvalid);
    check_image("index version", |image| image.index["schemaVersion"] = json!(1), Rule::FormatUnsupported);
    check_image("index type", |image| image.index["mediaType"] = json!("text/plain"), Rule::FormatUnsupported);
    check_image("index key", |image| image.index["subject"] = json!({}), Rule::ManifestInvalid);
    check_image("no manifest", |image| image.index["manifests"] = json!([]), Rule::ManifestMissing);
    let twice = |image: &mut Image| {
        let one = image.index["manifests"][0].clone();
        image.index["manifests"] = json!([one.clone(), one]);
    };
    check_image("two manifests", twice, Rule::ManifestTwice);
    check_image("another name", |image| annotation(image, "title", "wind"), Rule::ManifestInvalid);
    check_image("another version", |image| annotation(image, "ref.name", "0.1.1"), Rule::ManifestInvalid);
    check_image("image version", |image| image.image["schemaVersion"] = json!(3), Rule::FormatUnsupported);
    check_image("artifact type", |image| image.image["artifactType"] = json!("application/x"), Rule::FormatUnsupported);
    check_image(
        "config type",
        |image| image.image["config"]["mediaType"] = json!("application/x"),
        Rule::FormatUnsupported,
    );
    check_image(
        "layer type",
        |image| image.image["layers"][0]["mediaType"] = json!("application/wasm"),
        Rule::FormatUnsupported,
    );
    check_image("no layers", |image| image.image["layers"] = json!([]), Rule::ManifestInvalid);
    check_image(
        "many layers",
        |image| image.image["layers"] = vec![image.image["layers"][0].clone(); 17].into(),
        Rule::ManifestInvalid,
    );
    check_image(
        "a layer twice",
        |image| image.image["layers"] = vec![image.image["layers"][0].clone(); 2].into(),
        Rule::FileMissing,
    );
    check_image("a subject", |image| image.image["subject"] = json!({}), Rule::ManifestInvalid);
    check_image("config size", |image| grow(&mut image.image["config"]["size"]), Rule::SizeMismatch);
    check_image("layer size", |image| grow(&mut image.image["layers"][0]["size"]), Rule::SizeMismatch);
    check_image("layer gone", |image| drop(image.blobs.pop()), Rule::FileMissing);
    check_image("config gone", |image| drop(image.blobs.remove(0)), Rule::ManifestMissing);
    check_image("embedded data", |image| image.image["config"]["data"] = json!("e30="), Rule::ManifestInvalid);
    check_image(
        "a digest of another kind",
        |image| image.image["config"]["digest"] = json!("sha512:00"),
        Rule::ManifestInvalid,
    );
    check_image(
        "the config is the layer",
        |image| image.image["config"]["digest"] = image.image["layers"][0]["digest"].clone(),
        Rule::SizeMismatch,
    );
}

fn annotation(image: &mut Image, key: &str, value: &str) {
    image.index["manifests"][0]["annotations"][format!("org.opencontainers.image.{key}")] = value.into();
}

fn grow(size: &mut Value) {
    *size = (size.as_u64().expect("size") + 1).into();
}

#[test]
fn files_that_differ_from_the_manifest() {
    check(
        "not listed",
        &parts().entries(|entries| entries.push(file("code/extra.js", b""))).bytes(),
        Rule::FileNotListed,
    );
    check(
        "an empty directory",
        &parts().entries(|entries| entries.push(directory("code/empty"))).bytes(),
        Rule::FileNotListed,
    );
    check("missing", &parts().entries(|entries| drop(entries.pop())).bytes(), Rule::FileMissing);
    check("another size", &parts().entries(|entries| last(entries).content.push(b'!')).bytes(), Rule::SizeMismatch);
    check("another content", &parts().entries(|entries| last(entries).content[0] ^= 1).bytes(), Rule::DigestMismatch);
    let listed = |change: fn(&mut Value)| parts().manifest(|manifest| change(&mut manifest["files"])).bytes();
    check(
        "listed twice",
        &listed(|files| {
            let first = files[0].clone();
            files.as_array_mut().expect("array").push(first);
        }),
        Rule::Duplicate,
    );
    check("listed outside", &listed(|files| files[0]["path"] = json!("../x")), Rule::PathEscape);
    check("listed too large", &listed(|files| files[0]["size"] = json!(1u64 << 40)), Rule::EntryTooLarge);
    check(
        "an empty file for an absent one",
        &listed(|files| {
            files.as_array_mut().expect("array").push(json!({"path": "src/z", "size": 0, "sha256": sha256(b"").hex()}))
        }),
        Rule::FileMissing,
    );
}

#[test]
fn manifests_that_are_not_strict_json() {
    let text = parts().manifest.to_string();
    let cases: [(&str, Vec<u8>, Rule); 9] = [
        ("a key twice", text.replacen('{', "{\"name\":\"other\",", 1).into(), Rule::JsonDuplicateKey),
        ("a key twice by escape", text.replacen('{', "{\"n\\u0061me\":\"other\",", 1).into(), Rule::JsonDuplicateKey),
        ("100,000 levels", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into(), Rule::JsonDepth),
        (
            "deep in an extension",
            text.replacen('{', &format!("{{\"x-deep\":{}{},", "[".repeat(64), "]".repeat(64)), 1).into(),
            Rule::JsonDepth,
        ),
        ("NaN", text.replace("30000", "NaN").into(), Rule::JsonInvalid),
        ("a comment", text.replacen('{', "{/**/", 1).into(), Rule::JsonInvalid),
        ("something after it", format!("{text} {{}}").into(), Rule::JsonInvalid),
        ("not UTF-8", [text.as_bytes(), b"\xff"].concat(), Rule::JsonInvalid),
        (
            "more than a mebibyte",
            text.replacen("\"\"", &format!("\"{}\"", "x".repeat(1 << 20)), 1).into(),
            Rule::EntryTooLarge,
        ),
    ];
    for (what, config, rule) in cases {
        check(what, &Parts { config: Some(config), ..parts() }.bytes(), rule);
    }
}

#[test]
fn refusals_show_names_without_their_control_characters() {
    let staging = tempfile::tempdir().expect("tempdir");
    let bytes = parts().entries(|entries| entries.push(file("a\x1b[31m\n", b""))).bytes();
    let text = read(&bytes, staging.path()).expect_err("refused").to_string();
    assert!(text.contains("\\u{1b}") && !text.chars().any(char::is_control), "{text}");
}

fn parts_with(files: &[(&str, &[u8])]) -> Parts {
    let mut parts = parts();
    parts.files.extend(files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())));
    // Long names go into ustar's prefix field where they can.
    let entries = parts.files.iter().map(|(path, bytes)| {
        let split = path.len().checked_sub(100).and_then(|from| path[from..].find('/').map(|at| from + at));
        match split {
            Some(at) if at <= 155 => Entry { prefix: path[..at].into(), ..file(&path[at + 1..], bytes) },
            _ if path.len() <= 100 => file(path, bytes),
            _ => file("x", bytes),
        }
    });
    parts.entries = Some(entries.collect());
    parts.listing_its_files()
}

/// Rewrites the declared content size of a frame whose header has a two-byte one.
fn declare(frame: &[u8], size: u64) -> Vec<u8> {
    assert_eq!(frame[4] >> 6, 1, "a two-byte size");
    let at = if frame[4] & 0x20 == 0 { 6 } else { 5 };
    let mut frame = frame.to_vec();
    frame[at..at + 2].copy_from_slice(&u16::try_from(size - 256).expect("fits").to_le_bytes());
    frame
}
