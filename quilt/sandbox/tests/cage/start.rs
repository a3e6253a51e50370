//! Requests that cannot work, and what a failed start leaves.

use std::fs::{self, File};
use std::io::Write;

use crate::needs_cages;
use crate::support::*;
use quilt_sandbox::{Config, Engine, Exit, OpenError, SpawnError, Spec};

fn leaves(name: &str) -> Vec<String> {
    ["memory", "pids", "cpu", "unified", "."]
        .iter()
        .flat_map(|tree| fs::read_dir(format!("/sys/fs/cgroup/{tree}/{name}")).into_iter().flatten().flatten())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|entry| entry.starts_with("cage-"))
        .collect()
}

#[track_caller]
fn fails_at(expected: &str, change: impl FnOnce(&mut Spec)) {
    let config = Config { pool: 0, ..config() };
    let name = config.cgroup_name.clone();
    let engine = Engine::open(config).expect("opens");
    let app = App::new("console.log('never')");
    let mut spec = app.spec();
    change(&mut spec);
    match engine.spawn(spec) {
        Err(SpawnError::Step { step, .. }) => assert_eq!(step, expected),
        other => panic!("{other:?}"),
    }
    assert_eq!(leaves(&name), Vec::<String>::new(), "everything is undone");
    // The engine works on.
    assert_eq!(run_on(&engine, "process.exit(7)", |_| {}).exit, Exit::Code(7));
}

#[test]
fn a_program_that_is_not_there_is_a_failed_execve() {
    needs_cages!();
    fails_at("execve", |spec| spec.argv[0] = "/bin/absent".into());
}

#[test]
fn a_program_that_may_not_be_run_is_a_failed_execve() {
    needs_cages!();
    fails_at("execve", |spec| spec.argv[0] = "/app/main.ts".into());
}

#[test]
fn a_file_that_is_no_directory_cannot_be_app() {
    needs_cages!();
    fails_at("app", |spec| spec.app = Some(File::open("/etc/hostname").expect("opens").into()));
}

#[test]
fn a_directory_cannot_be_an_input_file() {
    needs_cages!();
    fails_at("in", |spec| spec.files = vec![("x".into(), File::open("/etc").expect("opens").into())]);
}

#[test]
fn a_descriptor_of_nothing_mountable_is_named() {
    needs_cages!();
    let (read, _write) = nix::unistd::pipe().expect("a pipe");
    fails_at("app-mount", |spec| spec.app = Some(read));
}

#[test]
fn limits_the_kernel_refuses_are_named() {
    needs_cages!();
    fails_at("cgroup-limits", |spec| spec.limits.pids = 1 << 30);
}

#[test]
fn requests_that_make_no_sense_never_reach_a_launcher() {
    needs_cages!();
    let engine = engine();
    let app = App::new("");
    let long = "x".repeat(200 << 10);
    let changes: [&dyn Fn(&mut Spec); 4] = [
        &|spec| spec.argv[0] = "bun".into(),
        &|spec| spec.files = vec![("../x".into(), File::open("/dev/null").expect("opens").into())],
        &|spec| spec.limits.memory_bytes = 0,
        &|spec| spec.argv.push(long.clone()),
    ];
    for change in changes {
        let mut spec = app.spec();
        change(&mut spec);
        assert!(matches!(engine.spawn(spec), Err(SpawnError::Spec { .. })));
    }
}

#[test]
fn uids_that_run_out_are_said_and_come_back() {
    needs_cages!();
    let engine = Engine::open(Config { uid_count: 1, ..config() }).expect("opens");
    let wait = "console.log('ready'); await Bun.sleep(60000)";
    let (first, _io, _app) = started(&engine, wait, |_| {});
    assert!(matches!(engine.spawn(App::new("").spec()), Err(SpawnError::NoUid { uid_count: 1 })));
    first.destroy().expect("is destroyed");
    assert_eq!(run_on(&engine, "", |_| {}).exit, Exit::Code(0));
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    needs_cages!();
    let good = config();
    let bad = [
        Config { rootfs: "/proc".into(), ..good.clone() },
        Config { rootfs: "relative".into(), ..good.clone() },
        Config { init: "/absent".into(), ..good.clone() },
        Config { uid_base: 0, ..good.clone() },
        Config { uid_base: 1000, ..good.clone() },
        Config { uid_count: 0, ..good.clone() },
        Config { uid_base: u32::MAX - 3, ..good.clone() },
        Config { cgroup_name: "../other".into(), ..good.clone() },
        Config { cgroup_name: "/absolute".into(), ..good.clone() },
        Config { cgroup_name: String::new(), ..good },
    ];
    for config in bad {
        let shown = format!("{config:?}");
        assert!(matches!(Engine::open(config), Err(OpenError::Config { .. })), "{shown}");
    }
}

#[test]
fn a_program_that_is_no_launcher_is_a_typed_failure() {
    needs_cages!();
    let script = tempfile::NamedTempFile::new().expect("a file");
    script.as_file().write_all(b"not a program").expect("written");
    let opened = Engine::open(Config { init: script.path().into(), ..config() });
    assert!(matches!(opened, Err(OpenError::Launcher(SpawnError::Step { step: "quilt-init", .. }))), "{opened:?}");
    let quiet = ["/bin/true", "/usr/bin/true"].into_iter().find(|path| std::path::Path::new(path).exists());
    let Some(quiet) = quiet else { return println!("skipped: no `true` on this machine") };
    let opened = Engine::open(Config { init: quiet.into(), ..config() });
    assert!(matches!(opened, Err(OpenError::Launcher(_))), "{opened:?}");
}

#[test]
fn two_engines_cannot_share_a_name() {
    needs_cages!();
    let config = config();
    let _first = Engine::open(config.clone()).expect("opens");
    assert!(matches!(Engine::open(config), Err(OpenError::InUse { .. })));
}

#[test]
fn input_files_are_readable_and_nothing_more() {
    needs_cages!();
    let given = tempfile::NamedTempFile::new().expect("a file");
    given.as_file().write_all(b"1,2,3").expect("written");
    fs::set_permissions(given.path(), std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("permissions");
    let script = r#"
        import { attempt } from "./prelude.ts";
        import * as fs from "node:fs";
        console.log(JSON.stringify({
          text: fs.readFileSync("/in/a b.csv", "utf8"), list: fs.readdirSync("/in"),
          write: attempt(() => fs.writeFileSync("/in/a b.csv", "x")), make: attempt(() => fs.writeFileSync("/in/new", "x")),
          remove: attempt(() => fs.unlinkSync("/in/a b.csv")), chmod: attempt(() => fs.chmodSync("/in/a b.csv", 0o777)),
        }));
    "#;
    let run = run_on(&engine(), script, |spec| {
        spec.files = vec![("a b.csv".into(), File::open(given.path()).expect("opens").into())];
    });
    let seen = run.json();
    assert_eq!(seen["text"], "1,2,3");
    assert_eq!(seen["list"], serde_json::json!(["a b.csv"]));
    for refused in ["write", "make", "remove", "chmod"] {
        assert!(
            ["EROFS", "EACCES", "EBUSY", "EPERM"].contains(&seen[refused].as_str().expect("text")),
            "{refused}: {seen}"
        );
    }
    assert_eq!(text_of(&File::open(given.path()).expect("opens")), "1,2,3");
}

#[test]
fn stdin_is_a_pipe_or_nothing() {
    needs_cages!();
    let script = "console.log(JSON.stringify(await Bun.stdin.text()))";
    let engine = engine();
    assert_eq!(run_on(&engine, script, |_| {}).json(), "");
    let app = App::new(script);
    let mut spec = app.spec();
    spec.stdin = true;
    let (mut sandbox, mut io) = engine.spawn(spec).expect("starts");
    nix::unistd::write(io.stdin.as_ref().expect("stdin"), b"given").expect("writes");
    drop(io.stdin.take());
    let (stdout, stderr) = drain(&io, &sandbox);
    assert_eq!((sandbox.exit(), stdout.as_str()), (Exit::Code(0), "\"given\"\n"), "{stderr}");
}
