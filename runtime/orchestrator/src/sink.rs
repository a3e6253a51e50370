//! What the engine reports of a run, turned into what its caller sees and what is kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aria_core::InvocationId;
use aria_core::guest::{GuestEvent, GuestRecord};
use aria_core::invocation::State;
use aria_core::port::{BoxFuture, ChangeCounts, EventSink, ExecuteEvent};
use aria_store::LogSource;
use tokio::sync::mpsc;

use crate::collect::{CollectError, Collector, Taken};
use crate::error::InvokeError;
use crate::event::{OutputStream, RunEvent};
use crate::guest::lease::LiveLease;
use crate::guest::{Door, PARSE_HERE_BYTES_MAX};
use crate::log::LogBuffer;
use crate::{Inner, UNREAD_MAX};

type Events = mpsc::Sender<Result<RunEvent, InvokeError>>;

/// What the run's task watches while the engine's future runs.
#[derive(Default)]
pub(crate) struct Shared(Mutex<Watched>);

#[derive(Default)]
pub(crate) struct Watched {
    pub(crate) log: LogBuffer,
    /// When the program's first instruction was about to run.
    pub(crate) started: Option<Instant>,
    /// When the tool answered; `None` again once its files come, which shows that it is gone.
    pub(crate) answered: Option<Instant>,
    /// Files are coming: the program is gone.
    pub(crate) collecting: bool,
    /// The caller has not taken the last event yet.
    pub(crate) blocked: bool,
    /// The caller does not read any more.
    pub(crate) unread: bool,
}

impl Shared {
    pub(crate) fn watch(&self) -> MutexGuard<'_, Watched> {
        // Plain data, valid after any panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the caller an event. A closed channel is seen by the run's task, which then drops this future.
    async fn send(&self, events: &Events, event: RunEvent) {
        let blocked = Instant::now();
        self.watch().blocked = true;
        let sent = tokio::time::timeout(UNREAD_MAX, events.send(Ok(event))).await;
        {
            let mut watched = self.watch();
            let waited = blocked.elapsed();
            watched.blocked = false;
            watched.unread = sent.is_err();
            // Meanwhile nobody read what the engine said: the clocks stood still.
            watched.started = watched.started.map(|started| started + waited);
            watched.answered = watched.answered.map(|answered| answered + waited);
        }
        if sent.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Where the sink's work goes.
pub(crate) struct Sink {
    pub(crate) inner: Arc<Inner>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) invocation: InvocationId,
    pub(crate) owner: String,
    pub(crate) is_tool: bool,
    pub(crate) lease: Arc<LiveLease>,
    /// `None`: the program has no way to ask for anything.
    pub(crate) door: Option<Door>,
    pub(crate) out_bytes_max: u64,
    pub(crate) events: Events,
    pub(crate) state: State,
    pub(crate) record: GuestRecord,
    pub(crate) collector: Collector,
    pub(crate) trouble: Option<Trouble>,
}

/// Why a run that ended well is no success.
pub(crate) enum Trouble {
    /// It left too much in `/out`.
    TooMuch(String),
    /// The device could not do its part.
    Device(InvokeError),
}

impl From<CollectError> for Trouble {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::TooMuch(message) => Self::TooMuch(message),
            CollectError::Device(error) => Self::Device(error),
        }
    }
}

impl EventSink for Sink {
    fn event<'a>(&'a mut self, event: ExecuteEvent) -> BoxFuture<'a, ()> {
        Box::pin(self.take(event))
    }
}

impl Sink {
    /// What the run left, or why it is not there.
    pub(crate) fn taken(collector: Collector, trouble: Option<Trouble>) -> Result<Taken, Trouble> {
        match trouble {
            Some(trouble) => Err(trouble),
            None => collector.taken().map_err(Trouble::Device),
        }
    }

    async fn take(&mut self, event: ExecuteEvent) {
        if self.trouble.is_some() {
            return;
        }
        match self.state.after(&event) {
            Ok(state) => self.state = state,
            Err(error) => {
                self.trouble = Some(Trouble::Device(InvokeError::Engine(error)));
                return;
            }
        }
        match event {
            ExecuteEvent::Queued { why } => {
                self.send(RunEvent::Queued { invocation: self.invocation.clone(), why }).await
            }
            ExecuteEvent::Granted { lease_id, fence, ttl_ms } => {
                self.lease.granted(fence, ttl_ms);
                self.send(RunEvent::Granted { invocation: self.invocation.clone(), lease_id, fence }).await;
            }
            ExecuteEvent::Renewed { ttl_ms } => self.lease.renewed(ttl_ms),
            ExecuteEvent::Revoked { reason } => self.lease.over(&reason),
            ExecuteEvent::Started { sandbox_id } => {
                self.shared.watch().started = Some(Instant::now());
                self.send(RunEvent::Started { invocation: self.invocation.clone(), sandbox_id }).await;
            }
            ExecuteEvent::Stdout(data) => self.output(OutputStream::Stdout, data).await,
            ExecuteEvent::Stderr(data) => self.output(OutputStream::Stderr, data).await,
            ExecuteEvent::Frame(bytes) => self.frame(bytes).await,
            ExecuteEvent::OutFile { name, size_bytes } => self.file(name, size_bytes).await,
            ExecuteEvent::WorkspaceChanges { changes, size_bytes } => self.changes(changes, size_bytes).await,
            ExecuteEvent::OutChunk(bytes) => self.chunk(bytes).await,
        }
    }

    async fn output(&mut self, stream: OutputStream, data: Vec<u8>) {
        self.shared.watch().log.output(stream, &data, (self.inner.config.clock)());
        self.send(RunEvent::Output { stream, data }).await;
    }

    async fn frame(&mut self, bytes: Vec<u8>) {
        let length = bytes.len();
        match self.parsed(bytes).await {
            GuestEvent::Log { level, message, fields_json } => {
                let text = if fields_json.is_empty() { message.clone() } else { format!("{message} {fields_json}") };
                self.shared.watch().log.say(LogSource::Log, level, text, (self.inner.config.clock)());
                self.send(RunEvent::Log { level, message, fields_json }).await;
            }
            GuestEvent::Progress { fraction, message } => self.send(RunEvent::Progress { fraction, message }).await,
            GuestEvent::Request(request) => {
                if let Some(door) = &mut self.door {
                    door.request(request, length).await;
                }
            }
            GuestEvent::BadRequest(bad) => {
                if let Some(door) = &mut self.door {
                    door.refuse(bad).await;
                }
            }
            // A program ends when it ends; only a tool has an answer.
            GuestEvent::Answered if !self.is_tool => {}
            GuestEvent::Answered => self.shared.watch().answered = Some(Instant::now()),
            GuestEvent::Ignored => {}
        }
    }

    /// A large frame is taken apart where it holds up nobody else.
    async fn parsed(&mut self, bytes: Vec<u8>) -> GuestEvent {
        if bytes.len() <= PARSE_HERE_BYTES_MAX {
            return self.record.frame(&bytes);
        }
        let mut record = std::mem::take(&mut self.record);
        let parsed = tokio::task::spawn_blocking(move || {
            let event = record.frame(&bytes);
            (record, event)
        });
        match parsed.await {
            Ok((record, event)) => {
                self.record = record;
                event
            }
            Err(_panicked) => {
                self.trouble = Some(Trouble::Device(InvokeError::Bug { doing: "take a frame apart" }));
                GuestEvent::Ignored
            }
        }
    }

    async fn file(&mut self, name: String, size_bytes: u64) {
        self.shared.watch().collecting = true;
        if !self.wants_files() {
            return;
        }
        let begun = self.collector.begin(&self.inner, &self.owner, name, size_bytes, self.out_bytes_max).await;
        self.trouble = begun.err().map(Trouble::from);
    }

    async fn changes(&mut self, counts: ChangeCounts, size_bytes: u64) {
        self.shared.watch().collecting = true;
        let begun = self.collector.changes(&self.inner, &self.owner, counts, size_bytes).await;
        self.trouble = begun.err().map(Trouble::from);
    }

    async fn chunk(&mut self, bytes: Vec<u8>) {
        if self.wants_files() {
            self.trouble = self.collector.chunk(&self.inner, bytes).await.err().map(Trouble::from);
        }
    }

    /// A tool that did not answer cannot succeed, so its files have nowhere to go.
    fn wants_files(&self) -> bool {
        let answered = matches!(self.record.answer(), Some(aria_core::guest::Answer::Result { .. }));
        !self.is_tool || (answered && self.record.defect().is_none())
    }

    async fn send(&mut self, event: RunEvent) {
        self.shared.send(&self.events, event).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_clocks_stand_still_while_the_caller_does_not_read() {
        let (events, mut reader) = mpsc::channel(1);
        let shared = Shared::default();
        let event = || RunEvent::Progress { fraction: 0.5, message: String::new() };
        let begun = Instant::now();
        (shared.watch().started, shared.watch().answered) = (Some(begun), Some(begun));
        shared.send(&events, event()).await;
        let slow = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            assert!(shared.watch().blocked);
            reader.recv().await
        };
        tokio::join!(shared.send(&events, event()), slow).1.unwrap().unwrap();
        let watched = shared.watch();
        assert!(!watched.blocked && !watched.unread);
        let still = Duration::from_millis(140);
        assert!(watched.answered.unwrap() >= begun + still && watched.started.unwrap() >= begun + still);
    }
}
