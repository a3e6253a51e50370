//! A program that takes too much, of whatever, ends for the right reason and leaves nothing.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "in a test they are assertions")]

mod stand;

use std::time::{Duration, Instant};

use aria_protocol::quilt::v1 as pb;
use pb::EndReason;
use pb::execute_response::Event;
use stand::{Run, Stand, collect, start};

async fn run_with(stand: &Stand, source: &str, limits: pb::Limits) -> (Run, Duration) {
    let mut request = stand.script(source);
    request.limits = Some(limits);
    let begun = Instant::now();
    let run = stand.run(request).await;
    (run, begun.elapsed())
}

#[tokio::test]
async fn the_deadline_ends_loops_sleeps_and_stopped_trees() {
    let Some(stand) = start("").await else { return };
    for source in [
        "for (;;) {}",
        "await new Promise(() => {}).finally(setInterval(() => {}, 1e6))",
        "process.on('SIGTERM', () => {}); process.on('SIGINT', () => {}); setInterval(() => {}, 1e6)",
        "Bun.spawn(['/bin/bun', '-e', 'for(;;){}']); process.kill(process.pid, 'SIGSTOP'); for (;;) {}",
        "import { closeSync } from 'node:fs'; closeSync(1); closeSync(2); for (;;) {}",
    ] {
        let (run, took) = run_with(&stand, source, pb::Limits { wall_ms: 700, ..Default::default() }).await;
        assert_eq!(run.ended.reason(), EndReason::Deadline, "{source}: {:?}", run.ended);
        assert!((Duration::from_millis(650)..Duration::from_millis(2700)).contains(&took), "{source}: {took:?}");
        let wall = run.ended.usage.unwrap().wall_ms;
        assert!((690..1700).contains(&wall), "{source}: {wall} ms");
    }
    stand.clean_within(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn what_was_written_before_the_deadline_arrives() {
    let Some(stand) = start("").await else { return };
    let limits = pb::Limits { wall_ms: 800, ..Default::default() };
    let (run, _) = run_with(&stand, "console.log('before'); console.error('too'); for (;;) {}", limits).await;
    assert_eq!((run.text().as_str(), run.stderr.as_slice()), ("before\n", b"too\n".as_slice()));
    assert_eq!(run.ended.reason(), EndReason::Deadline);
}

#[tokio::test]
async fn output_stops_at_its_limit_exactly() {
    let Some(stand) = start("").await else { return };
    let limits = pb::Limits { output_bytes: 100_000, ..Default::default() };
    let write =
        |bytes: u32| format!("process.stdout.write('x'.repeat({bytes})); process.stderr.write('y'.repeat(1000))");
    let (all, _) = run_with(&stand, &write(99_000), limits).await;
    assert_eq!((all.ended.reason(), all.stdout.len(), all.stderr.len()), (EndReason::Exited, 99_000, 1000));
    let (more, _) = run_with(&stand, &write(99_001), limits).await;
    assert_eq!((more.ended.reason(), more.stdout.len() + more.stderr.len()), (EndReason::OutputTooLarge, 100_000));
    assert!(more.ended.detail.contains("100000"), "{}", more.ended.detail);
    let (endless, _) = run_with(&stand, "for (;;) process.stdout.write('no line end '.repeat(1000))", limits).await;
    assert_eq!((endless.ended.reason(), endless.stdout.len()), (EndReason::OutputTooLarge, 100_000));
    let usage = endless.ended.usage.unwrap();
    assert_eq!(usage.stdout_bytes, 100_000);
}

/// Writes without end, synchronously, so that nothing piles up inside the program.
const FLOOD: &str = "import { writeSync } from 'node:fs'; const big = Buffer.alloc(65536, 'x');
    for (;;) try { writeSync(1, big); } catch (e) { if (e.code !== 'EAGAIN') throw e; }";

#[tokio::test]
async fn a_slow_reader_slows_the_program_and_costs_no_memory() {
    let Some(stand) = start("").await else { return };
    let bytes = 100 << 20;
    let mut request = stand.script(FLOOD);
    request.limits = Some(pb::Limits { output_bytes: bytes, wall_ms: 60_000, ..Default::default() });
    let mut stream = stand.client().execute(request).await.unwrap().into_inner();
    let (mut seen, mut highest, before) = (0, 0, stand.rss());
    let reason = loop {
        match stream.message().await.unwrap().unwrap().event.unwrap() {
            Event::Output(piece) => {
                // A pause every mebibyte: the engine must wait for us the whole way.
                if (seen >> 20) != (seen + piece.data.len()) >> 20 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    highest = highest.max(stand.rss());
                }
                seen += piece.data.len();
            }
            Event::Ended(ended) => break ended.reason(),
            _ => {}
        }
    };
    assert_eq!((reason, seen), (EndReason::OutputTooLarge, bytes as usize));
    assert!(highest < before + (16 << 20), "resident memory went from {before} to {highest}");
}

#[tokio::test]
async fn a_caller_that_never_reads_cannot_stop_the_deadline() {
    let Some(stand) = start("").await else { return };
    let mut request = stand.script(FLOOD);
    request.limits = Some(pb::Limits { output_bytes: 2_000_000_000, wall_ms: 1000, ..Default::default() });
    let stream = stand.client().execute(request).await.unwrap().into_inner();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    stand.clean_within(Duration::from_millis(600)).await;
    let run = collect(stream).await.unwrap();
    assert_eq!(run.ended.reason(), EndReason::Deadline);
}

#[tokio::test]
async fn dropping_the_stream_ends_everything_within_a_second() {
    let Some(stand) = start("[[policy]]\nname = 'kv'\nkinds = ['kv']\n").await else { return };
    let spawner = "for (let n = 0; n < 4; n++) Bun.spawn(['/bin/bun', '-e', 'setInterval(() => {}, 1e6)']); setInterval(() => {}, 1e6)";
    for (source, read) in [(FLOOD, false), (FLOOD, true), ("setInterval(() => {}, 1e6)", true), (spawner, true)] {
        let mut request = stand.script(source);
        request.tokens = vec!["kv:orders:exclusive".into()];
        request.limits = Some(pb::Limits { output_bytes: 2_000_000_000, ..Default::default() });
        let client = &mut stand.client();
        let mut stream = client.execute(request).await.unwrap().into_inner();
        let begun = Instant::now();
        while read && begun.elapsed() < Duration::from_millis(600) {
            drop(tokio::time::timeout(Duration::from_millis(100), stream.message()).await);
        }
        if !read {
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        assert_eq!(stand.status().await.leases.len(), 1, "{source}");
        drop(stream);
        stand.clean_within(Duration::from_secs(1)).await;
        stand.idle_within(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn a_caller_that_is_killed_is_a_caller_that_left() {
    let Some(stand) = start("").await else { return };
    let request = stand.script(FLOOD);
    let mut client = stand.client();
    let stream = client.execute(request).await.unwrap().into_inner();
    tokio::time::sleep(Duration::from_millis(400)).await;
    // The connection ends with its last user; nothing is reset in an orderly way.
    drop((client, stream));
    stand.clean_within(Duration::from_secs(1)).await;
    stand.idle_within(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn cancelling_at_any_moment_leaves_nothing() {
    let Some(stand) = start("").await else { return };
    for moment in 0..60 {
        let request = stand.script("console.log('x'); setInterval(() => {}, 1e6)");
        let mut client = stand.client();
        let call = tokio::time::timeout(Duration::from_millis(moment), async {
            let mut stream = client.execute(request).await.unwrap().into_inner();
            while stream.message().await.unwrap().is_some() {}
        });
        assert!(call.await.is_err(), "it never ends by itself");
    }
    stand.clean_within(Duration::from_secs(1)).await;
    stand.idle_within(Duration::from_secs(1)).await;
    assert_eq!(stand.run(stand.script("console.log('still fine')")).await.text(), "still fine\n");
}

#[tokio::test]
async fn a_storm_of_cancels_leaves_nothing_and_harms_nobody() {
    let Some(stand) = start("[queue]\nwaiting_max = 1000\n").await else { return };
    let client = stand.client();
    // On the same connection as all the others.
    let steady = client.clone().execute(stand.script("await Bun.sleep(2500); console.log('unharmed')")).await.unwrap();
    let steady = tokio::spawn(collect(steady.into_inner()));
    for round in 0..12 {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..60 {
            let (mut client, request) = (client.clone(), stand.script(FLOOD));
            calls.spawn(async move {
                let stream = client.execute(request).await.unwrap();
                std::future::pending::<()>().await;
                drop(stream);
            });
        }
        tokio::time::sleep(Duration::from_millis(round * 2)).await;
        calls.shutdown().await;
    }
    let run = steady.await.unwrap().unwrap();
    assert_eq!((run.text().as_str(), run.ended.reason()), ("unharmed\n", EndReason::Exited));
    stand.clean_within(Duration::from_secs(1)).await;
    stand.idle_within(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn too_much_memory() {
    let Some(stand) = start("").await else { return };
    let limits = pb::Limits { memory_bytes: 128 << 20, wall_ms: 20_000, ..Default::default() };
    let (run, _) = run_with(&stand, "const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1))", limits).await;
    assert_eq!(run.ended.reason(), EndReason::OomKilled, "{:?}", run.ended);
    let peak = run.ended.usage.unwrap().memory_peak_bytes;
    assert!((100 << 20..=129 << 20).contains(&peak), "{peak}");
}

#[tokio::test]
async fn too_many_processes_count_only_when_the_program_failed() {
    let Some(stand) = start("").await else { return };
    let spawn = "let refused = 0; const all = []; for (let n = 0; n < 60; n++) try { all.push(Bun.spawn(['/bin/bun', '-e', 'await Bun.sleep(3000)'])); } catch { refused++; }
        console.log(refused > 0);";
    let limits = pb::Limits { pids: 32, wall_ms: 20_000, ..Default::default() };
    let (fine, _) = run_with(&stand, &format!("{spawn} process.exit(0)"), limits).await;
    assert_eq!((fine.text().as_str(), fine.ended.reason()), ("true\n", EndReason::Exited), "{:?}", fine.ended);
    let (failed, _) = run_with(&stand, &format!("{spawn} process.exit(3)"), limits).await;
    assert_eq!((failed.ended.reason(), failed.ended.exit_code), (EndReason::PidsLimit, 3));
    stand.clean_within(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_full_disk_counts_only_when_the_program_failed() {
    let Some(stand) = start("").await else { return };
    let fill = "import { appendFileSync } from 'node:fs'; const piece = Buffer.alloc(1 << 20); let error;
        try { for (;;) appendFileSync('/tmp/full', piece); } catch (e) { error = e; } console.log(error.code);";
    let limits = pb::Limits { disk_bytes: 8 << 20, ..Default::default() };
    let (fine, _) = run_with(&stand, fill, limits).await;
    assert_eq!((fine.text().as_str(), fine.ended.reason()), ("ENOSPC\n", EndReason::Exited));
    let (failed, _) = run_with(&stand, &format!("{fill} throw error"), limits).await;
    assert_eq!(failed.ended.reason(), EndReason::DiskLimit, "{:?}", failed.ended);
}

#[tokio::test]
async fn orphans_that_hold_stdout_do_not_hold_the_answer() {
    let Some(stand) = start("").await else { return };
    let source = "const child = Bun.spawn(['/bin/bun', '-e', 'setInterval(() => {}, 1e6)'], { stdout: 'inherit', stderr: 'inherit' });
        child.unref(); console.log('answer'); process.exit(0)";
    let (run, took) = run_with(&stand, source, pb::Limits::default()).await;
    assert_eq!((run.text().as_str(), run.ended.reason()), ("answer\n", EndReason::Exited));
    assert!(took < Duration::from_secs(2), "{took:?}");
    stand.clean_within(Duration::from_secs(1)).await;
}
