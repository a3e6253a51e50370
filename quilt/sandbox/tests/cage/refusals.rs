//! What a hostile program tries, and the answer it gets.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use serde_json::{Value, json};

use crate::needs_cages;
use crate::support::*;
use quilt_sandbox::{Exit, Profile};

/// Every entry of an object is one of `allowed`.
#[track_caller]
fn all_in(seen: &Value, allowed: &[&str]) {
    let seen = seen.as_object().expect("an object");
    assert!(!seen.is_empty());
    for (what, answer) in seen {
        let answer = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
        assert!(allowed.contains(&answer.as_str()), "{what}: {answer}");
    }
}

const REFUSED: [&str; 2] = ["-1", "-38"];

#[test]
fn dangerous_calls_are_refused_in_both_profiles() {
    needs_cages!();
    let engine = engine();
    for profile in [Profile::Tool, Profile::ToolNoexec] {
        let run = run_on(&engine, include_str!("probes/kernel.ts"), |spec| spec.profile = profile);
        all_in(&run.json(), &REFUSED);
    }
}

#[test]
fn only_unix_sockets_open_whatever_the_upper_bits() {
    needs_cages!();
    let run = run(include_str!("probes/sockets.ts"));
    let seen = run.json();
    assert!(seen["control"].as_i64().is_some_and(|fd| fd > 2), "{seen}");
    all_in(&seen["refused"], &["-1", "-97"]);
    all_in(&seen["connect"], &["refused"]);
    assert!(seen["connect_ms_max"].as_f64().is_some_and(|ms| ms < 50.0), "{seen}");
}

#[test]
fn nothing_of_the_image_can_be_changed() {
    needs_cages!();
    let run = run(include_str!("probes/image.ts"));
    let seen = run.json();
    assert_eq!(seen["control"], "ok");
    all_in(&seen["refused"], &["EROFS", "EACCES", "EPERM", "ETXTBSY", "ENOENT", "EBUSY", "ENOSYS", "EXDEV"]);
}

#[test]
fn nothing_of_the_host_can_be_seen() {
    needs_cages!();
    let host = std::env::temp_dir().join(format!("quilt-host-{}", std::process::id()));
    std::fs::write(&host, "canary").expect("written");
    let script = include_str!("probes/host.ts").replace("HOST_FILE", host.to_str().expect("text"));
    let run = run(&script);
    std::fs::remove_file(&host).expect("removed");
    let seen = run.json();
    all_in(&seen["absent"], &["ENOENT", "EACCES", "ENOTDIR"]);
    assert_eq!(
        seen["root"],
        json!(["app", "bin", "dev", "etc", "in", "lib", "lib64", "out", "proc", "tmp", "workspace"])
    );
    assert_eq!(seen["dev"], json!(["full", "null", "random", "urandom", "zero"]));
    assert!(!run.stdout.contains("canary"));
}

#[test]
fn proc_shows_only_oneself_and_no_settings() {
    needs_cages!();
    let run = run(include_str!("probes/proc.ts"));
    let seen = run.json();
    assert_eq!(seen["pids"], json!([seen["self"].clone()]));
    all_in(&seen["shim"], &["ENOENT", "EACCES"]);
    all_in(&seen["settings"], &["ENOENT", "EACCES", "ENOTDIR"]);
    assert_eq!(seen["cgroup_is_root"], true);
}

#[test]
fn own_programs_do_not_run() {
    needs_cages!();
    let run = run_on(&engine(), include_str!("probes/exec.ts"), |spec| spec.out = true);
    let seen = run.json();
    assert_eq!(seen["control"], "0");
    all_in(&seen["refused"], &["EACCES", "EPERM", "-1", "-13", "127", "126"]);
    all_in(&seen["memory"], &["-1", "-13"]);
}

#[test]
fn noexec_programs_start_nothing() {
    needs_cages!();
    let script = r#"
        import { attempt, sys } from "./prelude.ts";
        const path = new TextEncoder().encode("/bin/bun\0");
        console.log(JSON.stringify({
          spawn: attempt(() => { if (Bun.spawnSync(["/bin/bun", "--version"]).success) throw new Error("ran"); return 0; }),
          execve: String(sys(59, path, 0, 0)), execveat: String(sys(322, -100, path, 0, 0, 0)),
          fork: String(sys(57)), vfork: String(sys(58)), clone: String(sys(56, 17, 0, 0, 0, 0)), clone3: String(sys(435, 0, 0)),
          worker: await new Promise((done) => { const w = new Worker("data:text/javascript,postMessage('works')"); w.onmessage = (e) => { w.terminate(); done(e.data); }; }),
        }));
        process.exit(0);
    "#;
    let run = run_on(&engine(), script, |spec| spec.profile = Profile::ToolNoexec);
    let seen = run.json();
    assert_eq!(seen["worker"], "works", "threads are allowed");
    for call in ["execve", "execveat", "fork", "vfork", "clone", "clone3"] {
        assert!(REFUSED.contains(&seen[call].as_str().expect("text")), "{call}: {seen}");
    }
    assert_ne!(seen["spawn"], "Error: ran", "{seen}");
}

#[test]
fn signals_reach_only_own_processes() {
    needs_cages!();
    let script = r#"
        import { sys } from "./prelude.ts";
        import { readFileSync } from "node:fs";
        // Threads answer for their process; /proc shows them, and shows nobody else's.
        const own = (pid: number) => { try { return readFileSync(`/proc/${pid}/status`, "utf8").includes(`Tgid:\t${process.pid}\n`); } catch { return false; } };
        const reached: number[] = [];
        for (let pid = 1; pid <= 70000; pid++) if (sys(62, pid, 0) === 0 && !own(pid) && sys(62, pid, 0) === 0) reached.push(pid);
        console.log(JSON.stringify({ all: sys(62, -1, 9), reached, group: sys(62, -2, 0) }));
    "#;
    let run = run(script);
    let seen = run.json();
    // Landlock keeps even the shim out of reach; without it pid 1 answers a probe, and takes no signal.
    assert!(seen["reached"] == json!([]) || seen["reached"] == json!([1]), "{seen}");
    assert!(seen["all"] == json!(-3) || seen["all"] == json!(-1), "{seen}");
}

#[test]
fn sockets_of_the_host_cannot_be_reached() {
    needs_cages!();
    let name = format!("quilt-test-abstract-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("binds");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("host.sock");
    let _by_path = UnixListener::bind(&path).expect("binds");
    let script =
        include_str!("probes/unix.ts").replace("ABSTRACT", &name).replace("PATH", path.to_str().expect("text"));
    let run = run(&script);
    let seen = run.json();
    assert_eq!(seen["control"], 0, "{seen}");
    all_in(&seen["refused"], &["-1", "-2", "-111", "-13"]);
}

#[test]
fn nothing_of_an_earlier_cage_is_found() {
    needs_cages!();
    let engine = engine();
    let mark = r#"
        import * as fs from "node:fs";
        for (const place of ["/tmp", "/out"]) { fs.writeFileSync(place + "/marker", "x"); fs.mkdirSync(place + "/directory"); }
    "#;
    let look = r#"
        import * as fs from "node:fs";
        console.log(JSON.stringify(["/tmp", "/out", "/in"].map((place) => fs.readdirSync(place).length)));
    "#;
    for _ in 0..3 {
        assert_eq!(run_on(&engine, mark, |spec| spec.out = true).exit, Exit::Code(0));
        assert_eq!(run_on(&engine, look, |spec| spec.out = true).json(), json!([0, 0, 0]));
    }
}

#[test]
fn the_terminal_tricks_fail() {
    needs_cages!();
    let script = r#"
        import { attempt, sys } from "./prelude.ts";
        import { openSync } from "node:fs";
        const requests: Record<string, number | bigint> = { TIOCSTI: 0x5412, TIOCLINUX: 0x541c, TIOCSCTTY: 0x540e, TIOCSETD: 0x5423, high: 0x100005412n };
        const refused: Record<string, string> = {};
        for (const fd of [0, 1, 2]) for (const [name, request] of Object.entries(requests)) refused[name + fd] = String(sys(16, fd, request, new Uint8Array(8)));
        for (const path of ["/dev/tty", "/dev/console", "/dev/ptmx", "/dev/pts/0", "/dev/tty1"]) refused[path] = attempt(() => openSync(path, "r+"));
        console.log(JSON.stringify(refused));
    "#;
    all_in(&run(script).json(), &["-1", "-25", "ENOENT", "EACCES"]);
}

#[test]
fn ids_cannot_change_and_devices_cannot_be_made() {
    needs_cages!();
    let script = r#"
        import { attempt, sys } from "./prelude.ts";
        import * as fs from "node:fs";
        const answers: Record<string, string> = {};
        for (const [name, mode, device] of [["char", 0o20666, 0x103], ["block", 0o60666, 0x800], ["fifo", 0o10666, 0], ["socket", 0o140666, 0]] as const) {
          answers["mknod " + name] = String(sys(133, "/tmp/" + name, mode, device));
          answers["mknodat " + name] = String(sys(259, -100, "/tmp/" + name, mode, device));
        }
        for (const [name, number] of [["setuid", 105], ["setgid", 106], ["setreuid", 113], ["setresuid", 117], ["setgroups", 116], ["capset", 126], ["chown", 92], ["fchownat", 260]] as const) answers[name] = String(sys(number, 0, 0, 0));
        fs.copyFileSync("/bin/bun", "/dev/null");
        fs.writeFileSync("/tmp/suid", "x");
        fs.chmodSync("/tmp/suid", 0o6777);
        answers.suid = attempt(() => { const r = Bun.spawnSync(["/tmp/suid"]); if (r.exitCode === 0) throw new Error("ran"); throw Object.assign(new Error(), { code: "EACCES" }); });
        console.log(JSON.stringify(answers));
    "#;
    all_in(&run(script).json(), &["-1", "-38", "EACCES", "EPERM"]);
}
