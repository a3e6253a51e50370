//! JSON Schema 2020-12 for what goes into tools and comes out of them, compiled once per schema.
//!
//! References never leave the document, patterns take bounded time, and messages name the place and the rule, never the value.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use jsonschema::{Draft, Keyword, PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::weight::{self, Weight};

/// Schemas kept compiled; a device rarely has this many tools, and a compiled schema is some ten KiB.
const COMPILED_MAX: usize = 256;
/// Longest schema, bytes of JSON; compiled it takes some twenty times as much.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// The texts of all schemas kept compiled, bytes.
const TEXTS_BYTES_MAX: usize = 1 << 20;
/// Longest message, characters.
const MESSAGE_CHARS_MAX: usize = 500;
/// Steps a pattern with look-around may go back; others run in linear time. Beyond it the text does not match.
const PATTERN_STEPS_MAX: usize = 100_000;
/// A pattern's compiled automaton, bytes.
const PATTERN_BYTES_MAX: usize = 128 << 10;

/// A schema that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the schema cannot be compiled: {message}")]
pub struct SchemaError {
    message: String,
}

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct Schema {
    validator: Validator,
    weight: Weight,
}

impl Schema {
    /// Compiles a schema; every `$ref` must be inside it.
    pub(crate) fn compile(schema: &Value) -> Result<Self, SchemaError> {
        let weight = weight::weigh(schema).map_err(|message| SchemaError { message })?;
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .should_validate_formats(true)
            .with_pattern_options(
                PatternOptions::fancy_regex()
                    .backtrack_limit(PATTERN_STEPS_MAX)
                    .size_limit(PATTERN_BYTES_MAX)
                    .dfa_size_limit(PATTERN_BYTES_MAX),
            )
            .with_keyword("contentEncoding", |_parent, value, _path| {
                let keyword: Box<dyn for<'i> Keyword<'i>> =
                    if value == "base64" { Box::new(Base64) } else { Box::new(Anything) };
                Ok(keyword)
            })
            .build(schema)
            .map_err(|error| SchemaError { message: cut(error.to_string()) })?;
        Ok(Self { validator, weight })
    }

    /// Whether a value is what the schema asks for; the text names the first place that is not. Takes a while for large values.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        // This remembers what it saw, so recursion costs no more than it is long; finding the place does not.
        if self.validator.is_valid(value) {
            return Ok(());
        }
        if !self.weight.may_explain(value) {
            return Err("at /: not valid; the schema is too recursive or the value too large to say where".into());
        }
        self.validator.validate(value).map_err(|error| {
            let place = error.instance_path().as_str();
            let place = if place.is_empty() { "/" } else { place };
            cut(format!("at {}: {}", place, error.masked()))
        })
    }
}

fn cut(text: String) -> String {
    if text.chars().nth(MESSAGE_CHARS_MAX).is_none() {
        return text;
    }
    text.chars().take(MESSAGE_CHARS_MAX).chain("…".chars()).collect()
}

/// In 2020-12 `contentEncoding` is only a remark; here it is how bytes travel, so it is checked.
struct Base64;

impl<'i> Keyword<'i> for Base64 {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) { Ok(()) } else { Err(ValidationError::custom("not base64")) }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        // Other types are the business of `type`.
        instance.as_str().is_none_or(|text| base64::engine::general_purpose::STANDARD.decode(text).is_ok())
    }
}

struct Anything;

impl<'i> Keyword<'i> for Anything {
    fn validate(&self, _instance: &'i Value) -> Result<(), ValidationError<'i>> {
        Ok(())
    }

    fn is_valid(&self, _instance: &'i Value) -> bool {
        true
    }
}

/// Compiled schemas by their text; the oldest leaves when there is no room.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    compiled: HashMap<u64, (Arc<str>, Arc<Schema>)>,
    order: VecDeque<u64>,
    text_bytes: usize,
}

impl State {
    fn keep(&mut self, key: u64, text: Arc<str>, compiled: &Arc<Schema>) {
        self.text_bytes += text.len();
        match self.compiled.insert(key, (text, Arc::clone(compiled))) {
            Some((before, _)) => self.text_bytes -= before.len(),
            None => self.order.push_back(key),
        }
        while self.order.len() > COMPILED_MAX || self.text_bytes > TEXTS_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.text_bytes -= self.compiled.remove(&oldest).map_or(0, |(text, _)| text.len());
        }
    }
}

impl Schemas {
    /// The compiled form, made now or before.
    pub(crate) fn get(&self, schema: &Value) -> Result<Arc<Schema>, SchemaError> {
        let text = schema.to_string();
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("{} bytes of JSON, limit is {TEXT_BYTES_MAX}", text.len());
            return Err(SchemaError { message });
        }
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let key = hasher.finish();
        if let Some((known, compiled)) = self.state().compiled.get(&key)
            && **known == *text
        {
            return Ok(Arc::clone(compiled));
        }
        let compiled = Arc::new(Schema::compile(schema)?);
        self.state().keep(key, text.into(), &compiled);
        Ok(compiled)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A cache: whatever a panicking thread left is at worst a missing entry.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(schema: &Value, value: &Value, expected: Result<(), &str>) {
        let found = Schema::compile(schema).unwrap().check(value);
        match (&found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            _ => panic!("{schema} {value}: {found:?}"),
        }
    }

    #[test]
    fn the_place_is_named_and_the_value_is_not() {
        let schema =
            json!({"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": false});
        check(&schema, &json!({"city": "Oslo"}), Ok(()));
        check(&schema, &json!({"city": 31_337}), Err("at /city"));
        let message = Schema::compile(&schema).unwrap().check(&json!({"city": 31_337})).unwrap_err();
        assert!(!message.contains("31337"), "{message}");
        check(&schema, &json!({"town": 1}), Err("town"));
    }

    #[test]
    fn formats_and_encodings_are_asserted() {
        let date = json!({"type": "string", "format": "date-time"});
        check(&date, &json!("2026-11-20T17:00:00Z"), Ok(()));
        check(&date, &json!("yesterday"), Err("date-time"));
        let bytes = json!({"type": "string", "contentEncoding": "base64"});
        check(&bytes, &json!("aGk="), Ok(()));
        check(&bytes, &json!("a*b"), Err("base64"));
    }

    #[test]
    fn references_stay_in_the_document() {
        let inner = json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "number"}}});
        check(&inner, &json!(1), Ok(()));
        check(&inner, &json!("1"), Err("number"));
        for reference in ["http://127.0.0.1:1/schema.json", "file:///etc/passwd", "#/$defs/none"] {
            assert!(Schema::compile(&json!({"$ref": reference})).is_err(), "{reference}");
        }
    }

    #[test]
    fn recursive_schemas_and_hard_patterns_end() {
        let tree = json!({"$ref": "#/$defs/t", "$defs": {"t": {"type": "object", "properties": {"t": {"$ref": "#/$defs/t"}}}}});
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({"t": deep});
        }
        check(&tree, &deep, Ok(()));
        let text = "a".repeat(50_000) + "!";
        check(&json!({"pattern": "^(a+)+$"}), &json!(text), Err("/"));
        let hard = json!({"pattern": "^(?=(a+)+$)(?!.*b).*$"});
        check(&hard, &json!("aaa"), Ok(()));
        let begun = std::time::Instant::now();
        check(&hard, &json!(text), Err("/"));
        assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!(Schema::compile(&json!({"pattern": "("})).is_err());
    }

    #[test]
    fn a_value_that_branches_in_recursion_is_judged_quickly() {
        let two = json!([{"$ref": "#/$defs/t"}, {"$ref": "#/$defs/t"}]);
        let schema = json!({"$ref": "#/$defs/t", "$defs": {"t": {"anyOf": [
            {"required": ["x"], "properties": {"t": {"allOf": two}}},
            {"required": ["y"], "properties": {"t": {"anyOf": two}}},
        ]}}});
        let mut deep = json!(1);
        for _ in 0..60 {
            deep = json!({"t": deep});
        }
        check(&schema, &deep, Err("too recursive"));
    }

    #[test]
    fn schemas_that_would_cost_too_much_are_refused() {
        let mut defs = serde_json::Map::from_iter([("a40".to_owned(), json!({}))]);
        for level in 0..40 {
            let next = json!({"$ref": format!("#/$defs/a{}", level + 1)});
            defs.insert(format!("a{level}"), json!({"allOf": [next, next]}));
        }
        let refused = |schema: &Value| Schema::compile(schema).unwrap_err().to_string();
        assert!(refused(&json!({"$ref": "#/$defs/a0", "$defs": defs})).contains("expands too far"));
        assert!(refused(&json!({"pattern": "(?:a{100}){100}"})).contains("regex"));
        let long = Schemas::default().get(&json!({"description": "x".repeat(TEXT_BYTES_MAX)})).unwrap_err();
        assert!(long.to_string().contains("limit is"), "{long}");
    }

    #[test]
    fn the_cache_is_bounded_in_bytes() {
        let schemas = Schemas::default();
        for n in 0..2 * TEXTS_BYTES_MAX / (TEXT_BYTES_MAX / 2) {
            schemas.get(&json!({"maximum": n, "description": "x".repeat(TEXT_BYTES_MAX / 2)})).unwrap();
        }
        let state = schemas.state();
        assert!(state.text_bytes <= TEXTS_BYTES_MAX && state.text_bytes > TEXTS_BYTES_MAX / 2);
        assert_eq!(state.text_bytes, state.compiled.values().map(|(text, _)| text.len()).sum::<usize>());
    }

    #[test]
    fn the_cache_is_bounded() {
        let schemas = Schemas::default();
        for n in 0..COMPILED_MAX + 10 {
            schemas.get(&json!({"maximum": n})).unwrap();
        }
        assert_eq!(schemas.state().compiled.len(), COMPILED_MAX);
        assert_eq!(schemas.state().order.len(), COMPILED_MAX);
    }
}
