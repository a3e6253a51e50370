//! One execution: the stream of events down, and stdin up beside it.

use aria_core::port::{ByteSource, Ended, EventSink, ExecuteError, ExecuteRequest};
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
    sink: &mut dyn EventSink,
) -> Result<Ended, ExecuteError> {
    let execution_id = request.execution_id.clone();
    let request = convert::request(request, stdin.is_some())?;
    let answer = client.execute(request).await.map_err(|status| error::from_status(&status))?;
    let mut events = answer.into_inner();
    // A task of its own, so that a sink that waits for stdin to move and a stdin that waits for the sink cannot block each other.
    let _feed = stdin.map(|source| AbortOnDropHandle::new(tokio::spawn(feed(client, execution_id, source))));
    while let Some(message) = events.message().await.map_err(|status| error::from_status(&status))? {
        match convert::incoming(message) {
            Incoming::Event(event) => sink.event(event).await,
            Incoming::Ended(ended) => return Ok(ended),
            Incoming::Unknown => {}
        }
    }
    Err(error::down("it went away before the end"))
}

/// Sends stdin, then its end. How a feed ends does not matter: the execution's own stream tells what happened.
async fn feed(mut client: Client, execution_id: String, mut source: Box<dyn ByteSource>) {
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
