//! The body of a request, piece by piece from the run.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// The run went away before the end of its body; what was sent is not a whole request.
#[derive(Debug, thiserror::Error)]
#[error("the body of the request was cut off")]
pub(crate) struct CutOff;

/// One step of a body.
pub(super) enum Step {
    /// More bytes.
    Piece(Bytes),
    /// Nothing more.
    End,
}

/// The sending side's half is a channel of one piece, so the run waits while the other side does not read.
pub(super) struct Upload {
    steps: mpsc::Receiver<Step>,
    left: Option<u64>,
    over: bool,
}

impl Upload {
    /// A body that comes through the sender; `length` when it was stated.
    pub(super) fn pieces(length: Option<u64>) -> (mpsc::Sender<Step>, Self) {
        let (sender, steps) = mpsc::channel(1);
        (sender, Self { steps, left: length, over: length == Some(0) })
    }

    /// No body.
    pub(super) fn none() -> Self {
        Self::pieces(Some(0)).1
    }

    /// A body that is already here.
    pub(super) fn whole(bytes: Bytes) -> Self {
        let (sender, upload) = Self::pieces(Some(bytes.len() as u64));
        // The channel has room for one, and one is sent.
        let _ = sender.try_send(Step::Piece(bytes));
        upload
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match std::task::ready!(self.steps.poll_recv(context)) {
            Some(Step::Piece(bytes)) => {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(bytes.len() as u64);
                    self.over = self.left == Some(0);
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Step::End) => {
                self.over = true;
                Poll::Ready(None)
            }
            None => Poll::Ready(Some(Err(CutOff))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
