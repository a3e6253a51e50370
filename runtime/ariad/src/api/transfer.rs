//! Bytes that come in as a stream: bounded, never stalling, and gone when they break off.
//!
//! Each piece is handed to the blocking pool while the next is read, so one upload holds two pieces (at most 1 MiB each), its HTTP/2
//! window and the reader's own state, whatever its length. [`UPLOADS_MAX`] of them run at a time, which also bounds what can be in
//! staging.

use std::sync::Arc;
use std::time::Duration;

use aria_types::ErrorKind;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::convert::invalid;
use crate::shares::{Share, Shares};
use crate::status::refuse;

/// Uploads at a time, bundles and blobs together.
pub(crate) const UPLOADS_MAX: usize = 8;
/// Largest chunk.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;
/// A sender must bring [`PROGRESS_BYTES`] or the end in every such span; a byte now and then is not progress (A05).
const IDLE_TIME: Duration = Duration::from_secs(30);
/// 16 KiB in 30 s is slower than a modem of the last century.
const PROGRESS_BYTES: usize = 16 << 10;

/// One message of an upload, whichever service it belongs to.
pub(super) enum Part<S> {
    Start(S),
    Chunk(Vec<u8>),
    Neither,
}

/// An upload past its first message.
pub(super) struct Upload<M> {
    stream: Streaming<M>,
    window_ends: Instant,
    window_bytes: usize,
    _place: Share,
}

/// Takes a place and the first message.
pub(super) async fn begin<M, S>(
    places: &Arc<Shares>,
    subject: &str,
    mut stream: Streaming<M>,
    part: fn(M) -> Part<S>,
) -> Result<(S, Upload<M>), Status> {
    let place = places.take(subject).ok_or_else(|| {
        refuse(ErrorKind::Exhausted, "QUEUE_FULL", "as many uploads as the device allows are under way; try again")
    })?;
    let window_ends = Instant::now() + IDLE_TIME;
    let first = tokio::time::timeout_at(window_ends, stream.message()).await.map_err(|_late| idle())??;
    match first.map(part) {
        Some(Part::Start(start)) => Ok((start, Upload { stream, window_ends, window_bytes: 0, _place: place })),
        _ => Err(invalid("STREAM_ORDER", "the first message must be start")),
    }
}

impl<M> Upload<M> {
    /// All chunks, each given to `value` on the pool; gives it back when the sender has said the end. When anything fails, what
    /// `value` had on disk is gone before the sender is told.
    pub(super) async fn into<S, T: Send + 'static>(
        mut self,
        part: fn(M) -> Part<S>,
        value: T,
        feed: fn(&mut T, &[u8]) -> Result<(), Status>,
    ) -> Result<T, Status> {
        let mut value = OnPool::new(value);
        let mut next = self.next(part).await;
        loop {
            match next {
                Ok(Some(chunk)) => {
                    let fed = value.with(move |value| feed(value, &chunk));
                    // A piece that is refused ends the upload, whether or not another one comes.
                    ((), next) = tokio::try_join!(fed, async { Ok(self.next(part).await) })?;
                }
                Ok(None) => return value.into_inner(),
                Err(status) => {
                    value.discard().await;
                    return Err(status);
                }
            }
        }
    }

    /// The next chunk; `None` is the end.
    async fn next<S>(&mut self, part: fn(M) -> Part<S>) -> Result<Option<Vec<u8>>, Status> {
        let message =
            tokio::time::timeout_at(self.window_ends, self.stream.message()).await.map_err(|_late| idle())??;
        let Some(message) = message else { return Ok(None) };
        let chunk = match part(message) {
            Part::Chunk(chunk) => chunk,
            Part::Start(_) => return Err(invalid("STREAM_ORDER", "start comes once")),
            Part::Neither => return Err(invalid("STREAM_ORDER", "a message is neither start nor chunk")),
        };
        if chunk.is_empty() || chunk.len() > CHUNK_BYTES_MAX {
            return Err(invalid("CHUNK_SIZE", "a chunk has 1 byte to 1 MiB"));
        }
        self.window_bytes += chunk.len();
        if self.window_bytes >= PROGRESS_BYTES {
            self.window_bytes = 0;
            self.window_ends = Instant::now() + IDLE_TIME;
        }
        Ok(Some(chunk))
    }
}

fn idle() -> Status {
    refuse(ErrorKind::Deadline, "UPLOAD_IDLE", "the upload made no progress for 30 s")
}

fn taken() -> Status {
    refuse(ErrorKind::Internal, "BUG", "the upload was used after it had failed")
}

/// Something whose end is work for the disk: dropped on the pool, wherever it is dropped.
pub(super) struct OnPool<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> OnPool<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Uses it on the pool; an error ends it.
    async fn with(&mut self, work: impl FnOnce(&mut T) -> Result<(), Status> + Send + 'static) -> Result<(), Status> {
        let mut value = self.0.take().ok_or_else(taken)?;
        self.0 = Some(super::blocking(move || work(&mut value).map(|()| value)).await?);
        Ok(())
    }

    fn into_inner(mut self) -> Result<T, Status> {
        self.0.take().ok_or_else(taken)
    }

    /// Drops it and waits until that is done.
    async fn discard(mut self) {
        if let Some(value) = self.0.take() {
            // A panic while dropping is reported by the pool; there is nothing left to do here.
            let _ = tokio::task::spawn_blocking(move || drop(value)).await;
        }
    }
}

impl<T: Send + 'static> Drop for OnPool<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(move || drop(value))),
                // The runtime is gone, so nothing else runs that this could hold up.
                Err(_) => drop(value),
            }
        }
    }
}
