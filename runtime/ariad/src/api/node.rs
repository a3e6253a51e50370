//! `aria.v1.Node`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aria_core::InvocationId;
use aria_protocol::aria::v1 as pb;
use aria_store::{LogPage, LogQuery, LogSource, Role, StoredLog};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::{invalid, moment, printable, rfc3339};
use super::{Device, blocking, identities, now, to_the_end};
use crate::auth::Caller;
use crate::status;

/// The only protocol there is yet.
const PROTOCOL: u32 = 1;
/// How long the engine may take to describe itself before it counts as down.
const ENGINE_TIME: Duration = Duration::from_secs(2);
/// Log lines when the caller does not say, and at most.
const TAIL_DEFAULT: usize = 1000;
const TAIL_MAX: usize = 10_000;
/// How long a reader of logs may leave a line unread.
const UNREAD_MAX: Duration = Duration::from_secs(60);

pub(super) struct Node(pub(super) Arc<Device>);

type LogStream = Pin<Box<dyn Stream<Item = Result<pb::StreamLogsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl pb::node_server::Node for Node {
    type StreamLogsStream = LogStream;

    async fn get_node(&self, request: Request<pb::GetNodeRequest>) -> Result<Response<pb::GetNodeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let device = &self.0;
        let engine = tokio::time::timeout(ENGINE_TIME, device.handle.engine_status()).await.ok().and_then(Result::ok);
        Ok(Response::new(pb::GetNodeResponse {
            node_id: device.identity.node_id().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            time: rfc3339(now()),
            arch: std::env::consts::ARCH.to_owned(),
            subject: caller.subject,
            role: caller.role.as_str().to_owned(),
            quilt_up: engine.is_some(),
            sandbox_layers: engine.map(|engine| engine.layers).unwrap_or_default(),
            uptime_ms: u64::try_from(device.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            exec_enabled: device.exec,
        }))
    }

    async fn enroll(&self, request: Request<pb::EnrollRequest>) -> Result<Response<pb::EnrollResponse>, Status> {
        let caller = Caller::of(&request)?;
        to_the_end(identities::enrol(Arc::clone(&self.0), caller, request.into_inner())).await
    }

    async fn revoke(&self, request: Request<pb::RevokeRequest>) -> Result<Response<pb::RevokeResponse>, Status> {
        let caller = Caller::of(&request)?;
        to_the_end(identities::revoke(Arc::clone(&self.0), caller, request.into_inner())).await
    }

    async fn list_credentials(
        &self,
        request: Request<pb::ListCredentialsRequest>,
    ) -> Result<Response<pb::ListCredentialsResponse>, Status> {
        let (caller, store) = (Caller::of(&request)?, self.0.store.clone());
        let credentials = blocking(move || identities::list(&store, &caller)).await?;
        Ok(Response::new(pb::ListCredentialsResponse { credentials }))
    }

    async fn invite_key(
        &self,
        request: Request<pb::InviteKeyRequest>,
    ) -> Result<Response<pb::InviteKeyResponse>, Status> {
        let caller = Caller::of(&request)?;
        identities::invite(&self.0, &caller, &request.into_inner()).map(Response::new)
    }

    async fn stream_logs(&self, request: Request<pb::StreamLogsRequest>) -> Result<Response<LogStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let query = log_query(&caller, &request)?;
        // A few lines under way beside one page; a slow reader slows only itself.
        let (sender, receiver) = mpsc::channel(4);
        // Ends with its reader, with the daemon, or when everything is told.
        tokio::spawn(send_logs(Arc::clone(&self.0), query, request.follow, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Administrators see every owner's logs, others their own.
fn log_query(caller: &Caller, request: &pb::StreamLogsRequest) -> Result<LogQuery, Status> {
    let invocation = match request.invocation_id.as_str() {
        "" => None,
        text => Some(InvocationId::parse(text).map_err(|error| invalid("INVOCATION_SYNTAX", error.to_string()))?),
    };
    let since = match request.since.as_str() {
        "" => None,
        text => Some(moment(text)?),
    };
    let tail = usize::try_from(request.tail).unwrap_or(TAIL_MAX).min(TAIL_MAX);
    Ok(LogQuery {
        invocation,
        tool: (!request.tool.is_empty()).then(|| request.tool.clone()),
        owner: (caller.role != Role::Admin).then(|| caller.subject.clone()),
        since,
        after: None,
        limit: if tail == 0 { TAIL_DEFAULT } else { tail },
    })
}

async fn send_logs(
    device: Arc<Device>,
    mut query: LogQuery,
    follow: bool,
    sender: mpsc::Sender<Result<pb::StreamLogsResponse, Status>>,
) {
    // Subscribed before the first look, so that nothing falls between the look and the wait.
    let mut written = device.handle.written();
    loop {
        written.borrow_and_update();
        let (store, asked) = (device.store.clone(), query.clone());
        let found = blocking(move || store.logs(&asked).map_err(status::store)).await;
        let (page, failed) = match found {
            Ok(page) => (page, None),
            Err(error) => (LogPage { lines: Vec::new(), next: 0, more: false }, Some(error)),
        };
        query.after = Some(page.next);
        query.limit = if follow { TAIL_MAX } else { query.limit - page.lines.len().min(query.limit) };
        let ends = failed.is_some() || (!follow && (!page.more || query.limit == 0));
        for answer in page.lines.into_iter().map(|line| Ok(wire(line))).chain(failed.map(Err)) {
            match tokio::time::timeout(UNREAD_MAX, sender.send(answer)).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
        if ends {
            return;
        }
        if page.more {
            continue;
        }
        tokio::select! {
            changed = written.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
            () = device.stop.cancelled() => return,
        }
    }
}

fn wire(line: StoredLog) -> pb::StreamLogsResponse {
    let source = match line.entry.source {
        LogSource::Stdout => "stdout",
        LogSource::Stderr => "stderr",
        LogSource::Log => "log",
        LogSource::Event => "event",
    };
    pb::StreamLogsResponse {
        time: rfc3339(line.entry.time),
        invocation_id: line.invocation.to_string(),
        tool: line.tool,
        source: source.to_owned(),
        level: line.entry.level,
        text: printable(&line.entry.text),
    }
}
