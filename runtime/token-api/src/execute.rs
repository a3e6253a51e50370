//! One execution: the stream of events down, and beside it stdin and frames for the guest door up, each in a stream of its own,
//! so that a program that does not read one still gets the other.

use aria_core::port::{BoxFuture, ByteSource, Ended, EventSink, ExecuteError, ExecuteRequest};
use aria_protocol::quilt::v1 as pb;
use pb::feed_request::Input;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use crate::convert::{self, Incoming};
use crate::{Client, error};

/// Runs to the end; dropping it drops both streams.
pub(crate) async fn execute(
    mut client: Client,
    request: ExecuteRequest,
    stdin: Option<Box<dyn ByteSource>>,
    door: Option<Box<dyn ByteSource>>,
    sink: &mut dyn EventSink,
) -> Result<Ended, ExecuteError> {
    let execution_id = request.execution_id.clone();
    let request = convert::request(request, stdin.is_some())?;
    let answer = client.execute(request).await.map_err(|status| error::from_status(&status))?;
    let mut events = answer.into_inner();
    // Tasks of their own, so that a sink that waits for stdin to move and a stdin that waits for the sink cannot block each other.
    let task = |work| AbortOnDropHandle::new(tokio::spawn(work));
    let _door = door.map(|source| task(Box::pin(feed_door(client.clone(), execution_id.clone(), source)) as Feed));
    let _stdin = stdin.map(|source| task(Box::pin(feed_stdin(client, execution_id, source)) as Feed));
    while let Some(message) = events.message().await.map_err(|status| error::from_status(&status))? {
        match convert::incoming(message) {
            Incoming::Event(event) => sink.event(event).await,
            Incoming::Ended(ended) => return Ok(ended),
            Incoming::Unknown => {}
        }
    }
    Err(error::down("it went away before the end"))
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
