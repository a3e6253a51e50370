//! Histories of the real engine: many clients, random tokens, random cancels, random `kill -9` of the engine. Programs say
//! themselves when they ran, on the clock all of them share, and a checker decides whether locks that work could have
//! produced that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test they are assertions"
)]

mod stand;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aria_protocol::quilt::v1 as pb;
use aria_types::ResourceToken;
use nix::sys::signal::Signal;
use pb::execute_response::Event;
use stand::{Client, Stand, start};

const KV: &str = "[[policy]]\nname = 'kv for all'\nkinds = ['kv']\n";
/// Says every other millisecond that it is there.
const BEAT: &str = "const beat = () => require('node:fs').writeSync(1, Math.round((performance.timeOrigin + performance.now()) * 1000) + '\\n'); beat();
    const end = performance.now() + Number(process.env.FOR_MS);
    while (performance.now() < end) { await Bun.sleep(2); beat(); } process.exit(0)";
const TOKENS: [&[&str]; 7] = [
    &["kv:a:ro"],
    &["kv:a:rw"],
    &["kv:a:x:rw"],
    &["kv:a:append"],
    &["kv:b:rw"],
    &["kv:a:ro", "kv:b:rw"],
    &["kv:a:y:exclusive"],
];
const CLIENTS: u64 = 8;

/// One program that certainly ran from `first` to `last`, with what it held.
#[derive(Clone, Debug)]
struct Span {
    fence: u64,
    tokens: Vec<ResourceToken>,
    first: u64,
    last: u64,
}

/// Why no engine that keeps its promises could have done this.
fn check(history: &[Span]) -> Result<(), String> {
    for (place, one) in history.iter().enumerate() {
        for other in &history[place + 1..] {
            if one.fence == other.fence {
                return Err(format!("two leases with one fence: {one:?} and {other:?}"));
            }
            let conflict = one.tokens.iter().any(|a| other.tokens.iter().any(|b| a.conflicts(b)));
            let (before, after) = if one.fence < other.fence { (one, other) } else { (other, one) };
            if conflict && before.last >= after.first {
                return Err(format!("held at once, or against the order of fences: {before:?} and {after:?}"));
            }
        }
    }
    Ok(())
}

/// The same on every run: a failure can be looked at again.
fn dice(state: &AtomicU64, sides: u64) -> u64 {
    let mut mixed = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)) % sides
}

/// Runs one request; what is known of it if it was granted and said anything.
async fn run(mut client: Client, request: pb::ExecuteRequest, patience: Duration) -> Option<Span> {
    let tokens = request.tokens.iter().map(|text| text.parse().unwrap()).collect();
    let mut span = Span { fence: 0, tokens, first: 0, last: 0 };
    let mut text = String::new();
    let whole = async {
        let mut stream = client.execute(request).await.ok()?.into_inner();
        while let Ok(Some(message)) = stream.message().await {
            match message.event {
                Some(Event::Granted(granted)) => span.fence = granted.fence,
                Some(Event::Output(output)) => text += &String::from_utf8_lossy(&output.data),
                _ => {}
            }
        }
        Some(())
    };
    // Who loses patience leaves: at a random moment of the life of its execution.
    drop(tokio::time::timeout(patience, whole).await);
    let beats: Vec<u64> = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.parse().ok()).collect();
    (span.first, span.last) = (*beats.first()?, *beats.last()?);
    assert!(span.fence > 0, "it ran without a grant");
    Some(span)
}

fn request(stand: &Stand, code_dir: &str, state: &AtomicU64) -> pb::ExecuteRequest {
    let tokens = TOKENS[usize::try_from(dice(state, TOKENS.len() as u64)).unwrap()];
    let mut request = stand.script("");
    let program = request.program.as_mut().unwrap();
    program.code_dir = code_dir.into();
    program.env.insert("FOR_MS".into(), dice(state, 30).to_string());
    request.owner = format!("owner-{}", dice(state, 3));
    request.priority = u32::try_from(dice(state, 10)).unwrap();
    request.wait_ms = [0, 0, 50, 2000][usize::try_from(dice(state, 4)).unwrap()];
    request.tokens = tokens.iter().map(ToString::to_string).collect();
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_of_the_engine_are_those_of_locks_that_work() {
    let Some(mut stand) = start(KV).await else { return };
    let code_dir = stand.script(BEAT).program.unwrap().code_dir;
    let (state, history) = (Arc::new(AtomicU64::new(7)), Arc::new(Mutex::new(Vec::new())));
    let mut lives = Vec::new();
    for life in 0..4 {
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            let requests: Vec<_> = (0..40).map(|_| request(&stand, &code_dir, &state)).collect();
            let (client, state, history, over) =
                (stand.client(), Arc::clone(&state), Arc::clone(&history), Arc::clone(&over));
            clients.spawn(async move {
                for request in requests {
                    let patience = if dice(&state, 4) == 0 { dice(&state, 150) } else { 60_000 };
                    if let Some(span) = run(client.clone(), request, Duration::from_millis(patience)).await {
                        history.lock().unwrap().push(span);
                    }
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(1200 + dice(&state, 800))).await;
        over.store(true, Ordering::Relaxed);
        if life < 3 {
            stand.signal(Signal::SIGKILL);
            stand.exited().await;
        }
        while clients.join_next().await.is_some() {}
        lives.push(history.lock().unwrap().len());
        if life < 3 {
            stand.relaunch().await;
            assert_eq!(stand.leftovers(), Vec::<String>::new(), "what ran before is gone before anybody is served");
        }
    }
    let history = history.lock().unwrap().clone();
    assert!(history.len() > 20 && lives.windows(2).all(|pair| pair[0] < pair[1]), "too little happened: {lives:?}");
    check(&history).unwrap();
    stand.idle_within(Duration::from_secs(2)).await;
}

/// Whatever it was doing: afterwards nothing is held, everything can be had, and fences are higher.
#[tokio::test]
async fn t09_killed_at_any_moment_it_holds_nothing_and_fences_rise() {
    let Some(mut stand) = start(KV).await else { return };
    let mut fence = 0;
    // From before the grant over waiting, building and running to the end.
    for delay_ms in [0, 1, 3, 8, 20, 45, 90, 150] {
        let work = "await Bun.sleep(20)";
        let requests: Vec<_> = (0..6)
            .map(|n| pb::ExecuteRequest {
                tokens: vec![if n % 2 == 0 { "kv:a:rw" } else { "kv:a:ro" }.into()],
                ..stand.script(work)
            })
            .collect();
        let client = stand.client();
        let mut calls = tokio::task::JoinSet::new();
        for request in requests {
            let mut client = client.clone();
            calls.spawn(async move {
                let mut highest = 0;
                let Ok(stream) = client.execute(request).await else { return highest };
                let mut stream = stream.into_inner();
                while let Ok(Some(message)) = stream.message().await {
                    if let Some(Event::Granted(granted)) = message.event {
                        highest = granted.fence;
                    }
                }
                highest
            });
        }
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        stand.signal(Signal::SIGKILL);
        stand.exited().await;
        while let Some(seen) = calls.join_next().await {
            fence = fence.max(seen.unwrap());
        }
        stand.relaunch().await;
        let status = stand.status().await;
        assert_eq!((status.leases.len(), status.waiters.len(), status.sandboxes), (0, 0, 0), "after {delay_ms} ms");
        assert_eq!(stand.leftovers(), Vec::<String>::new(), "after {delay_ms} ms");
        let again = pb::ExecuteRequest { tokens: vec!["kv:a:exclusive".into()], wait_ms: 1, ..stand.script("") };
        let run = stand.run(again).await;
        assert!(run.fence > fence, "{} after {fence}", run.fence);
        fence = run.fence;
    }
}

#[test]
fn the_checker_sees_what_must_not_be() {
    let span = |fence, token: &str, first, last| Span { fence, tokens: vec![token.parse().unwrap()], first, last };
    check(&[span(1, "kv:a:rw", 1, 5), span(2, "kv:a:ro", 6, 9), span(3, "kv:a:x:ro", 7, 8)]).unwrap();
    check(&[span(1, "kv:a:rw", 1, 5), span(2, "kv:a:x:ro", 5, 9)]).unwrap_err();
    check(&[span(2, "kv:a:rw", 1, 5), span(1, "kv:a:x:ro", 6, 9)]).unwrap_err();
    check(&[span(1, "kv:a:ro", 1, 5), span(1, "kv:b:ro", 6, 9)]).unwrap_err();
}
