//! What the ledger knows, as it is sent.

use std::sync::Arc;

use aria_protocol::quilt::v1 as pb;
use quilt_core::{Asker, Blocker, CapacityView, Event, LeaseView, Ledger, WaiterView};
use quilt_sandbox::LayerState;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::fault::Fault;
use crate::leases::{Leases, millis};

/// Waiters that are listed; how many there are besides is in their positions.
const WAITERS_MAX: usize = 1024;
/// Events that are copied at once, and those that wait for one listener.
const EVENTS_AT_ONCE: usize = 256;

fn texts(who: &Asker) -> Vec<String> {
    who.tokens.iter().map(ToString::to_string).collect()
}

fn parent(who: &Asker) -> String {
    who.parent.as_deref().unwrap_or_default().to_owned()
}

fn lease(lease: &LeaseView<'_>) -> pb::Lease {
    pb::Lease {
        lease_id: lease.lease.to_string(),
        execution_id: lease.who.execution_id.to_string(),
        owner: lease.who.owner.to_string(),
        tokens: texts(lease.who),
        fence: lease.fence,
        age_ms: millis(lease.age),
        ttl_ms: millis(lease.ttl),
        priority: lease.who.priority.into(),
        parent_execution_id: parent(lease.who),
    }
}

fn waiter(waiter: WaiterView<'_>) -> pb::Waiter {
    pb::Waiter {
        execution_id: waiter.who.execution_id.to_string(),
        owner: waiter.who.owner.to_string(),
        tokens: texts(waiter.who),
        waited_ms: millis(waiter.waited),
        position: u32::try_from(waiter.position).unwrap_or(u32::MAX),
        blocked_by: waiter.blocked_by.into_iter().map(blocker).collect(),
        priority: waiter.who.priority.into(),
        parent_execution_id: parent(waiter.who),
    }
}

fn blocker(blocker: Blocker) -> pb::Blocker {
    let Blocker { execution_id, owner, token, held, holds } = blocker;
    pb::Blocker { execution_id, owner, token, held, holds }
}

fn capacity(capacity: &CapacityView) -> pb::Capacity {
    pb::Capacity { name: capacity.name.clone(), total: capacity.total, used: capacity.used }
}

/// Leases, waiters and counted resources.
pub(crate) fn ledger(ledger: &Ledger, now: std::time::Duration) -> pb::StatusResponse {
    pb::StatusResponse {
        leases: ledger.leases(now).map(|view| lease(&view)).collect(),
        waiters: ledger.waiters(now).take(WAITERS_MAX).map(waiter).collect(),
        capacities: ledger.capacities().iter().map(capacity).collect(),
        ..pb::StatusResponse::default()
    }
}

pub(crate) fn layer(layer: quilt_sandbox::Layer) -> pb::Layer {
    let state = match layer.state {
        LayerState::Active(form) if form.is_empty() => "active".to_owned(),
        LayerState::Active(form) => form,
        LayerState::Absent(why) => format!("absent: {why}"),
    };
    pb::Layer { name: layer.name.to_owned(), state, required: layer.required }
}

fn event(leases: &Leases, event: Event, lost: bool) -> pb::EventsResponse {
    pb::EventsResponse {
        seq: event.seq,
        at_ms: leases.unix_ms(event.at),
        kind: event.kind.as_str().to_owned(),
        execution_id: event.who.execution_id.to_string(),
        owner: event.who.owner.to_string(),
        lease_id: event.lease.map(|lease| lease.to_string()).unwrap_or_default(),
        fence: event.lease.map_or(0, quilt_core::LeaseId::fence),
        tokens: texts(&event.who),
        why: event.why,
        lost,
        life: leases.life,
    }
}

/// What travels to a listener.
pub(crate) type EventMessage = Result<pb::EventsResponse, Status>;

/// Sends events from number `from` on until the listener leaves or the engine stops. A listener holds up nobody: what it does not
/// take in time is forgotten, and it is told so.
pub(crate) async fn events(leases: Arc<Leases>, from: u64, to: mpsc::Sender<EventMessage>, stop: CancellationToken) {
    let mut news = leases.news();
    // More than there is: from the next on.
    let mut next = from.min(*news.borrow_and_update() + 1).max(1);
    // Only who named a first event can miss one before it.
    let mut named = from > 0;
    loop {
        let (lost, found) = leases.read(|ledger, _| ledger.events().from(next, EVENTS_AT_ONCE));
        let mut lost = lost && named;
        for found in found {
            (next, named) = (found.seq + 1, true);
            let message = event(&leases, found, std::mem::take(&mut lost));
            tokio::select! {
                sent = to.send(Ok(message)) => if sent.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
        if *news.borrow_and_update() >= next {
            continue;
        }
        tokio::select! {
            () = to.closed() => return,
            () = stop.cancelled() => {
                drop(to.try_send(Err(Fault::shutdown().into())));
                return;
            }
            // The sender lives as long as the leases.
            changed = news.changed() => drop(changed),
        }
    }
}

pub(crate) fn channel() -> (mpsc::Sender<EventMessage>, mpsc::Receiver<EventMessage>) {
    mpsc::channel(EVENTS_AT_ONCE)
}
