//! `aria.v1.Runs`.

use std::sync::Arc;

use aria_core::InvocationId;
use aria_protocol::aria::v1 as pb;
use aria_store::{Role, RunQuery, RunRecord};
use aria_types::ErrorKind;
use tonic::{Request, Response, Status};

use super::convert::{blob_ref, invalid, moment, printable, rfc3339, usage};
use super::{Device, blocking};
use crate::auth::Caller;
use crate::status::{self, refuse};

/// Rows of one page when the caller does not say, and at most.
const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 1000;
/// A run that has no end yet.
const RUNNING: &str = "running";

pub(super) struct Runs(pub(super) Arc<Device>);

#[tonic::async_trait]
impl pb::runs_server::Runs for Runs {
    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Result<Response<pb::ListRunsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let query = query(&caller, &request.into_inner())?;
        let store = self.0.store.clone();
        let (records, next) = blocking(move || store.runs(&query).map_err(status::store)).await?;
        Ok(Response::new(pb::ListRunsResponse {
            runs: records.into_iter().map(wire).collect(),
            next_page_token: next.map(|seq| seq.to_string()).unwrap_or_default(),
        }))
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<Response<pb::GetRunResponse>, Status> {
        let caller = Caller::of(&request)?;
        let text = request.into_inner().invocation_id;
        let id = InvocationId::parse(&text).map_err(|error| invalid("INVOCATION_SYNTAX", error.to_string()))?;
        let store = self.0.store.clone();
        let record = blocking(move || store.run(&id).map_err(status::store)).await?;
        // Somebody else's run is not there for who only calls.
        if caller.role == Role::Caller && record.owner != caller.subject {
            return Err(refuse(ErrorKind::NotFound, "RUN_UNKNOWN", format!("no run {text}")));
        }
        Ok(Response::new(pb::GetRunResponse { run: Some(wire(record)) }))
    }
}

/// Who only calls asks for its own runs.
fn query(caller: &Caller, request: &pb::ListRunsRequest) -> Result<RunQuery, Status> {
    let asked = (!request.owner.is_empty()).then(|| request.owner.clone());
    let owner = match (caller.role, asked) {
        (Role::Caller, Some(other)) if other != caller.subject => {
            return Err(refuse(ErrorKind::Denied, "ROLE", "the role of this identity shows its own runs only"));
        }
        (Role::Caller, _) => Some(caller.subject.clone()),
        (Role::Operator | Role::Admin, asked) => asked,
    };
    let since = match request.since.as_str() {
        "" => None,
        text => Some(moment(text)?),
    };
    let before = match request.page_token.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| invalid("PAGE_TOKEN", "the page token is not one of this device"))?),
    };
    let outcome = match request.outcome.as_str() {
        "" => None,
        // The store keeps no word for what has no end.
        RUNNING => Some(String::new()),
        text => Some(text.to_owned()),
    };
    let limit = match usize::try_from(request.page_size).unwrap_or(PAGE_MAX) {
        0 => PAGE_DEFAULT,
        asked => asked.min(PAGE_MAX),
    };
    let tool = (!request.tool.is_empty()).then(|| request.tool.clone());
    Ok(RunQuery { tool, outcome, owner, since, before, limit })
}

fn wire(record: RunRecord) -> pb::Run {
    let outcome = if record.outcome.is_empty() { RUNNING.to_owned() } else { record.outcome };
    pb::Run {
        invocation_id: record.id.to_string(),
        tool: record.tool,
        bundle_digest: record.bundle.map(|digest| digest.to_string()).unwrap_or_default(),
        owner: record.owner,
        started_at: rfc3339(record.started_at),
        ended_at: record.ended_at.map(rfc3339).unwrap_or_default(),
        outcome,
        message: printable(&record.message),
        usage: Some(usage(record.usage)),
        input: record.input.map(|value| blob_ref(&value.sha256, value.size_bytes)),
        output: record.output.map(|value| blob_ref(&value.sha256, value.size_bytes)),
        log_dropped_bytes: record.log_dropped_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Via;

    fn asked(role: Role, request: &pb::ListRunsRequest) -> Result<RunQuery, tonic::Code> {
        let caller = Caller { subject: "ann".into(), role, via: Via::Socket };
        query(&caller, request).map_err(|status| status.code())
    }

    #[test]
    fn who_only_calls_sees_its_own_runs() {
        let of = |role, owner: &str| {
            asked(role, &pb::ListRunsRequest { owner: owner.into(), ..Default::default() }).map(|query| query.owner)
        };
        assert_eq!(of(Role::Caller, ""), Ok(Some("ann".into())));
        assert_eq!(of(Role::Caller, "bob"), Err(tonic::Code::PermissionDenied));
        assert_eq!(of(Role::Operator, ""), Ok(None));
        assert_eq!(of(Role::Operator, "bob"), Ok(Some("bob".into())));
    }

    #[test]
    fn filters_are_checked_and_pages_bounded() {
        let admin = |request| asked(Role::Admin, &request);
        let token = pb::ListRunsRequest { page_token: "next".into(), ..Default::default() };
        assert_eq!(admin(token).map(|_| ()), Err(tonic::Code::InvalidArgument));
        let since = pb::ListRunsRequest { since: "yesterday".into(), ..Default::default() };
        assert_eq!(admin(since).map(|_| ()), Err(tonic::Code::InvalidArgument));
        let limit = |page_size| admin(pb::ListRunsRequest { page_size, ..Default::default() }).map(|query| query.limit);
        assert_eq!((limit(0), limit(7), limit(u32::MAX)), (Ok(PAGE_DEFAULT), Ok(7), Ok(PAGE_MAX)));
        let running = pb::ListRunsRequest { outcome: "running".into(), ..Default::default() };
        assert_eq!(admin(running).map(|query| query.outcome), Ok(Some(String::new())));
    }
}
