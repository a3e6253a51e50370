//! `aria.v1.Blobs`.

use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aria_protocol::aria::v1 as pb;
use aria_store::{BlobLease, BlobRef, Store};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{blob, blob_ref, digest, required};
use super::transfer::{self, OnPool, Part};
use super::{Device, blocking, now};
use crate::auth::Caller;
use crate::status;

/// One answer of `GetBlob`.
const READ_BYTES: usize = 256 << 10;
/// How long a reader may leave an answer unread.
const UNREAD_MAX: Duration = Duration::from_secs(60);

pub(super) struct Blobs(pub(super) Arc<Device>);

/// A blob to come, and where its first chunk goes if it may go on later.
type Start = (Option<pb::BlobRef>, Option<u64>);

fn part(message: pb::PutBlobRequest) -> Part<Start> {
    match message.part {
        Some(pb::put_blob_request::Part::Start(blob)) => Part::Start((Some(blob), None)),
        Some(pb::put_blob_request::Part::Resume(resume)) => Part::Start((resume.blob, Some(resume.offset_bytes))),
        Some(pb::put_blob_request::Part::Chunk(chunk)) => Part::Chunk(chunk),
        None => Part::Neither,
    }
}

type BlobStream = Pin<Box<dyn Stream<Item = Result<pb::GetBlobResponse, Status>> + Send>>;

#[tonic::async_trait]
impl pb::blobs_server::Blobs for Blobs {
    type GetBlobStream = BlobStream;

    async fn find_missing(
        &self,
        request: Request<pb::FindMissingRequest>,
    ) -> Result<Response<pb::FindMissingResponse>, Status> {
        let caller = Caller::of(&request)?;
        let blobs = request.into_inner().blobs.iter().map(blob).collect::<Result<Vec<_>, _>>()?;
        let store = self.0.store.clone();
        let (missing, held_bytes) = blocking(move || missing(&store, &caller.subject, &blobs)).await?;
        Ok(Response::new(pb::FindMissingResponse { missing, held_bytes }))
    }

    async fn put_blob(
        &self,
        request: Request<Streaming<pb::PutBlobRequest>>,
    ) -> Result<Response<pb::PutBlobResponse>, Status> {
        let caller = Caller::of(&request)?;
        let ((start, offset_bytes), upload) =
            transfer::begin(&self.0.uploads, &caller.subject, request.into_inner(), part).await?;
        let expected = blob(&required(start, "resume.blob")?)?;
        let store = self.0.store.clone();
        let begin = move || match offset_bytes {
            None => store.put_blob(&caller.subject, expected, now()).map_err(status::store),
            Some(offset) => store.resume_blob(&caller.subject, expected, offset, now()).map_err(status::store),
        };
        let writer = blocking(begin).await?;
        let writer = upload.into(part, writer, |writer, chunk| writer.write(chunk).map_err(status::store)).await?;
        let stored = blocking(move || writer.finish(now()).map_err(status::store)).await?;
        Ok(Response::new(pb::PutBlobResponse { blob: Some(blob_ref(&stored.sha256, stored.size_bytes)) }))
    }

    async fn get_blob(&self, request: Request<pb::GetBlobRequest>) -> Result<Response<BlobStream>, Status> {
        let caller = Caller::of(&request)?;
        let sha256 = digest(&request.into_inner().sha256)?;
        let store = self.0.store.clone();
        let lease = blocking(move || store.lease_blob(&caller.subject, &sha256, now()).map_err(status::store)).await?;
        // One piece under way and one waiting.
        let (sender, receiver) = mpsc::channel(1);
        // Ends with the blob, with its reader, or with the reader's patience.
        tokio::spawn(send(lease, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Which of these the owner has to send, and how much of each is held.
pub(super) fn missing(store: &Store, owner: &str, blobs: &[BlobRef]) -> Result<(Vec<pb::BlobRef>, Vec<u64>), Status> {
    let missing = store.find_missing(owner, blobs, now()).map_err(status::store)?;
    let held_bytes = store.held_bytes(owner, &missing);
    Ok((missing.iter().map(|blob| blob_ref(&blob.sha256, blob.size_bytes)).collect(), held_bytes))
}

async fn send(lease: BlobLease, sender: mpsc::Sender<Result<pb::GetBlobResponse, Status>>) {
    let opened = blocking(move || Ok((lease.open().map_err(status::store)?, lease))).await;
    let (file, lease) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // A reader that is gone needs no answer.
            let _ = sender.send(Err(error)).await;
            return;
        }
    };
    let mut file = Some(file);
    while let Some(mut open) = file.take() {
        let read = blocking(move || {
            let mut chunk = Vec::with_capacity(READ_BYTES);
            let limit = u64::try_from(READ_BYTES).unwrap_or(u64::MAX);
            let count = (&mut open)
                .take(limit)
                .read_to_end(&mut chunk)
                .map_err(|error| status::internal("read a blob", &error))?;
            Ok((open, chunk, count))
        });
        let piece = match read.await {
            Ok((_, _, 0)) => break,
            Ok((open, chunk, _)) => {
                file = Some(open);
                Ok(pb::GetBlobResponse { chunk })
            }
            Err(error) => Err(error),
        };
        match tokio::time::timeout(UNREAD_MAX, sender.send(piece)).await {
            Ok(Ok(())) => {}
            _ => break,
        }
    }
    drop(OnPool::new(lease));
}
