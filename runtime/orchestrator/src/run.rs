//! One run, from its place in the queue to its row in the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aria_core::guest::GuestRecord;
use aria_core::invocation::State;
use aria_core::outcome::{self, Failed, FailedReason, Outcome};
use aria_core::port::{ByteSource, EndReason, Ended, ExecuteError, Usage};
use aria_core::{FileRef, InvocationId, UnixMs, session};
use aria_store::{BlobRef, LogEntry, LogSource, NewRun, RunEnd, run_subject};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::audit::Whose;
use crate::collect::{Collector, Taken};
use crate::error::InvokeError;
use crate::event::{Finished, RunEvent, SessionChanges};
use crate::guest::{self, lease::LiveLease};
use crate::places::Place;
use crate::prepare::{Kind, Prepared};
use crate::sink::{Shared, Sink, Trouble, Watched};
use crate::sourcemap::map_stack;
use crate::{GRACE, Inner, STOPPING_UNREAD_MAX, UNREAD_MAX, blocking};

/// How often the log of a living run is written and its state looked at.
const TICK: Duration = Duration::from_millis(250);
/// The engine ends a program at its limit; this much later something is wrong with the engine.
const OVERDUE: Duration = Duration::from_secs(30);

/// How the engine's future came to its end.
enum End {
    /// The program is gone.
    Ended(Ended),
    /// The engine failed.
    Failed(ExecuteError),
    /// It answered and did not go.
    Lingered,
    /// Somebody ended it.
    Cancelled(&'static str),
}

type Sender = mpsc::Sender<Result<RunEvent, InvokeError>>;

/// Takes a run to its end; it is prepared when it is its turn. Whatever happens, a row that was begun is ended.
pub(crate) async fn run(
    inner: Arc<Inner>,
    mut place: Place,
    id: InvocationId,
    depth: u32,
    prepared: impl Future<Output = Result<Prepared, InvokeError>> + Send,
    stdin: Option<Box<dyn ByteSource>>,
    events: Sender,
) {
    let turn = match wait(&inner, &mut place, &id, &events).await {
        Some(by) => Err(by),
        None => until_ended(&inner, &events, prepared).await,
    };
    let run = match turn {
        Ok(Ok(run)) => run,
        Ok(Err(error)) => return deliver(&inner, &events, Err(error)).await,
        Err(by) => {
            let outcome = Outcome::Cancelled { by: by.to_owned() };
            let finished = Finished { invocation: id, outcome, usage: Usage::default(), session: None };
            return deliver(&inner, &events, Ok(RunEvent::Finished(finished))).await;
        }
    };
    let Prepared { id, owner, tool, bundle, input, kind, request, deprecated, held, vouched } = run;
    if !deprecated.is_empty() {
        let message = format!("{tool}: {deprecated}");
        // A caller that is gone is found out by the run itself.
        let _ = events.send(Ok(RunEvent::Notice { code: "DEPRECATED", message })).await;
    }
    let started_at = now(&inner);
    let row = NewRun { id: id.clone(), tool, bundle: Some(bundle), owner: owner.clone(), started_at, input };
    let whose = Whose { owner: owner.clone(), subject: run_subject(&row.tool) };
    let store = inner.store.clone();
    if let Err(error) = blocking(move || store.begin_run(&row).map_err(InvokeError::Store)).await {
        let _ = tokio::task::spawn_blocking(move || drop(held)).await;
        return deliver(&inner, &events, Err(error)).await;
    }
    let shared = Arc::new(Shared::default());
    let wall = Duration::from_millis(request.limits.wall_ms);
    let lease = Arc::new(LiveLease::new(&owner, &request.tokens, inner.config.budget));
    inner.leases.add(&lease);
    let door = || guest::door(&inner, &id, &owner, Arc::clone(&lease), depth);
    let (door, frames) = request.door_frames.as_ref().map(|_| door()).unzip();
    let mut sink = Sink {
        lease: Arc::clone(&lease),
        door,
        inner: Arc::clone(&inner),
        shared: Arc::clone(&shared),
        invocation: id.clone(),
        owner,
        is_tool: matches!(kind, Kind::Tool { .. }),
        out_bytes_max: request.limits.disk_bytes,
        events: events.clone(),
        state: State::New,
        record: GuestRecord::default(),
        collector: Collector::default(),
        trouble: None,
    };
    let begun = Instant::now();
    let end = {
        let execution = inner.execute.execute(request, stdin, frames, &mut sink);
        drive(&inner, &id, &shared, &events, (wall, &vouched), execution).await
    };
    lease.over("the run has ended");
    // What the guest asked for and did not get ends with its door.
    let Sink { record, collector, trouble, .. } = sink;
    let usage = usage(&end, begun);
    let (files, session) = match Sink::taken(collector, trouble) {
        Ok(Taken { files, session }) => (Ok(files), session),
        Err(trouble) => (Err(trouble), None),
    };
    // Checking a large answer and mapping a stack take time that all other runs need.
    let exhausted = lease.exhausted();
    let judged = blocking(move || {
        let outcome = mapped(judge(end, &record, files, &kind)?, &kind);
        Ok(if exhausted { outcome::for_budget(outcome) } else { outcome })
    });
    let judged = judged.await;
    let session = session.filter(|_| judged.as_ref().is_ok_and(returned));
    // The program is gone, so the next may run while this one's caller is told; what is on disk goes first.
    let running = place.running();
    let cleared = tokio::task::spawn_blocking(move || drop((held, running)));
    finish(&inner, id, whose, &shared, judged, (usage, session), &events).await;
    let _ = cleared.await;
    drop(place);
}

/// Waits for the run's turn; who ended the wait, if somebody did.
async fn wait(inner: &Inner, place: &mut Place, id: &InvocationId, events: &Sender) -> Option<&'static str> {
    if place.try_start() {
        return None;
    }
    let why = "all places this caller may run in are taken".to_owned();
    let _ = events.send(Ok(RunEvent::Queued { invocation: id.clone(), why })).await;
    until_ended(inner, events, place.start()).await.err()
}

/// What a future gives, or who ended the run before.
async fn until_ended<T>(inner: &Inner, events: &Sender, work: impl Future<Output = T>) -> Result<T, &'static str> {
    tokio::select! {
        done = work => Ok(done),
        () = events.closed() => Err("caller"),
        () = inner.stop.cancelled() => Err("shutdown"),
    }
}

/// Polls the engine until the run is over one way or another. Leaving drops the engine's future, which ends the program.
async fn drive(
    inner: &Arc<Inner>,
    id: &InvocationId,
    shared: &Shared,
    events: &Sender,
    (wall, vouched): (Duration, &CancellationToken),
    mut execution: impl Future<Output = Result<Ended, ExecuteError>> + Unpin,
) -> End {
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            biased;
            // First, so that what was revoked while it waited never begins.
            () = vouched.cancelled() => return End::Cancelled("revocation"),
            ended = &mut execution => return ended.map_or_else(|error| End::Failed(unscoped(error, id)), End::Ended),
            () = events.closed() => return End::Cancelled("caller"),
            () = inner.stop.cancelled() => return End::Cancelled("shutdown"),
            _ = tick.tick() => {}
        }
        let (end, entries) = {
            let mut watched = shared.watch();
            (overdue(&watched, wall), watched.log.take())
        };
        write_log(inner, id, entries).await;
        if let Some(end) = end {
            return end;
        }
    }
}

/// The error in the caller's words, who knows nothing of the scope of its workspace.
fn unscoped(mut error: ExecuteError, id: &InvocationId) -> ExecuteError {
    for text in error.metadata.values_mut().chain([&mut error.message]) {
        *text = session::unscoped(text, id);
    }
    error
}

/// What a look at the clock says of a living run.
fn overdue(watched: &Watched, wall: Duration) -> Option<End> {
    if watched.unread {
        return Some(End::Cancelled("caller"));
    }
    // Whoever waits for the caller is not late.
    if watched.collecting || watched.blocked {
        return None;
    }
    if watched.answered.is_some_and(|answered| answered.elapsed() > GRACE) {
        return Some(End::Lingered);
    }
    let late = watched.started.is_some_and(|started| started.elapsed() > wall.saturating_add(OVERDUE));
    late.then(|| End::Ended(Ended { reason: EndReason::Deadline, detail: String::new(), usage: Usage::default() }))
}

fn usage(end: &End, begun: Instant) -> Usage {
    match end {
        End::Ended(ended) => ended.usage,
        _ => Usage { wall_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), ..Usage::default() },
    }
}

/// The one decision: which outcome, or which error of the device.
fn judge(
    end: End,
    record: &GuestRecord,
    files: Result<Vec<FileRef>, Trouble>,
    kind: &Kind,
) -> Result<Outcome, InvokeError> {
    let (ended, lingered) = match end {
        End::Failed(error) => return Err(InvokeError::Execute(error)),
        End::Cancelled(by) => return Ok(Outcome::Cancelled { by: by.to_owned() }),
        End::Ended(ended) => (ended, false),
        End::Lingered => (Ended { reason: EndReason::Exited(0), detail: String::new(), usage: Usage::default() }, true),
    };
    let outcome = match kind {
        Kind::Tool { output, .. } => outcome::decide(record, &ended, |value| output.check(value)),
        Kind::Program => outcome::decide_program(&ended),
    };
    match (outcome, files) {
        (Outcome::Succeeded { output_json, .. }, _) if lingered => {
            Ok(Outcome::Succeeded { output_json, files: Vec::new() })
        }
        (Outcome::Succeeded { output_json, .. }, Ok(files)) => Ok(Outcome::Succeeded { output_json, files }),
        (Outcome::Succeeded { .. }, Err(Trouble::TooMuch(message))) => Ok(Outcome::Failed(Failed {
            reason: FailedReason::OutputTooLarge,
            message,
            stack: String::new(),
            exit_code: None,
            signal: None,
        })),
        // What the engine said cannot be believed, so neither can the failure.
        (_, Err(Trouble::Device(error @ (InvokeError::Engine(_) | InvokeError::Bug { .. })))) => Err(error),
        (Outcome::Succeeded { .. }, Err(Trouble::Device(error))) => Err(error),
        // A run that failed by itself has no use for its files.
        (outcome, _) => Ok(outcome),
    }
}

/// Whether the program came to its own end. What another one left is in the middle of something.
fn returned(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Succeeded { .. } => true,
        Outcome::Failed(failed) => failed.reason == FailedReason::Exited,
        Outcome::Cancelled { .. } | Outcome::Refused { .. } => false,
    }
}

/// The outcome with its stack in the author's terms. Reads files of the bundle.
fn mapped(outcome: Outcome, kind: &Kind) -> Outcome {
    match (outcome, kind) {
        (Outcome::Failed(failed), Kind::Tool { code_dir, .. }) if !failed.stack.is_empty() => {
            Outcome::Failed(Failed { stack: map_stack(&failed.stack, code_dir), ..failed })
        }
        (outcome, _) => outcome,
    }
}

/// Log, answer, row. The row is durable, which takes a disk's time, so the caller does not wait for it.
async fn finish(
    inner: &Arc<Inner>,
    id: InvocationId,
    whose: Whose,
    shared: &Shared,
    judged: Result<Outcome, InvokeError>,
    (usage, session): (Usage, Option<SessionChanges>),
    events: &Sender,
) {
    let (label, message) = match &judged {
        Ok(outcome) => (outcome.label().to_owned(), message(outcome)),
        Err(error) => {
            let ran = shared.watch().started.is_some();
            (if ran { "LOST" } else { "refused" }.to_owned(), error.reason().to_owned())
        }
    };
    let entries = {
        let mut watched = shared.watch();
        let mut entries = watched.log.finish(now(inner));
        let text = if message.is_empty() { label.clone() } else { format!("{label}: {message}") };
        entries.push(LogEntry { time: now(inner), source: LogSource::Event, level: "info".to_owned(), text });
        entries
    };
    write_log(inner, &id, entries).await;
    tracing::info!(invocation_id = %id, outcome = %label, duration_ms = usage.wall_ms, "invocation finished");
    let audit = whose.row(&inner.audit, &id, &label, &judged, &usage);
    let output = judged.as_ref().ok().and_then(output);
    let finished = |outcome| RunEvent::Finished(Finished { invocation: id.clone(), outcome, usage, session });
    let answer = judged.map(finished);
    let refused = label == "refused";
    let end = RunEnd { outcome: label, message, usage, ended_at: now(inner), output, audit };
    let store = inner.store.clone();
    let write = async {
        if let Err(error) = blocking(move || store.end_run(&id, &end).map_err(InvokeError::Store)).await {
            tracing::error!(error = &error as &dyn std::error::Error, "write the end of a run");
        }
    };
    // A refusal is told when it can be looked up.
    if refused {
        write.await;
        deliver(inner, events, answer).await;
    } else {
        deliver(inner, events, answer).await;
        write.await;
    }
}

/// A caller that is gone needs no answer; one that does not read is waited for, but not by a daemon that stops.
async fn deliver(inner: &Inner, events: &Sender, answer: Result<RunEvent, InvokeError>) {
    let stopping = async {
        inner.stop.cancelled().await;
        tokio::time::sleep(STOPPING_UNREAD_MAX).await;
    };
    tokio::select! {
        _ = events.send(answer) => {}
        () = tokio::time::sleep(UNREAD_MAX) => {}
        () = stopping => {}
    }
}

/// What a tool answered; a program has no answer.
fn output(outcome: &Outcome) -> Option<BlobRef> {
    match outcome {
        Outcome::Succeeded { output_json, .. } if !output_json.is_empty() => Some(BlobRef::of(output_json.as_bytes())),
        _ => None,
    }
}

fn message(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded { .. } => String::new(),
        Outcome::Failed(failed) => failed.message.clone(),
        Outcome::Cancelled { by } => by.clone(),
        Outcome::Refused { reason, .. } => reason.clone(),
    }
}

async fn write_log(inner: &Arc<Inner>, id: &InvocationId, entries: Vec<LogEntry>) {
    if entries.is_empty() {
        return;
    }
    let (store, id) = (inner.store.clone(), id.clone());
    match blocking(move || store.append_log(&id, &entries).map_err(InvokeError::Store)).await {
        Ok(()) => inner.written.send_modify(|count| *count = count.wrapping_add(1)),
        // The run goes on without its log: the caller has the live stream.
        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "write a run's log"),
    }
}

fn now(inner: &Inner) -> UnixMs {
    (inner.config.clock)()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(seconds_ago: u64) -> Watched {
        let then = Instant::now().checked_sub(Duration::from_secs(seconds_ago));
        Watched { started: then, answered: then, ..Watched::default() }
    }

    #[test]
    fn only_a_program_that_stays_by_itself_lingers() {
        let wall = Duration::from_secs(1);
        // The engine takes up to six seconds to see that a program has left.
        assert!(overdue(&answered(7), wall).is_none());
        assert!(matches!(overdue(&answered(11), wall), Some(End::Lingered)));
        assert!(overdue(&Watched { blocked: true, ..answered(50) }, wall).is_none());
        assert!(overdue(&Watched { collecting: true, ..answered(11) }, wall).is_none());
    }

    #[track_caller]
    fn program(code: i32, error: InvokeError, expected: Result<&str, &str>) {
        let ended = Ended { reason: EndReason::Exited(code), detail: String::new(), usage: Usage::default() };
        let files = Err(Trouble::Device(error));
        let judged = judge(End::Ended(ended), &GuestRecord::default(), files, &Kind::Program);
        assert_eq!(judged.as_ref().map(Outcome::label).map_err(InvokeError::reason), expected);
    }

    #[test]
    fn a_run_that_failed_by_itself_says_so_whatever_became_of_its_files() {
        let full =
            || InvokeError::Store(aria_store::StoreError::DiskQuota { of: "blobs", needed_bytes: 1, quota_bytes: 0 });
        program(3, full(), Ok("EXITED"));
        program(0, full(), Err("DISK_QUOTA"));
        program(3, InvokeError::Bug { doing: "test" }, Err("BUG"));
    }
}
