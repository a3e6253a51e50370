//! Requests to the vector server: what they look like and which right each needs.
//!
//! A vector travels as the base64 of its 32-bit floats, little endian: exact, and a quarter of its decimal text.

use aria_types::ResourceToken;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::kv::{self, check_value, token};
use crate::request::{Fields, GuestError};

/// Most dimensions.
pub const DIMENSIONS_MAX: usize = 4096;
/// Most vectors in one request.
pub const ITEMS_MAX: usize = 256;
/// Most hits of one search.
pub const HITS_MAX: u64 = 1000;
/// Longest id, bytes.
pub const ID_BYTES_MAX: usize = 512;
/// Longest metadata, bytes of JSON.
pub const METADATA_BYTES_MAX: usize = 64 << 10;
/// Most members of a filter.
pub const FILTER_MAX: usize = 16;
const HITS_DEFAULT: u64 = 10;
const VECTOR_BYTES_MAX: usize = (DIMENSIONS_MAX * 4).div_ceil(3) * 4;

/// One request and the collection it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorRequest {
    /// Path of the collection, canonical.
    pub collection: String,
    /// What is asked.
    pub op: VectorOp,
}

/// What is asked of a collection.
#[derive(Clone, Debug, PartialEq)]
pub enum VectorOp {
    /// Makes or replaces.
    Upsert {
        /// All of one length.
        items: Vec<VectorItem>,
    },
    /// Removes.
    Delete {
        /// Which.
        id: String,
    },
    /// The nearest.
    Search {
        /// To this.
        vector: Vec<f32>,
        /// At most so many.
        hits: u64,
        /// Nearness.
        metric: Metric,
        /// Metadata has these members with these values.
        filter: Map<String, Value>,
    },
}

/// One vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorItem {
    /// Unique in its collection.
    pub id: String,
    /// Finite numbers.
    pub vector: Vec<f32>,
    /// JSON object text.
    pub metadata_json: String,
}

/// How near two vectors are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Metric {
    /// Cosine of the angle, -1 to 1; 0 for a vector without length. More is nearer.
    Cosine,
    /// Inner product. More is nearer.
    Dot,
    /// Euclidean distance. Less is nearer.
    L2,
}

impl Metric {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "cosine" => Some(Self::Cosine),
            "dot" => Some(Self::Dot),
            "l2" => Some(Self::L2),
            _ => None,
        }
    }

    /// The score of `b` as seen from `a`; both have one length.
    pub fn score(self, a: &[f32], b: impl Iterator<Item = f32>) -> f64 {
        let (mut dot, mut length_a, mut length_b, mut distance) = (0.0, 0.0, 0.0, 0.0);
        for (a, b) in a.iter().map(|a| f64::from(*a)).zip(b.map(f64::from)) {
            dot += a * b;
            length_a += a * a;
            length_b += b * b;
            distance += (a - b) * (a - b);
        }
        match self {
            Self::Dot => dot,
            Self::L2 => distance.sqrt(),
            Self::Cosine if length_a == 0.0 || length_b == 0.0 => 0.0,
            Self::Cosine => dot / (length_a.sqrt() * length_b.sqrt()),
        }
    }

    /// A number that is smaller the nearer: for sorting.
    pub fn rank(self, score: f64) -> f64 {
        if self == Self::L2 { score } else { -score }
    }
}

impl VectorRequest {
    /// Reads a request whose operation begins with `vector`; `None` when this server does not know it.
    pub fn parse(op: &str, body: Map<String, Value>) -> Option<Result<Self, GuestError>> {
        let read = match op {
            "vectorUpsert" => upsert,
            "vectorDelete" => delete,
            "vectorSearch" => search,
            _ => return None,
        };
        let parse = |body| {
            let mut fields = Fields::new(body);
            let collection = kv::table("vector", &mut fields, "collection")?;
            let op = read(&mut fields)?;
            fields.end()?;
            Ok(Self { collection, op })
        };
        Some(parse(body))
    }

    /// The least token that allows it. An upsert needs only `append` as long as its ids are new, which the store knows.
    pub fn needs(&self) -> Result<ResourceToken, GuestError> {
        let mode = match &self.op {
            VectorOp::Upsert { .. } => "append",
            VectorOp::Delete { .. } => "rw",
            VectorOp::Search { .. } => "ro",
        };
        token("vector", &self.collection, mode)
    }

    /// Bytes the request carries, for the budget.
    pub fn bytes(&self) -> u64 {
        let size = |item: &VectorItem| item.id.len() + item.vector.len() * 4 + item.metadata_json.len();
        match &self.op {
            VectorOp::Upsert { items } => items.iter().map(size).sum::<usize>() as u64,
            VectorOp::Delete { id } => id.len() as u64,
            VectorOp::Search { vector, .. } => vector.len() as u64 * 4,
        }
    }
}

/// Whether metadata has every member of a filter with an equal value; numbers are equal by value.
pub fn matches(filter: &Map<String, Value>, metadata: &Map<String, Value>) -> bool {
    filter.iter().all(|(key, wanted)| match (metadata.get(key), wanted) {
        (Some(Value::Number(found)), Value::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        (found, wanted) => found == Some(wanted),
    })
}

fn upsert(fields: &mut Fields) -> Result<VectorOp, GuestError> {
    let Some(Value::Array(items)) = fields.value_or_none("items") else {
        return Err(GuestError::invalid("items is not a list"));
    };
    if !(1..=ITEMS_MAX).contains(&items.len()) {
        return Err(GuestError::invalid(format!("items are 1 to {ITEMS_MAX}")));
    }
    let items = items.into_iter().map(item).collect::<Result<Vec<_>, _>>()?;
    let lengths = || items.iter().map(|item| item.vector.len());
    if lengths().min() != lengths().max() {
        return Err(GuestError::new("DIMENSION", "the vectors of one request have different lengths"));
    }
    let mut ids: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
        return Err(GuestError::invalid("an id is given twice"));
    }
    Ok(VectorOp::Upsert { items })
}

fn item(value: Value) -> Result<VectorItem, GuestError> {
    let Value::Object(body) = value else { return Err(GuestError::invalid("an item is not an object")) };
    let mut fields = Fields::new(body);
    let (id, vector) = (id(&mut fields)?, vector(&mut fields)?);
    let metadata_json = fields.text_or_none("metadataJson", METADATA_BYTES_MAX)?.unwrap_or_else(|| "{}".to_owned());
    fields.end()?;
    check_value(&metadata_json)?;
    if !metadata_json.trim_start().starts_with('{') {
        return Err(GuestError::invalid("metadataJson is not an object"));
    }
    Ok(VectorItem { id, vector, metadata_json })
}

fn id(fields: &mut Fields) -> Result<String, GuestError> {
    let id = fields.text("id", ID_BYTES_MAX)?;
    if id.is_empty() || id.chars().any(char::is_control) {
        return Err(GuestError::invalid("an id has 1 to 512 bytes and no control character"));
    }
    Ok(id)
}

fn vector(fields: &mut Fields) -> Result<Vec<f32>, GuestError> {
    let text = fields.text("vector", VECTOR_BYTES_MAX)?;
    let bytes = STANDARD.decode(text).map_err(|error| GuestError::invalid(format!("vector is not base64: {error}")))?;
    let (floats, rest) = bytes.as_chunks::<4>();
    let vector: Vec<f32> = floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if vector.is_empty() || !rest.is_empty() || vector.len() > DIMENSIONS_MAX {
        return Err(GuestError::new("DIMENSION", format!("a vector has 1 to {DIMENSIONS_MAX} 32-bit floats")));
    }
    if vector.iter().any(|number| !number.is_finite()) {
        return Err(GuestError::invalid("a vector has finite numbers"));
    }
    Ok(vector)
}

fn delete(fields: &mut Fields) -> Result<VectorOp, GuestError> {
    Ok(VectorOp::Delete { id: id(fields)? })
}

fn search(fields: &mut Fields) -> Result<VectorOp, GuestError> {
    let vector = vector(fields)?;
    let hits = fields.integer_or_none("k")?.unwrap_or(HITS_DEFAULT);
    if !(1..=HITS_MAX).contains(&hits) {
        return Err(GuestError::invalid(format!("k is 1 to {HITS_MAX}")));
    }
    let metric = fields.text_or_none("metric", 16)?.unwrap_or_else(|| "cosine".to_owned());
    let metric = Metric::parse(&metric).ok_or_else(|| GuestError::invalid("metric is cosine, dot or l2"))?;
    let filter = match fields.value_or_none("filter") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(filter)) => filter,
        Some(_) => return Err(GuestError::invalid("filter is not an object")),
    };
    if filter.len() > FILTER_MAX || filter.values().any(|value| value.is_array() || value.is_object()) {
        return Err(GuestError::invalid(format!("a filter has at most {FILTER_MAX} members, which are plain values")));
    }
    Ok(VectorOp::Search { vector, hits, metric, filter })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base64(vector: &[f32]) -> String {
        STANDARD.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>())
    }

    fn parse(op: &str, body: Value) -> Result<VectorRequest, GuestError> {
        let Value::Object(body) = body else { panic!("an object") };
        VectorRequest::parse(op, body).expect("known")
    }

    fn upsert_of(items: Value) -> Result<VectorRequest, GuestError> {
        parse("vectorUpsert", json!({"collection": "docs", "items": items}))
    }

    #[test]
    fn each_operation_needs_the_least_right() {
        let one = json!([{"id": "a", "vector": base64(&[1.0]), "metadataJson": "{\"a\":1}"}]);
        let needs =
            |request: Result<VectorRequest, GuestError>| request.expect("good").needs().expect("token").to_string();
        assert_eq!(needs(upsert_of(one)), "vector:docs:append");
        assert_eq!(needs(parse("vectorDelete", json!({"collection": "docs", "id": "a"}))), "vector:docs:rw");
        let search = json!({"collection": "docs:new", "vector": base64(&[1.0, 2.0]), "filter": {"a": 1}});
        assert_eq!(needs(parse("vectorSearch", search)), "vector:docs:new:ro");
    }

    #[test]
    fn vectors_are_finite_of_one_length_and_bounded() {
        let item = |id: &str, vector: &[f32]| json!({"id": id, "vector": base64(vector)});
        assert!(upsert_of(json!([item("a", &[0.5; DIMENSIONS_MAX])])).is_ok());
        for bad in [
            json!([]),
            json!({}),
            json!([item("a", &[])]),
            json!([item("a", &[1.0; DIMENSIONS_MAX + 1])]),
            json!([item("a", &[f32::NAN])]),
            json!([item("a", &[f32::INFINITY])]),
            json!([item("a", &[1.0]), item("b", &[1.0, 2.0])]),
            json!([item("a", &[1.0]), item("a", &[2.0])]),
            json!([item("", &[1.0])]),
            json!([{"id": "a", "vector": "AAAA"}]),
            json!([{"id": "a", "vector": "!"}]),
            json!([{"id": "a", "vector": base64(&[1.0]), "metadataJson": "[1]"}]),
        ] {
            assert!(upsert_of(bad.clone()).is_err(), "{bad}");
        }
        for bad in [json!({"k": 0}), json!({"k": 1001}), json!({"metric": "x"}), json!({"filter": {"a": [1]}})] {
            let mut body = json!({"collection": "docs", "vector": base64(&[1.0])});
            body.as_object_mut().expect("object").extend(bad.as_object().expect("object").clone());
            assert!(parse("vectorSearch", body).is_err());
        }
    }

    #[test]
    fn scores_are_what_their_names_say() {
        let score = |metric: Metric, b: [f32; 2]| metric.score(&[3.0, 4.0], b.into_iter());
        assert_eq!(score(Metric::Dot, [1.0, 2.0]), 11.0);
        assert_eq!(score(Metric::L2, [0.0, 0.0]), 5.0);
        assert!((score(Metric::Cosine, [6.0, 8.0]) - 1.0).abs() < 1e-12);
        assert_eq!(score(Metric::Cosine, [0.0, 0.0]), 0.0);
        assert!(Metric::L2.rank(1.0) < Metric::L2.rank(2.0) && Metric::Dot.rank(2.0) < Metric::Dot.rank(1.0));
    }

    #[test]
    fn a_filter_is_equality_of_members() {
        let object = |value: Value| value.as_object().expect("object").clone();
        let metadata = object(json!({"lang": "en", "year": 2024, "ok": true}));
        for (filter, hit) in [
            (json!({}), true),
            (json!({"lang": "en"}), true),
            (json!({"year": 2024.0, "ok": true}), true),
            (json!({"lang": "no"}), false),
            (json!({"none": null}), false),
            (json!({"year": "2024"}), false),
        ] {
            assert_eq!(matches(&object(filter.clone()), &metadata), hit, "{filter}");
        }
    }
}
