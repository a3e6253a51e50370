//! One call, one outcome.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it found by failing"
)]

mod support;

use std::time::{Duration, Instant};

use aria_protocol::aria::v1 as pb;
use pb::FailedReason as Reason;
use pb::outcome::Kind;
use pb::run_event::Event;
use serde_json::Value;
use support::client::{Client, outcome};
use support::{Daemon, bundle, parts, refusal};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

async fn demo() -> (Daemon, Client) {
    demo_with("").await
}

async fn demo_with(extra: &str) -> (Daemon, Client) {
    let daemon = Daemon::start_with(extra).await;
    let client = daemon.operator().await;
    client.upload(&bundle("demo", "1.0.0")).await.unwrap();
    (daemon, client)
}

async fn failure(client: &Client, tool: &str) -> pb::Failed {
    let events = client.invoke(tool, "{}").await.unwrap();
    match outcome(&events) {
        Kind::Failed(failed) => failed,
        other => panic!("{tool}: {other:?}"),
    }
}

#[tokio::test]
async fn a_good_call_goes_the_whole_way() {
    let (daemon, client) = demo().await;
    // Integers beyond 2^53 and the order of keys survive.
    let input = r#"{"text":"hé","at":"2026-11-20T17:00:00Z"}"#;
    let events = client.invoke("demo.greet", input).await.unwrap();
    let Kind::Succeeded(answer) = outcome(&events) else { panic!("{events:?}") };
    assert_eq!(answer.output_json, input);
    assert!(matches!(events[..2], [Event::Granted(_), Event::Started(_)]), "{events:?}");
    let Some(Event::Finished(finished)) = events.last() else { panic!() };
    assert_eq!(finished.usage.unwrap().cpu_ms, 4);
    let asked = daemon.engine.last();
    assert_eq!((asked.owner.as_str(), asked.execution_id.as_str()), ("operator", finished.invocation_id.as_str()));
    let program = asked.program.unwrap();
    assert!(program.guest_door && program.collect_out && !program.stdin);
    assert_eq!(program.profile, i32::from(aria_protocol::quilt::v1::Profile::ToolNoexec));
    assert!(std::path::Path::new(&program.code_dir).join("code/greet.js").exists());
    assert_eq!(asked.limits.unwrap().wall_ms, 5000);
    let events = client.invoke("demo.echo", "9007199254740993").await.unwrap();
    let Kind::Succeeded(answer) = outcome(&events) else { panic!("{events:?}") };
    assert_eq!(answer.output_json, "9007199254740993");
}

#[tokio::test]
async fn bad_calls_are_refused_before_anything_runs() {
    let (daemon, client) = demo().await;
    let long = format!(r#"{{"text":"{}"}}"#, "a".repeat(1 << 20));
    let deep = "[".repeat(200) + &"]".repeat(200);
    let cases = [
        ("demo.greet", r#"{"text":5}"#, Code::InvalidArgument, "INPUT_SCHEMA"),
        ("demo.greet", "", Code::InvalidArgument, "INPUT_SCHEMA"),
        ("demo.greet", r#"{"text":"a","more":1}"#, Code::InvalidArgument, "INPUT_SCHEMA"),
        ("demo.greet", r#"{"text":"a","at":"soon"}"#, Code::InvalidArgument, "INPUT_SCHEMA"),
        ("demo.greet", r#"{"text":"a","text":"b"}"#, Code::InvalidArgument, "INPUT_SCHEMA"),
        ("demo.greet", "{", Code::InvalidArgument, "INPUT_SCHEMA"),
        ("demo.greet", "NaN", Code::InvalidArgument, "INPUT_SCHEMA"),
        ("demo.greet", r#"{"text":"\ud800"}"#, Code::InvalidArgument, "INPUT_SCHEMA"),
        ("demo.echo", &deep, Code::InvalidArgument, "INPUT_SCHEMA"),
        ("demo.greet", &long, Code::InvalidArgument, "INPUT_TOO_LARGE"),
        ("demo.none", "{}", Code::NotFound, "TOOL_UNKNOWN"),
        ("none.echo", "{}", Code::NotFound, "TOOL_UNKNOWN"),
        ("nothing", "{}", Code::NotFound, "TOOL_UNKNOWN"),
        ("Echo", "{}", Code::InvalidArgument, "TOOL_UNKNOWN"),
        ("../demo.echo", "{}", Code::InvalidArgument, "TOOL_UNKNOWN"),
        ("", "{}", Code::InvalidArgument, "TOOL_UNKNOWN"),
    ];
    for (tool, input, code, reason) in cases {
        let status = client.invoke(tool, input).await.unwrap_err();
        assert_eq!(refusal(&status), (code, reason.to_owned()), "{tool} {}", &input[..input.len().min(80)]);
    }
    assert_eq!(daemon.engine.started(), 0);
    assert!(client.invoke("demo.greet", r#"{"text":"still works"}"#).await.is_ok());
}

#[tokio::test]
async fn agents_teams_and_pipelines_are_installed_and_not_run() {
    let (daemon, client) = demo().await;
    let golden: Value = serde_json::from_str(include_str!("../../bundle/tests/declared.json")).unwrap();
    let declared = &golden["manifest"];
    let parts = parts("shop", "2.0.0").manifest(|manifest| {
        for kind in ["agents", "teams", "pipelines"] {
            manifest[kind] = declared[kind].clone();
        }
    });
    client.upload(&support::sign(&parts, &[1])).await.unwrap();
    for name in ["shop.desk", "shop.crew", "shop.nightly"] {
        let status = client.invoke(name, r#"{"task":"x"}"#).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::Unimplemented, "KIND_NOT_BUILT".to_owned()), "{name}");
    }
    assert_eq!(daemon.engine.started(), 0);
    assert!(client.invoke("shop.echo", "1").await.is_ok());
}

#[tokio::test]
async fn files_are_named_and_counted() {
    let (daemon, client) = demo().await;
    let blob = client.put(b"content").await.unwrap();
    let call = |names: &[&str]| pb::InvokeRequest {
        tool: "demo.reads".to_owned(),
        files: names.iter().map(|name| pb::FileRef { name: (*name).to_owned(), blob: Some(blob.clone()) }).collect(),
        ..Default::default()
    };
    let events = client.invoke_with(call(&["a.txt"])).await.unwrap();
    let Kind::Succeeded(answer) = outcome(&events) else { panic!("{events:?}") };
    assert_eq!(answer.output_json, r#"{"a.txt":"content"}"#);
    let started = daemon.engine.started();
    for names in [vec![""], vec!["a/b"], vec![".."], vec!["a", "a"], vec!["a\n"], vec!["x"; 65]] {
        let status = client.invoke_with(call(&names)).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::InvalidArgument, "FILE_NAME".to_owned()), "{names:?}");
    }
    let mut without = call(&["a"]);
    without.files[0].blob = None;
    let status = client.invoke_with(without).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::InvalidArgument, "FIELD_MISSING".to_owned()));
    assert_eq!(daemon.engine.started(), started);
}

#[tokio::test]
async fn every_way_to_fail_has_its_reason() {
    let (_daemon, client) = demo().await;
    for (tool, reason) in [
        ("demo.throws", Reason::Threw),
        ("demo.nojson", Reason::ResultInvalid),
        ("demo.twice", Reason::ResultInvalid),
        ("demo.garbage", Reason::ResultInvalid),
        ("demo.deep", Reason::ResultInvalid),
        ("demo.wrong", Reason::ResultInvalid),
        ("demo.exits", Reason::Exited),
    ] {
        let failed = failure(&client, tool).await;
        assert_eq!(failed.reason(), reason, "{tool}: {failed:?}");
        assert!(!failed.message.is_empty());
    }
    assert_eq!(failure(&client, "demo.exits").await.exit_code, 7);
    let threw = failure(&client, "demo.throws").await;
    assert_eq!(threw.message, "RangeError: no");
    assert_eq!(threw.stack, "RangeError: no\n    at f (src/tools.ts:5:1)");
    // The answer was complete before the crash.
    let events = client.invoke("demo.crashes", "{}").await.unwrap();
    assert!(matches!(outcome(&events), Kind::Succeeded(_)));
}

#[tokio::test]
async fn a_call_is_ended_at_the_shorter_of_two_times() {
    let (daemon, client) = demo().await;
    let request = pb::InvokeRequest { tool: "demo.hangs".to_owned(), timeout_ms: 200, ..Default::default() };
    let events = client.invoke_with(request).await.unwrap();
    let Kind::Failed(failed) = outcome(&events) else { panic!("{events:?}") };
    assert_eq!(failed.reason(), Reason::Deadline);
    assert_eq!(daemon.engine.last().limits.unwrap().wall_ms, 200);
    let request = pb::InvokeRequest { tool: "demo.echo".to_owned(), timeout_ms: 600_000, ..Default::default() };
    client.invoke_with(request).await.unwrap();
    assert_eq!(daemon.engine.last().limits.unwrap().wall_ms, 5000);
}

#[tokio::test]
async fn a_tool_that_answers_and_stays_is_ended() {
    let (daemon, client) = demo().await;
    let begun = Instant::now();
    let events = client.invoke("demo.lingers", "{}").await.unwrap();
    let Kind::Succeeded(answer) = outcome(&events) else { panic!("{events:?}") };
    assert_eq!(answer.output_json, "\"said\"");
    assert!(begun.elapsed() < Duration::from_secs(13), "{:?}", begun.elapsed());
    support::until("the cage is gone", || daemon.engine.alive() == 0).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_run_along() {
    let (daemon, client) = demo().await;
    let request = pb::InvokeRequest { tool: "demo.hangs".to_owned(), ..Default::default() };
    let mut stream = client.tools.clone().invoke(request).await.unwrap().into_inner();
    let started = async {
        while !matches!(stream.message().await.unwrap().unwrap().event.unwrap().event, Some(Event::Started(_))) {}
    };
    started.await;
    assert_eq!(daemon.engine.alive(), 1);
    let begun = Instant::now();
    drop(stream);
    support::until("the cage is gone", || daemon.engine.alive() == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(logs(&client, "").await.iter().any(|line| line.text == "cancelled: caller"));
}

#[tokio::test]
async fn a_stop_tells_the_callers() {
    let (mut daemon, client) = demo().await;
    let running = tokio::spawn(async move { client.invoke("demo.hangs", "{}").await });
    support::until("it runs", || daemon.engine.alive() == 1).await;
    let (code, took) = daemon.stop().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    let events = running.await.unwrap().unwrap();
    assert_eq!(outcome(&events), Kind::Cancelled(pb::Cancelled { by: "shutdown".to_owned() }));
    assert_eq!(daemon.engine.alive(), 0);
    assert!(!daemon.dir.path().join("api.sock").exists());
}

#[tokio::test]
async fn output_is_live_and_the_log_is_kept() {
    let (daemon, client) = demo().await;
    let events = client.invoke("demo.logs", "{}").await.unwrap();
    let seen =
        events.iter().filter(|event| matches!(event, Event::Log(_) | Event::Progress(_) | Event::Output(_))).count();
    assert_eq!(seen, 3, "{events:?}");
    let lines = logs(&client, "demo.logs").await;
    let shown: Vec<_> =
        lines.iter().map(|line| (line.source.as_str(), line.level.as_str(), line.text.as_str())).collect();
    assert_eq!(
        shown,
        [("log", "warn", "careful\\u{1b}[2J {\"n\":1}"), ("stdout", "", "plain"), ("event", "info", "succeeded")]
    );
    assert_eq!(logs(&client, "demo.echo").await.len(), 0);

    let key = daemon.enrol("other", "operator").await;
    let other = Client::tls(&daemon.listen, &key).await.unwrap();
    assert_eq!(logs(&other, "").await.len(), 0, "another owner's log");
    assert_eq!(logs(&daemon.local().await, "demo.logs").await.len(), 3);
    let bad = pb::StreamLogsRequest { invocation_id: "x".to_owned(), ..Default::default() };
    assert_eq!(client.node.clone().stream_logs(bad).await.unwrap_err().code(), Code::InvalidArgument);
    let bad = pb::StreamLogsRequest { since: "soon".to_owned(), ..Default::default() };
    assert_eq!(client.node.clone().stream_logs(bad).await.unwrap_err().code(), Code::InvalidArgument);
}

async fn logs(client: &Client, tool: &str) -> Vec<pb::StreamLogsResponse> {
    let request = pb::StreamLogsRequest { tool: tool.to_owned(), ..Default::default() };
    let mut stream = client.node.clone().stream_logs(request).await.unwrap().into_inner();
    let mut lines = Vec::new();
    while let Some(line) = stream.message().await.unwrap() {
        lines.push(line);
    }
    lines
}

#[tokio::test]
async fn a_followed_log_goes_on() {
    let (mut daemon, client) = demo().await;
    let request = pb::StreamLogsRequest { follow: true, ..Default::default() };
    let mut stream = client.node.clone().stream_logs(request).await.unwrap().into_inner();
    for _ in 0..2 {
        client.invoke("demo.logs", "{}").await.unwrap();
        for expected in ["log", "stdout", "event"] {
            let line = tokio::time::timeout(Duration::from_secs(5), stream.message()).await.unwrap().unwrap().unwrap();
            assert_eq!(line.source, expected);
        }
    }
    let (code, _) = daemon.stop().await;
    assert_eq!(code, Some(0));
    assert!(!matches!(stream.message().await, Ok(Some(_))));
}

#[tokio::test]
async fn a_flood_reaches_its_reader_whole() {
    let (_daemon, client) = demo().await;
    let events = client.invoke("demo.floods", "{}").await.unwrap();
    let bytes: usize =
        events.iter().map(|event| if let Event::Output(output) = event { output.data.len() } else { 0 }).sum();
    assert_eq!(bytes, 64 * (64 << 10));
    assert!(matches!(outcome(&events), Kind::Succeeded(_)));
    let kept: usize = logs(&client, "").await.iter().map(|line| line.text.len()).sum();
    assert!(kept > 900_000 && kept < 1_300_000, "{kept}");
}

#[tokio::test]
async fn files_left_behind_come_back_as_blobs() {
    let (_daemon, client) = demo().await;
    let events = client.invoke("demo.leaves", "{}").await.unwrap();
    let Kind::Succeeded(answer) = outcome(&events) else { panic!("{events:?}") };
    let names: Vec<_> = answer.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["a.txt", "empty"]);
    let blob = answer.files[0].blob.clone().unwrap();
    assert_eq!(blob, support::blob(b"left behind"));
    assert_eq!(client.get(&blob.sha256).await.unwrap(), b"left behind");
}

#[tokio::test]
async fn the_engine_s_refusals_keep_their_reason() {
    let (daemon, client) = demo().await;
    let status = client.invoke("demo.denied", "{}").await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "TOKEN_NOT_ALLOWED".to_owned()));
    assert!(status.message().contains("kv:x:rw"));
    drop(daemon);
}

#[tokio::test]
async fn without_the_engine_calls_are_unavailable() {
    let daemon = Daemon::start().await;
    daemon.engine.stop().await;
    let client = daemon.operator().await;
    client.upload(&bundle("demo", "1.0.0")).await.unwrap();
    let status = client.invoke("demo.echo", "{}").await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unavailable, "QUILT_DOWN".to_owned()));
    let node = client.node.clone().get_node(pb::GetNodeRequest {}).await.unwrap().into_inner();
    assert!(!node.quilt_up);
}

#[tokio::test]
async fn too_many_runs_are_told_to_come_back() {
    let (daemon, client) = demo_with("runs_max = 1\nruns_per_owner_max = 2\n").await;
    let hang = || {
        let client = client.clone();
        tokio::spawn(async move { client.invoke("demo.hangs", "{}").await })
    };
    let first = hang();
    support::until("it runs", || daemon.engine.alive() == 1).await;
    let request = pb::InvokeRequest { tool: "demo.echo".to_owned(), ..Default::default() };
    let mut second = client.tools.clone().invoke(request).await.unwrap().into_inner();
    let event = second.message().await.unwrap().unwrap().event.unwrap().event.unwrap();
    assert!(matches!(event, Event::Queued(_)), "{event:?}");
    let status = client.invoke("demo.echo", "{}").await.unwrap_err();
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "QUEUE_FULL".to_owned()));
    first.abort();
    let mut last = None;
    while let Some(message) = second.message().await.unwrap() {
        last = message.event.unwrap().event;
    }
    assert!(matches!(last, Some(Event::Finished(_))));
}

async fn exec(client: &Client, start: pb::RunStart, stdin: &[&[u8]]) -> Result<Vec<Event>, tonic::Status> {
    use pb::run_request::Part;
    let parts = [Part::Start(start)].into_iter().chain(stdin.iter().map(|piece| Part::Stdin(piece.to_vec())));
    let messages: Vec<_> = parts.map(|part| pb::RunRequest { part: Some(part) }).collect();
    let mut stream = client.exec.clone().run(tokio_stream::iter(messages)).await?.into_inner();
    let mut events = Vec::new();
    while let Some(message) = stream.message().await? {
        events.push(message.event.unwrap().event.unwrap());
    }
    Ok(events)
}

#[tokio::test]
async fn a_program_gets_its_input_and_gives_its_code() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let stored = client.put(&support::program()).await.unwrap();
    let start =
        |code: &str| pb::RunStart { bundle: Some(stored.clone()), args: vec![code.to_owned()], ..Default::default() };
    let long = vec![b'z'; 300_000];
    let events = exec(&client, start("0"), &[b"one ", b"two", &long]).await.unwrap();
    let output: Vec<u8> = events
        .iter()
        .flat_map(|event| if let Event::Output(output) = event { output.data.clone() } else { vec![] })
        .collect();
    assert_eq!(output.len(), 7 + long.len());
    assert!(output.starts_with(b"one two"));
    assert!(matches!(outcome(&events), Kind::Succeeded(_)));
    let program = daemon.engine.last().program.unwrap();
    assert_eq!(program.profile, i32::from(aria_protocol::quilt::v1::Profile::Tool));
    assert_eq!(program.argv.last().unwrap(), "0");
    assert!(!program.guest_door);

    let Kind::Failed(failed) = outcome(&exec(&client, start("3"), &[]).await.unwrap()) else { panic!() };
    assert_eq!((failed.reason(), failed.exit_code), (Reason::Exited, 3));
    support::until("staging is empty", || daemon.entries("staging").is_empty()).await;
    assert_eq!(daemon.entries("bundles"), [""; 0]);
}

#[tokio::test]
async fn bad_programs_are_refused() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let stored = client.put(&support::program()).await.unwrap();
    let tools = client.put(&bundle("demo", "1.0.0")).await.unwrap();
    let noise = client.put(&[1; 2048]).await.unwrap();
    let start = || pb::RunStart { bundle: Some(stored.clone()), ..Default::default() };
    let env = |name: &str| [(name.to_owned(), "v".to_owned())].into_iter().collect();
    let memory = pb::Limits { memory_bytes: 1 << 50, ..Default::default() };
    let cases = [
        (pb::RunStart { bundle: None, ..start() }, Code::InvalidArgument, "FIELD_MISSING"),
        (pb::RunStart { bundle: Some(support::blob(b"none")), ..start() }, Code::NotFound, "BLOB_UNKNOWN"),
        (pb::RunStart { bundle: Some(tools), ..start() }, Code::InvalidArgument, "PROGRAM_MISSING"),
        (pb::RunStart { env: env("LD_PRELOAD"), ..start() }, Code::InvalidArgument, "ENV_REFUSED"),
        (pb::RunStart { env: env("a b"), ..start() }, Code::InvalidArgument, "ENV_REFUSED"),
        (pb::RunStart { limits: Some(memory), ..start() }, Code::InvalidArgument, "LIMIT_TOO_LARGE"),
        (pb::RunStart { profile: 77, ..start() }, Code::InvalidArgument, "PROFILE_UNKNOWN"),
        (pb::RunStart { tokens: vec!["no token".to_owned()], ..start() }, Code::InvalidArgument, "TOKEN_SYNTAX"),
        (pb::RunStart { args: vec!["a\0b".to_owned()], ..start() }, Code::InvalidArgument, "ARGS_INVALID"),
    ];
    for (start, code, reason) in cases {
        let status = exec(&client, start, &[]).await.unwrap_err();
        assert_eq!(refusal(&status), (code, reason.to_owned()));
    }
    let status = exec(&client, pb::RunStart { bundle: Some(noise), ..start() }, &[]).await.unwrap_err();
    assert_eq!(refusal(&status).0, Code::InvalidArgument);
    let first = pb::RunRequest { part: Some(pb::run_request::Part::Stdin(vec![1])) };
    let status = client.exec.clone().run(tokio_stream::iter([first])).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::InvalidArgument, "STREAM_ORDER".to_owned()));
    assert_eq!(daemon.engine.started(), 0);
    assert_eq!(daemon.entries("staging"), [""; 0]);
}

#[tokio::test]
async fn a_second_start_ends_the_program() {
    let daemon = Daemon::start().await;
    let client = daemon.operator().await;
    let stored = client.put(&support::program()).await.unwrap();
    let start = pb::run_request::Part::Start(pb::RunStart { bundle: Some(stored), ..Default::default() });
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    for _ in 0..2 {
        sender.send(pb::RunRequest { part: Some(start.clone()) }).await.unwrap();
    }
    let mut stream = client.exec.clone().run(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("no complaint"),
            Err(status) => break status,
        }
    };
    assert_eq!(refusal(&status), (Code::InvalidArgument, "STREAM_ORDER".to_owned()));
    support::until("the cage is gone", || daemon.engine.alive() == 0).await;
}

#[tokio::test]
async fn exec_can_be_off() {
    let daemon = Daemon::start_configured("exec = false").await;
    let client = daemon.operator().await;
    let status = exec(&client, pb::RunStart::default(), &[]).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "EXEC_DISABLED".to_owned()));
}
