//! A good bundle: what the reader says of it, and what is on disk before, after and instead of an install.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aria_bundle::{Limits, Reader, Rule, authority_digest, interface_digest, parse_manifest};
use aria_core::{Approval, Digest};
use serde_json::json;
use support::{directory, expecting, file, is_empty, parts, read, sha256};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("exists").permissions().mode() & 0o7777
}

#[test]
fn a_good_bundle_is_read_whole() {
    let staging = tempfile::tempdir().expect("tempdir");
    let bytes = parts().bytes();
    let staged = read(&bytes, staging.path()).expect("good bundle");

    assert_eq!(staged.manifest.name.as_str(), "weather");
    assert_eq!(staged.manifest.version.to_string(), "0.1.0");
    assert_eq!(staged.size_bytes, bytes.len() as u64);
    let content: u64 = parts().files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert!(staged.unpacked_bytes > content && staged.unpacked_bytes < content + (1 << 20));
    assert_eq!(staged.digest, sha256(parts().image().image.to_string().as_bytes()));
    let tool = &staged.manifest.tools[0];
    assert_eq!((tool.timeout_ms, tool.spawn, tool.approval), (30_000, false, Approval::Never));
    assert_eq!(
        (tool.limits.memory_bytes, tool.limits.pids, tool.limits.disk_bytes),
        (Some(268_435_456), Some(64), None)
    );
    for (path, content) in parts().files {
        let on_disk = staged.app_dir().join(path);
        assert_eq!(fs::read(&on_disk).expect("unpacked"), content);
        assert_eq!(mode(&on_disk), 0o644);
    }
    assert_eq!(mode(&staged.app_dir()), 0o755);
    assert_eq!(mode(&staged.app_dir().join("src/deep")), 0o755);
    assert_eq!(mode(staged.app_dir().parent().expect("stage")), 0o700);
}

#[test]
fn the_manifest_text_reads_back_to_the_same() {
    let staging = tempfile::tempdir().expect("tempdir");
    let staged = read(&parts().bytes(), staging.path()).expect("good bundle");
    let again = parse_manifest(staged.manifest_json.as_bytes()).expect("stored text");
    assert_eq!(again, staged.manifest);
    assert_eq!(interface_digest(&again), staged.interface_digest);
    assert_eq!(authority_digest(&again), staged.authority_digest);
}

#[test]
fn the_derived_digests_are_those_of_the_documented_json() {
    let staging = tempfile::tempdir().expect("tempdir");
    let staged = read(&parts().bytes(), staging.path()).expect("good bundle");
    let authority = r#"{"tools":[{"approval":"never","egress":["api.example.com:443"],"name":"forecast","secrets":["stripe"],"spawn":false,"tokens":["kv:orders:ro"]}]}"#;
    assert_eq!(staged.authority_digest, sha256(authority.as_bytes()));
    let interface = concat!(
        r#"{"tools":[{"annotations":{"readOnly":true},"description":"The weather of tomorrow.","input":{"$schema":"https://json-schema.org/draft/2020-12/schema","#,
        r#""additionalProperties":false,"properties":{"city":{"type":"string"}},"required":["city"],"type":"object"},"name":"forecast","#,
        r#""output":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"number"},"title":""}]}"#
    );
    assert_eq!(staged.interface_digest, sha256(interface.as_bytes()));
}

#[test]
fn what_a_tool_may_touch_changes_only_the_authority() {
    let staging = tempfile::tempdir().expect("tempdir");
    let digests = |change: fn(&mut serde_json::Value)| -> (Digest, Digest) {
        let staged = read(&parts().manifest(change).bytes(), staging.path()).expect("good bundle");
        (staged.interface_digest, staged.authority_digest)
    };
    let before = digests(|_| {});
    let more = digests(|manifest| manifest["tools"][0]["tokens"] = json!(["kv:orders:rw"]));
    let told = digests(|manifest| manifest["tools"][0]["description"] = json!("Tomorrow's weather."));
    assert!(more.0 == before.0 && more.1 != before.1);
    assert!(told.0 != before.0 && told.1 == before.1);
}

#[test]
fn bytes_may_come_in_pieces_of_any_size() {
    let staging = tempfile::tempdir().expect("tempdir");
    let bytes = parts().bytes();
    for size in [1, 7, 511, 512, 513, 4096, bytes.len()] {
        let mut reader = Reader::new(staging.path(), Limits::default(), expecting(&bytes)).expect("reader");
        bytes.chunks(size).for_each(|piece| reader.feed(piece).expect("good piece"));
        reader.feed(&[]).expect("nothing is fine");
        assert_eq!(reader.size_bytes(), bytes.len() as u64);
        reader.finish().expect("good bundle");
    }
    assert!(is_empty(staging.path()));
}

#[test]
fn a_commit_moves_everything_and_leaves_the_staging_empty() {
    let (staging, bundles) = (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
    let staged = read(&parts().bytes(), staging.path()).expect("good bundle");
    let digest = staged.digest;
    let to = staged.commit(bundles.path()).expect("commit");
    assert_eq!(to, bundles.path().join(digest.hex()));
    assert!(is_empty(staging.path()));
    assert_eq!(fs::read(to.join("app/code/forecast.js.map")).expect("installed"), b"{}");
    assert_eq!(sha256(&fs::read(to.join("image.json")).expect("identity")), digest);
    assert_eq!(mode(&to), 0o755);
}

#[test]
fn committing_the_same_bundle_again_keeps_the_first() {
    let (staging, bundles) = (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
    let first = read(&parts().bytes(), staging.path()).expect("good bundle").commit(bundles.path()).expect("commit");
    let mark = first.join("mark");
    fs::write(&mark, "first").expect("mark");
    let second = read(&parts().bytes(), staging.path()).expect("good bundle").commit(bundles.path()).expect("commit");
    assert_eq!(first, second);
    assert!(mark.exists() && is_empty(staging.path()));
}

#[test]
fn a_dropped_reader_or_bundle_leaves_nothing() {
    let staging = tempfile::tempdir().expect("tempdir");
    let bytes = parts().bytes();
    let mut reader = Reader::new(staging.path(), Limits::default(), None).expect("reader");
    reader.feed(&bytes[..bytes.len() / 2]).expect("half");
    assert!(!is_empty(staging.path()));
    drop(reader);
    assert!(is_empty(staging.path()));
    drop(read(&bytes, staging.path()).expect("good bundle"));
    assert!(is_empty(staging.path()));
}

#[test]
fn a_refused_reader_stays_refused_and_empty() {
    let staging = tempfile::tempdir().expect("tempdir");
    let mut reader = Reader::new(staging.path(), Limits::default(), None).expect("reader");
    assert_eq!(reader.feed(&[b'x'; 512]).expect_err("no header").rule(), Some(Rule::TarChecksum));
    assert!(is_empty(staging.path()));
    assert_eq!(reader.feed(&parts().bytes()).expect_err("poisoned").reason(), "BUG");
    assert_eq!(reader.finish().expect_err("poisoned").reason(), "BUG");
}

#[test]
fn owner_time_and_odd_modes_do_not_matter() {
    let staging = tempfile::tempdir().expect("tempdir");
    let odd = parts().entries(|entries| {
        entries[0].uid = b"0001750\0".into();
        entries[0].mtime = b"77777777777\0".into();
        entries[0].mode = b"0000111 ".into();
        entries[1].mode = b"0000000\0".into();
        entries[1].flag = 0;
        entries[2].name = b"er/forecast.ts".into();
        entries[2].prefix = b"src/deep".into();
        entries[2].device = vec![0; 8];
    });
    let staged = read(&odd.bytes(), staging.path()).expect("good bundle");
    assert_eq!(mode(&staged.app_dir().join("code/forecast.js")), 0o755);
    assert_eq!(mode(&staged.app_dir().join("code/forecast.js.map")), 0o644);
    assert!(staged.app_dir().join("src/deep/er/forecast.ts").exists());
}

#[test]
fn directory_entries_are_optional() {
    let staging = tempfile::tempdir().expect("tempdir");
    let inner = parts().entries(|entries| {
        entries.insert(0, directory("code/"));
        entries.insert(3, directory("src/deep/"));
        entries.insert(4, directory("src"));
    });
    let mut outer = inner.image().entries();
    outer.insert(2, directory("blobs/"));
    outer.insert(3, directory("blobs/sha256/"));
    read(&support::tar(&outer), staging.path()).expect("good bundle");
}

#[test]
fn several_layers_make_one_tree() {
    let staging = tempfile::tempdir().expect("tempdir");
    let parts = parts();
    let [one, two] = [0..1, 1..3].map(|range| support::zstd(&support::tar(&parts.code_entries()[range])));
    let image = parts.image().change(|image| {
        let layer = |bytes: &[u8]| support::describe("application/vnd.aria.code.v1.tar+zstd", bytes);
        image.image["layers"] = json!([layer(&one), layer(&two)]);
        image.blobs.truncate(1);
        image.blobs.extend([one.clone(), two.clone()]);
    });
    let staged = read(&image.bytes(), staging.path()).expect("good bundle");
    assert!(parts.files.iter().all(|(path, _)| staged.app_dir().join(path).exists()));
}

#[test]
fn a_program_bundle_has_no_tools() {
    let staging = tempfile::tempdir().expect("tempdir");
    let program = parts().manifest(|manifest| {
        manifest["tools"] = json!([]);
        manifest["program"] = json!({"entry": "code/forecast.js"});
        manifest["x-note"] = json!({"any": "thing"});
    });
    let staged = read(&program.bytes(), staging.path()).expect("good bundle");
    assert_eq!(staged.manifest.program.as_ref().map(|program| program.entry.as_str()), Some("code/forecast.js"));
}

#[test]
fn many_files_are_flushed_too() {
    let (staging, bundles) = (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
    let mut many = parts();
    many.files.extend((0..400).map(|n| (format!("src/many/{n:03}.ts"), n.to_string().into_bytes())));
    let staged = read(&many.listing_its_files().bytes(), staging.path()).expect("good bundle");
    let to = staged.commit(bundles.path()).expect("commit");
    assert_eq!(fs::read(to.join("app/src/many/399.ts")).expect("installed"), b"399");
}

#[test]
fn a_staging_directory_that_is_not_there_is_an_io_error() {
    let staging = tempfile::tempdir().expect("tempdir");
    let error = Reader::new(&staging.path().join("absent"), Limits::default(), None).expect_err("absent");
    assert_eq!((error.reason(), error.rule()), ("STORE_IO", None));
}

#[test]
fn a_link_planted_in_the_stage_is_not_followed() {
    let (staging, outside) = (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
    let bytes = parts().bytes();
    let mut reader = Reader::new(staging.path(), Limits::default(), None).expect("reader");
    reader.feed(&bytes).expect("all");
    let stage = fs::read_dir(staging.path()).expect("list").next().expect("one").expect("entry").path();
    std::os::unix::fs::symlink(outside.path(), stage.join("app")).expect("plant");
    assert_eq!(reader.finish().expect_err("refused").reason(), "STORE_IO");
    assert!(is_empty(outside.path()) && is_empty(staging.path()));
}

#[test]
fn the_test_writer_makes_what_the_format_says() {
    let entries = tar_names(&parts().bytes());
    assert_eq!(&entries[..2], ["oci-layout", "index.json"]);
    assert!(entries[2..].is_sorted() && entries.len() == 5);
    assert_eq!(support::tar(&[file("a", b"x")]).len(), 10_240);
}

fn tar_names(bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = 0;
    while bytes[at] != 0 {
        names.push(String::from_utf8_lossy(&bytes[at..at + 100]).trim_end_matches('\0').to_owned());
        let size =
            usize::from_str_radix(std::str::from_utf8(&bytes[at + 124..at + 135]).expect("octal"), 8).expect("octal");
        at += 512 + size.next_multiple_of(512);
    }
    names
}

#[test]
fn tiny_files_and_directories_count_for_what_they_take() {
    let taken = |files: u64| {
        let staging = tempfile::tempdir().expect("tempdir");
        let mut parts = parts();
        parts.files.extend((0..files).map(|number| (format!("code/zz{number:04}/x.js"), b"1".to_vec())));
        parts.files.sort();
        read(&parts.listing_its_files().bytes(), staging.path()).expect("good bundle").unpacked_bytes
    };
    let each = (taken(500) - taken(0)) / 500;
    // Two blocks of the file, one of its directory, and its two lines in the two copies of the manifest.
    assert!((3 * 4096..3 * 4096 + 1024).contains(&each), "{each}");
}
