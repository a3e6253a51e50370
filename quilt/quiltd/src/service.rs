//! The three methods of `quilt.v1.SyncEngine`: decode, decide who may start, hand over.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aria_protocol::quilt::v1 as pb;
use pb::feed_request::Input;
use pb::sync_engine_server::SyncEngine;
use quilt_sandbox::LayerState;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use crate::events::{Events, Message};
use crate::execution::Execution;
use crate::fault::Fault;
use crate::inbox::{self, Inbox, STDIN_PIECE_BYTES_MAX, Stdin};
use crate::plan;
use crate::shared::{Live, Shared};

/// Serves one engine.
pub(crate) struct Service {
    shared: Arc<Shared>,
}

impl Service {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Everything that can be refused before anything is made.
    fn admit(&self, request: pb::ExecuteRequest) -> Result<Execution, Fault> {
        let shared = &self.shared;
        if shared.stop.is_cancelled() {
            return Err(Fault::shutdown());
        }
        let plan = plan::plan(&shared.limits, request)?;
        shared.ledger().check(&plan.lease)?;
        let (inbox, outbox) = inbox::pair(plan.stdin, plan.door.is_some(), CancellationToken::new());
        let live = Live::take(shared, &plan.lease.execution_id, inbox)?;
        let admission = shared.admit()?;
        Ok(Execution { shared: Arc::clone(shared), plan, live, outbox, admission })
    }
}

#[tonic::async_trait]
impl SyncEngine for Service {
    type ExecuteStream = ReceiverStream<Message>;

    async fn execute(&self, request: Request<pb::ExecuteRequest>) -> Result<Response<Self::ExecuteStream>, Status> {
        let execution = self.admit(request.into_inner()).inspect_err(|fault| {
            tracing::debug!(reason = fault.reason, why = fault.message, "refused");
        })?;
        let (events, stream) = Events::channel(self.shared.stop.clone());
        let span = tracing::info_span!("quilt.execute", execution_id = execution.plan.lease.execution_id);
        // The task owns the execution and outlives this call: a caller that leaves closes the stream, and the task cleans up.
        self.shared.tasks.spawn(execution.run(events).instrument(span));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn feed(&self, request: Request<Streaming<pb::FeedRequest>>) -> Result<Response<pb::FeedResponse>, Status> {
        let mut input = request.into_inner();
        let Some(first) = input.message().await? else {
            return Err(Fault::spec("execution_id", "is missing: the stream has no message").into());
        };
        plan::execution_id(&first.execution_id)?;
        let id = first.execution_id.clone();
        let inbox = self.shared.inbox(&id).ok_or_else(|| Fault::unknown(&id))?;
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            tokio::select! {
                () = inbox.over.cancelled() => break,
                fed = feed(&inbox, request.input) => bytes += fed?,
            }
            next = tokio::select! {
                () = inbox.over.cancelled() => break,
                next = input.next() => next.transpose()?,
            };
        }
        Ok(Response::new(pb::FeedResponse { bytes }))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let shared = &self.shared;
        let uptime = shared.uptime();
        let lease = |lease: quilt_core::LeaseView<'_>| pb::Lease {
            lease_id: lease.lease.to_string(),
            execution_id: lease.execution_id.to_owned(),
            owner: lease.owner.to_owned(),
            tokens: lease.tokens.iter().map(ToString::to_string).collect(),
            fence: lease.fence,
            age_ms: u64::try_from(lease.age.as_millis()).unwrap_or(u64::MAX),
            ..pb::Lease::default()
        };
        Ok(Response::new(pb::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            layers: shared.engine.layers().into_iter().map(layer).collect(),
            leases: shared.ledger().leases(uptime).map(lease).collect(),
            sandboxes: shared.cages.load(Ordering::Relaxed),
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            ..pb::StatusResponse::default()
        }))
    }

    type EventsStream = ReceiverStream<Result<pb::EventsResponse, Status>>;

    async fn events(&self, _: Request<pb::EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        Err(Fault::not_built("Events").into())
    }

    async fn list_rules(&self, _: Request<pb::ListRulesRequest>) -> Result<Response<pb::ListRulesResponse>, Status> {
        Err(Fault::not_built("ListRules").into())
    }

    async fn add_rule(&self, _: Request<pb::AddRuleRequest>) -> Result<Response<pb::AddRuleResponse>, Status> {
        Err(Fault::not_built("AddRule").into())
    }

    async fn remove_rule(&self, _: Request<pb::RemoveRuleRequest>) -> Result<Response<pb::RemoveRuleResponse>, Status> {
        Err(Fault::not_built("RemoveRule").into())
    }
}

fn layer(layer: quilt_sandbox::Layer) -> pb::Layer {
    let state = match layer.state {
        LayerState::Active(form) if form.is_empty() => "active".to_owned(),
        LayerState::Active(form) => form,
        LayerState::Absent(why) => format!("absent: {why}"),
    };
    pb::Layer { name: layer.name.to_owned(), state, required: layer.required }
}

/// Puts one message into the queue it is for and says how many bytes it was. What a program does not take any more is dropped.
async fn feed(inbox: &Inbox, input: Option<Input>) -> Result<u64, Fault> {
    const NO_STDIN: &str = "this execution was started without stdin";
    match input {
        None => Ok(0),
        Some(Input::Stdin(bytes)) => {
            let queue = inbox.stdin.as_ref().ok_or_else(|| Fault::spec("stdin", NO_STDIN))?;
            if bytes.len() > STDIN_PIECE_BYTES_MAX {
                return Err(Fault::spec("stdin", format!("a piece is at most {STDIN_PIECE_BYTES_MAX} bytes")));
            }
            let length = bytes.len() as u64;
            Ok(if queue.send(Stdin::Bytes(bytes)).await.is_ok() { length } else { 0 })
        }
        Some(Input::CloseStdin(close)) => {
            let queue = inbox.stdin.as_ref().ok_or_else(|| Fault::spec("close_stdin", NO_STDIN))?;
            if close {
                drop(queue.send(Stdin::Close).await);
            }
            Ok(0)
        }
        Some(Input::DoorFrame(frame)) => {
            let missing = || Fault::spec("door_frame", "this execution was started without a guest door");
            let queue = inbox.door.as_ref().ok_or_else(missing)?;
            plan::frame_size("door_frame", &frame)?;
            let length = frame.len() as u64;
            Ok(if queue.send(frame).await.is_ok() { length } else { 0 })
        }
    }
}
