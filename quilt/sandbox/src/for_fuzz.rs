//! What the fuzz targets need to reach: what travels between engine, quilt-init and program, and the tree a caller sends.
//!
//! The product never calls this module.

use std::io::{self, Cursor};

use crate::wire::{Descriptors, Order, Record};
use crate::workspace::tree::{self, Entry, Reader};
use crate::{init, steps};

/// Reads an order that came with so many descriptors, as quilt-init does: which descriptor is used for what, in order, and the
/// order as it would be sent on. `None` when it is refused.
pub fn order(text: &[u8], descriptors: usize) -> Option<(Vec<usize>, Vec<u8>)> {
    let order: Order = serde_json::from_slice(text).ok()?;
    let used = Descriptors::from_list(&order, (0..descriptors).collect())?;
    Some((used.into_list(), init::encode(&order).ok()??))
}

/// Reads a report of how far a start has come: the report again, and the name of the step that failed, if one did.
pub fn record(bytes: &[u8]) -> Option<(Vec<u8>, Option<&'static str>)> {
    let record = Record::decode(bytes)?;
    let step = match record {
        Record::Done => None,
        Record::Failed { step, .. } => Some(steps::name(step)),
    };
    Some((record.encode().to_vec(), step))
}

/// Reads a tree: the paths in it, and the same tree written anew.
pub fn tree(bytes: &[u8]) -> io::Result<(Vec<Vec<u8>>, Vec<u8>)> {
    let mut reader = Reader::new(Cursor::new(bytes))?;
    let (mut paths, mut again) = (Vec::new(), tree::MAGIC.to_vec());
    while let Some(entry) = reader.next()? {
        let at = reader.skip(entry.size_bytes)?;
        again.extend(entry.header());
        again.extend_from_slice(content(bytes, at, &entry));
        paths.push(entry.path);
    }
    again.extend(tree::end(paths.len()));
    Ok((paths, again))
}

/// What of the content is there.
fn content<'a>(bytes: &'a [u8], at: u64, entry: &Entry) -> &'a [u8] {
    let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(place(at)..place(at.saturating_add(entry.size_bytes))).unwrap_or_default()
}
