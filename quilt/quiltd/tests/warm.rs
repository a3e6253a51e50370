//! Executions that a cage made before them serves.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "in a test they are assertions")]

mod stand;

use std::fs;
use std::time::{Duration, Instant};

use aria_protocol::quilt::v1 as pb;
use pb::{EndReason, SandboxOrigin};
use stand::{Run, Stand, start};

/// Says how long the process lived before it was called.
const TOOL: &str = "export const tool = { name: 't', input: null, output: null,
  run: () => ({ lived: performance.now(), loads: globalThis.loads }) };
  globalThis.loads = (globalThis.loads ?? 0) + 1;";
/// The stand has few uids, and what waits needs its own.
const ROOM: &str = "concurrent_max = 4\nchild_max = 2\n";
/// Long enough for a cage to be made that waits then.
const WAIT: Duration = Duration::from_secs(3);

fn call(stand: &Stand, code_dir: &str, shelf: &str) -> pb::ExecuteRequest {
    let mut request = stand.script("");
    let program = request.program.as_mut().unwrap();
    program.argv = vec!["/bin/bun".into(), "--no-install".into(), "/lib/aria/harness.js".into()];
    program.profile = pb::Profile::ToolNoexec.into();
    program.code_dir = code_dir.into();
    program.guest_door = true;
    program.door_frames = vec![br#"{"invoke":{"module":"/app/main.js","inputJson":"{}"}}"#.to_vec()];
    program.warm = true;
    program.prepare = br#"{"prepare":{}}"#.to_vec();
    if !shelf.is_empty() {
        program.shelf = shelf.into();
        program.prepare_shelf = br#"{"prepare":{"module":"/app/main.js"}}"#.to_vec();
    }
    request
}

fn answer(run: &Run) -> (f64, u64) {
    assert_eq!((run.ended.reason(), run.frames.len()), (EndReason::Exited, 1), "{:?}", run.ended);
    let frame = String::from_utf8(run.frames[0].clone()).unwrap().replace('\\', "");
    let number = |name: &str| {
        let rest = frame.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{frame}")).1;
        let end = rest.find([',', '}']).unwrap();
        rest[..end].parse::<f64>().unwrap()
    };
    (number("lived"), number("loads") as u64)
}

/// Calls until such a cage serves the call.
async fn until(origin: SandboxOrigin, stand: &Stand, code_dir: &str, shelf: &str) {
    let begun = Instant::now();
    loop {
        let run = stand.run(call(stand, code_dir, shelf)).await;
        assert_eq!(answer(&run).1, 1, "a cage serves one call");
        if run.origin == origin {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}, wanted {origin:?}", run.origin);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn tool(stand: &Stand) -> String {
    stand.script(TOOL).program.unwrap().code_dir
}

#[tokio::test]
async fn a_second_call_is_served_by_a_cage_that_waited_and_the_engine_says_so() {
    for (shelf, origin) in [("", SandboxOrigin::Generic), ("orders/count", SandboxOrigin::Shelf)] {
        let Some(stand) = start(ROOM).await else { return };
        let code_dir = tool(&stand);
        assert_eq!(stand.run(call(&stand, &code_dir, shelf)).await.origin, SandboxOrigin::New);
        until(origin, &stand, &code_dir, shelf).await;
        // The program's own clock says the same.
        tokio::time::sleep(WAIT).await;
        let status = stand.status().await;
        assert!(status.waiting >= 1 && status.sandboxes == 0, "{status:?}");
        let run = stand.run(call(&stand, &code_dir, shelf)).await;
        let (lived, _) = answer(&run);
        assert!(run.origin == origin && lived > 500.0, "{:?}, lived {lived} ms", run.origin);
    }
}

#[tokio::test]
async fn a_call_of_another_owner_never_gets_a_cage_that_loaded_code() {
    let Some(stand) = start(&format!("{ROOM}[shelf]\ngeneric = 0")).await else { return };
    let code_dir = tool(&stand);
    until(SandboxOrigin::Shelf, &stand, &code_dir, "k").await;
    tokio::time::sleep(WAIT).await;
    let mut other = call(&stand, &code_dir, "k");
    other.owner = "somebody else".into();
    assert_eq!(stand.run(other).await.origin, SandboxOrigin::New);
}

#[tokio::test]
async fn without_shelves_every_cage_is_new() {
    let Some(stand) = start(&format!("{ROOM}[shelf]\ntotal = 0")).await else { return };
    let code_dir = tool(&stand);
    for _ in 0..3 {
        assert_eq!(stand.run(call(&stand, &code_dir, "k")).await.origin, SandboxOrigin::New);
        tokio::time::sleep(WAIT / 2).await;
    }
}

#[tokio::test]
async fn an_engine_that_is_killed_leaves_nothing_that_waits() {
    let Some(mut stand) = start(ROOM).await else { return };
    let code_dir = tool(&stand);
    until(SandboxOrigin::Shelf, &stand, &code_dir, "k").await;
    tokio::time::sleep(WAIT).await;
    let pid = stand.pid();
    let family = descendants(pid.as_raw());
    assert!(family.len() >= 6, "launchers and waiting cages: {family:?}");
    stand.signal(nix::sys::signal::Signal::SIGKILL);
    stand.exited().await;
    let begun = Instant::now();
    while family.iter().any(|pid| alive(*pid)) {
        assert!(begun.elapsed() < Duration::from_secs(3), "still there: {family:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn descendants(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let children = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<i32> = children
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    children.iter().flat_map(|child| std::iter::once(*child).chain(descendants(*child))).collect()
}
