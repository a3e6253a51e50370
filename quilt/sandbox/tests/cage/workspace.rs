//! `/workspace`: a copy goes in, changes come out, and whatever the program does to it stays there.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;

use quilt_sandbox::{Access, CollectError, Engine, Exit, Limits, Sandbox, SpawnError, Spec, Workspace};
use serde_json::json;

use crate::needs_cages;
use crate::support::{App, LIMITS, drain, engine};

type Entry<'a> = (u8, &'a [u8], &'a [u8]);

fn record(kind: u8, path: &[u8], size_bytes: u64) -> Vec<u8> {
    let length = u16::try_from(path.len()).expect("short");
    [&[kind][..], &length.to_le_bytes(), &size_bytes.to_le_bytes(), path].concat()
}

fn bytes(entries: &[Entry]) -> Vec<u8> {
    let mut tree = b"aria-tr1".to_vec();
    for (kind, path, content) in entries {
        tree.extend(record(*kind, path, content.len() as u64));
        tree.extend_from_slice(content);
    }
    tree.extend(record(b'e', b"", entries.len() as u64));
    tree
}

fn file(bytes: &[u8]) -> OwnedFd {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).and_then(|()| file.rewind()).expect("written");
    file.into()
}

fn with(entries: &[Entry], access: Access) -> impl FnOnce(&mut Spec) {
    let tree = file(&bytes(entries));
    move |spec: &mut Spec| spec.workspace = Some(Workspace { tree, access })
}

const TREE: [Entry<'static>; 6] = [
    (b'f', b"a.txt", b"one"),
    (b'd', b"dir", b""),
    (b'd', b"dir/deep", b""),
    (b'f', b"dir/deep/b", b"two"),
    (b'd', b"empty", b""),
    (b'x', b"run.sh", b"#!/bin/sh\n"),
];

/// A program that has ended, its cage not yet destroyed.
struct Done {
    sandbox: Sandbox,
    exit: Exit,
    stdout: String,
    stderr: String,
    _engine: Engine,
}

fn done(script: &str, change: impl FnOnce(&mut Spec)) -> Done {
    let engine = engine();
    let app =
        App::new(&format!("import * as fs from 'node:fs';\nimport {{ attempt, sys }} from './prelude.ts';\n{script}"));
    let mut spec = app.spec();
    change(&mut spec);
    let (mut sandbox, io) = engine.spawn(spec).expect("starts");
    let (stdout, stderr) = drain(&io, &sandbox);
    let exit = sandbox.exit();
    Done { sandbox, exit, stdout, stderr, _engine: engine }
}

/// What happened, to which path, and what is there now.
type Change = (char, Vec<u8>, Vec<u8>);

impl Done {
    #[track_caller]
    fn json(&self) -> serde_json::Value {
        assert_eq!(self.exit, Exit::Code(0), "{}{}", self.stdout, self.stderr);
        serde_json::from_str(self.stdout.lines().last().unwrap_or_default()).expect("a line of JSON")
    }

    /// `[added, changed, deleted]`, and every record as kind, path and content.
    #[track_caller]
    fn changes(&mut self) -> ([u32; 3], Vec<Change>) {
        assert_eq!(self.exit, Exit::Code(0), "{}{}", self.stdout, self.stderr);
        let changes = self.sandbox.changes().expect("compares");
        let counts = [changes.added, changes.changed, changes.deleted];
        let mut stream = changes.stream(64 << 20).expect("is bounded");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("reads");
        assert_eq!(bytes.len() as u64, stream.size_bytes);
        (counts, parse(&bytes))
    }
}

fn parse(bytes: &[u8]) -> Vec<(char, Vec<u8>, Vec<u8>)> {
    let mut rest = bytes.strip_prefix(b"aria-tr1").expect("magic");
    let mut records = Vec::new();
    loop {
        let (header, after) = rest.split_at(11);
        let path_bytes = usize::from(u16::from_le_bytes([header[1], header[2]]));
        let size = u64::from_le_bytes(header[3..].try_into().expect("eight bytes"));
        if header[0] == b'e' {
            assert_eq!((path_bytes, size, after.len()), (0, records.len() as u64, 0));
            return records;
        }
        let (path, after) = after.split_at(path_bytes);
        let (content, after) = after.split_at(usize::try_from(size).expect("fits"));
        records.push((header[0] as char, path.to_vec(), content.to_vec()));
        rest = after;
    }
}

fn record_of(kind: char, path: &str, content: &str) -> (char, Vec<u8>, Vec<u8>) {
    (kind, path.into(), content.into())
}

#[test]
fn the_program_finds_an_exact_copy_that_is_its_own() {
    needs_cages!();
    let mut done = done(
        r#"const seen = fs.readdirSync("/workspace", { recursive: true }).sort();
           const modes = seen.map((path) => (fs.statSync(`/workspace/${path}`).mode & 0o7777).toString(8));
           const mine = fs.statSync("/workspace/dir").uid === process.getuid();
           const text = fs.readFileSync("/workspace/dir/deep/b", "utf8");
           console.log(JSON.stringify({ seen, modes, mine, text }));"#,
        with(&TREE, Access::ReadWrite),
    );
    assert_eq!(
        done.json(),
        json!({ "seen": ["a.txt", "dir", "dir/deep", "dir/deep/b", "empty", "run.sh"],
                "modes": ["644", "755", "755", "644", "755", "755"], "mine": true, "text": "two" })
    );
    assert_eq!(done.changes(), ([0, 0, 0], vec![]));
}

#[test]
fn every_kind_of_change_comes_back_and_nothing_else() {
    needs_cages!();
    let mut done = done(
        r#"process.chdir("/workspace");
           const { atime, mtime } = fs.statSync("a.txt");
           fs.writeFileSync("a.txt", "ONE"); fs.utimesSync("a.txt", atime, mtime);
           fs.renameSync("dir/deep/b", "dir/c"); fs.rmSync("dir/deep", { recursive: true });
           fs.writeFileSync("dir/deep", "a file now");
           fs.rmSync("empty", { recursive: true });
           fs.chmodSync("run.sh", 0o644);
           fs.mkdirSync("new/er", { recursive: true }); fs.writeFileSync("new/er/f", "");
           fs.writeFileSync("set", "x"); fs.chmodSync("set", 0o6755);"#,
        with(&TREE, Access::ReadWrite),
    );
    let (counts, records) = done.changes();
    assert_eq!(counts, [5, 3, 2]);
    assert_eq!(
        records,
        [
            record_of('f', "a.txt", "ONE"),
            record_of('f', "dir/c", "two"),
            record_of('f', "dir/deep", "a file now"),
            record_of('-', "dir/deep/b", ""),
            record_of('-', "empty", ""),
            record_of('d', "new", ""),
            record_of('d', "new/er", ""),
            record_of('f', "new/er/f", ""),
            record_of('f', "run.sh", "#!/bin/sh\n"),
            // Only that it may be executed is handed over, never set-id.
            record_of('x', "set", "x"),
        ]
    );
}

#[test]
fn a_read_only_workspace_is_there_and_cannot_be_changed() {
    needs_cages!();
    let mut done = done(
        r#"const tries = [
               () => fs.writeFileSync("/workspace/a.txt", "x"), () => fs.writeFileSync("/workspace/new", "x"),
               () => fs.mkdirSync("/workspace/d"), () => fs.unlinkSync("/workspace/a.txt"), () => fs.chmodSync("/workspace/a.txt", 0o600),
               () => fs.truncateSync("/workspace/a.txt", 0), () => fs.renameSync("/workspace/a.txt", "/workspace/b"),
           ].map(attempt);
           console.log(JSON.stringify({ text: fs.readFileSync("/workspace/a.txt", "utf8"), tries }));"#,
        with(&TREE, Access::ReadOnly),
    );
    let seen = done.json();
    assert_eq!(seen["text"], "one");
    for code in seen["tries"].as_array().expect("a list") {
        assert!(["EROFS", "EACCES"].contains(&code.as_str().unwrap_or_default()), "{seen}");
    }
    assert!(matches!(done.sandbox.changes(), Err(CollectError::NoOut { place: "/workspace" })));
}

#[test]
fn nothing_in_it_can_be_run_and_no_device_can_be_made() {
    needs_cages!();
    let done = done(
        r#"fs.copyFileSync("/bin/bun", "/workspace/bun"); fs.chmodSync("/workspace/bun", 0o4755);
           const run = attempt(() => { const got = Bun.spawnSync(["/workspace/bun", "--version"]); if (!got.success) throw new Error("failed"); });
           const options = fs.readFileSync("/proc/self/mounts", "utf8").split("\n").filter((line) => line.split(" ")[1] === "/workspace").map((line) => line.split(" ")[3]);
           const made = [sys(133, "/workspace/dev", 0o020666, 0x103), sys(133, "/workspace/pipe", 0o010666, 0)];
           console.log(JSON.stringify({ run, options, made }));"#,
        |spec| {
            with(&[], Access::ReadWrite)(spec);
            spec.limits = Limits { disk_bytes: 256 << 20, memory_bytes: 1 << 30, ..LIMITS };
        },
    );
    let seen = done.json();
    assert!(["EACCES", "EPERM"].contains(&seen["run"].as_str().unwrap_or_default()), "{seen}");
    let options = seen["options"][0].as_str().unwrap_or_default();
    assert!(
        ["rw", "nosuid", "nodev", "noexec"].iter().all(|wanted| options.split(',').any(|one| one == *wanted)),
        "{seen}"
    );
    assert!(seen["made"].as_array().expect("a list").iter().all(|made| made.as_i64() < Some(0)), "{seen}");
}

#[test]
fn the_quota_holds_for_bytes_and_for_files() {
    needs_cages!();
    let script = r#"
        const filled = attempt(() => { for (let n = 0; n < 100; n += 1) fs.writeFileSync(`/workspace/${n}`, Buffer.alloc(1 << 20, 1)); });
        fs.rmSync("/workspace/0"); fs.rmSync("/workspace/1");
        let made = 0;
        const files = attempt(() => { for (; made < 70_000; made += 1) fs.closeSync(fs.openSync(`/workspace/f${made}`, "w")); });
        console.log(JSON.stringify({ filled, files, bounded: made < 65_536 }));
    "#;
    let done = done(script, with(&[], Access::ReadWrite));
    assert_eq!(done.json(), json!({ "filled": "ENOSPC", "files": "ENOSPC", "bounded": true }));
    assert!(done.sandbox.usage().disk_full);
}

#[test]
fn links_and_sockets_are_named_and_never_followed() {
    needs_cages!();
    let mut done = done(
        r#"process.chdir("/workspace");
           fs.rmSync("dir", { recursive: true }); fs.symlinkSync("/etc", "dir");
           fs.rmSync("a.txt"); fs.symlinkSync("../../../../etc/passwd", "a.txt");
           fs.symlinkSync("/proc/self/root", "root"); fs.symlinkSync("loop", "loop");
           fs.linkSync("run.sh", "hard");
           const server = require("node:net").createServer().listen("socket", () => process.exit(0));"#,
        with(&TREE, Access::ReadWrite),
    );
    let (_, records) = done.changes();
    let others: Vec<_> =
        records.iter().filter(|(kind, _, _)| *kind == 'o').map(|(_, path, _)| path.as_slice()).collect();
    assert_eq!(others, [&b"a.txt"[..], b"dir", b"loop", b"root", b"socket"]);
    assert!(records.contains(&record_of('x', "hard", "#!/bin/sh\n")), "a hard link is one more file");
    assert!(!records.iter().any(|(_, path, _)| path.starts_with(b"dir/passwd")));
}

#[test]
fn what_is_too_deep_too_many_or_too_large_is_refused_without_reading_it() {
    needs_cages!();
    let deep = r#"sys(80, "/workspace"); let made = 0; while (made < 3000 && sys(83, "d", 0o755) === 0 && sys(80, "d") === 0) made += 1; if (made < 3000) process.exit(1);"#;
    let mut deep = done(deep, with(&[], Access::ReadWrite));
    assert_eq!(deep.exit, Exit::Code(0), "{}", deep.stderr);
    assert!(matches!(deep.sandbox.changes(), Err(CollectError::Entry { place: "/workspace", .. })));

    let sparse = r#"
        const huge = attempt(() => fs.truncateSync("/workspace/tera", 2 ** 40));
        for (let n = 0; n < 1000; n += 1) { fs.writeFileSync(`/workspace/${n}`, ""); fs.truncateSync(`/workspace/${n}`, 100 << 20); }
        console.log(JSON.stringify(huge));
    "#;
    let tree: [Entry; 1] = [(b'f', b"tera", b"")];
    let mut sparse = done(sparse, with(&tree, Access::ReadWrite));
    assert_eq!(sparse.json(), json!("EFBIG"));
    let changes = sparse.sandbox.changes().expect("sizes are compared, not read");
    assert_eq!((changes.added, changes.changed), (1000, 0));
    assert!(matches!(changes.stream(64 << 20), Err(CollectError::TooLarge { place: "/workspace", .. })));
}

#[test]
fn ten_thousand_files_and_odd_names_make_the_round_trip() {
    needs_cages!();
    let mut names: Vec<Vec<u8>> = (0..10_000).map(|n| format!("f{n:05}").into_bytes()).collect();
    names.extend([
        b"\xff\xfe".to_vec(),
        b"a\nb".to_vec(),
        b" ".to_vec(),
        b"-rf".to_vec(),
        "\u{202e}x".into(),
        vec![b'n'; 255],
    ]);
    names.sort();
    let entries: Vec<Entry> = names.iter().map(|name| (b'f', name.as_slice(), &b"x"[..])).collect();
    let mut done = done(
        r#"const names = fs.readdirSync("/workspace", { encoding: "buffer" });
           const open = Buffer.concat([Buffer.from("/workspace/"), Buffer.from([0xfd])]);
           fs.writeFileSync(open, "new");
           console.log(JSON.stringify(names.length));"#,
        |spec| {
            with(&entries, Access::ReadWrite)(spec);
            spec.limits.disk_bytes = 64 << 20;
        },
    );
    assert_eq!(done.json(), json!(10_006));
    assert_eq!(done.changes(), ([1, 0, 0], vec![('f', vec![0xfd], b"new".to_vec())]));
}

#[test]
fn a_tree_that_does_not_fit_or_is_none_starts_nothing() {
    needs_cages!();
    let engine = engine();
    let refused = |tree: &[u8]| {
        let app = App::new("");
        let workspace = Some(Workspace { tree: file(tree), access: Access::ReadWrite });
        engine.spawn(Spec { workspace, ..app.spec() }).expect_err("is refused")
    };
    let large = vec![7; 17 << 20];
    let full = refused(&bytes(&[(b'f', b"large", &large)]));
    assert!(matches!(full, SpawnError::WorkspaceFull { bytes_max } if bytes_max == LIMITS.disk_bytes), "{full}");
    let lonely: Entry = (b'f', b"none/file", b"");
    let below: Entry = (b'f', b"a/b", b"");
    for tree in [
        b"".to_vec(),
        b"noise".to_vec(),
        bytes(&[lonely]),
        bytes(&[(b'f', b"a", b""), below]),
        bytes(&[(b'f', b"../etc", b"")]),
        bytes(&[(b'l', b"link", b"/etc")]),
    ] {
        let error = refused(&tree);
        assert!(matches!(error, SpawnError::WorkspaceMalformed(_)), "{error}");
    }
}

#[test]
fn the_copy_is_paid_for_by_the_cage() {
    needs_cages!();
    let content = vec![7; 40 << 20];
    let entries: [Entry; 1] = [(b'f', b"large", &content)];
    let mut small = done("", |spec| {
        with(&entries, Access::ReadWrite)(spec);
        spec.limits = Limits { disk_bytes: 64 << 20, ..LIMITS };
    });
    assert_eq!(small.exit, Exit::Code(0), "{}", small.stderr);
    assert!(small.sandbox.usage().memory_peak_bytes > 40 << 20);
    let tiny = done("", |spec| {
        with(&entries, Access::ReadWrite)(spec);
        spec.limits = Limits { disk_bytes: 64 << 20, memory_bytes: 24 << 20, ..LIMITS };
    });
    assert_eq!(tiny.exit, Exit::OomKilled);
    assert!(small.sandbox.changes().is_ok());
}

#[test]
fn changes_are_not_looked_for_while_the_program_runs() {
    needs_cages!();
    let engine = engine();
    let app = App::new("await Bun.sleep(60_000);");
    let workspace = Some(Workspace { tree: file(&bytes(&TREE)), access: Access::ReadWrite });
    let (mut sandbox, _io) = engine.spawn(Spec { workspace, ..app.spec() }).expect("starts");
    assert!(matches!(sandbox.changes(), Err(CollectError::Running)));
    let bare = App::new("");
    let (mut other, _io) = engine.spawn(bare.spec()).expect("starts");
    assert!(matches!(other.changes(), Err(CollectError::NoOut { .. })));
}

#[test]
fn the_callers_descriptor_may_be_read_by_others_meanwhile() {
    needs_cages!();
    let engine = engine();
    let tree: File = file(&bytes(&TREE)).into();
    let app = App::new("require('fs').writeFileSync('/workspace/a.txt', 'x')");
    let workspace = Some(Workspace { tree: tree.try_clone().expect("a copy").into(), access: Access::ReadWrite });
    let (mut sandbox, io) = engine.spawn(Spec { workspace, ..app.spec() }).expect("starts");
    let _ = drain(&io, &sandbox);
    assert_eq!(sandbox.exit(), Exit::Code(0));
    (&tree).seek(std::io::SeekFrom::Start(5)).expect("seeks");
    let changes = sandbox.changes().expect("compares");
    assert_eq!([changes.added, changes.changed, changes.deleted], [0, 1, 0]);
}
