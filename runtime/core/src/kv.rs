//! Requests to the key-value server: what they look like and which right each needs.
//!
//! A table is named by the path of a token, `orders` or `orders:pending`. A sub-table has keys of its own; a token for a table
//! covers what lies below it.

use aria_types::ResourceToken;
use serde_json::{Map, Value};

use crate::json::{self, JsonLimits};
use crate::request::{Fields, GuestError, TEXT_BYTES_MAX};

/// Longest key, bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Deepest value, levels; the same as for results.
pub const VALUE_DEPTH_MAX: usize = 128;
/// Most entries in one answer to a list.
pub const LIST_MAX: u64 = 1000;
const LIST_DEFAULT: u64 = 100;
/// A kind, a mode and two colons may stand around the path.
const TABLE_BYTES_MAX: usize = 255;

/// One request and the table it is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KvRequest {
    /// Path of the table, canonical.
    pub table: String,
    /// What is asked.
    pub op: KvOp,
}

/// What is asked of a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KvOp {
    /// The value of a key.
    Get {
        /// Which.
        key: String,
    },
    /// Makes or replaces a value.
    Put {
        /// Which.
        key: String,
        /// JSON text.
        value_json: String,
    },
    /// Adds a value under a key the server makes, greater than all it made before.
    Append {
        /// JSON text.
        value_json: String,
    },
    /// Removes a key.
    Delete {
        /// Which.
        key: String,
    },
    /// Replaces a value whose version is still the one expected; 0 expects no value. `None` as value removes.
    Cas {
        /// Which.
        key: String,
        /// Version the caller saw.
        expected: u64,
        /// JSON text.
        value_json: Option<String>,
    },
    /// Entries in order of their keys.
    List {
        /// Keys begin with this.
        prefix: String,
        /// Keys come after this one.
        after: Option<String>,
        /// At most so many.
        limit: u64,
    },
    /// Changes as they happen, in order.
    Watch {
        /// Keys begin with this.
        prefix: String,
        /// Changes after this version; `None`: from now.
        from: Option<u64>,
    },
}

impl KvRequest {
    /// Reads a request whose operation begins with `kv`; `None` when this server does not know it.
    pub fn parse(op: &str, body: Map<String, Value>) -> Option<Result<Self, GuestError>> {
        let read = match op {
            "kvGet" => get,
            "kvPut" => put,
            "kvAppend" => append,
            "kvDelete" => delete,
            "kvCas" => cas,
            "kvList" => list,
            "kvWatch" => watch,
            _ => return None,
        };
        let parse = |body| {
            let mut fields = Fields::new(body);
            let table = table("kv", &mut fields, "table")?;
            let op = read(&mut fields)?;
            fields.end()?;
            Ok(Self { table, op })
        };
        Some(parse(body))
    }

    /// The least token that allows it. A put needs only `append` as long as its key is new, which the store knows.
    pub fn needs(&self) -> Result<ResourceToken, GuestError> {
        let mode = match &self.op {
            KvOp::Get { .. } | KvOp::List { .. } | KvOp::Watch { .. } => "ro",
            KvOp::Put { .. } | KvOp::Append { .. } | KvOp::Cas { expected: 0, value_json: Some(_), .. } => "append",
            KvOp::Delete { .. } | KvOp::Cas { .. } => "rw",
        };
        token("kv", &self.table, mode)
    }

    /// Bytes the request carries, for the budget.
    pub fn bytes(&self) -> u64 {
        let bytes = match &self.op {
            KvOp::Put { key, value_json } => key.len() + value_json.len(),
            KvOp::Append { value_json } => value_json.len(),
            KvOp::Cas { key, value_json, .. } => key.len() + value_json.as_ref().map_or(0, String::len),
            KvOp::Get { key } | KvOp::Delete { key } => key.len(),
            KvOp::List { .. } | KvOp::Watch { .. } => 0,
        };
        bytes as u64
    }
}

/// A member that names a table or collection: the path of a token, exactly as the token spells it.
pub(crate) fn table(kind: &str, fields: &mut Fields, name: &str) -> Result<String, GuestError> {
    let text = fields.text(name, TABLE_BYTES_MAX)?;
    token(kind, &text, "ro")?;
    Ok(text)
}

/// The token for a path and a mode. A path that holds a mode word, capitals, a slash or anything else that is no segment is refused.
pub fn token(kind: &str, path: &str, mode: &str) -> Result<ResourceToken, GuestError> {
    ResourceToken::parse(&format!("{kind}:{path}:{mode}"))
        .map_err(|error| GuestError::new("TOKEN_SYNTAX", format!("{path:?} names no {kind} resource: {error}")))
}

fn key(fields: &mut Fields) -> Result<String, GuestError> {
    let key = fields.text("key", KEY_BYTES_MAX)?;
    check_key(&key).map(|()| key)
}

fn check_key(key: &str) -> Result<(), GuestError> {
    if key.is_empty() || key.chars().any(char::is_control) {
        return Err(GuestError::invalid("a key has 1 to 512 bytes and no control character"));
    }
    Ok(())
}

fn value(fields: &mut Fields) -> Result<String, GuestError> {
    let text = fields.text("valueJson", TEXT_BYTES_MAX)?;
    check_value(&text).map(|()| text)
}

/// Whether a text is JSON that every reader understands the same way.
pub(crate) fn check_value(text: &str) -> Result<(), GuestError> {
    let limits = JsonLimits { bytes_max: TEXT_BYTES_MAX, depth_max: VALUE_DEPTH_MAX };
    json::parse(text.as_bytes(), limits).map(drop).map_err(|error| GuestError::invalid(format!("valueJson: {error}")))
}

fn get(fields: &mut Fields) -> Result<KvOp, GuestError> {
    Ok(KvOp::Get { key: key(fields)? })
}

fn put(fields: &mut Fields) -> Result<KvOp, GuestError> {
    Ok(KvOp::Put { key: key(fields)?, value_json: value(fields)? })
}

fn append(fields: &mut Fields) -> Result<KvOp, GuestError> {
    Ok(KvOp::Append { value_json: value(fields)? })
}

fn delete(fields: &mut Fields) -> Result<KvOp, GuestError> {
    Ok(KvOp::Delete { key: key(fields)? })
}

fn cas(fields: &mut Fields) -> Result<KvOp, GuestError> {
    let (key, expected) = (key(fields)?, fields.integer("expected")?);
    let value_json = fields.text_or_none("valueJson", TEXT_BYTES_MAX)?;
    value_json.as_deref().map_or(Ok(()), check_value)?;
    if value_json.is_none() && expected == 0 {
        return Err(GuestError::invalid("a value that is not there cannot be removed"));
    }
    Ok(KvOp::Cas { key, expected, value_json })
}

fn list(fields: &mut Fields) -> Result<KvOp, GuestError> {
    let prefix = fields.text_or_none("prefix", KEY_BYTES_MAX)?.unwrap_or_default();
    let after = fields.text_or_none("cursor", KEY_BYTES_MAX)?;
    let limit = fields.integer_or_none("limit")?.unwrap_or(LIST_DEFAULT);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(GuestError::invalid(format!("limit is 1 to {LIST_MAX}")));
    }
    Ok(KvOp::List { prefix, after, limit })
}

fn watch(fields: &mut Fields) -> Result<KvOp, GuestError> {
    let prefix = fields.text_or_none("prefix", KEY_BYTES_MAX)?.unwrap_or_default();
    Ok(KvOp::Watch { prefix, from: fields.integer_or_none("from")? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(op: &str, body: Value) -> Result<KvRequest, GuestError> {
        let Value::Object(body) = body else { panic!("an object") };
        KvRequest::parse(op, body).expect("known")
    }

    #[track_caller]
    fn needs(op: &str, body: Value, token: &str) {
        assert_eq!(parse(op, body).expect("good").needs().expect("token").as_str(), token);
    }

    #[test]
    fn each_operation_needs_the_least_right() {
        needs("kvGet", json!({"table": "orders", "key": "a"}), "kv:orders:ro");
        needs("kvList", json!({"table": "orders:pending"}), "kv:orders:pending:ro");
        needs("kvWatch", json!({"table": "orders", "from": 0}), "kv:orders:ro");
        needs("kvPut", json!({"table": "orders", "key": "a", "valueJson": "1"}), "kv:orders:append");
        needs("kvAppend", json!({"table": "orders", "valueJson": "1"}), "kv:orders:append");
        needs("kvCas", json!({"table": "orders", "key": "a", "expected": 0, "valueJson": "1"}), "kv:orders:append");
        needs("kvCas", json!({"table": "orders", "key": "a", "expected": 1, "valueJson": "1"}), "kv:orders:rw");
        needs("kvCas", json!({"table": "orders", "key": "a", "expected": 1}), "kv:orders:rw");
        needs("kvDelete", json!({"table": "orders", "key": "a"}), "kv:orders:rw");
    }

    #[test]
    fn names_that_only_look_like_a_table_are_refused() {
        for table in [
            "",
            "Orders",
            "ORDERS",
            "orders/x",
            "orders%2fx",
            "orders\0",
            "órders",
            "orders ",
            " orders",
            "orders:",
            ":orders",
            "orders:ro",
            "orders:rw",
            "orders::x",
            "*",
            "orders:*",
            "..",
            "a..b",
            "orders\n",
            "оrders",
            "orders\u{200b}",
            "a:b:c:d:e:f:g",
            &"x".repeat(64),
            &"x".repeat(300),
        ] {
            let error = parse("kvGet", json!({"table": table, "key": "a"})).expect_err(table);
            assert!(["TOKEN_SYNTAX", "TOO_LARGE"].contains(&error.reason.as_ref()), "{table:?}: {error}");
        }
    }

    #[test]
    fn keys_and_values_are_checked() {
        for key in ["", "a\0", "a\n", "\u{85}", &"x".repeat(KEY_BYTES_MAX + 1)] {
            assert!(parse("kvGet", json!({"table": "t", "key": key})).is_err(), "{key:?}");
        }
        for key in ["a/b", "A", "..", "é", "a%2fb", "__proto__", &"x".repeat(KEY_BYTES_MAX)] {
            assert!(parse("kvGet", json!({"table": "t", "key": key})).is_ok(), "{key:?}");
        }
        for bad in
            ["", "{", "NaN", "{\"a\":1,\"a\":2}", &"[".repeat(200), &format!("\"{}\"", "x".repeat(TEXT_BYTES_MAX))]
        {
            assert!(parse("kvPut", json!({"table": "t", "key": "k", "valueJson": bad})).is_err());
        }
        assert!(parse("kvCas", json!({"table": "t", "key": "k", "expected": 0})).is_err());
        for limit in [0, LIST_MAX + 1] {
            assert!(parse("kvList", json!({"table": "t", "limit": limit})).is_err());
        }
        assert!(parse("kvGet", json!({"table": "t", "key": "k", "owner": "bob"})).is_err());
        assert!(KvRequest::parse("kvDrop", Map::new()).is_none());
    }
}
