//! How programs end, and that everything of theirs ends with them.

use std::time::{Duration, Instant};

use crate::needs_cages;
use crate::support::*;
use quilt_sandbox::{CollectError, Exit, OutLimits, Profile};

#[test]
fn exit_codes_come_back_as_they_are() {
    needs_cages!();
    let engine = engine();
    for code in [0, 1, 2, 7, 9, 42, 125, 126, 127, 128, 137, 139, 159, 254, 255] {
        assert_eq!(run_on(&engine, &format!("process.exit({code})"), |_| {}).exit, Exit::Code(code));
    }
}

#[test]
fn fatal_signals_come_back_as_they_are() {
    needs_cages!();
    let engine = engine();
    // SIGSYS is told as what it means; the others by number.
    for number in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 34, 50, 64] {
        let script = format!(
            "import {{ sys }} from './prelude.ts'; sys(13, {number}, new Uint8Array(32), 0, 8); sys(62, process.pid, {number}); await Bun.sleep(5000);"
        );
        let run = run_on(&engine, &script, |_| {});
        assert_eq!(run.exit, Exit::Signal(number), "{run:?}");
    }
    let script = "import { sys } from './prelude.ts'; sys(13, 31, new Uint8Array(32), 0, 8); sys(62, process.pid, 31);";
    assert_eq!(run_on(&engine, script, |_| {}).exit, Exit::Seccomp);
}

#[test]
fn a_crash_leaves_no_core_file() {
    needs_cages!();
    let run = run("import { read } from 'bun:ffi'; read.u8(8 as never, 0);");
    assert!(matches!(run.exit, Exit::Signal(_)), "{run:?}");
}

#[test]
fn a_wrong_architecture_kills() {
    needs_cages!();
    let engine = engine();
    for profile in [Profile::Tool, Profile::ToolNoexec] {
        for script in [include_str!("probes/x32.ts"), include_str!("probes/int80.ts")] {
            let run = run_on(&engine, script, |spec| spec.profile = profile);
            assert_eq!(run.exit, Exit::Seccomp, "{run:?}");
        }
    }
}

#[test]
fn stopping_every_process_does_not_stop_the_kill() {
    needs_cages!();
    let script = r#"
        import { sys } from "./prelude.ts";
        for (const name of ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const) process.on(name, () => {});
        if (!process.argv[2]) {
          for (let n = 0; n < 3; n++) Bun.spawn([process.execPath, import.meta.path, "child"], { stdio: ["ignore", "inherit", "inherit"] });
          await Bun.sleep(500);
          console.log("ready");
          sys(62, -1, 19);
          sys(62, process.pid, 19);
        } else { setInterval(() => {}, 1000); }
    "#;
    let engine = engine();
    let (mut sandbox, io, _app) = started(&engine, script, |_| {});
    std::thread::sleep(Duration::from_millis(200));
    assert!(pids_of(sandbox.id()).len() >= 6);
    let begin = Instant::now();
    sandbox.kill();
    wait_readable(&io.exit, Duration::from_secs(1));
    assert_eq!(sandbox.exit(), Exit::Killed);
    assert!(begin.elapsed() < Duration::from_secs(1));
    let id = sandbox.id().to_owned();
    sandbox.destroy().expect("is destroyed");
    assert_eq!(pids_of(&id), Vec::<u32>::new());
}

#[test]
fn orphans_end_with_the_program_and_do_not_hold_its_result() {
    needs_cages!();
    let script = r#"
        // Without Bun's own variable that ends children with their parent.
        const env = { PATH: "/bin", HOME: "/tmp" };
        const nested = `Bun.spawn(["/bin/bun", "-e", "setInterval(() => {}, 1000)"], { stdio: ["ignore", "inherit", "inherit"] }).unref(); process.exit(0)`;
        for (let n = 0; n < 2; n++) Bun.spawnSync(["/bin/bun", "-e", nested], { env, stdio: ["ignore", "inherit", "inherit"] });
        await Bun.sleep(200);
        console.log(require("node:fs").readdirSync("/proc").filter((name: string) => /^\d+$/.test(name)).length);
    "#;
    let engine = engine();
    let app = App::new(script);
    let (mut sandbox, io) = engine.spawn(app.spec()).expect("starts");
    wait_readable(&io.exit, PATIENCE);
    assert_eq!(sandbox.exit(), Exit::Code(0));
    let begin = Instant::now();
    // The pipe closes only when nobody holds it any more.
    let (stdout, _) = drain(&io, &sandbox);
    assert!(begin.elapsed() < Duration::from_secs(1), "orphans held the output for {:?}", begin.elapsed());
    // The program and two orphans were there.
    assert_eq!(stdout, "3\n");
    let alive = || pids_of(sandbox.id());
    while !alive().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(1), "still there: {:?}", alive());
    }
}

#[test]
fn orphans_that_end_are_reaped_by_the_shim() {
    needs_cages!();
    // Each child leaves a grandchild behind that ends a moment later, as an orphan.
    let script = r#"
        const env = { PATH: "/bin", HOME: "/tmp" };
        const nested = `Bun.spawn(["/bin/bun", "-e", "setTimeout(() => {}, 50)"], { stdio: ["ignore", "ignore", "ignore"] }).unref(); process.exit(7)`;
        let children = 0;
        for (let n = 0; n < 12; n++) if (Bun.spawnSync(["/bin/bun", "-e", nested], { env }).exitCode === 7) children++;
        if (children === 12) console.log("ready");
        setInterval(() => {}, 1000);
    "#;
    let engine = engine();
    let (sandbox, _io, _app) = started(&engine, script, |_| {});
    let shim = shim_pid(sandbox.id());
    let begin = Instant::now();
    while children_of(shim) != [program_pid(sandbox.id())] {
        assert!(begin.elapsed() < Duration::from_secs(5), "unreaped: {:?}", children_of(shim));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn closing_everything_first_changes_nothing() {
    needs_cages!();
    let script = "import { sys } from './prelude.ts'; for (const fd of [0, 1, 2, 3]) sys(3, fd); process.exit(11)";
    assert_eq!(run(script).exit, Exit::Code(11));
}

#[test]
fn a_kill_after_the_end_changes_nothing() {
    needs_cages!();
    let engine = engine();
    let app = App::new("process.exit(3)");
    let (mut sandbox, io) = engine.spawn(app.spec()).expect("starts");
    wait_readable(&io.exit, PATIENCE);
    sandbox.kill();
    sandbox.kill();
    assert_eq!((sandbox.exit(), sandbox.exit()), (Exit::Code(3), Exit::Code(3)));
}

#[test]
fn the_shim_cannot_be_ended_or_stopped_from_inside() {
    needs_cages!();
    let script = r#"
        import { sys } from "./prelude.ts";
        const answers = [9, 19, 11, 15, 31].map((signal) => sys(62, 1, signal));
        await Bun.sleep(100);
        console.log(JSON.stringify(answers));
        process.exit(5);
    "#;
    let run = run(script);
    assert_eq!(run.exit, Exit::Code(5), "{run:?}");
}

#[test]
fn out_comes_back_only_after_the_end_and_only_regular_files() {
    needs_cages!();
    let script = r#"
        import * as fs from "node:fs";
        fs.writeFileSync("/out/b.txt", "two"); fs.writeFileSync("/out/a.txt", "one");
        fs.mkdirSync("/out/dir"); fs.writeFileSync("/out/dir/inner", "x");
        fs.symlinkSync("/etc/passwd", "/out/link"); fs.symlinkSync("../../../../etc/shadow", "/out/up");
        console.log("ready");
        await Bun.sleep(300);
    "#;
    let engine = engine();
    let (mut sandbox, io, _app) = started(&engine, script, |spec| spec.out = true);
    let limits = OutLimits { count_max: 10, bytes_max: 1 << 20 };
    assert!(matches!(sandbox.collect_out(limits), Err(CollectError::Running)));
    wait_readable(&io.exit, PATIENCE);
    let files = sandbox.collect_out(limits).expect("collects");
    let seen: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.size_bytes, text_of(&file.file))).collect();
    assert_eq!(seen, [("a.txt", 3, "one".to_owned()), ("b.txt", 3, "two".to_owned())]);
    assert!(matches!(sandbox.collect_out(OutLimits { count_max: 1, ..limits }), Err(CollectError::TooMany { .. })));
    assert!(matches!(sandbox.collect_out(OutLimits { bytes_max: 5, ..limits }), Err(CollectError::TooLarge { .. })));
    sandbox.destroy().expect("is destroyed");
    // The descriptors outlive the cage.
    assert_eq!(files[0].file.metadata().expect("metadata").len(), 3);
}

#[test]
fn a_cage_without_out_has_none() {
    needs_cages!();
    let script = "import { attempt } from './prelude.ts'; console.log(JSON.stringify(attempt(() => require('fs').writeFileSync('/out/x', 'x'))))";
    let engine = engine();
    let app = App::new(script);
    let (mut sandbox, io) = engine.spawn(app.spec()).expect("starts");
    let (stdout, _) = drain(&io, &sandbox);
    assert!(["\"EROFS\"\n", "\"EACCES\"\n"].contains(&stdout.as_str()), "{stdout}");
    let limits = OutLimits { count_max: 1, bytes_max: 1 };
    assert!(matches!(sandbox.collect_out(limits), Err(CollectError::NoOut { .. })));
}
