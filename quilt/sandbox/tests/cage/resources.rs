//! Every resource has an end, and reaching it says which.

use std::time::Duration;

use crate::needs_cages;
use crate::support::*;
use quilt_sandbox::Exit;

const FILL: &str = r#"
    import * as fs from "node:fs";
    let written = 0;
    let code = "";
    const fd = fs.openSync("/tmp/fill", "w");
    const block = Buffer.alloc(65536, 1);
    try { for (;;) written += fs.writeSync(fd, block); } catch (error) { code = (error as { code: string }).code; }
    console.log(JSON.stringify({ written, code }));
"#;

#[test]
fn memory_ends_the_cage_and_says_so() {
    needs_cages!();
    let engine = engine();
    let script = "const keep = []; for (;;) { const part = new Uint8Array(8 << 20); part.fill(1); keep.push(part); }";
    let run = run_on(&engine, script, |spec| spec.limits.memory_bytes = 96 << 20);
    assert_eq!(run.exit, Exit::OomKilled, "{run:?}");
    assert!(run.usage.memory_peak_bytes <= 96 << 20, "{run:?}");
    // The engine and the next cage are well.
    assert_eq!(run_on(&engine, "process.exit(1)", |_| {}).exit, Exit::Code(1));
}

#[test]
fn memory_of_a_child_process_counts_the_same() {
    needs_cages!();
    let script = r#"
        const eat = "const keep = []; for (;;) { const part = new Uint8Array(8 << 20); part.fill(1); keep.push(part); }";
        if (process.argv[2] !== "child") Bun.spawnSync([process.execPath, "-e", eat]);
    "#;
    let run = run_on(&engine(), script, |spec| spec.limits.memory_bytes = 160 << 20);
    assert_eq!(run.exit, Exit::OomKilled, "{run:?}");
}

#[test]
fn a_child_killed_for_memory_takes_the_whole_cage_along() {
    needs_cages!();
    // The program itself is small, does not look at its child, and would live on.
    let script = r#"
        const eat = "const keep = []; for (;;) { const part = new Uint8Array(8 << 20); part.fill(1); keep.push(part); }";
        Bun.spawn([process.execPath, "-e", eat]);
        console.log("ready");
        setInterval(() => {}, 1e6);
    "#;
    let engine = engine();
    for _ in 0..3 {
        let (mut sandbox, io, _app) = started(&engine, script, |spec| spec.limits.memory_bytes = 160 << 20);
        wait_readable(&io.exit, PATIENCE);
        assert_eq!(sandbox.exit(), Exit::OomKilled);
        let id = sandbox.id().to_owned();
        sandbox.destroy().map(|_| ()).expect("is destroyed");
        assert_eq!(pids_of(&id), Vec::<u32>::new());
    }
}

#[test]
fn memory_behind_descriptors_is_charged() {
    needs_cages!();
    let memfds = r#"
        import { sys } from "./prelude.ts";
        const block = new Uint8Array(1 << 20).fill(1);
        for (;;) { const fd = sys(319, "x", 0); if (fd < 0) throw new Error(String(fd)); for (let n = 0; n < 8; n++) sys(1, fd, block, block.length); }
    "#;
    let one_memfd = r#"
        import { sys } from "./prelude.ts";
        const block = new Uint8Array(1 << 20).fill(1);
        const fd = sys(319, "x", 0);
        for (;;) if (sys(1, fd, block, block.length) < 0) throw new Error("refused");
    "#;
    let tmpfs = r#"
        import * as fs from "node:fs";
        const block = Buffer.alloc(1 << 20, 1);
        const fd = fs.openSync("/tmp/fill", "w");
        for (;;) fs.writeSync(fd, block);
    "#;
    let engine = engine();
    for (name, script) in [("memfds", memfds), ("one memfd", one_memfd), ("tmpfs", tmpfs)] {
        let run = run_on(&engine, script, |spec| {
            spec.limits.memory_bytes = 96 << 20;
            spec.limits.disk_bytes = 512 << 20;
        });
        assert_eq!(run.exit, Exit::OomKilled, "{name}: {run:?}");
    }
}

#[test]
fn socket_buffers_end_before_the_host_notices() {
    needs_cages!();
    // As many socket pairs as there are descriptors, each filled to the brim.
    let script = r#"
        import { sys } from "./prelude.ts";
        const block = new Uint8Array(65536).fill(1);
        const pair = new Uint8Array(8);
        let bytes = 0;
        for (;;) {
          if (sys(53, 1, 1 | 0o4000, 0, pair) < 0) break;
          const [fd] = new Int32Array(pair.buffer);
          for (let sent; (sent = sys(44, fd, block, block.length, 0, 0, 0)) > 0; ) bytes += sent;
        }
        console.log(JSON.stringify({ bytes }));
    "#;
    let run = run_on(&engine(), script, |spec| spec.limits.memory_bytes = 64 << 20);
    assert!(run.usage.memory_peak_bytes <= 64 << 20, "{run:?}");
    assert_eq!(run.exit, Exit::OomKilled, "{run:?}");
}

#[test]
fn a_cage_too_small_for_its_program_is_out_of_memory() {
    needs_cages!();
    let run = run_on(&engine(), "console.log(1)", |spec| spec.limits.memory_bytes = 2 << 20);
    assert_eq!(run.exit, Exit::OomKilled, "{run:?}");
}

#[test]
fn processes_end_with_eagain_and_are_noted() {
    needs_cages!();
    // Raw forks: the children of a JavaScript engine crash at once, but count until they are waited for.
    let script = r#"
        import { dlopen, read } from "bun:ffi";
        const { symbols } = dlopen("libc.so.6", { fork: { args: [], returns: "i32" }, __errno_location: { args: [], returns: "ptr" } });
        let made = 0;
        let errno = 0;
        for (; made < 500; made++) {
          const pid = symbols.fork();
          if (pid === 0) for (;;);
          if (pid < 0) { errno = read.i32(symbols.__errno_location()!, 0); break; }
        }
        console.log(JSON.stringify({ made, errno }));
    "#;
    let run = run_on(&engine(), script, |spec| spec.limits.pids = 40);
    let seen = run.json();
    assert_eq!(seen["errno"], 11, "{run:?}");
    assert!(seen["made"].as_u64().is_some_and(|made| (10..40).contains(&made)), "{run:?}");
    assert!(run.usage.pids_limit_hit);
    assert!(run.took < Duration::from_secs(10));
}

#[test]
fn a_quiet_program_hits_no_limit() {
    needs_cages!();
    let run = run("console.log('1')");
    assert_eq!(run.exit, Exit::Code(0), "{run:?}");
    assert!(!run.usage.pids_limit_hit && !run.usage.disk_full, "{run:?}");
    assert!(run.usage.cpu > Duration::from_millis(1) && run.usage.cpu < Duration::from_secs(5), "{run:?}");
    assert!(run.usage.memory_peak_bytes > 1 << 20, "{run:?}");
}

#[test]
fn the_disk_ends_at_its_size() {
    needs_cages!();
    let engine = engine();
    for place in ["/tmp", "/out"] {
        let run = run_on(&engine, &FILL.replace("/tmp", place), |spec| spec.out = true);
        let seen = run.json();
        assert_eq!(seen["code"], "ENOSPC", "{run:?}");
        let written = seen["written"].as_u64().expect("a number");
        assert!(written.abs_diff(LIMITS.disk_bytes) * 100 <= LIMITS.disk_bytes, "{written}");
        assert!(run.usage.disk_full, "{run:?}");
    }
}

#[test]
fn inodes_end_too() {
    needs_cages!();
    let script = r#"
        import { closeSync, openSync } from "node:fs";
        let made = 0;
        let code = "";
        try { for (; made < 40000; made++) closeSync(openSync("/tmp/" + made, "w")); } catch (error) { code = (error as { code: string }).code; }
        console.log(JSON.stringify({ made, code }));
    "#;
    let run = run(script);
    let seen = run.json();
    assert_eq!(seen["code"], "ENOSPC", "{run:?}");
    assert!(seen["made"].as_u64().is_some_and(|made| (16_000..=16_384).contains(&made)), "{run:?}");
    assert!(run.usage.disk_full);
}

#[test]
fn descriptors_end_at_1024() {
    needs_cages!();
    let script = r#"
        import { openSync } from "node:fs";
        let last = 0;
        let code = "";
        try { for (let n = 0; n < 5000; n++) last = openSync("/dev/null", "r"); } catch (error) { code = (error as { code: string }).code; }
        console.log(JSON.stringify({ last, code }));
    "#;
    let run = run(script);
    assert_eq!(run.json(), serde_json::json!({"last": 1023, "code": "EMFILE"}), "{run:?}");
}

#[test]
fn cpu_time_is_shared_out() {
    needs_cages!();
    let script = r#"
        const begin = Date.now();
        for (let n = 0; n < 4; n++) new Worker("data:text/javascript,for(;;){}");
        await Bun.sleep(2000);
        console.log(JSON.stringify({ wall: Date.now() - begin }));
        process.exit(0);
    "#;
    let run = run_on(&engine(), script, |spec| spec.limits.cpu_millis = 500);
    assert_eq!(run.exit, Exit::Code(0), "{run:?}");
    let share = run.usage.cpu.as_secs_f64() / run.took.as_secs_f64();
    // A busy machine gives less than the share, none gives more.
    assert!((0.01..0.6).contains(&share), "{share} of a core: {run:?}");
}

#[test]
fn a_larger_file_than_could_ever_be_is_refused() {
    needs_cages!();
    // Bun ignores SIGXFSZ, so the call answers EFBIG; a program that does not is ended by the signal.
    let script = r#"
        import { sys } from "./prelude.ts";
        const fd = sys(319, "x", 0);
        console.log(sys(77, fd, 1n << 40n));
        sys(13, 25, new Uint8Array(32), 0, 8);
        sys(77, fd, 1n << 40n);
        await Bun.sleep(1000);
    "#;
    let run = run(script);
    assert_eq!((run.exit, run.stdout.as_str()), (Exit::Signal(25), "-27\n"), "{run:?}");
}
