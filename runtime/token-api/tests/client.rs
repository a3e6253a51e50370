//! The port over a real socket: what arrives, what is refused, and what happens when either side goes away.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "in a test they are assertions")]
#![allow(unreachable_pub, reason = "the engine is a module of this test")]

mod engine;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aria_core::port::{
    BoxFuture, ByteSource, EndReason, EventSink, Execute, ExecuteEvent, ExecuteRequest, Limits, Profile,
};
use aria_protocol::quilt::v1 as pb;
use aria_token_api::TokenApi;
use aria_types::ErrorKind;
use engine::{Script, ended, serve, serve_in, stdout};
use pb::execute_response::Event;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

fn request() -> ExecuteRequest {
    ExecuteRequest {
        execution_id: "0123456789abcdef0123456789abcdef".into(),
        owner: "ann".into(),
        tokens: vec![],
        argv: vec!["/bin/true".into()],
        env: Default::default(),
        profile: Profile::Tool,
        code_dir: None,
        files: vec![],
        door_frames: None,
        collect_out: false,
        limits: Limits::default(),
        parent_execution_id: None,
        priority: 0,
        wait_ms: 0,
        subject: "exec".into(),
        warm: None,
        workspace: None,
    }
}

/// Keeps every event; waits before each as long as told.
#[derive(Default)]
struct Sink {
    events: Vec<ExecuteEvent>,
    pause: Duration,
}

impl EventSink for Sink {
    fn event<'a>(&'a mut self, event: ExecuteEvent) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            tokio::time::sleep(self.pause).await;
            self.events.push(event);
        })
    }
}

/// This many pieces of 64 KiB.
struct Pieces(u8);

impl ByteSource for Pieces {
    fn next<'a>(&'a mut self) -> BoxFuture<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            self.0 = self.0.checked_sub(1)?;
            Some(vec![self.0; 65_536])
        })
    }
}

#[tokio::test]
async fn events_arrive_in_order_and_the_end_is_the_answer() {
    let end = pb::Ended {
        reason: pb::EndReason::Exited.into(),
        exit_code: 7,
        detail: "d".into(),
        usage: Some(pb::Usage { wall_ms: 1, cpu_ms: 2, memory_peak_bytes: 3, stdout_bytes: 4, stderr_bytes: 5 }),
        ..Default::default()
    };
    let stderr = pb::Output { stream: pb::OutputStream::Stderr.into(), data: b"e".to_vec() };
    let events = vec![
        Event::Queued(pb::Queued { why: "busy".into() }),
        Event::Granted(pb::Granted { lease_id: "l".into(), fence: 9, ttl_ms: 10_000 }),
        Event::Renewed(pb::Renewed { ttl_ms: 5_000 }),
        Event::Started(pb::Started { sandbox_id: "s".into(), ..Default::default() }),
        stdout(b"o".to_vec()),
        Event::Output(stderr),
        Event::GuestFrame(vec![0; 1 << 20]),
        Event::OutFile(pb::OutFile { name: "f".into(), size_bytes: 1 }),
        Event::OutChunk(b"x".to_vec()),
        Event::Revoked(pb::Revoked { reason: "why".into() }),
        Event::Ended(end),
    ];
    let serving = serve(Script::Play(events.into_iter().map(Ok).collect()));
    let mut sink = Sink::default();
    let end = TokenApi::new(serving.socket()).execute(request(), None, None, &mut sink).await.unwrap();
    assert_eq!((end.reason, end.detail.as_str()), (EndReason::Exited(7), "d"));
    assert_eq!((end.usage.wall_ms, end.usage.stderr_bytes), (1, 5));
    let expected = [
        ExecuteEvent::Queued { why: "busy".into() },
        ExecuteEvent::Granted { lease_id: "l".into(), fence: 9, ttl_ms: 10_000 },
        ExecuteEvent::Renewed { ttl_ms: 5_000 },
        ExecuteEvent::Started { sandbox_id: "s".into() },
        ExecuteEvent::Stdout(b"o".to_vec()),
        ExecuteEvent::Stderr(b"e".to_vec()),
        ExecuteEvent::Frame(vec![0; 1 << 20]),
        ExecuteEvent::OutFile { name: "f".into(), size_bytes: 1 },
        ExecuteEvent::OutChunk(b"x".to_vec()),
        ExecuteEvent::Revoked { reason: "why".into() },
    ];
    assert_eq!(sink.events, expected);
}

#[tokio::test]
async fn a_request_of_four_mebibytes_arrives_whole() {
    let serving = serve(Script::Play(vec![Ok(ended(pb::EndReason::Exited))]));
    let frames = vec![vec![7; 1 << 20]; 4];
    let asked = ExecuteRequest { door_frames: Some(frames.clone()), ..request() };
    TokenApi::new(serving.socket()).execute(asked, None, None, &mut Sink::default()).await.unwrap();
    assert_eq!(serving.engine.seen.lock().unwrap().requests[0].program.as_ref().unwrap().door_frames, frames);
}

#[tokio::test]
async fn a_refusal_keeps_its_reason_whenever_it_comes() {
    let details = ErrorDetails::with_error_info("TOKEN_BUSY", "quilt", HashMap::new());
    let status = Status::with_error_details(Code::Aborted, "kv:a:rw is held", details);
    let late = Script::Play(vec![Ok(Event::Queued(pb::Queued::default())), Err(status.clone())]);
    for script in [Script::Refuse(status), late] {
        let serving = serve(script);
        let error =
            TokenApi::new(serving.socket()).execute(request(), None, None, &mut Sink::default()).await.unwrap_err();
        assert_eq!((error.kind, error.reason.as_str()), (ErrorKind::Conflict, "TOKEN_BUSY"));
        assert_eq!(error.message, "kv:a:rw is held");
    }
}

#[tokio::test]
async fn an_absent_engine_is_down_and_found_again_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let api = TokenApi::new(dir.path().join("api.sock"));
    for error in
        [api.execute(request(), None, None, &mut Sink::default()).await.unwrap_err(), api.status().await.unwrap_err()]
    {
        assert_eq!((error.kind, error.reason.as_str()), (ErrorKind::Unavailable, "QUILT_DOWN"));
        assert!(error.message.contains("No such file"), "{error}");
    }
    let serving = serve_in(dir, Script::Play(vec![Ok(ended(pb::EndReason::Exited))]));
    api.execute(request(), None, None, &mut Sink::default()).await.unwrap();
    let status = api.status().await.unwrap();
    assert_eq!((status.sandboxes, status.layers), (3, vec!["filter: on".to_owned()]));
    drop(serving);
}

#[tokio::test]
async fn an_engine_that_dies_in_the_middle_is_down() {
    let serving = serve(Script::Hang);
    let api = TokenApi::new(serving.socket());
    let mut sink = Sink::default();
    let death = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        serving.die();
    };
    let (outcome, ()) = tokio::join!(api.execute(request(), None, None, &mut sink), death);
    let error = outcome.unwrap_err();
    assert_eq!((error.kind, error.reason.as_str()), (ErrorKind::Unavailable, "QUILT_DOWN"), "{error}");
    assert_eq!(sink.events.len(), 1);
}

#[tokio::test]
async fn a_stream_without_an_end_is_not_a_success() {
    let serving = serve(Script::Play(vec![Ok(stdout(b"x".to_vec()))]));
    let error = TokenApi::new(serving.socket()).execute(request(), None, None, &mut Sink::default()).await.unwrap_err();
    assert_eq!(error.reason, "QUILT_DOWN");
}

#[tokio::test]
async fn dropping_the_future_drops_the_stream() {
    for script in [Script::Hang, Script::Flood] {
        let serving = serve(script);
        let api = TokenApi::new(serving.socket());
        let mut sink = Sink { pause: Duration::from_millis(50), ..Sink::default() };
        let call = api.execute(request(), None, None, &mut sink);
        assert!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err());
        let mut left = serving.engine.left.subscribe();
        tokio::time::timeout(Duration::from_secs(1), left.wait_for(|left| *left)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_slow_sink_slows_the_engine() {
    let serving = serve(Script::Flood);
    let api = TokenApi::new(serving.socket());
    let mut sink = Sink { pause: Duration::from_millis(100), ..Sink::default() };
    let call = api.execute(request(), None, None, &mut sink);
    assert!(tokio::time::timeout(Duration::from_millis(1000), call).await.is_err());
    let sent = serving.engine.seen.lock().unwrap().pieces_sent;
    assert!((5..40).contains(&sent), "{sent} pieces for a sink that took {}", sink.events.len());
}

#[tokio::test]
async fn a_stalled_sink_does_not_stall_the_others() {
    let serving = serve(Script::Flood);
    let api = TokenApi::new(serving.socket());
    let mut stalled: Vec<Sink> = (0..40).map(|_| Sink { pause: Duration::from_secs(60), ..Sink::default() }).collect();
    let mut stalls: Vec<_> = stalled.iter_mut().map(|sink| api.execute(request(), None, None, sink)).collect();
    let all = std::future::poll_fn(|context| {
        for stall in &mut stalls {
            assert!(stall.as_mut().poll(context).is_pending());
        }
        std::task::Poll::<()>::Pending
    });
    let free = async {
        let sent = || serving.engine.seen.lock().unwrap().pieces_sent;
        let mut before = 0;
        while sent() == 0 || sent() != before {
            before = sent();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let mut sink = Sink::default();
        drop(tokio::time::timeout(Duration::from_millis(1000), api.execute(request(), None, None, &mut sink)).await);
        sink.events.len()
    };
    tokio::select! {
        () = all => unreachable!("it never resolves"),
        events = free => assert!(events > 50, "{events} events beside stalled streams"),
    }
}

#[tokio::test]
async fn a_storm_of_cancelled_calls_does_not_break_the_others() {
    let serving = serve(Script::Flood);
    let api = TokenApi::new(serving.socket());
    let mut steady = Sink { pause: Duration::from_millis(20), ..Sink::default() };
    let storm = async {
        for round in 0..150 {
            // Each fills its window, so that much is on its way when it is dropped.
            let mut sinks: Vec<Sink> =
                (0..20).map(|_| Sink { pause: Duration::from_secs(60), ..Sink::default() }).collect();
            let mut calls: Vec<_> = sinks.iter_mut().map(|sink| api.execute(request(), None, None, sink)).collect();
            let all = std::future::poll_fn(|context| {
                for call in &mut calls {
                    if let std::task::Poll::Ready(ended) = call.as_mut().poll(context) {
                        panic!("a call ended: {ended:?}");
                    }
                }
                std::task::Poll::<()>::Pending
            });
            drop(tokio::time::timeout(Duration::from_millis(round % 12), all).await);
        }
    };
    tokio::select! {
        ended = api.execute(request(), None, None, &mut steady) => panic!("{ended:?}"),
        () = storm => {}
    }
    assert!(steady.events.len() > 10);
}

#[tokio::test]
async fn stdin_arrives_and_ends() {
    let serving = serve(Script::Echo);
    let mut sink = Sink { pause: Duration::from_millis(1), ..Sink::default() };
    let begun = Instant::now();
    TokenApi::new(serving.socket()).execute(request(), Some(Box::new(Pieces(80))), None, &mut sink).await.unwrap();
    let pieces: Vec<u8> = sink
        .events
        .iter()
        .map(|event| match event {
            ExecuteEvent::Stdout(data) => {
                assert!(data.len() == 65_536 && data.iter().all(|byte| *byte == data[0]));
                data[0]
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pieces, (0..80).rev().collect::<Vec<u8>>());
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn frames_for_the_door_arrive_whole_and_in_order() {
    let serving = serve(Script::Echo);
    let mut sink = Sink::default();
    TokenApi::new(serving.socket()).execute(request(), None, Some(Box::new(Pieces(5))), &mut sink).await.unwrap();
    let frames = sink.events.iter().map(|event| match event {
        ExecuteEvent::Frame(frame) => (frame[0], frame.len()),
        other => panic!("{other:?}"),
    });
    assert_eq!(frames.collect::<Vec<_>>(), (0..5).rev().map(|byte| (byte, 65_536)).collect::<Vec<_>>());
}
