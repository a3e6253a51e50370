//! Every layer left out lets its attack through, and the same attack fails with the layer there.
//!
//! Needs root, cgroups and the tool root; says so and passes where one is missing.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, one that is skipped says so, and the launcher is a program"
)]

use std::path::PathBuf;
use std::process::{Command, Output};

const PRELUDE: &str = include_str!("../../../quilt/sandbox/tests/cage/probes/prelude.ts");

fn root() -> Option<PathBuf> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../out/tool-root"));
    let usable = nix::unistd::geteuid().is_root() && root.join("bin/bun").exists();
    if !usable {
        println!("skipped: needs root and out/tool-root");
    }
    usable.then_some(root)
}

fn weak(without: &str, script: &str) -> Option<Output> {
    let root = root()?;
    let app = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(app.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions");
    std::fs::write(app.path().join("prelude.ts"), PRELUDE).expect("written");
    std::fs::write(app.path().join("main.ts"), script).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_weak-launcher"));
    command.arg("--root").arg(root).arg("--app").arg(app.path()).args(["--without", without]);
    command.args(["--memory", "134217728", "--pids", "40", "--disk", "4194304", "--", "/bin/bun", "/app/main.ts"]);
    Some(command.output().expect("runs"))
}

/// The script prints `fired` when its attack worked and `held` when it was refused.
#[track_caller]
fn check(without: &str, script: &str, expected: &str) {
    let Some(output) = weak(without, script) else { return };
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stdout.trim(), expected, "without {without:?}: {output:?}");
}

#[track_caller]
fn fires_only_without(layers: &str, script: &str) {
    check("", script, "held");
    check(layers, script, "fired");
}

#[test]
fn seccomp() {
    let script = "import { sys } from './prelude.ts'; console.log(sys(41, 16, 3, 0) >= 0 ? 'fired' : 'held')";
    fires_only_without("seccomp", script);
}

#[test]
fn seccomp_against_new_namespaces() {
    let script = "import { sys } from './prelude.ts'; console.log(sys(272, 0x10000000) === 0 || sys(272, 0x4000000) === 0 || sys(56, 0x10000011, 0, 0, 0, 0) >= 0 ? 'fired' : 'held'); process.exit(0)";
    check("", script, "held");
    let Some(output) = weak("seccomp", script) else { return };
    assert!(String::from_utf8_lossy(&output.stdout).contains("fired"), "{output:?}");
}

const WRITE_IMAGE: &str = "import { attempt } from './prelude.ts'; import * as fs from 'node:fs'; console.log(attempt(() => fs.writeFileSync('/bin/new', 'x')) === 'ok' ? 'fired' : 'held')";

#[test]
fn the_read_only_root_and_landlock_each_hold_the_image() {
    check("ro-root", WRITE_IMAGE, "held");
    check("landlock", WRITE_IMAGE, "held");
    fires_only_without("ro-root,landlock", WRITE_IMAGE);
}

#[test]
fn landlock_holds_what_the_mounts_let_through() {
    let script = "import { attempt } from './prelude.ts'; import * as fs from 'node:fs'; console.log(attempt(() => fs.readFileSync('/forbidden')) === 'ok' ? 'fired' : 'held')";
    check("ro-root", script, "held");
    check("ro-root,landlock", script, "fired");
}

const RUN_OWN: &str = r#"
    import * as fs from "node:fs";
    fs.copyFileSync("/bin/bun", "/tmp/own");
    fs.chmodSync("/tmp/own", 0o755);
    let code: number | null = -1;
    try { code = Bun.spawnSync(["/tmp/own", "--version"]).exitCode; } catch {}
    console.log(code === 0 ? "fired" : "held");
"#;

#[test]
fn noexec_and_landlock_each_stop_own_programs() {
    // A copy of Bun needs room, so the size goes in every row.
    check("disk", RUN_OWN, "held");
    check("disk,memory,noexec", RUN_OWN, "held");
    check("disk,memory,landlock", RUN_OWN, "held");
    check("disk,memory,noexec,landlock", RUN_OWN, "fired");
}

const OPEN_CORE_PATTERN: &str = "import { attempt } from './prelude.ts'; import * as fs from 'node:fs'; console.log(attempt(() => fs.closeSync(fs.openSync('/proc/sys/kernel/core_pattern', 'r+'))) === 'ok' ? 'fired' : 'held')";

#[test]
fn the_uid_the_options_of_proc_and_landlock_each_hold_the_kernel_settings() {
    for without in ["uid", "proc-options", "landlock", "uid,proc-options", "proc-options,landlock", "uid,landlock"] {
        check(without, OPEN_CORE_PATTERN, "held");
    }
    fires_only_without("uid,proc-options,landlock", OPEN_CORE_PATTERN);
}

#[test]
fn the_options_of_proc() {
    let script = "import * as fs from 'node:fs'; console.log(fs.existsSync('/proc/1') ? 'fired' : 'held')";
    fires_only_without("proc-options", script);
}

#[test]
fn capabilities() {
    let script = "import * as fs from 'node:fs'; console.log(/CapBnd:\\t0+$/m.test(fs.readFileSync('/proc/self/status', 'utf8')) ? 'held' : 'fired')";
    fires_only_without("capabilities", script);
}

#[test]
fn the_size_of_the_disk() {
    let script = "import { attempt } from './prelude.ts'; import * as fs from 'node:fs'; console.log(attempt(() => fs.writeFileSync('/tmp/x', new Uint8Array(8 << 20))) === 'ok' ? 'fired' : 'held')";
    fires_only_without("disk", script);
}

#[test]
fn the_process_limit() {
    let script = r#"
        import { dlopen } from "bun:ffi";
        const { symbols } = dlopen("libc.so.6", { fork: { args: [], returns: "i32" }, pause: { args: [], returns: "i32" } });
        let made = 0;
        for (; made < 80; made++) { const pid = symbols.fork(); if (pid === 0) for (;;) symbols.pause(); if (pid < 0) break; }
        console.log(made === 80 ? "fired" : "held");
        process.exit(0);
    "#;
    fires_only_without("pids", script);
}

#[test]
fn the_memory_limit() {
    let script = "const keep = []; for (let n = 0; n < 20; n++) keep.push(new Uint8Array(16 << 20).fill(1)); console.log('fired')";
    let Some(output) = weak("", script) else { return };
    assert_eq!(output.status.code(), Some(137), "{output:?}");
    check("memory", script, "fired");
}

#[test]
fn the_number_of_descriptors() {
    let script = "import { attempt } from './prelude.ts'; import * as fs from 'node:fs'; console.log(attempt(() => { for (let n = 0; n < 1100; n++) fs.openSync('/dev/null', 'r'); }) === 'ok' ? 'fired' : 'held')";
    fires_only_without("limits", script);
}

#[test]
fn exit_codes_and_signals_pass_through() {
    for (script, expected) in
        [("process.exit(9)", 9), ("process.kill(process.pid, 'SIGKILL'); await Bun.sleep(1000)", 137)]
    {
        let Some(output) = weak("", script) else { return };
        assert_eq!(output.status.code(), Some(expected), "{output:?}");
    }
}
