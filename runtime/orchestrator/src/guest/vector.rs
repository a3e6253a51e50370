//! The vector server: who may, then an exact search or the store.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use aria_core::json::{self, JsonLimits};
use aria_core::kv::{VALUE_DEPTH_MAX, token};
use aria_core::request::{GuestError, object};
use aria_core::vector::{METADATA_BYTES_MAX, Metric, VectorItem, VectorOp, VectorRequest, matches};
use aria_store::{Right, StoreError, VectorCollection, VectorRow, VectorWrite};
use aria_types::token::{Kind, Mode};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::kv::{blocking, bug, refused};
use super::{Caller, SEARCH_ANSWER_BYTES_MAX};
use crate::Inner;

/// Serves one request.
pub(crate) async fn serve(
    inner: &Arc<Inner>,
    caller: &Arc<Caller>,
    op: String,
    body: Map<String, Value>,
) -> Result<Value, GuestError> {
    let work = move || VectorRequest::parse(&op, body).unwrap_or_else(|| Err(GuestError::unsupported(&op)));
    let request = {
        let _turn = caller.turn().await?;
        blocking(work).await??
    };
    let held = caller.lease.allows(&request.needs()?).await?;
    inner.leases.check(&caller.lease)?;
    caller.lease.spend(Kind::Vector, request.bytes())?;
    let collection = VectorCollection { owner: caller.owner.clone(), path: request.collection };
    let shared = held.mode == Mode::Append;
    let write = match request.op {
        VectorOp::Search { vector, hits, metric, filter } => {
            let search = Search { vector, hits, metric, filter };
            let _turn = inner.searches.acquire().await.map_err(|_closed| bug())?;
            let store = inner.store.clone();
            return blocking(move || search.run(&store, &collection)).await?;
        }
        VectorOp::Delete { id } => VectorWrite::Delete { id },
        VectorOp::Upsert { items } => {
            VectorWrite::Upsert { rows: items.into_iter().map(row).collect(), new_only: shared }
        }
    };
    let lease = Arc::clone(&caller.lease);
    let right = Right { fence: held.fence, shared, live: Box::new(move || lease.is_live()) };
    let path = collection.path.clone();
    let (told, written) = oneshot::channel();
    inner.store.vector_write(collection, write, right, move |written| drop(told.send(written)));
    match written.await.map_err(|_| bug())? {
        Ok(count) => Ok(object([("count", count.into())])),
        // Its right ends where something would change.
        Err(StoreError::Exists { what }) if shared => {
            let needed = token("vector", &path, "rw")?;
            Err(GuestError::new("TOKEN_MISSING", format!("{needed} is needed to change {what:?}, which exists")))
        }
        Err(error) => Err(refused(&error)),
    }
}

fn row(item: VectorItem) -> VectorRow {
    let vector = item.vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    VectorRow { id: item.id, vector, metadata: item.metadata_json }
}

struct Search {
    vector: Vec<f32>,
    hits: u64,
    metric: Metric,
    filter: Map<String, Value>,
}

/// One vector near what was asked for. The greatest is the first to go.
struct Hit {
    rank: f64,
    score: f64,
    id: String,
    metadata: String,
}

impl Ord for Hit {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.total_cmp(&other.rank).then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Hit {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Hit {}

impl Search {
    fn run(self, store: &aria_store::Store, collection: &VectorCollection) -> Result<Value, GuestError> {
        let dimensions = store.vector_dimensions(collection).map_err(|error| refused(&error))?;
        let found = self.vector.len() as u64;
        if let Some(expected) = dimensions.filter(|expected| *expected != found) {
            return Err(refused(&StoreError::Dimension { found, expected }));
        }
        let keep = usize::try_from(self.hits).unwrap_or(usize::MAX);
        let mut nearest: BinaryHeap<Hit> = BinaryHeap::new();
        let look = |id: &str, vector: &[u8], metadata: &str| {
            let (numbers, _) = vector.as_chunks::<4>();
            let score = self.metric.score(&self.vector, numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            let rank = self.metric.rank(score);
            let full = nearest.len() >= keep;
            let farther = |worst: &Hit| rank.total_cmp(&worst.rank).then_with(|| id.cmp(&worst.id)).is_ge();
            if (full && nearest.peek().is_some_and(farther)) || !self.passes(metadata) {
                return;
            }
            if full {
                nearest.pop();
            }
            nearest.push(Hit { rank, score, id: id.to_owned(), metadata: metadata.to_owned() });
        };
        store.vector_scan(collection, look).map_err(|error| refused(&error))?;
        let hits = nearest.into_sorted_vec();
        let bytes: usize = hits.iter().map(|hit| hit.id.len() + hit.metadata.len()).sum();
        if bytes > SEARCH_ANSWER_BYTES_MAX {
            let message = "the metadata of these hits does not fit an answer; ask for fewer";
            return Err(GuestError::new("TOO_LARGE", message));
        }
        Ok(object([("hits", Value::Array(hits.into_iter().map(shown).collect()))]))
    }

    fn passes(&self, metadata: &str) -> bool {
        let limits = JsonLimits { bytes_max: METADATA_BYTES_MAX, depth_max: VALUE_DEPTH_MAX };
        self.filter.is_empty()
            || matches!(json::parse(metadata.as_bytes(), limits), Ok(Value::Object(found)) if matches(&self.filter, &found))
    }
}

fn shown(hit: Hit) -> Value {
    object([("id", hit.id.into()), ("score", hit.score.into()), ("metadataJson", hit.metadata.into())])
}
