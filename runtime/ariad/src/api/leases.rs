//! `aria.v1.Leases`: the engine's snapshot, as far as the caller may see it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aria_protocol::aria::v1 as pb;
use aria_store::Role;
use aria_token_api::{Blocker, Held, Leases as Snapshot, Waiting};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::rfc3339;
use super::{Device, LIST_BYTES_MAX, now};
use crate::auth::Caller;
use crate::status;

/// How long a reader may leave a snapshot unread.
const UNREAD_MAX: Duration = Duration::from_secs(60);
/// Changes within this time are one snapshot.
const PAUSE: Duration = Duration::from_millis(200);
/// A follower is told at least so often, because ages and the order of those who wait change by themselves.
const REFRESH: Duration = Duration::from_secs(5);

pub(super) struct Leases(pub(super) Arc<Device>);

type Snapshots = Pin<Box<dyn Stream<Item = Result<pb::LeasesListResponse, Status>> + Send>>;

#[tonic::async_trait]
impl pb::leases_server::Leases for Leases {
    type ListStream = Snapshots;

    async fn list(&self, request: Request<pb::LeasesListRequest>) -> Result<Response<Snapshots>, Status> {
        let caller = Caller::of(&request)?;
        let follow = request.into_inner().follow;
        let device = Arc::clone(&self.0);
        // Asked here, so that an engine that is down is an answer and no broken stream.
        let changes = device.lease_changes.subscribe();
        let first = snapshot(&device, &caller).await?;
        let (sender, receiver) = mpsc::channel(1);
        let _ = sender.try_send(Ok(first));
        if follow {
            // Ends with its reader, with the daemon or with the engine.
            tokio::spawn(send(device, caller, changes, sender));
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

async fn send(
    device: Arc<Device>,
    caller: Caller,
    mut changes: tokio::sync::watch::Receiver<u64>,
    sender: mpsc::Sender<Result<pb::LeasesListResponse, Status>>,
) {
    loop {
        tokio::select! {
            changed = tokio::time::timeout(REFRESH, changes.changed()) => if let Ok(Err(_)) = changed { return },
            () = sender.closed() => return,
            () = device.stop.cancelled() => return,
        }
        tokio::time::sleep(PAUSE).await;
        changes.mark_unchanged();
        let next = snapshot(&device, &caller).await;
        let ends = next.is_err();
        let sent = tokio::time::timeout(UNREAD_MAX, sender.send(next)).await;
        if ends || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

async fn snapshot(device: &Device, caller: &Caller) -> Result<pb::LeasesListResponse, Status> {
    let leases = device.engine.leases().await.map_err(|error| status::execute(&error))?;
    Ok(view(caller, leases, rfc3339(now())))
}

/// Who only calls sees its own leases and waits; who else is in their way stays unnamed.
fn view(caller: &Caller, leases: Snapshot, time: String) -> pb::LeasesListResponse {
    let all = caller.role != Role::Caller;
    let own = |owner: &str| all || owner == caller.subject;
    let mut answer = pb::LeasesListResponse { time, ..Default::default() };
    answer.holders = leases.held.into_iter().filter(|held| own(&held.owner)).map(holder).collect();
    answer.capacities = leases
        .capacities
        .into_iter()
        .map(|capacity| pb::LeaseCapacity { name: capacity.name, total: capacity.total, used: capacity.used })
        .collect();
    let mut left = LIST_BYTES_MAX.saturating_sub(answer.encoded_len());
    for waiting in leases.waiting.into_iter().filter(|waiting| own(&waiting.owner)) {
        let waiter = waiter(waiting, &own);
        // Tag and length come before each.
        match left.checked_sub(waiter.encoded_len() + 8) {
            Some(rest) => {
                left = rest;
                answer.waiters.push(waiter);
            }
            None => answer.waiters_left_out += 1,
        }
    }
    answer
}

fn holder(held: Held) -> pb::LeaseHolder {
    pb::LeaseHolder {
        lease_id: held.lease_id,
        invocation_id: held.execution_id,
        owner: held.owner,
        tokens: held.tokens,
        fence: held.fence,
        age_ms: held.age_ms,
        ttl_ms: held.ttl_ms,
        priority: held.priority,
        parent_invocation_id: held.parent_execution_id,
    }
}

fn waiter(waiting: Waiting, own: &impl Fn(&str) -> bool) -> pb::LeaseWaiter {
    let blocker = |blocker: Blocker| {
        let named = own(&blocker.owner);
        pb::LeaseBlocker {
            invocation_id: if named { blocker.execution_id } else { String::new() },
            owner: if named { blocker.owner } else { String::new() },
            token: blocker.token,
            held: blocker.held,
            holds: blocker.holds,
        }
    };
    pb::LeaseWaiter {
        invocation_id: waiting.execution_id,
        owner: waiting.owner,
        tokens: waiting.tokens,
        waited_ms: waiting.waited_ms,
        position: waiting.position,
        blocked_by: waiting.blocked_by.into_iter().map(blocker).collect(),
        priority: waiting.priority,
        parent_invocation_id: waiting.parent_execution_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Via;

    fn leases() -> Snapshot {
        let held = |owner: &str| Held { owner: owner.into(), execution_id: format!("run-{owner}"), ..Held::default() };
        let by =
            |owner: &str| Blocker { owner: owner.into(), execution_id: format!("run-{owner}"), ..Blocker::default() };
        let waiting =
            |owner: &str| Waiting { owner: owner.into(), blocked_by: vec![by("ann"), by("bob")], ..Waiting::default() };
        Snapshot {
            held: vec![held("ann"), held("bob")],
            waiting: vec![waiting("ann"), waiting("bob")],
            capacities: vec![],
        }
    }

    fn seen(role: Role) -> pb::LeasesListResponse {
        view(
            &Caller { subject: "ann".into(), role, via: Via::Tls { key_sha256: String::new() } },
            leases(),
            String::new(),
        )
    }

    #[test]
    fn who_only_calls_sees_its_own_and_no_other_name() {
        let seen = seen(Role::Caller);
        assert_eq!(seen.holders.iter().map(|held| held.owner.as_str()).collect::<Vec<_>>(), ["ann"]);
        assert_eq!(seen.waiters.len(), 1);
        let by: Vec<_> =
            seen.waiters[0].blocked_by.iter().map(|by| (by.owner.as_str(), by.invocation_id.as_str())).collect();
        assert_eq!(by, [("ann", "run-ann"), ("", "")]);
    }

    #[test]
    fn operators_see_everything() {
        let seen = seen(Role::Operator);
        assert_eq!((seen.holders.len(), seen.waiters.len()), (2, 2));
        assert_eq!(seen.waiters[0].blocked_by[1].owner, "bob");
    }

    #[test]
    fn a_long_line_fits_into_one_answer_and_says_what_is_missing() {
        let token = format!("kv:{}:rw", "a".repeat(60));
        let waiting = Waiting { owner: "ann".into(), tokens: vec![token; 64], ..Waiting::default() };
        let leases = Snapshot { waiting: vec![waiting; 2000], ..Snapshot::default() };
        let caller = Caller { subject: "ann".into(), role: Role::Caller, via: Via::Tls { key_sha256: String::new() } };
        let answer = view(&caller, leases, String::new());
        assert!(answer.encoded_len() <= LIST_BYTES_MAX);
        assert!(answer.waiters_left_out > 0);
        assert_eq!(answer.waiters.len() + answer.waiters_left_out as usize, 2000);
    }
}
