//! Reading a JSON object member by member: each one once, of its type, and at the end none left over.

use aria_core::Digest;
use aria_core::json::{self, JsonError, JsonLimits};
use serde_json::{Map, Value};

use crate::error::{BundleError, Rule, refuse};
use crate::limits::Limits;

/// Largest integer that every JSON reader keeps exact.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Parses a document under the format's bounds.
pub(crate) fn document(bytes: &[u8], name: &str, limits: &Limits) -> Result<Value, BundleError> {
    let bounds = JsonLimits { bytes_max: limits.json_bytes_max, depth_max: limits.json_depth_max };
    json::parse(bytes, bounds).map_err(|error| {
        let rule = match error {
            JsonError::TooLong { .. } => Rule::EntryTooLarge,
            JsonError::DuplicateKey { .. } => Rule::JsonDuplicateKey,
            JsonError::Depth { .. } => Rule::JsonDepth,
            JsonError::Syntax { .. } => Rule::JsonInvalid,
        };
        refuse(rule, name, error.to_string())
    })
}

/// The members of one object that were not read yet.
pub(crate) struct Fields {
    place: String,
    members: Map<String, Value>,
}

impl Fields {
    pub(crate) fn new(value: Value, place: impl Into<String>) -> Result<Self, BundleError> {
        let place = place.into();
        match value {
            Value::Object(members) => Ok(Self { place, members }),
            _ => Err(refuse(Rule::ManifestInvalid, &place, "not an object")),
        }
    }

    /// Where a member is, for errors and for what is nested in it.
    pub(crate) fn place(&self, key: &str) -> String {
        format!("{}/{key}", self.place)
    }

    pub(crate) fn wrong(&self, key: &str, detail: impl Into<String>) -> BundleError {
        refuse(Rule::ManifestInvalid, self.place(key), detail)
    }

    pub(crate) fn optional(&mut self, key: &str) -> Option<Value> {
        self.members.swap_remove(key)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.members.contains_key(key)
    }

    pub(crate) fn value(&mut self, key: &str) -> Result<Value, BundleError> {
        self.optional(key).ok_or_else(|| self.wrong(key, "missing"))
    }

    pub(crate) fn text(&mut self, key: &str) -> Result<String, BundleError> {
        match self.value(key)? {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong(key, "not a string")),
        }
    }

    pub(crate) fn optional_text(&mut self, key: &str) -> Result<Option<String>, BundleError> {
        if self.has(key) { self.text(key).map(Some) } else { Ok(None) }
    }

    pub(crate) fn texts(&mut self, key: &str) -> Result<Vec<String>, BundleError> {
        let items = self.array(key)?;
        let text = |(index, item)| match item {
            Value::String(text) => Ok(text),
            _ => Err(refuse(Rule::ManifestInvalid, format!("{}/{index}", self.place(key)), "not a string")),
        };
        items.into_iter().enumerate().map(text).collect()
    }

    pub(crate) fn array(&mut self, key: &str) -> Result<Vec<Value>, BundleError> {
        match self.value(key)? {
            Value::Array(items) => Ok(items),
            _ => Err(self.wrong(key, "not an array")),
        }
    }

    pub(crate) fn object(&mut self, key: &str) -> Result<Fields, BundleError> {
        Fields::new(self.value(key)?, self.place(key))
    }

    pub(crate) fn flag(&mut self, key: &str) -> Result<bool, BundleError> {
        self.optional_flag(key)?.ok_or_else(|| self.wrong(key, "missing"))
    }

    pub(crate) fn optional_flag(&mut self, key: &str) -> Result<Option<bool>, BundleError> {
        match self.optional(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(key, "not true or false")),
        }
    }

    pub(crate) fn integer(&mut self, key: &str) -> Result<u64, BundleError> {
        let value = self.value(key)?;
        let integer = value.as_u64().filter(|integer| *integer <= INTEGER_MAX);
        integer.ok_or_else(|| self.wrong(key, "not a whole number from 0 to 2^53-1"))
    }

    /// An integer of a closed range; absent is `None`.
    pub(crate) fn optional_integer(&mut self, key: &str, min: u64, max: u64) -> Result<Option<u64>, BundleError> {
        if !self.members.contains_key(key) {
            return Ok(None);
        }
        let integer = self.integer(key)?;
        if (min..=max).contains(&integer) {
            return Ok(Some(integer));
        }
        Err(self.wrong(key, format!("{integer} is not from {min} to {max}")))
    }

    pub(crate) fn digest(&mut self, key: &str) -> Result<Digest, BundleError> {
        let text = self.text(key)?;
        Digest::parse(&text).map_err(|_| self.wrong(key, "not `sha256:` and 64 lower-case hexadecimal digits"))
    }

    pub(crate) fn hex(&mut self, key: &str) -> Result<Digest, BundleError> {
        let text = self.text(key)?;
        Digest::from_hex(&text).map_err(|_| self.wrong(key, "not 64 lower-case hexadecimal digits"))
    }

    /// Refuses what was not read; keys that begin with `x-` are anybody's.
    pub(crate) fn end(self) -> Result<(), BundleError> {
        match self.members.keys().find(|key| !key.starts_with("x-")) {
            None => Ok(()),
            Some(key) => Err(self.wrong(key, "unknown key")),
        }
    }
}
