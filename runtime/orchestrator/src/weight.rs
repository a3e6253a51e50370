//! How much work a schema may make of one value, told before it is compiled.
//!
//! The validator follows every `$ref` each time it is met, so a few references that double can stand for 2^40 checks. A reference
//! weighs what its target weighs; one that leads back to where it is inside of weighs nothing, because the value bounds it.

use std::collections::HashMap;

use serde_json::Value;

/// Checks one value may cause at one place. Types of real tools weigh a few hundred.
const WEIGHT_MAX: u64 = 100_000;
/// Deepest chain of schemas inside schemas and references; the validator recurses as deep.
const DEPTH_MAX: usize = 512;
/// Steps to find out where a value is wrong; some hundred milliseconds on a board.
const EXPLAIN_MAX: u64 = 4_000_000;
/// Ways back into itself above which even a flat value is not explained.
const BACK_MAX: u64 = 16;
/// Patterns in one schema; each costs an automaton.
const PATTERNS_MAX: usize = 64;
/// Keywords that would make `#/…` mean another place than it says.
const REBASE: [&str; 5] = ["$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"];

/// What a schema may cost.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Weight {
    /// Checks at one place of a value.
    checks: u64,
    /// How often it leads back into itself, each time for a deeper place.
    back: u64,
}

/// What a schema may cost, or why it is too much.
pub(crate) fn weigh(schema: &Value) -> Result<Weight, String> {
    let mut patterns = 0;
    scan(schema, true, &mut patterns)?;
    let weight = Weigher { root: schema, known: HashMap::new() }.schema(schema, 0)?;
    if weight.checks > WEIGHT_MAX { Err("it expands too far".into()) } else { Ok(weight) }
}

impl Weight {
    /// Whether the validator may be asked where a value is wrong. It remembers nothing then, so recursion multiplies.
    pub(crate) fn may_explain(self, value: &Value) -> bool {
        let (places, depth) = extent(value);
        let turns = self.back.max(1).saturating_pow(depth.saturating_add(1));
        self.back <= BACK_MAX && self.checks.saturating_mul(turns).saturating_mul(places) <= EXPLAIN_MAX
    }

    fn plus(self, other: Self) -> Self {
        Self { checks: self.checks.saturating_add(other.checks), back: self.back.saturating_add(other.back) }
    }
}

/// How many values are in a value, and how deep.
fn extent(value: &Value) -> (u64, u32) {
    let sum = |(places, depth): (u64, u32), inner: &Value| {
        let (more, below) = extent(inner);
        (places + more, depth.max(below + 1))
    };
    match value {
        Value::Object(map) => map.values().fold((1, 0), sum),
        Value::Array(items) => items.iter().fold((1, 0), sum),
        _ => (1, 0),
    }
}

fn scan(value: &Value, is_root: bool, patterns: &mut usize) -> Result<(), String> {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                *patterns += match (key.as_str(), value) {
                    ("pattern", Value::String(_)) => 1,
                    ("patternProperties", Value::Object(by_pattern)) => by_pattern.len(),
                    _ => 0,
                };
                let rebased = value.is_string() && REBASE.contains(&key.as_str());
                if rebased && !(is_root && key == "$id") {
                    return Err(format!("{key} is not supported"));
                }
                scan(value, false, patterns)?;
            }
        }
        Value::Array(items) => items.iter().try_for_each(|item| scan(item, false, patterns))?,
        _ => {}
    }
    if *patterns > PATTERNS_MAX { Err(format!("more than {PATTERNS_MAX} patterns")) } else { Ok(()) }
}

const ONE: Weight = Weight { checks: 1, back: 0 };

struct Weigher<'a> {
    root: &'a Value,
    /// By place in the document; `None` while being weighed.
    known: HashMap<*const Value, Option<Weight>>,
}

impl<'a> Weigher<'a> {
    fn schema(&mut self, schema: &'a Value, depth: usize) -> Result<Weight, String> {
        let Value::Object(map) = schema else { return Ok(ONE) };
        if let Some(known) = self.known.get(&std::ptr::from_ref(schema)) {
            return Ok(known.unwrap_or(Weight { checks: 0, back: 1 }));
        }
        if depth > DEPTH_MAX {
            return Err("it expands too far".into());
        }
        self.known.insert(schema, None);
        let mut weight = ONE;
        let mut twice = false;
        for (key, value) in map {
            let more = match (key.as_str(), value) {
                ("$ref", Value::String(reference)) => self.schema(self.target(reference)?, depth + 1)?,
                // Data, and what only counts where it is referred to.
                ("const" | "enum" | "default" | "examples" | "$defs" | "definitions", _) => Weight::default(),
                ("properties" | "patternProperties" | "dependentSchemas", Value::Object(named)) => {
                    self.all(named.values(), depth)?
                }
                (_, Value::Array(schemas)) => self.all(schemas.iter(), depth)?,
                (_, value) => self.schema(value, depth + 1)?,
            };
            weight = weight.plus(more);
            // To know what is left over, everything beside it is looked at once more.
            twice |= key.starts_with("unevaluated");
        }
        let weight = if twice { weight.plus(weight) } else { weight };
        self.known.insert(schema, Some(weight));
        Ok(weight)
    }

    fn all(&mut self, schemas: impl Iterator<Item = &'a Value>, depth: usize) -> Result<Weight, String> {
        let mut sum = Weight::default();
        for schema in schemas {
            sum = sum.plus(self.schema(schema, depth + 1)?);
        }
        Ok(sum)
    }

    /// Where a reference leads; only places in the document count.
    fn target(&self, reference: &str) -> Result<&'a Value, String> {
        let outside =
            || format!("$ref {:?} is no place in the schema", reference.chars().take(100).collect::<String>());
        let pointer = decoded(reference.strip_prefix('#').ok_or_else(outside)?).ok_or_else(outside)?;
        self.root.pointer(&pointer).ok_or_else(outside)
    }
}

/// A fragment without its percent signs.
fn decoded(fragment: &str) -> Option<String> {
    let mut pieces = fragment.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[track_caller]
    fn refused(schema: &Value, part: &str) {
        let message = weigh(schema).unwrap_err();
        assert!(message.contains(part), "{message}");
    }

    fn doubling(levels: usize) -> Value {
        let mut defs = Map::new();
        for level in 0..levels {
            let next = json!({"$ref": format!("#/$defs/a{}", level + 1)});
            defs.insert(format!("a{level}"), json!({"allOf": [next, next]}));
        }
        defs.insert(format!("a{levels}"), json!({}));
        json!({"$ref": "#/$defs/a0", "$defs": defs})
    }

    #[test]
    fn references_that_double_are_refused() {
        weigh(&doubling(10)).unwrap();
        refused(&doubling(40), "expands too far");
        let mut nested = json!({"type": "object"});
        for _ in 0..40 {
            nested = json!({"allOf": [nested], "unevaluatedProperties": false});
        }
        refused(&nested, "expands too far");
        let mut deep = json!({});
        for _ in 0..DEPTH_MAX {
            deep = json!({"not": deep});
        }
        refused(&json!({"not": deep}), "expands too far");
    }

    #[test]
    fn recursion_and_many_users_of_a_type_are_fine() {
        weigh(&json!({"$ref": "#/$defs/t", "$defs": {"t": {"properties": {"a": {"$ref": "#/$defs/t"}, "b": {"$ref": "#"}}}}}))
            .unwrap();
        let users: Map<String, Value> =
            (0..1000).map(|n| (format!("p{n}"), json!({"$ref": "#/$defs/a%20b"}))).collect();
        weigh(&json!({"properties": users, "$defs": {"a b": {"type": "string", "pattern": "^a"}}})).unwrap();
    }

    #[test]
    fn places_are_only_named_by_their_path() {
        for reference in ["#a", "a.json", "http://h/s#/a", "#/none", "#/%f"] {
            refused(&json!({"$ref": reference}), "no place");
        }
        refused(&json!({"$defs": {"a": {"$id": "a"}}}), "$id");
        refused(&json!({"$dynamicRef": "#a"}), "$dynamicRef");
        weigh(&json!({"$id": "urn:a", "properties": {"$id": {"type": "string"}}, "const": {"$ref": "x"}})).unwrap();
    }

    #[test]
    fn patterns_are_counted() {
        let many = |count: usize| vec![json!({"pattern": "a"}); count];
        weigh(&json!({"anyOf": many(PATTERNS_MAX)})).unwrap();
        refused(&json!({"anyOf": many(PATTERNS_MAX), "patternProperties": {"b": {}}}), "patterns");
    }
}
