//! A tree given to a program, and its changes handed back with the end.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "in a test they are assertions")]

mod stand;

use std::fs;

use aria_protocol::quilt::v1 as pb;
use pb::EndReason;
use stand::{Run, Stand, start};
use tonic::Code;

const POLICY: &str = "[[policy]]\nname = 'workspaces'\ntokens = ['fs:workspace:rw']\n";

fn record(kind: u8, path: &str, size: u64, content: &str) -> Vec<u8> {
    let length = u16::try_from(path.len()).unwrap();
    [&[kind][..], &length.to_le_bytes(), &size.to_le_bytes(), path.as_bytes(), content.as_bytes()].concat()
}

/// `a` and `keep`, each with one line.
fn tree() -> Vec<u8> {
    let records = [record(b'f', "a", 4, "one\n"), record(b'f', "keep", 5, "same\n"), record(b'e', "", 2, "")];
    [b"aria-tr1".to_vec(), records.concat()].concat()
}

fn request(stand: &Stand, script: &str, writable: bool, collect: bool) -> pb::ExecuteRequest {
    let mut request = stand.script(&format!("const fs = require('node:fs'); {script}"));
    let file = stand.dir.path().join("code/tree");
    fs::write(&file, tree()).unwrap();
    let tree = file.to_str().unwrap().to_owned();
    request.tokens = vec![format!("fs:workspace:{}:{}", request.execution_id, if writable { "rw" } else { "ro" })];
    request.program.as_mut().unwrap().workspace = Some(pb::Workspace { tree, writable, collect });
    request
}

fn counts(run: &Run) -> Option<[u32; 3]> {
    run.changes.as_ref().map(|changes| [changes.added, changes.changed, changes.deleted])
}

const EDIT: &str =
    "process.chdir('/workspace'); fs.writeFileSync('a', 'ONE\\n'); fs.writeFileSync('new', ''); fs.rmSync('keep');";

#[tokio::test]
async fn changes_come_with_the_end_of_a_program_that_returned() {
    let Some(stand) = start(POLICY).await else { return };
    for code in [0, 3] {
        let run = stand.run(request(&stand, &format!("{EDIT} process.exit({code})"), true, true)).await;
        assert_eq!((run.ended.reason(), run.ended.exit_code, counts(&run)), (EndReason::Exited, code, Some([1, 1, 1])));
        let expected = [
            b"aria-tr1".to_vec(),
            record(b'f', "a", 4, "ONE\n"),
            record(b'-', "keep", 0, ""),
            record(b'f', "new", 0, ""),
            record(b'e', "", 3, ""),
        ];
        let (name, bytes) = run.files.last().unwrap();
        assert_eq!((name.as_str(), bytes), ("/workspace", &expected.concat()));
        assert_eq!(run.changes.unwrap().size_bytes, bytes.len() as u64);
    }
}

#[tokio::test]
async fn without_collect_they_are_only_counted() {
    let Some(stand) = start(POLICY).await else { return };
    let run = stand.run(request(&stand, EDIT, true, false)).await;
    assert_eq!((counts(&run), run.changes.unwrap().size_bytes, run.files[0].1.len()), (Some([1, 1, 1]), 0, 0));
    let run = stand.run(request(&stand, "", true, true)).await;
    assert_eq!((counts(&run), run.changes.unwrap().size_bytes), (Some([0, 0, 0]), 0));
    let run = stand.run(request(&stand, "fs.readFileSync('/workspace/a')", false, true)).await;
    assert_eq!((run.ended.reason(), counts(&run)), (EndReason::Exited, None));
    // What cannot be counted hides no result.
    let deep = "for (let n = 0, at = '/workspace'; n < 70; n += 1) fs.mkdirSync(at += '/d');";
    let run = stand.run(request(&stand, deep, true, false)).await;
    assert_eq!((run.ended.reason(), counts(&run)), (EndReason::Exited, None));
    let run = stand.run(request(&stand, deep, true, true)).await;
    assert_eq!((run.ended.reason(), counts(&run)), (EndReason::OutputTooLarge, None));
    assert!(run.ended.detail.contains("/workspace/"), "{}", run.ended.detail);
}

#[tokio::test]
async fn a_program_that_was_ended_leaves_nothing() {
    let Some(stand) = start(POLICY).await else { return };
    let mut late = request(&stand, &format!("{EDIT} for (;;);"), true, true);
    late.limits = Some(pb::Limits { wall_ms: 700, ..pb::Limits::default() });
    let run = stand.run(late).await;
    assert_eq!((run.ended.reason(), counts(&run)), (EndReason::Deadline, None));
    let run = stand.run(request(&stand, &format!("{EDIT} process.kill(process.pid, 9)"), true, true)).await;
    assert_eq!((run.ended.reason(), counts(&run)), (EndReason::Signalled, None));
}

#[tokio::test]
async fn it_takes_the_token_of_exactly_this_execution() {
    let Some(stand) = start(POLICY).await else { return };
    let other = "0".repeat(32);
    for token in ["fs:workspace:ID:ro", &format!("fs:workspace:{other}:rw"), "fs:elsewhere:rw", "kv:workspace:rw"] {
        let good = request(&stand, "", true, false);
        let tokens = vec![token.replace("ID", &good.execution_id)];
        let (code, reason, message) = stand.refusal(pb::ExecuteRequest { tokens, ..good }).await;
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "SPEC_INVALID"), "{message}");
    }
}

#[tokio::test]
async fn what_is_no_tree_or_does_not_fit_is_the_callers_mistake() {
    let Some(stand) = start(POLICY).await else { return };
    let with = |path: &str| {
        let mut request = request(&stand, "", true, false);
        request.program.as_mut().unwrap().workspace.as_mut().unwrap().tree = path.to_owned();
        request
    };
    let code = stand.dir.path().join("code");
    fs::write(code.join("noise"), "noise").unwrap();
    std::os::unix::fs::symlink(code.join("tree"), code.join("link")).unwrap();
    nix::unistd::mkfifo(&code.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let at = |name: &str| code.join(name).to_str().unwrap().to_owned();
    let cases = [
        (at("noise"), "WORKSPACE_TREE"),
        (at("link"), "SPEC_INVALID"),
        (at("pipe"), "SPEC_INVALID"),
        (at("none"), "SPEC_INVALID"),
        ("/etc/passwd".to_owned(), "SPEC_INVALID"),
        ("relative".to_owned(), "SPEC_INVALID"),
    ];
    for (path, expected) in cases {
        let (code, reason, message) = stand.refusal(with(&path)).await;
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, expected), "{path}: {message}");
    }
    let mut small = request(&stand, "", true, false);
    small.limits = Some(pb::Limits { disk_bytes: 4096, ..pb::Limits::default() });
    let (code, reason, _) = stand.refusal(small).await;
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "WORKSPACE_FULL"));
    // The engine is as it was.
    assert_eq!(stand.run(request(&stand, "", true, false)).await.ended.reason(), EndReason::Exited);
}
