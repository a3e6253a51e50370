//! A bundle that is described and not sent: bytes of its file in place, and blobs put before. The pieces go through the reader in
//! order, as an uploaded file does, so what is installed was judged by the same rules.

use std::io::Read;
use std::sync::Arc;

use aria_bundle::{Expected, Limits, Reader};
use aria_core::Digest;
use aria_protocol::aria::v1 as pb;
use aria_store::{BlobRef, Store, StoreError};
use aria_types::ErrorKind;
use tonic::Status;

use super::convert::{blob, invalid, required};
use super::install::{Judged, NotInstalled, Wanted, install};
use super::{Device, blobs, blocking, bundles, now};
use crate::auth::Caller;
use crate::status::{self, refuse};

/// The literals of a bundle are a handful of headers around at most some twenty blobs.
const PIECES_MAX: usize = 1024;
/// Read, hashed and written at once.
const READ_BYTES: usize = 256 << 10;

/// What a file is made of.
struct Recipe {
    file: BlobRef,
    pieces: Vec<Piece>,
}

enum Piece {
    Literal(Vec<u8>),
    Blob(BlobRef),
}

/// Installs what is described, or says what is missing.
pub(super) async fn commit(
    device: &Arc<Device>,
    caller: Caller,
    request: pb::CommitBundleRequest,
) -> Result<pb::CommitBundleResponse, Status> {
    let (accept, dry_run) = (request.accept_authority.clone(), request.dry_run);
    let recipe = read(request, device.bundle_bytes_max)?;
    let wanted = Wanted::read(&caller.subject, recipe.file.sha256, &accept, dry_run)?;
    let (store, sha256) = (device.store.clone(), recipe.file.sha256);
    if let Some(answer) = blocking(move || known(&store, &sha256, dry_run)).await? {
        return Ok(answer);
    }
    let place = device.uploads.take(&caller.subject).ok_or_else(|| {
        refuse(ErrorKind::Exhausted, "QUEUE_FULL", "as many uploads as the device allows are under way; try again")
    })?;
    let at = Arc::clone(device);
    let work = move || {
        let _place = place;
        Ok(put_together(&at, recipe, &wanted))
    };
    match blocking(work).await? {
        Ok(answer) => Ok(answer),
        Err(refused) => Err(refused.told(device).await),
    }
}

/// The answer for a file that is installed. One that nobody vouches for any more is read again, with its signatures.
fn known(store: &Store, sha256: &Digest, dry_run: bool) -> Result<Option<pb::CommitBundleResponse>, Status> {
    let Some(record) = store.bundle_by_file(sha256).map_err(status::store)? else { return Ok(None) };
    match store.check_vouched(&record) {
        Ok(()) => told(store, Judged::present(record), dry_run).map(Some),
        Err(StoreError::Refused(_)) => Ok(None),
        Err(error) => Err(status::store(error)),
    }
}

fn told(store: &Store, judged: Judged, dry_run: bool) -> Result<pb::CommitBundleResponse, Status> {
    let (bundle, already_present, authority) = bundles::told(store, judged, dry_run)?;
    Ok(pb::CommitBundleResponse { bundle: Some(bundle), already_present, authority, ..Default::default() })
}

fn read(request: pb::CommitBundleRequest, bundle_bytes_max: u64) -> Result<Recipe, Status> {
    let file = blob(&required(request.file, "file")?)?;
    if file.size_bytes > bundle_bytes_max {
        let message = format!("bundle of {} bytes, limit is {bundle_bytes_max}", file.size_bytes);
        return Err(refuse(ErrorKind::Exhausted, "BUNDLE_TOO_LARGE", message));
    }
    if request.pieces.is_empty() || request.pieces.len() > PIECES_MAX {
        let message = format!("{} pieces, 1 to {PIECES_MAX} are possible", request.pieces.len());
        return Err(invalid("RECIPE_INVALID", message));
    }
    let piece = |piece: pb::BundlePiece| match piece.piece {
        Some(pb::bundle_piece::Piece::Literal(bytes)) => Ok(Piece::Literal(bytes)),
        Some(pb::bundle_piece::Piece::Blob(described)) => blob(&described).map(Piece::Blob),
        None => Err(invalid("RECIPE_INVALID", "a piece is neither bytes nor a blob")),
    };
    let pieces = request.pieces.into_iter().map(piece).collect::<Result<Vec<_>, _>>()?;
    let size_bytes = pieces.iter().fold(0u64, |sum, piece| {
        sum.saturating_add(match piece {
            Piece::Literal(bytes) => bytes.len() as u64,
            Piece::Blob(blob) => blob.size_bytes,
        })
    });
    if size_bytes != file.size_bytes {
        let message = format!("the pieces have {size_bytes} bytes together, the file has {}", file.size_bytes);
        return Err(invalid("RECIPE_INVALID", message));
    }
    Ok(Recipe { file, pieces })
}

fn put_together(
    device: &Device,
    recipe: Recipe,
    wanted: &Wanted,
) -> Result<pb::CommitBundleResponse, Box<NotInstalled>> {
    let owner = &wanted.owner;
    let Recipe { file, pieces } = recipe;
    let needed: Vec<BlobRef> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Blob(blob) => Some(*blob),
        })
        .collect();
    let (missing, held_bytes) = blobs::missing(&device.store, owner, &needed)?;
    if !missing.is_empty() {
        return Ok(pb::CommitBundleResponse { missing, held_bytes, ..Default::default() });
    }
    let limits = Limits { file_bytes_max: device.bundle_bytes_max, ..Limits::default() };
    let expected = Expected { size_bytes: file.size_bytes, sha256: file.sha256 };
    let mut reader = Reader::new(&device.store.staging_dir(), limits, Some(expected)).map_err(status::bundle)?;
    for piece in pieces {
        match piece {
            Piece::Literal(bytes) => reader.feed(&bytes).map_err(status::bundle)?,
            Piece::Blob(blob) => feed_blob(device, &mut reader, owner, &blob)?,
        }
    }
    Ok(told(&device.store, install(device, reader, wanted)?, wanted.dry_run)?)
}

fn feed_blob(device: &Device, reader: &mut Reader, owner: &str, blob: &BlobRef) -> Result<(), Status> {
    let lease = device.store.lease_blob(owner, &blob.sha256, now()).map_err(status::store)?;
    let mut source = lease.open().map_err(status::store)?;
    let mut piece = vec![0; READ_BYTES];
    loop {
        let count = source.read(&mut piece).map_err(|error| status::internal("read a blob", &error))?;
        match piece.get(..count) {
            None | Some([]) => return Ok(()),
            Some(bytes) => reader.feed(bytes).map_err(status::bundle)?,
        }
    }
}
