//! The engine as a neighbour: who may talk to it, what it refuses and why, how it starts, stops and survives.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "in a test they are assertions")]

mod stand;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use aria_protocol::quilt::v1 as pb;
use nix::sys::signal::Signal;
use pb::EndReason;
use pb::execute_response::Event;
use stand::{collect, start};
use tonic::Code;

const KV: &str = "[[policy]]\nname = 'kv for all'\nkinds = ['kv']\n";
const SLEEP: &str = "console.log('up'); setInterval(() => {}, 1e6)";

/// Starts a request and waits for its first output.
async fn running(stand: &stand::Stand, request: pb::ExecuteRequest) -> tonic::Streaming<pb::ExecuteResponse> {
    let mut stream = stand.client().execute(request).await.unwrap().into_inner();
    loop {
        if let Event::Output(_) = stream.message().await.unwrap().unwrap().event.unwrap() {
            return stream;
        }
    }
}

#[tokio::test]
async fn malformed_requests_are_refused_for_their_field() {
    let Some(stand) = start("").await else { return };
    type Spoil = fn(&mut pb::ExecuteRequest, &mut pb::Program);
    let cases: [(&str, Spoil); 12] = [
        ("execution_id", |request, _| request.execution_id = "x".into()),
        ("owner", |request, _| request.owner.clear()),
        ("program.argv", |_, program| program.argv.clear()),
        ("program.argv", |_, program| program.argv[0] = "bun".into()),
        ("program.env", |_, program| program.env = [("A=B".to_owned(), String::new())].into()),
        ("program.profile", |_, program| program.profile = 9),
        ("program.code_dir", |_, program| program.code_dir = "/etc".into()),
        ("program.code_dir", |_, program| program.code_dir.push_str("/../../..")),
        ("program.files", |_, program| program.files = vec![pb::InputFile { name: "../x".into(), path: "/a".into() }]),
        ("program.files", |_, program| {
            program.files = vec![pb::InputFile { name: "x".into(), path: "/etc/shadow".into() }]
        }),
        ("program.door_frames", |_, program| program.door_frames = vec![vec![]]),
        ("limits", |request, _| request.limits = Some(pb::Limits { memory_bytes: 1 << 50, ..Default::default() })),
    ];
    for (field, spoil) in cases {
        let mut request = stand.script("");
        let mut program = request.program.take().unwrap();
        spoil(&mut request, &mut program);
        request.program = Some(program);
        let (code, reason, message) = stand.refusal(request).await;
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "SPEC_INVALID"), "{message}");
        assert!(message.starts_with(field), "{message}");
    }
    let status = stand.status().await;
    assert_eq!((status.sandboxes, status.leases.len()), (0, 0));
}

#[tokio::test]
async fn links_do_not_lead_out_of_a_code_root() {
    let Some(stand) = start("").await else { return };
    let code = stand.dir.path().join("code");
    std::os::unix::fs::symlink("/etc", code.join("link")).unwrap();
    for (code_dir, why) in [("link", ""), ("link/ssl", "symbolic link"), ("", "not below"), ("nothing", "")] {
        let mut request = stand.script("");
        request.program.as_mut().unwrap().code_dir = code.join(code_dir).to_str().unwrap().trim_end_matches('/').into();
        let (code, reason, message) = stand.refusal(request).await;
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "SPEC_INVALID"), "{code_dir}: {message}");
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn tokens_are_refused_with_the_rule() {
    let Some(stand) = start(&format!("{KV}owners = ['ann']\n")).await else { return };
    for (token, owner, code, reason, part) in [
        ("kv:*", "ann", Code::InvalidArgument, "TOKEN_SYNTAX", "wildcards"),
        ("kv:../x:rw", "ann", Code::InvalidArgument, "TOKEN_SYNTAX", "not a path"),
        ("", "ann", Code::InvalidArgument, "TOKEN_SYNTAX", "empty"),
        ("net:api.example.com:443", "ann", Code::PermissionDenied, "TOKEN_NOT_ALLOWED", "no rule allows net tokens"),
        (
            "kv:orders:ro",
            "bob",
            Code::PermissionDenied,
            "TOKEN_NOT_ALLOWED",
            "rule \"kv for all\" allows every kv token for ann",
        ),
    ] {
        let mut request = stand.script("");
        request.owner = owner.into();
        request.tokens = vec!["kv:fine:ro".into(), token.into()];
        let (found, found_reason, message) = stand.refusal(request).await;
        assert_eq!((found, found_reason.as_str()), (code, reason), "{message}");
        assert!(message.contains(part), "{message}");
    }
    let mut good = stand.script("console.log('held')");
    good.tokens = vec!["kv:orders".into(), "kv:orders:rw".into()];
    assert_eq!(stand.run(good).await.text(), "held\n");
}

#[tokio::test]
async fn a_writer_keeps_others_out_until_its_stream_ends() {
    let Some(stand) = start(KV).await else { return };
    let asking = |source: &str, token: &str| pb::ExecuteRequest { tokens: vec![token.into()], ..stand.script(source) };
    let writer = asking(SLEEP, "kv:orders:rw");
    let holder = writer.execution_id.clone();
    let stream = running(&stand, writer).await;
    let impatient = pb::ExecuteRequest { wait_ms: 50, ..asking("", "kv:orders:pending:ro") };
    let (code, reason, message) = stand.refusal(impatient).await;
    assert_eq!((code, reason.as_str()), (Code::DeadlineExceeded, "TOKEN_WAIT"));
    assert!(message.contains(&holder), "{message}");
    let lease = stand.status().await.leases.remove(0);
    assert_eq!(
        (lease.execution_id, lease.owner, lease.tokens),
        (holder, "ann".into(), vec!["kv:orders:rw".to_owned()])
    );
    assert_eq!(stand.run(asking("console.log('beside')", "kv:orders2:rw")).await.text(), "beside\n");
    drop(stream);
    stand.idle_within(Duration::from_secs(1)).await;
    assert_eq!(stand.run(asking("console.log('after')", "kv:orders:rw")).await.text(), "after\n");
}

#[tokio::test]
async fn a_lease_is_free_the_moment_its_end_is_heard() {
    let Some(stand) = start(KV).await else { return };
    let mut fences = Vec::new();
    for _ in 0..8 {
        let request = pb::ExecuteRequest { tokens: vec!["kv:a:exclusive".into()], ..stand.script("") };
        let mut stream = stand.client().execute(request).await.unwrap().into_inner();
        loop {
            match stream.message().await.unwrap().unwrap().event.unwrap() {
                Event::Granted(granted) => fences.push(granted.fence),
                Event::Ended(_) => break,
                _ => {}
            }
        }
    }
    assert!(fences.windows(2).all(|pair| pair[0] < pair[1]), "{fences:?}");
}

#[tokio::test]
async fn a_live_id_is_taken() {
    let Some(stand) = start("").await else { return };
    let request = stand.script(SLEEP);
    let stream = running(&stand, request.clone()).await;
    let (code, reason, _) = stand.refusal(request.clone()).await;
    assert_eq!((code, reason.as_str()), (Code::AlreadyExists, "EXECUTION_EXISTS"));
    drop(stream);
    stand.idle_within(Duration::from_secs(1)).await;
    drop(running(&stand, request).await);
}

#[tokio::test]
async fn a_bounded_queue_in_order_of_arrival() {
    let Some(stand) = start("concurrent_max = 1\n[queue]\nwaiting_max = 2\nwait_ms_max = 5000\n").await else { return };
    let first = running(&stand, stand.script(SLEEP)).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = stand.client().execute(stand.script("console.log('mine')")).await.unwrap().into_inner();
        assert!(matches!(stream.message().await.unwrap().unwrap().event, Some(Event::Queued(_))));
        waiting.push(stream);
    }
    let (code, reason, _) = stand.refusal(stand.script("")).await;
    assert_eq!((code, reason.as_str()), (Code::ResourceExhausted, "QUEUE_FULL"));
    // Somebody who leaves makes room for another.
    drop(waiting.remove(0));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut third = stand.client().execute(stand.script("console.log('third')")).await.unwrap().into_inner();
    assert!(matches!(third.message().await.unwrap().unwrap().event, Some(Event::Queued(_))));
    drop(first);
    let second = collect(waiting.remove(0)).await.unwrap();
    let third = collect(third).await.unwrap();
    assert_eq!((second.text().as_str(), third.text().as_str()), ("mine\n", "third\n"));
    assert!(second.fence < third.fence, "first come, first served");
}

#[tokio::test]
async fn waiting_for_a_slot_is_bounded() {
    let Some(stand) = start("concurrent_max = 1\n[queue]\nwait_ms_max = 200\n").await else { return };
    let _first = running(&stand, stand.script(SLEEP)).await;
    let (code, reason, message) = stand.refusal(stand.script("")).await;
    assert_eq!((code, reason.as_str()), (Code::DeadlineExceeded, "TOKEN_WAIT"));
    assert!(message.contains("every slot is taken"), "{message}");
}

#[tokio::test]
async fn eight_at_once_do_not_mix() {
    let Some(stand) = start("").await else { return };
    let mut runs = tokio::task::JoinSet::new();
    for n in 0..8 {
        let request = stand.script(&format!("for (let i = 0; i < 200; i++) console.log('{n}')"));
        let mut client = stand.client();
        runs.spawn(async move { (n, collect(client.execute(request).await.unwrap().into_inner()).await.unwrap()) });
    }
    for (n, run) in runs.join_all().await {
        assert_eq!(run.text(), format!("{n}\n").repeat(200));
    }
    stand.idle_within(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_strangers_connection_is_closed_unheard() {
    let Some(stand) = start("").await else { return };
    let mode = |mode| std::fs::set_permissions(stand.socket(), std::fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(std::fs::metadata(stand.socket()).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(stand.connect_as(65_534), "EACCES");
    // The mode alone keeps strangers out; the check of the peer must hold without it.
    mode(0o666);
    assert_eq!(stand.connect_as(65_534), "closed after 0 bytes");
    assert!(stand.log().contains("peer refused"), "{}", stand.log());
    let answer = stand.connect_as(0);
    assert!(answer.starts_with("got "), "{answer}");
    stand.status().await;
}

#[tokio::test]
async fn the_named_group_is_let_in() {
    let Some(stand) = stand::start_for_group(65_534).await else { return };
    let answer = stand.connect_as(65_534);
    assert!(answer.starts_with("got "), "{answer}");
    assert_eq!(stand.connect_as(65_533), "EACCES");
}

#[tokio::test]
async fn stopping_ends_programs_says_so_and_removes_everything() {
    let Some(mut stand) = start("").await else { return };
    let one = running(&stand, stand.script(SLEEP)).await;
    let mut unread = stand.script("for (;;) console.log('x'.repeat(1000))");
    unread.limits = Some(pb::Limits { output_bytes: 2_000_000_000, ..Default::default() });
    let _unread = stand.client().execute(unread).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    stand.signal(Signal::SIGTERM);
    assert_eq!(collect_rest(one).await.reason(), EndReason::Shutdown);
    let status = stand.exited().await;
    assert!(status.success(), "{status}: {}", stand.log());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(!stand.log().contains("did not end in time"), "{}", stand.log());
    assert!(!stand.socket().exists());
    assert_eq!(stand.leftovers(), Vec::<String>::new());
    assert_eq!(stand.cgroups(), Vec::<std::path::PathBuf>::new());
}

async fn collect_rest(mut stream: tonic::Streaming<pb::ExecuteResponse>) -> pb::Ended {
    loop {
        if let Event::Ended(ended) = stream.message().await.unwrap().unwrap().event.unwrap() {
            return ended;
        }
    }
}

#[tokio::test]
async fn killed_and_started_again_it_finds_and_leaves_nothing() {
    let Some(mut stand) = start(KV).await else { return };
    let mut request = stand.script("for (let n = 0; n < 3; n++) Bun.spawn(['/bin/bun', '-e', 'setInterval(() => {}, 1e6)']); console.log('up'); setInterval(() => {}, 1e6)");
    request.tokens = vec!["kv:orders:exclusive".into()];
    let again = request.clone();
    let fence = stand.run(stand.script("")).await.fence;
    let mut stream = running(&stand, request).await;
    stand.signal(Signal::SIGKILL);
    stand.exited().await;
    assert!(loop {
        match stream.message().await {
            Err(_) => break true,
            Ok(None) => break false,
            Ok(Some(_)) => {}
        }
    });
    assert!(stand.socket().exists(), "nobody was there to remove it");
    stand.relaunch().await;
    stand.clean_within(Duration::from_secs(1)).await;
    let status = stand.status().await;
    assert_eq!((status.sandboxes, status.leases.len()), (0, 0));
    let second_life = stand.run(pb::ExecuteRequest { program: stand.script("").program, ..again }).await;
    assert!(second_life.fence > fence, "{} after {fence}", second_life.fence);
}

#[tokio::test]
async fn what_a_killed_engine_left_is_swept_by_the_next_and_what_lives_is_not() {
    let Some(mut dead) = start(KV).await else { return };
    let Some(alive) = start(KV).await else { return };
    let _stream = running(&dead, dead.script(SLEEP)).await;
    let mut kept = running(&alive, alive.script(SLEEP)).await;
    let trees = dead.cgroups();
    dead.signal(Signal::SIGKILL);
    dead.exited().await;
    // It looks like an engine's, and no engine ever said so.
    let stranger = trees[0].with_file_name(format!("{}-stranger", dead.cgroup_name));
    std::fs::create_dir(&stranger).unwrap();
    let Some(next) = start(KV).await else { return };
    assert_eq!(dead.cgroups(), Vec::<std::path::PathBuf>::new());
    dead.clean_within(Duration::from_secs(1)).await;
    let spared = stranger.exists();
    std::fs::remove_dir(&stranger).unwrap();
    assert!(spared, "what carries no mark stays");
    assert_eq!(alive.status().await.sandboxes, 1);
    assert_eq!(alive.run(alive.script("console.log('well')")).await.text(), "well\n");
    assert!(tokio::time::timeout(Duration::from_millis(200), kept.message()).await.is_err(), "it runs on");
    assert_eq!(next.run(next.script("console.log('well')")).await.text(), "well\n");
    dead.relaunch().await;
    assert_eq!(dead.run(dead.script("console.log('well')")).await.text(), "well\n");
}

#[tokio::test]
async fn a_second_engine_on_the_same_socket_refuses_to_start() {
    let Some(stand) = start("").await else { return };
    let (code, stderr) = stand.second();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("another engine serves"), "{stderr}");
    stand.status().await;
}

#[tokio::test]
async fn a_hundred_runs_leave_no_descriptor_thread_or_memory_behind() {
    let Some(stand) = start("").await else { return };
    let round = |n: usize| {
        let mut request = stand.script(
            "console.log(await Bun.stdin.text()); require('node:fs').writeFileSync('/out/x', 'y'); process.exit(3)",
        );
        let program = request.program.as_mut().unwrap();
        (program.collect_out, program.guest_door) = (true, n.is_multiple_of(2));
        stand.run(request)
    };
    for n in 0..20 {
        round(n).await;
    }
    stand.idle_within(Duration::from_secs(1)).await;
    let (descriptors, memory) = (stand.descriptors(), stand.rss());
    for n in 0..100 {
        assert_eq!(round(n).await.files.len(), 1);
    }
    stand.idle_within(Duration::from_secs(1)).await;
    assert!(stand.descriptors() <= descriptors + 4, "{descriptors} → {} descriptors", stand.descriptors());
    assert!(stand.rss() < memory + (4 << 20), "{memory} → {} bytes", stand.rss());
}

#[tokio::test]
async fn an_idle_engine_sleeps() {
    let Some(stand) = start("").await else { return };
    stand.run(stand.script("")).await;
    stand.idle_within(Duration::from_secs(1)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = stand.switches();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(stand.switches() - before <= 4, "it woke {} times in two seconds", stand.switches() - before);
}

#[tokio::test]
async fn status_tells_the_layers() {
    let Some(stand) = start("").await else { return };
    let status = stand.status().await;
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert!(status.layers.len() >= 5, "{:?}", status.layers);
    assert!(status.layers.iter().all(|layer| !layer.name.is_empty() && !layer.state.is_empty()), "{:?}", status.layers);
}
