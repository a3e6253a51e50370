//! What the engine says happened to leases becomes rows of the audit, each once and none left out.
//!
//! The place in the engine's numbering is written in the same commit as the rows. After a break everything the engine still
//! remembers is read again and what was written is skipped; what it has forgotten meanwhile is a row that counts.

use std::sync::Arc;
use std::time::Duration;

use aria_core::{InvocationId, UnixMs};
use aria_orchestrator::Audit;
use aria_store::{AuditEvent, AuditKind, Detail};
use aria_token_api::{EngineEvent, EngineEvents};

use crate::api::Device;
use crate::status;

/// The place, among the store's remembered values: `<life>:<seq>`.
const PLACE: &str = "lease-events";
/// How long to wait before asking an engine that is not there again.
const AGAIN: Duration = Duration::from_secs(1);
/// Events within this time are one commit.
const GATHER: Duration = Duration::from_millis(20);
const GATHER_MAX: usize = 256;
/// A place that moved without rows is written this seldom; the engine remembers many times as many events.
const UNWRITTEN_MAX: u64 = 512;

/// Runs until the daemon stops.
pub(crate) async fn follow(device: Arc<Device>) {
    let store = device.store.clone();
    let read = tokio::task::spawn_blocking(move || store.meta(PLACE)).await;
    let mut place = match read {
        Ok(Ok(text)) => text.as_deref().map(Place::parse).unwrap_or_default(),
        Ok(Err(error)) => {
            return tracing::error!(error = %status::chain(&error), "read the place in the engine's events");
        }
        Err(_panicked) => return,
    };
    loop {
        let work = async {
            match device.engine.events().await {
                Ok(events) => read_all(&device, events, &mut place).await,
                Err(error) => tracing::debug!(%error, "no events of the engine"),
            }
            tokio::time::sleep(AGAIN).await;
        };
        tokio::select! {
            () = work => {}
            () = device.stop.cancelled() => return,
        }
    }
}

/// Returns when the engine goes away or the store does not take the rows; then it begins again from the last written place.
async fn read_all(device: &Arc<Device>, mut events: EngineEvents, place: &mut Place) {
    let (mut at, mut unwritten) = (*place, 0);
    while let Ok(first) = events.next().await {
        let mut batch = vec![first];
        let gathered = tokio::time::Instant::now() + GATHER;
        while batch.len() < GATHER_MAX
            && let Ok(Ok(event)) = tokio::time::timeout_at(gathered, events.next()).await
        {
            batch.push(event);
        }
        let audit = device.handle.audit();
        let rows: Vec<AuditEvent> = batch.into_iter().flat_map(|event| at.rows(audit, event)).collect();
        device.lease_changes.send_modify(|count| *count = count.wrapping_add(1));
        unwritten += 1;
        if rows.is_empty() && at.life == place.life && at.seq.saturating_sub(place.seq) < UNWRITTEN_MAX {
            continue;
        }
        let (store, text) = (device.store.clone(), at.to_string());
        let written = tokio::task::spawn_blocking(move || store.audit(&rows, false, Some((PLACE, &text)))).await;
        match written {
            Ok(Ok(())) => (*place, unwritten) = (at, 0),
            Ok(Err(error)) => {
                return tracing::error!(error = %status::chain(&error), unwritten, "write what happened to leases");
            }
            Err(_panicked) => return,
        }
    }
}

/// The last event that was taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Place {
    life: u64,
    seq: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.life, self.seq)
    }
}

impl Place {
    /// What cannot be read is the beginning: then rows may come twice, and none is missing.
    fn parse(text: &str) -> Self {
        let (life, seq) = text.split_once(':').unwrap_or_default();
        match (life.parse(), seq.parse()) {
            (Ok(life), Ok(seq)) => Self { life, seq },
            _ => Self::default(),
        }
    }

    /// The rows of the next event: none when it was taken before, one more when some before it are lost.
    fn rows(&mut self, audit: &Audit, event: EngineEvent) -> Vec<AuditEvent> {
        let expected = if event.life == self.life { self.seq + 1 } else { 1 };
        if event.seq < expected {
            return Vec::new();
        }
        *self = Self { life: event.life, seq: event.seq };
        let lost = (event.seq > expected).then(|| lost(event.seq - expected, UnixMs(event.at_ms)));
        let row = row(event).and_then(|row| match row.kind {
            AuditKind::LeaseDenied | AuditKind::LeaseDeadlock => audit.admit(row),
            _ => Some(row),
        });
        lost.into_iter().chain(row).collect()
    }
}

fn lost(count: u64, at: UnixMs) -> AuditEvent {
    let detail = Detail::default()
        .number("count", count)
        .text("message", "the engine forgot events before they could be written here");
    let (owner, subject, reason) = (String::new(), "quilt".to_owned(), String::new());
    AuditEvent { at, kind: AuditKind::LeaseLost, owner, invocation: None, subject, reason, detail }
}

/// The row of an event. Waiting, renewing and releasing are no decisions, and a lease without tokens grants nothing.
fn row(event: EngineEvent) -> Option<AuditEvent> {
    let (kind, reason) = match event.kind.as_str() {
        "granted" if !event.tokens.is_empty() => (AuditKind::LeaseGranted, ""),
        // A request that makes no sense asked for nothing.
        "denied" if matches!(reason_of(&event.why), "TOKEN_SYNTAX" | "SPEC_INVALID" | "EXECUTION_EXISTS") => {
            return None;
        }
        "denied" => (AuditKind::LeaseDenied, reason_of(&event.why)),
        "deadlock" => (AuditKind::LeaseDeadlock, "DEADLOCK"),
        "revoked" => (AuditKind::LeaseRevoked, "LEASE_REVOKED"),
        "expired" => (AuditKind::LeaseRevoked, "LEASE_EXPIRED"),
        _ => return None,
    };
    let mut detail = Detail::default().text("lease", &event.lease_id);
    if event.fence > 0 {
        detail = detail.number("fence", event.fence);
    }
    Some(AuditEvent {
        at: UnixMs(event.at_ms),
        kind,
        owner: event.owner,
        invocation: InvocationId::parse(&event.execution_id).ok(),
        subject: event.tokens.join(" "),
        reason: reason.to_owned(),
        detail: detail.texts("tokens", &event.tokens).text("message", &event.why),
    })
}

/// The stable reason an explanation of the engine begins with, if it does: `TOKEN_NOT_ALLOWED: …`.
fn reason_of(why: &str) -> &str {
    let (head, _) = why.split_once(':').unwrap_or((why, ""));
    let is_reason = head.len() >= 4 && head.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    if is_reason { head } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(life: u64, seq: u64, kind: &str) -> EngineEvent {
        EngineEvent {
            life,
            seq,
            at_ms: 7,
            kind: kind.to_owned(),
            execution_id: "0123456789abcdef0123456789abcdef".to_owned(),
            owner: "ann".to_owned(),
            tokens: vec!["kv:a:rw".to_owned()],
            why: "TOKEN_NOT_ALLOWED: kv:a:rw is not allowed for ann".to_owned(),
            ..EngineEvent::default()
        }
    }

    async fn with_audit(check: impl FnOnce(&Audit)) {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = aria_store::Store::open(dir.path(), aria_store::Config::default()).unwrap();
        check(&Audit::start(store, || UnixMs(7)));
    }

    fn kinds(rows: &[AuditEvent]) -> Vec<&'static str> {
        rows.iter().map(|row| row.kind.as_str()).collect()
    }

    #[tokio::test]
    async fn each_event_is_taken_once() {
        with_audit(|audit| {
            let mut place = Place { life: 1, seq: 4 };
            assert!(place.rows(audit, event(1, 4, "denied")).is_empty());
            assert_eq!(kinds(&place.rows(audit, event(1, 5, "denied"))), ["lease.denied"]);
            assert!(place.rows(audit, event(1, 5, "denied")).is_empty());
            assert_eq!(Place::parse(&place.to_string()), Place { life: 1, seq: 5 });
        })
        .await;
    }

    #[tokio::test]
    async fn what_was_forgotten_is_counted() {
        with_audit(|audit| {
            let mut place = Place { life: 1, seq: 4 };
            let rows = place.rows(audit, event(1, 9, "granted"));
            assert_eq!(kinds(&rows), ["lease.lost", "lease.granted"]);
            assert_eq!(rows[0].detail, lost(4, UnixMs(7)).detail);
            // Lost events count even before one that has no row.
            assert_eq!(kinds(&place.rows(audit, event(1, 11, "renewed"))), ["lease.lost"]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_new_life_of_the_engine_counts_from_one() {
        with_audit(|audit| {
            let mut place = Place { life: 1, seq: 900 };
            assert_eq!(kinds(&place.rows(audit, event(2, 1, "granted"))), ["lease.granted"]);
            assert_eq!(place, Place { life: 2, seq: 1 });
            assert_eq!(kinds(&place.rows(audit, event(3, 2, "granted"))), ["lease.lost", "lease.granted"]);
        })
        .await;
    }

    #[test]
    fn rows_say_who_what_and_why() {
        let denied = row(event(1, 1, "denied")).unwrap();
        assert_eq!((denied.owner.as_str(), denied.subject.as_str()), ("ann", "kv:a:rw"));
        assert_eq!(denied.reason, "TOKEN_NOT_ALLOWED");
        assert!(denied.invocation.is_some());
        assert_eq!(row(event(1, 1, "expired")).unwrap().reason, "LEASE_EXPIRED");
        assert_eq!(row(event(1, 1, "deadlock")).unwrap().kind, AuditKind::LeaseDeadlock);
        for quiet in ["queued", "renewed", "released", "from the future"] {
            assert_eq!(row(event(1, 1, quiet)), None);
        }
        assert_eq!(row(EngineEvent { tokens: vec![], ..event(1, 1, "granted") }), None);
        assert_eq!(row(EngineEvent { why: "TOKEN_SYNTAX: x".into(), ..event(1, 1, "denied") }), None);
        assert_eq!(reason_of("the caller left"), "");
    }

    #[test]
    fn an_unreadable_place_is_the_beginning() {
        for text in ["", "1", "1:x", ":", "-1:2"] {
            assert_eq!(Place::parse(text), Place::default());
        }
    }
}
