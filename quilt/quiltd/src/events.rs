//! The caller's end of one execution: a short queue of events that the wire empties at the caller's pace.

use std::time::Duration;

use aria_protocol::quilt::v1 as pb;
use pb::execute_response::Event;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::fault::Fault;

/// What travels in the queue.
pub(crate) type Message = Result<pb::ExecuteResponse, Status>;

/// Events that wait for the wire; enough for queued, granted and started, so that no caller can hold up a start. With pieces of 64 KiB this and the send buffer of the connection are all the memory a slow
/// caller can hold.
const WAITING_MAX: usize = 4;
/// A caller that takes nothing for this long after the program's end is treated as gone.
const TAKE_MAX: Duration = Duration::from_secs(60);

/// The same when the engine stops: long enough for a caller that listens to hear of the end.
const TAKE_STOPPING_MAX: Duration = Duration::from_secs(1);

/// The sending side.
#[derive(Debug)]
pub(crate) struct Events {
    queue: mpsc::Sender<Message>,
    stop: CancellationToken,
}

/// Room for one event.
pub(crate) struct Room<'a>(mpsc::Permit<'a, Message>);

impl Room<'_> {
    pub(crate) fn send(self, event: Event) {
        self.0.send(Ok(pb::ExecuteResponse { event: Some(event) }));
    }

    /// Ends the stream with an error.
    pub(crate) fn refuse(self, fault: Fault) {
        self.0.send(Err(fault.into()));
    }
}

impl Events {
    pub(crate) fn channel(stop: CancellationToken) -> (Self, mpsc::Receiver<Message>) {
        let (queue, receiver) = mpsc::channel(WAITING_MAX);
        (Self { queue, stop }, receiver)
    }

    /// Resolves when nobody listens any more.
    pub(crate) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Waits for room as long as the caller likes; `None` when it is gone.
    pub(crate) async fn room(&self) -> Option<Room<'_>> {
        self.queue.reserve().await.ok().map(Room)
    }

    /// Waits for room a bounded time; `None` when the caller is gone or takes nothing.
    pub(crate) async fn room_soon(&self) -> Option<Room<'_>> {
        let stopped = async {
            self.stop.cancelled().await;
            sleep(TAKE_STOPPING_MAX).await;
        };
        tokio::select! {
            biased;
            room = self.room() => room,
            () = sleep(TAKE_MAX) => None,
            () = stopped => None,
        }
    }

    /// Sends one event; `false` when the caller is gone or takes nothing.
    pub(crate) async fn send(&self, event: Event) -> bool {
        let room = self.room_soon().await;
        room.map(|room| room.send(event)).is_some()
    }

    /// Ends the stream with an error, if anybody still listens.
    pub(crate) async fn fail(&self, fault: Fault) {
        if let Some(room) = self.room_soon().await {
            room.refuse(fault);
        }
    }
}
