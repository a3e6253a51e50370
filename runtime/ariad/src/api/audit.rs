//! `aria.v1.Audit`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aria_core::InvocationId;
use aria_protocol::aria::v1 as pb;
use aria_store::{AuditKind, AuditQuery, AuditRecord, Role};
use aria_types::ErrorKind;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::{invalid, moment, rfc3339};
use super::{Device, blocking};
use crate::auth::Caller;
use crate::status::{self, refuse};

/// Rows when the caller does not say, and at most.
const TAIL_DEFAULT: usize = 1000;
const TAIL_MAX: usize = 10_000;
/// How long a reader may leave a row unread.
const UNREAD_MAX: Duration = Duration::from_secs(60);
/// How often the table is looked at for those who follow; a look that finds nothing is one step into its index.
const LOOK: Duration = Duration::from_millis(250);

pub(super) struct Audit(pub(super) Arc<Device>);

type Rows = Pin<Box<dyn Stream<Item = Result<pb::AuditListResponse, Status>> + Send>>;

#[tonic::async_trait]
impl pb::audit_server::Audit for Audit {
    type ListStream = Rows;

    async fn list(&self, request: Request<pb::AuditListRequest>) -> Result<Response<Rows>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let query = query(&caller, &request)?;
        // A few rows under way beside one page; a slow reader slows only itself.
        let (sender, receiver) = mpsc::channel(4);
        // Ends with its reader, with the daemon, or when everything is told.
        tokio::spawn(send(Arc::clone(&self.0), query, request.follow, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Who only calls asks for its own rows.
fn query(caller: &Caller, request: &pb::AuditListRequest) -> Result<AuditQuery, Status> {
    let kind = match request.kind.as_str() {
        "" => None,
        text => {
            let unknown = || {
                let kinds = AuditKind::ALL.map(AuditKind::as_str).join(", ");
                invalid("AUDIT_KIND", format!("the audit has no such kind; it has {kinds}"))
            };
            Some(AuditKind::parse(text).ok_or_else(unknown)?)
        }
    };
    let invocation = match request.invocation_id.as_str() {
        "" => None,
        text => Some(InvocationId::parse(text).map_err(|error| invalid("INVOCATION_SYNTAX", error.to_string()))?),
    };
    let since = match request.since.as_str() {
        "" => None,
        text => Some(moment(text)?),
    };
    let asked = (!request.owner.is_empty()).then(|| request.owner.clone());
    let owner = match (caller.role, asked) {
        (Role::Caller, Some(other)) if other != caller.subject => {
            let message = "the role of this identity shows its own part of the audit only";
            return Err(refuse(ErrorKind::Denied, "ROLE", message));
        }
        (Role::Caller, _) => Some(caller.subject.clone()),
        (Role::Operator | Role::Admin, asked) => asked,
    };
    let tail = usize::try_from(request.tail).unwrap_or(TAIL_MAX).min(TAIL_MAX);
    let limit = if tail == 0 { TAIL_DEFAULT } else { tail };
    Ok(AuditQuery { kind, owner, invocation, since, after: None, limit })
}

async fn send(
    device: Arc<Device>,
    mut query: AuditQuery,
    follow: bool,
    sender: mpsc::Sender<Result<pb::AuditListResponse, Status>>,
) {
    let mut left = query.limit;
    loop {
        let (store, asked) = (device.store.clone(), query.clone());
        let page = match blocking(move || store.audit_rows(&asked).map_err(status::store)).await {
            Ok(page) => page,
            Err(error) => return tell(&sender, Err(error)).await.unwrap_or(()),
        };
        query.after = Some(page.next);
        left = left.saturating_sub(page.rows.len());
        query.limit = if follow { TAIL_MAX } else { left };
        for row in page.rows {
            if tell(&sender, Ok(wire(row))).await.is_err() {
                return;
            }
        }
        if !follow && (!page.more || left == 0) {
            return;
        }
        if page.more {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = sender.closed() => return,
            () = device.stop.cancelled() => return,
        }
    }
}

/// Hands a row on; an error when nobody takes it.
async fn tell(
    sender: &mpsc::Sender<Result<pb::AuditListResponse, Status>>,
    row: Result<pb::AuditListResponse, Status>,
) -> Result<(), ()> {
    match tokio::time::timeout(UNREAD_MAX, sender.send(row)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

fn wire(row: AuditRecord) -> pb::AuditListResponse {
    pb::AuditListResponse {
        seq: u64::try_from(row.seq).unwrap_or(0),
        time: rfc3339(row.at),
        kind: row.kind,
        owner: row.owner,
        invocation_id: row.invocation,
        subject: row.subject,
        reason: row.reason,
        detail_json: row.detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Via;

    #[track_caller]
    fn check(role: Role, owner: &str, expected: Result<Option<&str>, tonic::Code>) {
        let caller = Caller { subject: "ann".into(), role, via: Via::Tls { key_sha256: String::new() } };
        let request = pb::AuditListRequest { owner: owner.into(), ..Default::default() };
        let found = query(&caller, &request).map(|query| query.owner).map_err(|status| status.code());
        assert_eq!(found, expected.map(|owner| owner.map(ToOwned::to_owned)));
    }

    #[test]
    fn who_only_calls_sees_its_own_part() {
        check(Role::Caller, "", Ok(Some("ann")));
        check(Role::Caller, "ann", Ok(Some("ann")));
        check(Role::Caller, "bob", Err(tonic::Code::PermissionDenied));
        check(Role::Operator, "", Ok(None));
        check(Role::Operator, "bob", Ok(Some("bob")));
        check(Role::Admin, "bob", Ok(Some("bob")));
    }

    #[test]
    fn filters_are_checked() {
        let caller = Caller { subject: "ann".into(), role: Role::Admin, via: Via::Socket };
        let bad = [
            pb::AuditListRequest { kind: "lease".into(), ..Default::default() },
            pb::AuditListRequest { since: "yesterday".into(), ..Default::default() },
            pb::AuditListRequest { invocation_id: "../x".into(), ..Default::default() },
        ];
        for request in bad {
            assert_eq!(query(&caller, &request).unwrap_err().code(), tonic::Code::InvalidArgument);
        }
        let many = pb::AuditListRequest { tail: u32::MAX, kind: "lease.denied".into(), ..Default::default() };
        assert_eq!(query(&caller, &many).unwrap().limit, TAIL_MAX);
    }
}
