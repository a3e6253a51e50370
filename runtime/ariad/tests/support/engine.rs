//! A scripted engine: speaks `quilt.v1` on a socket and does what the name of the called tool says. It runs no code.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aria_protocol::quilt::v1 as pb;
use pb::execute_response::Event;
use pb::sync_engine_server::{SyncEngine, SyncEngineServer};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

/// What the engine can play.
pub(crate) const TOOLS: [&str; 17] = [
    "greet", "echo", "wrong", "throws", "nojson", "twice", "garbage", "deep", "hangs", "lingers", "exits", "crashes",
    "floods", "logs", "leaves", "denied", "reads",
];

#[derive(Clone, Default)]
pub(crate) struct Engine {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Streams that live: cages, so to speak.
    alive: AtomicUsize,
    started: AtomicUsize,
    stdin: Mutex<HashMap<String, mpsc::Sender<Option<Vec<u8>>>>>,
    last: Mutex<Option<pb::ExecuteRequest>>,
    stop: CancellationToken,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    pub(crate) fn start(socket: &Path) -> Self {
        let engine = Self::default();
        let listener = UnixListener::bind(socket).unwrap();
        let service = SyncEngineServer::new(engine.clone()).max_decoding_message_size(8 << 20);
        let server = tonic::transport::Server::builder().add_service(service);
        let stop = engine.state.stop.clone().cancelled_owned();
        let serve = server.serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop);
        *engine.state.server.lock().unwrap() = Some(tokio::spawn(async move { serve.await.unwrap() }));
        engine
    }

    /// Closes the socket and every connection, and waits until they are closed.
    pub(crate) async fn stop(&self) {
        self.state.stop.cancel();
        let server = self.state.server.lock().unwrap().take();
        server.unwrap().await.unwrap();
    }

    pub(crate) fn alive(&self) -> usize {
        self.state.alive.load(Ordering::SeqCst)
    }

    pub(crate) fn started(&self) -> usize {
        self.state.started.load(Ordering::SeqCst)
    }

    pub(crate) fn last(&self) -> pb::ExecuteRequest {
        self.state.last.lock().unwrap().clone().unwrap()
    }
}

struct Alive(Arc<State>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

type Events = mpsc::Sender<Result<pb::ExecuteResponse, Status>>;

#[tonic::async_trait]
impl SyncEngine for Engine {
    type ExecuteStream = Pin<Box<dyn Stream<Item = Result<pb::ExecuteResponse, Status>> + Send>>;

    async fn execute(&self, request: Request<pb::ExecuteRequest>) -> Result<Response<Self::ExecuteStream>, Status> {
        let request = request.into_inner();
        *self.state.last.lock().unwrap() = Some(request.clone());
        let (events, receiver) = mpsc::channel(4);
        let (stdin_sender, stdin) = mpsc::channel(4);
        self.state.stdin.lock().unwrap().insert(request.execution_id.clone(), stdin_sender);
        self.state.alive.fetch_add(1, Ordering::SeqCst);
        self.state.started.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(Arc::clone(&self.state));
        tokio::spawn(async move {
            let _alive = alive;
            let gone = events.clone();
            tokio::select! {
                () = play(request, events, stdin) => {}
                () = gone.closed() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn feed(&self, request: Request<Streaming<pb::FeedRequest>>) -> Result<Response<pb::FeedResponse>, Status> {
        let mut stream = request.into_inner();
        let (mut sender, mut bytes) = (None, 0);
        while let Some(message) = stream.message().await? {
            if sender.is_none() {
                sender = self.state.stdin.lock().unwrap().get(&message.execution_id).cloned();
            }
            let sender = sender.as_ref().ok_or_else(|| Status::not_found("no execution"))?;
            match message.input {
                Some(pb::feed_request::Input::Stdin(piece)) => {
                    bytes += piece.len() as u64;
                    let _ = sender.send(Some(piece)).await;
                }
                Some(pb::feed_request::Input::CloseStdin(_)) => drop(sender.send(None).await),
                _ => {}
            }
        }
        Ok(Response::new(pb::FeedResponse { bytes }))
    }

    async fn status(&self, _request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let layer = pb::Layer { name: "script".to_owned(), state: "on".to_owned(), required: true };
        Ok(Response::new(pb::StatusResponse { layers: vec![layer], ..Default::default() }))
    }

    type EventsStream = Pin<Box<dyn Stream<Item = Result<pb::EventsResponse, Status>> + Send>>;

    async fn events(&self, _: Request<pb::EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        Err(Status::unimplemented("this engine has no events"))
    }

    async fn list_rules(&self, _: Request<pb::ListRulesRequest>) -> Result<Response<pb::ListRulesResponse>, Status> {
        Err(Status::unimplemented("this engine has no rules"))
    }

    async fn add_rule(&self, _: Request<pb::AddRuleRequest>) -> Result<Response<pb::AddRuleResponse>, Status> {
        Err(Status::unimplemented("this engine has no rules"))
    }

    async fn remove_rule(&self, _: Request<pb::RemoveRuleRequest>) -> Result<Response<pb::RemoveRuleResponse>, Status> {
        Err(Status::unimplemented("this engine has no rules"))
    }
}

async fn play(request: pb::ExecuteRequest, events: Events, stdin: mpsc::Receiver<Option<Vec<u8>>>) {
    let program = request.program.clone().unwrap();
    let Some(frame) = program.door_frames.first() else {
        return run_program(&program, &events, stdin).await;
    };
    let frame: Value = serde_json::from_slice(frame).unwrap();
    let input: Value = serde_json::from_str(frame["invoke"]["inputJson"].as_str().unwrap()).unwrap();
    let module = frame["invoke"]["module"].as_str().unwrap().to_owned();
    let tool = module.rsplit('/').next().unwrap().trim_end_matches(".js").to_owned();
    if tool == "denied" {
        let details = ErrorDetails::with_error_info("TOKEN_NOT_ALLOWED", "quilt", HashMap::new());
        let message = "token kv:x:rw is not allowed by /var/quilt.toml";
        let status = Status::with_error_details(Code::PermissionDenied, message, details);
        let _ = events.send(Err(status)).await;
        return;
    }
    begin(&events).await;
    if !perform(&tool, &input, &program, &request, &events).await {
        end(&events, pb::EndReason::Exited, 0).await;
    }
}

/// Plays one tool; `true` when it also told its end.
async fn perform(
    tool: &str,
    input: &Value,
    program: &pb::Program,
    request: &pb::ExecuteRequest,
    events: &Events,
) -> bool {
    match tool {
        "throws" => {
            let stack = "RangeError: no\n    at f (/app/code/throws.js:1:1)\n    at run (/lib/aria/harness.js:3:4)";
            door(events, json!({"failure": {"kind": "threw", "name": "RangeError", "message": "no", "stack": stack}}))
                .await;
        }
        "nojson" => {
            door(events, json!({"failure": {"kind": "result", "name": "", "message": "a function", "stack": ""}})).await
        }
        "twice" => {
            result(events, &json!(1)).await;
            result(events, &json!(2)).await;
        }
        "garbage" => door(events, json!({"result": {"outputJson": "{\"a\":1,\"a\":2}"}})).await,
        "deep" => door(events, json!({"result": {"outputJson": "[".repeat(200) + &"]".repeat(200)}})).await,
        "wrong" => result(events, &json!("not a number")).await,
        "hangs" => {
            tokio::time::sleep(Duration::from_millis(request.limits.unwrap().wall_ms)).await;
            end(events, pb::EndReason::Deadline, 0).await;
            return true;
        }
        "lingers" => {
            result(events, &json!("said")).await;
            std::future::pending::<()>().await;
        }
        "exits" => {
            end(events, pb::EndReason::Exited, 7).await;
            return true;
        }
        "crashes" => {
            result(events, &json!("before")).await;
            end(events, pb::EndReason::Signalled, 0).await;
            return true;
        }
        "floods" => {
            for _ in 0..64 {
                stdout(events, vec![b'x'; 64 << 10]).await;
            }
            result(events, &json!(null)).await;
        }
        "logs" => {
            door(events, json!({"log": {"level": "warn", "message": "careful\u{1b}[2J", "fieldsJson": "{\"n\":1}"}}))
                .await;
            door(events, json!({"progress": {"fraction": 0.5, "message": "half"}})).await;
            stdout(events, b"plain\n".to_vec()).await;
            result(events, &json!(true)).await;
        }
        "leaves" => {
            result(events, &json!(null)).await;
            leave(events, "a.txt", b"left behind").await;
            leave(events, "empty", b"").await;
        }
        "reads" => {
            let files =
                program.files.iter().map(|file| (file.name.clone(), std::fs::read_to_string(&file.path).unwrap()));
            let found: HashMap<_, _> = files.collect();
            result(events, &json!(found)).await;
        }
        _ => result(events, input).await,
    }
    false
}

async fn run_program(program: &pb::Program, events: &Events, mut stdin: mpsc::Receiver<Option<Vec<u8>>>) {
    begin(events).await;
    if program.stdin {
        while let Some(Some(piece)) = stdin.recv().await {
            stdout(events, piece).await;
        }
    }
    let code = program.argv.last().and_then(|text| text.parse().ok()).unwrap_or(0);
    end(events, pb::EndReason::Exited, code).await;
}

async fn begin(events: &Events) {
    send(events, Event::Granted(pb::Granted { lease_id: "l1".to_owned(), fence: 1, ttl_ms: 1000 })).await;
    send(events, Event::Started(pb::Started { sandbox_id: "s1".to_owned(), ..Default::default() })).await;
}

async fn end(events: &Events, reason: pb::EndReason, exit_code: i32) {
    let usage = pb::Usage { wall_ms: 5, cpu_ms: 4, ..Default::default() };
    let signal = if reason == pb::EndReason::Signalled { 11 } else { 0 };
    let ended = pb::Ended { reason: reason.into(), exit_code, signal, detail: String::new(), usage: Some(usage) };
    send(events, Event::Ended(ended)).await;
}

async fn stdout(events: &Events, data: Vec<u8>) {
    send(events, Event::Output(pb::Output { stream: pb::OutputStream::Stdout.into(), data })).await;
}

async fn leave(events: &Events, name: &str, bytes: &[u8]) {
    send(events, Event::OutFile(pb::OutFile { name: name.to_owned(), size_bytes: bytes.len() as u64 })).await;
    for piece in bytes.chunks(4) {
        send(events, Event::OutChunk(piece.to_vec())).await;
    }
}

async fn result(events: &Events, value: &Value) {
    door(events, json!({"result": {"outputJson": value.to_string()}})).await;
}

async fn door(events: &Events, frame: Value) {
    send(events, Event::GuestFrame(frame.to_string().into_bytes())).await;
}

async fn send(events: &Events, event: Event) {
    let _ = events.send(Ok(pb::ExecuteResponse { event: Some(event) })).await;
}
