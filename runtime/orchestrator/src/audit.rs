//! What goes into the audit beside the rows of runs, and how much of it.
//!
//! A refusal is told only after its row is durable. Rows of the same moment share one commit, made by one writer. Somebody who is
//! refused all the time gets one row that counts after the first few, so that a flood fills neither the disk nor the audit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aria_core::port::Usage;
use aria_core::request::GuestError;
use aria_core::{InvocationId, Outcome, UnixMs};
use aria_store::{AuditEvent, AuditKind, Detail, Store};
use aria_types::ErrorKind;
use tokio::sync::{mpsc, oneshot};

use crate::error::InvokeError;

/// Rows that wait for the writer; who comes later waits for a place.
const WAITING_MAX: usize = 256;
/// Rows of one commit.
const BATCH_MAX: usize = 128;
/// Refusals of one kind that one owner gets rows of their own for, in one [`WINDOW`].
pub const REFUSALS_MAX: u32 = 300;
/// After this time the refusals that were only counted get their row.
const WINDOW: Duration = Duration::from_secs(60);
/// Owners and kinds counted at a time; more than a device has identities.
const COUNTED_MAX: usize = 4096;

/// Writes to the audit. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    rows: mpsc::Sender<Row>,
    counts: Arc<Mutex<Counts>>,
    clock: fn() -> UnixMs,
}

struct Row {
    event: AuditEvent,
    written: oneshot::Sender<bool>,
}

impl Audit {
    /// Starts the writer, which ends with the last clone. Needs a tokio runtime.
    pub fn start(store: Store, clock: fn() -> UnixMs) -> Self {
        let (rows, receiver) = mpsc::channel(WAITING_MAX);
        let counts = Arc::<Mutex<Counts>>::default();
        tokio::spawn(write(store, receiver, Arc::clone(&counts), clock));
        Self { rows, counts, clock }
    }

    /// Writes one row, durably. An error means that it is not there.
    pub async fn record(&self, event: AuditEvent) -> Result<(), InvokeError> {
        let (written, answer) = oneshot::channel();
        let sent = self.rows.send(Row { event, written }).await.is_ok();
        if sent && answer.await.unwrap_or(false) { Ok(()) } else { Err(InvokeError::Audit) }
    }

    /// The row of a refusal, or nothing when it is only counted.
    pub fn admit(&self, event: AuditEvent) -> Option<AuditEvent> {
        counts(&self.counts).admit(event)
    }

    /// Writes a refusal, durably, or counts it. When it cannot be written it is a refusal all the same, and the log says so.
    pub async fn refused(&self, event: AuditEvent) {
        if let Some(event) = self.admit(event) {
            // The writer told the log why.
            let _ = self.record(event).await;
        }
    }

    /// The same for a call that did not become a run; errors that are no refusals of a right are not told.
    pub(crate) async fn refused_call(&self, id: &InvocationId, owner: &str, subject: String, error: &InvokeError) {
        if !matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unauthenticated) {
            return;
        }
        let event = AuditEvent {
            at: (self.clock)(),
            kind: AuditKind::CallRefused,
            owner: owner.to_owned(),
            invocation: Some(id.clone()),
            subject,
            reason: error.reason().to_owned(),
            detail: Detail::default().text("message", &error.to_string()),
        };
        self.refused(event).await;
    }

    /// The same for a running program that asked for what its lease does not cover (any more).
    pub(crate) async fn denied_guest(&self, id: &InvocationId, owner: &str, op: String, error: &GuestError) {
        if !matches!(error.reason.as_ref(), "TOKEN_MISSING" | "LEASE_EXPIRED" | "FENCED") {
            return;
        }
        let event = AuditEvent {
            at: (self.clock)(),
            kind: AuditKind::GuestDenied,
            owner: owner.to_owned(),
            invocation: Some(id.clone()),
            subject: op,
            reason: error.reason.to_string(),
            detail: Detail::default().text("message", &error.message),
        };
        self.refused(event).await;
    }

    /// Writes what was only counted so far.
    pub(crate) async fn settle(&self) {
        let due = counts(&self.counts).due((self.clock)(), Duration::ZERO);
        for event in due {
            let _ = self.record(event).await;
        }
    }
}

/// Whose run it is and what it runs, for the audit.
pub(crate) struct Whose {
    pub(crate) owner: String,
    pub(crate) subject: String,
}

impl Whose {
    /// The one row of a run's end. What the tool itself said stays out of it.
    pub(crate) fn row(
        self,
        audit: &Audit,
        id: &InvocationId,
        label: &str,
        judged: &Result<Outcome, InvokeError>,
        usage: &Usage,
    ) -> Option<AuditEvent> {
        let (at, invocation) = ((audit.clock)(), Some(id.clone()));
        let Self { owner, subject } = self;
        if let (Err(error), "refused") = (judged, label) {
            let detail = Detail::default().text("message", &error.to_string());
            let (kind, reason) = (AuditKind::CallRefused, error.reason().to_owned());
            return audit.admit(AuditEvent { at, kind, owner, invocation, subject, reason, detail });
        }
        let mut detail = Detail::default().number("wallMs", usage.wall_ms).number("cpuMs", usage.cpu_ms);
        match judged {
            Ok(Outcome::Cancelled { by }) => detail = detail.text("by", by),
            Err(error) => detail = detail.text("cause", error.reason()),
            Ok(_) => {}
        }
        let (kind, reason) = (AuditKind::CallFinished, label.to_owned());
        Some(AuditEvent { at, kind, owner, invocation, subject, reason, detail })
    }
}

async fn write(store: Store, mut rows: mpsc::Receiver<Row>, counted: Arc<Mutex<Counts>>, clock: fn() -> UnixMs) {
    let mut tick = tokio::time::interval(WINDOW);
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            got = rows.recv_many(&mut batch, BATCH_MAX) => if got == 0 { return },
            _ = tick.tick() => {}
        }
        let mut events = counts(&counted).due(clock(), WINDOW);
        let mut waiting = Vec::with_capacity(batch.len());
        for row in batch {
            events.push(row.event);
            waiting.push(row.written);
        }
        if events.is_empty() {
            continue;
        }
        let work = store.clone();
        let done = tokio::task::spawn_blocking(move || work.audit(&events, true, None)).await;
        let ok = match done {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "write the audit");
                false
            }
            Err(_panicked) => false,
        };
        for written in waiting {
            // Whoever waited may have been cancelled.
            let _ = written.send(ok);
        }
    }
}

fn counts(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    // Each change is one step, so a panic elsewhere leaves it whole.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refusals of the present windows.
#[derive(Default)]
struct Counts(HashMap<(String, AuditKind), Window>);

struct Window {
    since: UnixMs,
    rows: u32,
    counted: u64,
    /// The last one that was only counted.
    last: Option<AuditEvent>,
}

impl Counts {
    fn admit(&mut self, event: AuditEvent) -> Option<AuditEvent> {
        let mut key = (event.owner.clone(), event.kind);
        if self.0.len() >= COUNTED_MAX && !self.0.contains_key(&key) {
            key.0.clear();
        }
        let fresh = Window { since: event.at, rows: 0, counted: 0, last: None };
        let window = self.0.entry(key).or_insert(fresh);
        if window.rows < REFUSALS_MAX {
            window.rows += 1;
            return Some(event);
        }
        window.counted += 1;
        window.last = Some(event);
        None
    }

    /// Ends the windows that are that old; each that counted gives one row.
    fn due(&mut self, now: UnixMs, age: Duration) -> Vec<AuditEvent> {
        let mut rows = Vec::new();
        // A clock that was set back ends a window too, so none lasts for ever.
        let is_over = |window: &Window| window.since <= now.minus(age) || window.since > now;
        self.0.retain(|_, window| {
            if !is_over(window) {
                return true;
            }
            if let Some(last) = window.last.take() {
                let detail = Detail::default().number("count", window.counted).text(
                    "message",
                    "so many were refused in a minute beside those with rows of their own; this is the last",
                );
                rows.push(AuditEvent { detail, ..last });
            }
            false
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use aria_store::AuditQuery;

    use super::*;

    fn event(owner: &str, at: u64) -> AuditEvent {
        AuditEvent {
            at: UnixMs(at),
            kind: AuditKind::CallRefused,
            owner: owner.to_owned(),
            invocation: None,
            subject: "tool:a.b".to_owned(),
            reason: "TOKEN_NOT_ALLOWED".to_owned(),
            detail: Detail::default(),
        }
    }

    #[test]
    fn a_flood_of_one_owner_is_counted_and_hides_nobody_elses() {
        let mut counts = Counts::default();
        let admitted = (0..1000).filter(|n| counts.admit(event("ann", 1_000_000 + *n)).is_some()).count();
        assert_eq!(admitted, REFUSALS_MAX as usize);
        assert!(counts.admit(event("bob", 1_000_005)).is_some());
        assert!(counts.due(UnixMs(1_030_000), WINDOW).is_empty());
        let rows = counts.due(UnixMs(1_060_005), WINDOW);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].owner.as_str(), rows[0].at), ("ann", UnixMs(1_000_999)));
        assert!(counts.admit(event("ann", 1_060_006)).is_some());
    }

    #[test]
    fn a_clock_set_back_ends_a_window() {
        let mut counts = Counts::default();
        (0..=REFUSALS_MAX).for_each(|_| drop(counts.admit(event("ann", 1_000_000))));
        assert_eq!(counts.due(UnixMs(10), WINDOW).len(), 1);
    }

    #[tokio::test]
    async fn who_records_waits_until_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), aria_store::Config::default()).unwrap();
        let audit = Audit::start(store.clone(), || UnixMs(1));
        let writes = (0..300).map(|n| {
            let audit = audit.clone();
            tokio::spawn(async move { audit.record(event("ann", n)).await })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap().unwrap();
        }
        let rows = store.audit_rows(&AuditQuery { limit: 1000, ..AuditQuery::default() }).unwrap().rows;
        assert_eq!(rows.len(), 300);
    }

    #[tokio::test]
    async fn what_was_counted_is_settled_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), aria_store::Config::default()).unwrap();
        let audit = Audit::start(store.clone(), || UnixMs(1));
        (0..REFUSALS_MAX + 7).for_each(|_| drop(audit.admit(event("ann", 1))));
        audit.settle().await;
        let rows = store.audit_rows(&AuditQuery::default()).unwrap().rows;
        assert_eq!(rows.len(), 1);
        assert!(rows[0].detail.starts_with("{\"count\":7,"), "{}", rows[0].detail);
    }
}
