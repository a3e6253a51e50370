//! One execution: the stream of events down, and beside it stdin and frames for the guest door up, each in a stream of its own,
//! so that a program that does not read one still gets the other.

use std::path::Path;

use aria_core::port::{
    BoxFuture, ByteSource, EndReason, Ended, EventSink, ExecuteError, ExecuteEvent, ExecuteRequest, Usage,
};
use aria_protocol::quilt::v1 as pb;
use aria_types::frame::FRAME_BYTES_MAX;
use pb::feed_request::Input;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use crate::convert::{self, Incoming};
use crate::direct::{self, Direct, Misuse};
use crate::{Client, error};

/// Runs to the end; dropping it drops both streams.
pub(crate) async fn execute(
    mut client: Client,
    socket: &Path,
    request: ExecuteRequest,
    stdin: Option<Box<dyn ByteSource>>,
    mut door: Option<Box<dyn ByteSource>>,
    sink: &mut dyn EventSink,
) -> Result<Ended, ExecuteError> {
    let execution_id = request.execution_id.clone();
    // Taking the door costs a trip; only a program that holds something will ask for something.
    let direct_door = door.is_some() && !request.tokens.is_empty();
    let request = convert::request(request, stdin.is_some(), direct_door)?;
    let answer = client.execute(request).await.map_err(|status| error::from_status(&status))?;
    let mut events = answer.into_inner();
    // Tasks of their own, so that a sink that waits for stdin to move and a stdin that waits for the sink cannot block each other.
    let task = |work: Feed| AbortOnDropHandle::new(tokio::spawn(work));
    let feeder = client.clone();
    let id = execution_id.clone();
    let _stdin = stdin.map(|source| task(Box::pin(feed_stdin(feeder, id, source))));
    let relayed = |source| task(Box::pin(feed_door(client.clone(), execution_id.clone(), source)));
    let mut direct = None;
    let mut _feed = if direct_door { None } else { door.take().map(relayed) };
    loop {
        let message = tokio::select! {
            message = events.message() => message.map_err(|status| error::from_status(&status))?,
            frame = next(&mut direct) => match frame {
                Ok(Some(frame)) => {
                    sink.event(ExecuteEvent::Frame(frame)).await;
                    continue;
                }
                Ok(None) => {
                    direct = None;
                    continue;
                }
                Err(misuse) => return Ok(misused(misuse)),
            },
        };
        let Some(message) = message else { return Err(error::down("it went away before the end")) };
        let waits = convert::direct_door(&message);
        let incoming = convert::incoming(message);
        match &incoming {
            Incoming::Event(ExecuteEvent::Started { .. }) if waits => {
                let taken = direct::take(socket, &execution_id).await;
                let (read, write) = taken.map_err(|error| error::down(&format!("take the guest door: {error}")))?;
                direct = Some(read);
                _feed = door.take().map(|source| task(Box::pin(direct::feed(write, source))));
            }
            // An engine that relays, though it was asked not to.
            Incoming::Event(ExecuteEvent::Started { .. }) if direct_door => _feed = door.take().map(relayed),
            // The program is gone: what it had said comes before what it left.
            Incoming::Event(ExecuteEvent::OutFile { .. } | ExecuteEvent::WorkspaceChanges { .. })
            | Incoming::Ended(_) => {
                if let Err(misuse) = drain(direct.take(), sink).await {
                    return Ok(misused(misuse));
                }
            }
            _ => {}
        }
        match incoming {
            Incoming::Event(event) => sink.event(event).await,
            Incoming::Ended(ended) => return Ok(ended),
            Incoming::Unknown => {}
        }
    }
}

/// The next frame of a door that was taken; waits for ever without one.
async fn next(direct: &mut Option<Direct>) -> Result<Option<Vec<u8>>, Misuse> {
    match direct {
        Some(direct) => direct.next().await,
        None => std::future::pending().await,
    }
}

async fn drain(direct: Option<Direct>, sink: &mut dyn EventSink) -> Result<(), Misuse> {
    let Some(mut direct) = direct else { return Ok(()) };
    while let Some(frame) = direct.rest().await? {
        sink.event(ExecuteEvent::Frame(frame)).await;
    }
    Ok(())
}

/// The end of a run that we end: leaving the stream kills the program.
fn misused(misuse: Misuse) -> Ended {
    let (reason, detail) = match misuse {
        Misuse::Descriptors => (EndReason::DoorMisused, "descriptors came through the guest door".to_owned()),
        Misuse::FrameTooLarge(bytes) => {
            (EndReason::OutputTooLarge, format!("a guest frame of {bytes} bytes is longer than {FRAME_BYTES_MAX}"))
        }
    };
    Ended { reason, detail, usage: Usage::default() }
}

/// How a feed ends does not matter: the execution's own stream tells what happened.
type Feed = BoxFuture<'static, ()>;

/// Sends stdin, then its end.
async fn feed_stdin(mut client: Client, execution_id: String, mut source: Box<dyn ByteSource>) {
    // One piece waits while the wire takes the one before.
    let (sender, receiver) = mpsc::channel(1);
    let pump = async move {
        let mut id = execution_id;
        while let Some(piece) = source.next().await {
            let request = pb::FeedRequest { execution_id: std::mem::take(&mut id), input: Some(Input::Stdin(piece)) };
            if sender.send(request).await.is_err() {
                return;
            }
        }
        let close = pb::FeedRequest { execution_id: id, input: Some(Input::CloseStdin(true)) };
        // Nobody takes it when the execution is over.
        drop(sender.send(close).await);
    };
    let ((), _) = tokio::join!(pump, client.feed(ReceiverStream::new(receiver)));
}

/// Sends frames for the door. Most programs get none, so the stream is opened for the first one.
async fn feed_door(mut client: Client, execution_id: String, mut source: Box<dyn ByteSource>) {
    let frame = |id, frame| pb::FeedRequest { execution_id: id, input: Some(Input::DoorFrame(frame)) };
    let Some(first) = source.next().await else { return };
    let (sender, receiver) = mpsc::channel(1);
    let pump = async move {
        let mut next = Some(frame(execution_id, first));
        while let Some(request) = next {
            if sender.send(request).await.is_err() {
                return;
            }
            next = source.next().await.map(|piece| frame(String::new(), piece));
        }
    };
    let ((), _) = tokio::join!(pump, client.feed(ReceiverStream::new(receiver)));
}
