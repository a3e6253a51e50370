//! What is left on the host: nothing.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::needs_cages;
use crate::support::*;
use quilt_sandbox::{Config, Engine, Exit};

/// Host counters a cage could leave something in.
#[derive(Debug, Eq, PartialEq)]
struct Host {
    descriptors: usize,
    mounts: usize,
    children: usize,
    cgroups: usize,
}

fn host(name: &str) -> Host {
    let count = |path: String| fs::read_dir(path).map(Iterator::count).unwrap_or(0);
    let trees = ["memory", "pids", "cpu", "unified", "."];
    let own = std::process::id();
    Host {
        descriptors: count("/proc/self/fd".into()),
        mounts: fs::read_to_string("/proc/self/mountinfo").expect("mountinfo").lines().count(),
        children: fs::read_to_string(format!("/proc/{own}/task/{own}/children"))
            .unwrap_or_default()
            .split_whitespace()
            .count(),
        cgroups: trees.iter().map(|tree| count(format!("/sys/fs/cgroup/{tree}/{name}"))).sum(),
    }
}

/// Our launchers that are still there.
fn quilt_inits(parent: u32) -> usize {
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| {
            stat.contains("(quilt-init)")
                && stat.split(") ").nth(1).is_some_and(|rest| rest.split(' ').nth(1) == Some(&parent.to_string()))
        })
        .count()
}

/// Runs alone in its process: descriptors and children of other tests would be counted too.
#[test]
fn two_hundred_cages_leave_nothing() {
    needs_cages!();
    alone("leaks::cycles_in_a_process_of_their_own", "QUILT_CYCLES", "200");
}

#[test]
fn cycles_in_a_process_of_their_own() {
    let Ok(count) = std::env::var("QUILT_CYCLES") else { return };
    let count: usize = count.parse().expect("a number");
    let config = Config { pool: 2, ..config() };
    let name = config.cgroup_name.clone();
    let before = host(&name);
    let engine = Engine::open(config).expect("opens");
    let settle = || {
        let begin = Instant::now();
        while engine.ready() < 2 && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    // `true` of this root: the program that is quickest to start.
    let cycle = |n: usize| {
        let app = App::new("");
        let mut spec = app.spec();
        spec.argv = vec!["/bin/bun".into(), "--version".into()];
        spec.out = n.is_multiple_of(2);
        let (mut sandbox, io) = engine.spawn(spec).expect("starts");
        match n % 4 {
            0 => assert_eq!(sandbox.exit(), Exit::Code(0)),
            1 => sandbox.kill(),
            2 => drop(io),
            _ => {}
        }
        if n.is_multiple_of(3) { drop(sandbox) } else { sandbox.destroy().map(|_| ()).expect("is destroyed") }
    };
    (0..8).for_each(cycle);
    settle();
    let warm = host(&name);
    (0..count).for_each(cycle);
    settle();
    assert_eq!(host(&name), warm, "after {count} cages");
    drop(engine);
    assert_eq!(quilt_inits(std::process::id()), 0);
    assert_eq!(host(&name), before, "after the engine");
}

#[test]
fn cages_side_by_side_do_not_mix() {
    needs_cages!();
    let engine = Engine::open(Config { pool: 3, ..config() }).expect("opens");
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let engine = &engine;
            scope.spawn(move || {
                for n in 0..5 {
                    let code = thread * 10 + n;
                    let script = format!("console.log('{code}'); process.exit({code})");
                    let run = run_on(engine, &script, |_| {});
                    assert_eq!((run.exit, run.stdout), (Exit::Code(code), format!("{code}\n")));
                }
            });
        }
    });
}

#[test]
fn a_cage_killed_at_any_moment_is_gone() {
    needs_cages!();
    let engine = engine();
    for wait_us in [0, 100, 500, 1_000, 3_000, 5_000, 8_000, 12_000, 20_000, 40_000] {
        let app = App::new("await Bun.sleep(60000)");
        let (mut sandbox, io) = engine.spawn(app.spec()).expect("starts");
        std::thread::sleep(Duration::from_micros(wait_us));
        sandbox.kill();
        wait_readable(&io.exit, Duration::from_secs(2));
        assert_eq!(sandbox.exit(), Exit::Killed);
        let id = sandbox.id().to_owned();
        sandbox.destroy().expect("is destroyed");
        assert_eq!(pids_of(&id), Vec::<u32>::new());
    }
}

#[test]
fn a_killed_engine_leaves_no_process_and_the_next_one_no_cgroup() {
    needs_cages!();
    let name = format!("quilt-test-crash-{}", std::process::id());
    let mut child = itself("leaks::an_engine_that_waits_to_be_killed")
        .env("QUILT_CRASH", &name)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("stdout")));
    let id = loop {
        let line = lines.next().expect("a line").expect("text");
        if let Some((_, id)) = line.split_once("cage is ") {
            break id.to_owned();
        }
    };
    assert!(pids_of(&id).len() >= 3);
    child.kill().expect("kills");
    child.wait().expect("waits");
    let begin = Instant::now();
    while !pids_of(&id).is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(2), "still there: {:?}", pids_of(&id));
        std::thread::sleep(Duration::from_millis(5));
    }
    let engine = Engine::open(Config { cgroup_name: name.clone(), ..config() }).expect("opens");
    for tree in ["memory", "pids", "cpu", "unified"] {
        assert!(!std::path::Path::new(&format!("/sys/fs/cgroup/{tree}/{name}/{id}")).exists(), "{tree}");
    }
    assert_eq!(run_on(&engine, "process.exit(4)", |_| {}).exit, Exit::Code(4));
}

#[test]
fn an_engine_that_waits_to_be_killed() {
    let Ok(cgroup_name) = std::env::var("QUILT_CRASH") else { return };
    let engine = Engine::open(Config { cgroup_name, ..config() }).expect("opens");
    let (sandbox, _io, _app) = started(&engine, "console.log('ready'); setInterval(() => {}, 1000)", |_| {});
    println!("cage is {}", sandbox.id());
    std::thread::sleep(PATIENCE);
}

fn itself(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).process_group(0);
    command
}

#[track_caller]
fn alone(test: &str, variable: &str, value: &str) {
    let status = itself(test).env(variable, value).status().expect("runs");
    assert!(status.success(), "{test}: {status}");
}
