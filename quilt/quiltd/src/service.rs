//! The methods of `quilt.v1.SyncEngine`: decode, decide who may start, hand over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aria_protocol::quilt::v1 as pb;
use pb::feed_request::Input;
use pb::sync_engine_server::SyncEngine;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use crate::events::{Events, Message};
use crate::execution::Execution;
use crate::fault::Fault;
use crate::inbox::{self, Inbox, STDIN_PIECE_BYTES_MAX, Stdin};
use crate::rules;
use crate::shared::{Live, Shared};
use crate::{plan, report};

/// Serves one engine.
pub(crate) struct Service {
    shared: Arc<Shared>,
    listeners: Arc<AtomicUsize>,
}

/// Who reads events at once; each may hold a few hundred.
const LISTENERS_MAX: usize = 64;

impl Service {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, listeners: Arc::default() }
    }

    /// Everything that can be refused before anything is made.
    fn admit(&self, request: pb::ExecuteRequest) -> Result<Execution, Fault> {
        let shared = &self.shared;
        if shared.stop.is_cancelled() {
            return Err(Fault::shutdown());
        }
        let plan = plan::plan(&shared.limits, request)?;
        let (inbox, outbox) =
            inbox::pair(plan.stdin, plan.door.is_some() && !plan.direct_door, CancellationToken::new());
        let live = Live::take(shared, &plan.lease.execution_id, inbox)?;
        let place = shared.leases.request(&plan.lease)?;
        Ok(Execution { shared: Arc::clone(shared), plan, live, outbox, place })
    }

    /// Changes the rules off the async threads: they are on disk before the answer.
    async fn change_rules(
        &self,
        change: impl FnOnce(&rules::Rules) -> Result<quilt_core::Rule, Fault> + Send + 'static,
    ) -> Result<pb::Rule, Fault> {
        let shared = Arc::clone(&self.shared);
        let change = move || {
            let rule = change(&shared.rules)?;
            shared.leases.set_policy(shared.rules.policy());
            tracing::info!(name = rule.name, "the rules changed");
            Ok(rules::wire(&rule))
        };
        tokio::task::spawn_blocking(change)
            .await
            .unwrap_or_else(|_| Err(Fault::bug("the thread that changed the rules ended")))
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
        let uptime = shared.leases.uptime();
        Ok(Response::new(pb::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            layers: shared.engine.layers().into_iter().map(report::layer).collect(),
            sandboxes: shared.cages.load(Ordering::Relaxed),
            waiting: shared.shelves.as_ref().map_or(0, waiting),
            uptime_ms: crate::leases::millis(uptime),
            ..shared.leases.read(report::ledger)
        }))
    }

    type EventsStream = ReceiverStream<report::EventMessage>;

    async fn events(&self, request: Request<pb::EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        if self.shared.stop.is_cancelled() {
            return Err(Fault::shutdown().into());
        }
        let seat = Seat::take(&self.listeners)?;
        let (sender, stream) = report::channel();
        let (leases, stop) = (Arc::clone(&self.shared.leases), self.shared.stop.clone());
        let from = request.into_inner().from;
        self.shared.tasks.spawn(async move {
            report::events(leases, from, sender, stop).await;
            drop(seat);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list_rules(&self, _: Request<pb::ListRulesRequest>) -> Result<Response<pb::ListRulesResponse>, Status> {
        let shared = Arc::clone(&self.shared);
        let list = move || {
            let damaged = shared.rules.damaged().unwrap_or_default();
            pb::ListRulesResponse { rules: shared.rules.policy().rules().iter().map(rules::wire).collect(), damaged }
        };
        let list = tokio::task::spawn_blocking(list).await;
        Ok(Response::new(list.map_err(|_| Fault::bug("the thread that read the rules ended"))?))
    }

    async fn add_rule(&self, request: Request<pb::AddRuleRequest>) -> Result<Response<pb::AddRuleResponse>, Status> {
        let rule = request.into_inner().rule.ok_or_else(|| Fault::spec("rule", "is missing"))?;
        let rule = self.change_rules(move |rules| rules.add(rule)).await?;
        Ok(Response::new(pb::AddRuleResponse { rule: Some(rule) }))
    }

    async fn remove_rule(
        &self,
        request: Request<pb::RemoveRuleRequest>,
    ) -> Result<Response<pb::RemoveRuleResponse>, Status> {
        let name = request.into_inner().name;
        let rule = self.change_rules(move |rules| rules.remove(&name)).await?;
        Ok(Response::new(pb::RemoveRuleResponse { rule: Some(rule) }))
    }
}

/// One listener; dropping it makes room for another.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(listeners: &Arc<AtomicUsize>) -> Result<Self, Fault> {
        let seat = Self(Arc::clone(listeners));
        if listeners.fetch_add(1, Ordering::Relaxed) >= LISTENERS_MAX {
            return Err(Fault::queue_full(format!("{LISTENERS_MAX} listeners read events already")));
        }
        Ok(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Cages that no call has taken yet.
fn waiting(shelves: &quilt_sandbox::Shelves) -> u32 {
    let (generic, own) = shelves.ready();
    u32::try_from(generic + own).unwrap_or(u32::MAX)
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
