//! `aria.v1.Exec`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aria_core::port::{BoxFuture, ByteSource, Limits, Profile};
use aria_orchestrator::{Events, ExecCall, SessionInput};
use aria_protocol::aria::v1 as pb;
use aria_store::{AuditEvent, AuditKind, Detail, Role};
use aria_types::ErrorKind;
use tokio::sync::oneshot;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{blob, files, invalid, required, run_event};
use super::{Device, now};
use crate::auth::Caller;
use crate::status::{self, refuse};

/// Longest piece of stdin handed on.
const STDIN_BYTES: usize = 64 << 10;
/// A request without its first message holds a place; it does not hold it for long.
const START_TIME: Duration = Duration::from_secs(30);
/// How long the answer's end waits for the client to close its side. An answer that ends first makes the server reset the
/// stream, and clients exist that then forget what they had not yet read.
const HALF_CLOSE_TIME: Duration = Duration::from_secs(1);

pub(super) struct Exec(pub(super) Arc<Device>);

#[tonic::async_trait]
impl pb::exec_server::Exec for Exec {
    type RunStream = RunStream;

    async fn run(&self, request: Request<Streaming<pb::RunRequest>>) -> Result<Response<RunStream>, Status> {
        let caller = Caller::of(&request)?;
        allowed(&self.0, &caller, "exec").await?;
        let mut stream = request.into_inner();
        let late = |_| refuse(ErrorKind::Deadline, "START_LATE", "the first message did not come within 30 s");
        let first = tokio::time::timeout(START_TIME, stream.message()).await.map_err(late)??;
        let first = first.and_then(|message| message.part);
        let Some(pb::run_request::Part::Start(start)) = first else {
            return Err(invalid("STREAM_ORDER", "the first message must be start"));
        };
        let (broken, complaint) = oneshot::channel();
        let (left, unread) = oneshot::channel();
        let mut call = call(caller.subject, start)?;
        call.stdin = Some(Box::new(Stdin {
            stream: Some(stream),
            left: Some(left),
            rest: Vec::new(),
            broken: Some(broken),
            open: true,
        }));
        let events = self.0.handle.exec(call).await.map_err(status::invoke)?;
        Ok(Response::new(RunStream {
            events,
            complaint: Some(complaint),
            ending: Box::pin(half_closed(unread)),
            ended: false,
        }))
    }
}

/// Whether this caller may run what is not installed; a refusal is a row about `subject`.
pub(super) async fn allowed(device: &Device, caller: &Caller, subject: &str) -> Result<(), Status> {
    let (reason, message) = if caller.role == Role::Caller {
        ("ROLE", "the role of this identity runs only what is installed")
    } else if !device.exec {
        ("EXEC_DISABLED", "this device runs only what is installed; its operator may allow more with [api] exec = true")
    } else {
        return Ok(());
    };
    let (at, kind, owner) = (now(), AuditKind::CallRefused, caller.subject.clone());
    let (subject, reason, detail) = (subject.to_owned(), reason.to_owned(), Detail::default().text("message", message));
    let refused = refuse(ErrorKind::Denied, &reason, message);
    device.handle.audit().refused(AuditEvent { at, kind, owner, invocation: None, subject, reason, detail }).await;
    Err(refused)
}

fn call(owner: String, start: pb::RunStart) -> Result<ExecCall, Status> {
    let profile = match pb::Profile::try_from(start.profile) {
        Ok(pb::Profile::Unspecified | pb::Profile::Tool) => Profile::Tool,
        Ok(pb::Profile::ToolNoexec) => Profile::ToolNoexec,
        Ok(pb::Profile::ToolNojit) => Profile::ToolNojit,
        Err(_) => return Err(invalid("PROFILE_UNKNOWN", "this device does not know the profile")),
    };
    let limits = start.limits.unwrap_or_default();
    Ok(ExecCall {
        owner,
        bundle: blob(&required(start.bundle, "start.bundle")?)?.sha256,
        args: start.args,
        env: start.env.into_iter().collect(),
        tokens: start.tokens,
        limits: Limits {
            memory_bytes: limits.memory_bytes,
            pids: limits.pids,
            cpu_millis: limits.cpu_millis,
            disk_bytes: limits.disk_bytes,
            wall_ms: limits.wall_ms,
            output_bytes: limits.output_bytes,
        },
        profile,
        files: files(&start.files)?,
        session: start.session.map(session).transpose()?,
        stdin: None,
    })
}

fn session(session: pb::Session) -> Result<SessionInput, Status> {
    let tree = blob(&required(session.tree, "start.session.tree")?)?.sha256;
    Ok(SessionInput { tree, collect: session.collect })
}

/// The request stream as the program's stdin; the program reads, the client waits.
struct Stdin {
    /// Present until dropped.
    stream: Option<Streaming<pb::RunRequest>>,
    /// Takes the stream when the program needs no more input.
    left: Option<oneshot::Sender<Streaming<pb::RunRequest>>>,
    /// What is left of the last message.
    rest: Vec<u8>,
    broken: Option<oneshot::Sender<Status>>,
    open: bool,
}

impl ByteSource for Stdin {
    fn next<'a>(&'a mut self) -> BoxFuture<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            while self.rest.is_empty() && self.open {
                let Some(stream) = &mut self.stream else { return None };
                match stream.message().await {
                    Ok(Some(pb::RunRequest { part: Some(pb::run_request::Part::Stdin(bytes)) })) => self.rest = bytes,
                    Ok(None) => self.open = false,
                    Ok(Some(_)) => self.complain(invalid("STREAM_ORDER", "after start only stdin may follow")),
                    Err(status) => self.complain(status::of_message(status)),
                }
            }
            if self.rest.is_empty() {
                return None;
            }
            let after = self.rest.split_off(self.rest.len().min(STDIN_BYTES));
            Some(std::mem::replace(&mut self.rest, after))
        })
    }
}

impl Stdin {
    /// Ends the run: a program must not take a broken stream for the end of its input.
    fn complain(&mut self, status: Status) {
        self.open = false;
        if let Some(broken) = self.broken.take() {
            // The run may have ended meanwhile.
            let _ = broken.send(status);
        }
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        if let (Some(stream), Some(left)) = (self.stream.take(), self.left.take()) {
            // Nobody takes it when the client has gone.
            let _ = left.send(stream);
        }
    }
}

/// Reads and forgets what the client still sends, until it closes its side or its time is over.
async fn half_closed(unread: oneshot::Receiver<Streaming<pb::RunRequest>>) {
    let closed = async {
        if let Ok(mut stream) = unread.await {
            while let Ok(Some(_)) = stream.message().await {}
        }
    };
    let _ = tokio::time::timeout(HALF_CLOSE_TIME, closed).await;
}

/// Dropping it, as happens when the client goes away, cancels the run.
pub(super) struct RunStream {
    events: Events,
    complaint: Option<oneshot::Receiver<Status>>,
    ending: BoxFuture<'static, ()>,
    ended: bool,
}

impl Stream for RunStream {
    type Item = Result<pb::RunResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return self.ending.as_mut().poll(context).map(|()| None);
        }
        if let Some(complaint) = &mut self.complaint
            && let Poll::Ready(told) = Pin::new(complaint).poll(context)
        {
            self.complaint = None;
            if let Ok(status) = told {
                self.events.close();
                return Poll::Ready(Some(Err(status)));
            }
        }
        match std::task::ready!(self.events.poll_recv(context)) {
            Some(Ok(event)) => Poll::Ready(Some(Ok(pb::RunResponse { event: Some(run_event(event)) }))),
            Some(Err(error)) => Poll::Ready(Some(Err(status::invoke(error)))),
            None => {
                self.ended = true;
                self.ending.as_mut().poll(context).map(|()| None)
            }
        }
    }
}
