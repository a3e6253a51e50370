//! An engine that plays a script: it answers over a real socket what a test tells it to, and remembers what it was asked.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use aria_protocol::quilt::v1 as pb;
use pb::execute_response::Event;
use pb::sync_engine_server::{SyncEngine, SyncEngineServer};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// What the engine does with an execution.
#[derive(Clone)]
pub enum Script {
    /// Sends these and closes the stream.
    Play(Vec<Result<Event, Status>>),
    /// Refuses before the stream begins.
    Refuse(Status),
    /// Sends output for as long as somebody takes it.
    Flood,
    /// Echoes stdin as stdout and frames for the door as frames from it, then ends with code 0.
    Echo,
    /// Says that it started, and nothing more.
    Hang,
}

#[derive(Default)]
pub struct Seen {
    pub requests: Vec<pb::ExecuteRequest>,
    pub pieces_sent: usize,
}

#[derive(Clone)]
pub struct Engine {
    script: Script,
    pub seen: Arc<Mutex<Seen>>,
    /// True once a stream was dropped by its caller.
    pub left: watch::Sender<bool>,
    stdin: Arc<Mutex<Option<mpsc::Sender<Event>>>>,
}

pub struct Serving {
    pub dir: tempfile::TempDir,
    pub engine: Engine,
    stop: CancellationToken,
}

impl Serving {
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    /// Ends the server and every connection.
    pub fn die(&self) {
        self.stop.cancel();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.die();
    }
}

pub fn serve(script: Script) -> Serving {
    serve_in(tempfile::tempdir().unwrap(), script)
}

pub fn serve_in(dir: tempfile::TempDir, script: Script) -> Serving {
    let path = dir.path().join("api.sock");
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(path).unwrap();
    let engine = Engine { script, seen: Arc::default(), left: watch::Sender::new(false), stdin: Arc::default() };
    let service = SyncEngineServer::new(engine.clone()).max_decoding_message_size(8 << 20);
    let server = tonic::transport::Server::builder()
        // As the real engine: its callers are trusted with the socket.
        .http2_max_pending_accept_reset_streams(Some(4096))
        .http2_max_local_error_reset_streams(None)
        .add_service(service)
        .serve_with_incoming(UnixListenerStream::new(listener));
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    // A runtime of its own: when it is dropped, its connections break as those of a killed process do.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                served = server => served.unwrap(),
            }
        });
    });
    Serving { dir, engine, stop }
}

pub fn ended(reason: pb::EndReason) -> Event {
    Event::Ended(pb::Ended { reason: reason.into(), ..pb::Ended::default() })
}

pub fn stdout(data: Vec<u8>) -> Event {
    Event::Output(pb::Output { stream: pb::OutputStream::Stdout.into(), data })
}

fn message(event: Event) -> Result<pb::ExecuteResponse, Status> {
    Ok(pb::ExecuteResponse { event: Some(event) })
}

#[tonic::async_trait]
impl SyncEngine for Engine {
    type ExecuteStream = ReceiverStream<Result<pb::ExecuteResponse, Status>>;

    async fn execute(&self, request: Request<pb::ExecuteRequest>) -> Result<Response<Self::ExecuteStream>, Status> {
        self.seen.lock().unwrap().requests.push(request.into_inner());
        if let Script::Refuse(status) = &self.script {
            return Err(status.clone());
        }
        let (sender, receiver) = mpsc::channel(1);
        let (stdin, mut echoed) = mpsc::channel(1);
        *self.stdin.lock().unwrap() = Some(stdin);
        let engine = self.clone();
        tokio::spawn(async move {
            match engine.script.clone() {
                Script::Play(events) => {
                    for event in events {
                        let event = event.and_then(message);
                        if sender.send(event).await.is_err() {
                            break;
                        }
                    }
                }
                Script::Flood => {
                    while sender.send(message(stdout(vec![b'x'; 65_536]))).await.is_ok() {
                        engine.seen.lock().unwrap().pieces_sent += 1;
                    }
                }
                Script::Echo => {
                    while let Some(event) = echoed.recv().await {
                        drop(sender.send(message(event)).await);
                    }
                    drop(sender.send(message(ended(pb::EndReason::Exited))).await);
                }
                Script::Hang | Script::Refuse(_) => {
                    drop(
                        sender
                            .send(message(Event::Started(pb::Started { sandbox_id: "s".into(), ..Default::default() })))
                            .await,
                    );
                    sender.closed().await;
                }
            }
            engine.left.send_replace(sender.is_closed());
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn feed(&self, request: Request<Streaming<pb::FeedRequest>>) -> Result<Response<pb::FeedResponse>, Status> {
        let mut input = request.into_inner();
        let stdin = self.stdin.lock().unwrap().take().ok_or_else(|| Status::not_found("no execution"))?;
        let mut first = true;
        while let Some(piece) = input.message().await? {
            assert_eq!(first, !piece.execution_id.is_empty(), "the id is in the first message");
            first = false;
            match piece.input {
                Some(pb::feed_request::Input::Stdin(data)) => stdin.send(stdout(data)).await.unwrap(),
                Some(pb::feed_request::Input::DoorFrame(data)) => stdin.send(Event::GuestFrame(data)).await.unwrap(),
                Some(pb::feed_request::Input::CloseStdin(true)) => break,
                other => panic!("{other:?}"),
            }
        }
        Ok(Response::new(pb::FeedResponse { bytes: 0 }))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let layer = pb::Layer { name: "filter".into(), state: "on".into(), required: true };
        Ok(Response::new(pb::StatusResponse { layers: vec![layer], sandboxes: 3, ..Default::default() }))
    }

    type EventsStream = ReceiverStream<Result<pb::EventsResponse, Status>>;

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
