//! Strict JSON (RFC 8259) from people and programs we do not trust: bounded depth and size, no duplicate keys, no lone surrogates.
//!
//! `serde_json` keeps the last of two equal keys and stops at a fixed depth, so two readers of the same text could see
//! different things. This parser refuses instead, and its recursion is bounded by the depth the caller allows.

use serde_json::{Map, Number, Value};

/// Bounds of one document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JsonLimits {
    /// Longest text.
    pub bytes_max: usize,
    /// Deepest nesting of arrays and objects; a bare number has depth 0.
    pub depth_max: usize,
}

/// What happens to `\ud800` without its partner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Surrogates {
    /// The document is refused.
    Refuse,
    /// U+FFFD takes its place and the document says so.
    Replace,
}

/// A parsed document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its value; members keep their order.
    pub value: Value,
    /// Whether a lone surrogate was replaced.
    pub replaced_surrogates: bool,
}

/// Why a text is not JSON to us. `at` is a byte offset.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JsonError {
    /// Longer than allowed.
    #[error("{bytes} bytes of JSON, limit is {bytes_max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Not the grammar.
    #[error("{what} at byte {at}")]
    Syntax {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// An object has the same key twice.
    #[error("key {key:?} appears twice at byte {at}")]
    DuplicateKey {
        /// The key, cut to 64 characters.
        key: String,
        /// Where.
        at: usize,
    },
    /// Nested deeper than allowed.
    #[error("nested deeper than {depth_max} levels at byte {at}")]
    Depth {
        /// The limit.
        depth_max: usize,
        /// Where.
        at: usize,
    },
}

/// Parses one document, refusing lone surrogates.
pub fn parse(text: &[u8], limits: JsonLimits) -> Result<Value, JsonError> {
    parse_with(text, limits, Surrogates::Refuse).map(|document| document.value)
}

/// Parses one document.
pub fn parse_with(text: &[u8], limits: JsonLimits, surrogates: Surrogates) -> Result<Document, JsonError> {
    if text.len() > limits.bytes_max {
        return Err(JsonError::TooLong { bytes: text.len(), bytes_max: limits.bytes_max });
    }
    let text = std::str::from_utf8(text)
        .map_err(|error| JsonError::Syntax { what: "invalid UTF-8", at: error.valid_up_to() })?;
    let mut parser = Parser { text, at: 0, depth: 0, depth_max: limits.depth_max, surrogates, replaced: false };
    parser.space();
    let value = parser.value()?;
    parser.space();
    if parser.at != text.len() {
        return Err(parser.syntax("something after the document"));
    }
    Ok(Document { value, replaced_surrogates: parser.replaced })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    depth_max: usize,
    surrogates: Surrogates,
    replaced: bool,
}

impl Parser<'_> {
    fn value(&mut self) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.syntax("expected a value")),
            None => Err(self.syntax("unexpected end")),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Value, JsonError>) -> Result<Value, JsonError> {
        if self.depth == self.depth_max {
            return Err(JsonError::Depth { depth_max: self.depth_max, at: self.at });
        }
        self.depth += 1;
        self.at += 1;
        self.space();
        let value = inner(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let mut members = Map::new();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            let at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.syntax("expected a key"));
            }
            let key = self.string()?;
            if members.contains_key(&key) {
                return Err(JsonError::DuplicateKey { key: key.chars().take(64).collect(), at });
            }
            self.space();
            if !self.take(b':') {
                return Err(self.syntax("expected ':'"));
            }
            self.space();
            let value = self.value()?;
            members.insert(key, value);
            self.space();
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.take(b',') {
                return Err(self.syntax("expected ',' or '}'"));
            }
            self.space();
        }
    }

    fn array(&mut self) -> Result<Value, JsonError> {
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            if !self.take(b',') {
                return Err(self.syntax("expected ',' or ']'"));
            }
            self.space();
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or("");
            let plain = rest.bytes().position(|b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(rest.len());
            out.push_str(rest.get(..plain).unwrap_or(""));
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => self.escape(&mut out)?,
                Some(_) => return Err(self.syntax("control character in a string")),
                None => return Err(self.syntax("unexpected end of a string")),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), JsonError> {
        self.at += 1;
        let plain = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(out),
            _ => return Err(self.syntax("unknown escape")),
        };
        self.at += 1;
        out.push(plain);
        Ok(())
    }

    fn unicode(&mut self, out: &mut String) -> Result<(), JsonError> {
        self.at += 1;
        let first = self.hex4(self.at).ok_or_else(|| self.syntax("expected four hexadecimal digits"))?;
        let second = self
            .text
            .as_bytes()
            .get(self.at + 4..self.at + 6)
            .filter(|next| *next == b"\\u")
            .and_then(|_| self.hex4(self.at + 6));
        if let Some(character) = char::from_u32(first) {
            out.push(character);
            self.at += 4;
            return Ok(());
        }
        if let (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) = (first, second) {
            let code = 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00);
            out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            self.at += 10;
            return Ok(());
        }
        if self.surrogates == Surrogates::Refuse {
            return Err(self.syntax("lone surrogate"));
        }
        self.replaced = true;
        out.push(char::REPLACEMENT_CHARACTER);
        self.at += 4;
        Ok(())
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 4)?;
        if digits.bytes().all(|b| b.is_ascii_hexdigit()) { u32::from_str_radix(digits, 16).ok() } else { None }
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err(self.syntax("expected a digit"));
        }
        if self.take(b'.') && self.digits() == 0 {
            return Err(self.syntax("expected a digit after '.'"));
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return Err(self.syntax("expected a digit in the exponent"));
            }
        }
        let text = self.text.get(start..self.at).unwrap_or("");
        number(text).map(Value::Number).ok_or(JsonError::Syntax { what: "number beyond double precision", at: start })
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if !self.text.get(self.at..).unwrap_or("").starts_with(word) {
            return Err(self.syntax("expected a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn syntax(&self, what: &'static str) -> JsonError {
        JsonError::Syntax { what, at: self.at }
    }
}

// Integers stay exact while they fit 64 bits; everything else is the nearest double, and what no double can hold is refused.
fn number(text: &str) -> Option<Number> {
    if let Ok(integer) = text.parse::<u64>() {
        return Some(integer.into());
    }
    if let (Ok(integer), false) = (text.parse::<i64>(), text == "-0") {
        return Some(integer.into());
    }
    Number::from_f64(text.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LIMITS: JsonLimits = JsonLimits { bytes_max: 1 << 20, depth_max: 128 };

    #[track_caller]
    fn good(text: &str, expected: Value) {
        assert_eq!(parse(text.as_bytes(), LIMITS), Ok(expected), "{text}");
    }

    #[track_caller]
    fn bad(text: impl AsRef<[u8]>, what: &str) {
        let error = parse(text.as_ref(), LIMITS).expect_err(what);
        assert!(matches!(&error, JsonError::Syntax { what: found, .. } if *found == what), "{error}");
    }

    #[test]
    fn what_is_json_is_read() {
        good(
            " {\"b\" : [1, -2.5e3, true, false, null, \"x\"], \"a\": {}}\n",
            json!({"b": [1, -2500.0, true, false, null, "x"], "a": {}}),
        );
        good("\"\\u00e9\\ud83d\\ude00\\n\\/\\\"\"", json!("é😀\n/\""));
        good("[]", json!([]));
        good("18446744073709551615", json!(u64::MAX));
        good("-9223372036854775808", json!(i64::MIN));
        good("-0", json!(-0.0));
        good("123456789012345678901234567890", json!(123456789012345678901234567890f64));
        good("1e-400", json!(0.0));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", " ", "[", "{\"a\":", "[1,"] {
            bad(text, "unexpected end");
        }
        for text in ["NaN", "Infinity", "'x'", "tru", "undefined", "[,]", "+1", ".5", "\u{feff}{}"] {
            bad(text, "expected a value");
        }
        bad("01", "something after the document");
        bad("{} {}", "something after the document");
        bad("-", "expected a digit");
        bad("1.", "expected a digit after '.'");
        bad("1e+", "expected a digit in the exponent");
        bad("1e400", "number beyond double precision");
        bad("{a:1}", "expected a key");
        bad("{\"a\":1,}", "expected a key");
        bad("{\"a\" 1}", "expected ':'");
        bad("{\"a\":1 \"b\":2}", "expected ',' or '}'");
        bad("[1 2]", "expected ',' or ']'");
        bad("\"a\nb\"", "control character in a string");
        bad("\"abc", "unexpected end of a string");
        bad("\"\\x41\"", "unknown escape");
        bad("\"\\u12\"", "expected four hexadecimal digits");
        bad("\"\\u+123\"", "expected four hexadecimal digits");
        bad(b"\"\xff\"", "invalid UTF-8");
        bad(b"\"\xed\xa0\x80\"", "invalid UTF-8");
    }

    #[test]
    fn equal_keys_are_refused_however_they_are_spelled() {
        for text in ["{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "[{\"x\":{\"a\":1,\"b\":2,\"a\":3}}]"] {
            let error = parse(text.as_bytes(), LIMITS).expect_err("duplicate");
            assert!(matches!(error, JsonError::DuplicateKey { key, .. } if key == "a"));
        }
        good("{\"a\":{\"a\":1},\"b\":{\"a\":1}}", json!({"a": {"a": 1}, "b": {"a": 1}}));
    }

    #[test]
    fn depth_is_bounded_exactly() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(128).as_bytes(), LIMITS).is_ok());
        assert!(matches!(parse(nested(129).as_bytes(), LIMITS), Err(JsonError::Depth { depth_max: 128, at: 128 })));
        assert!(matches!(
            parse("{\"a\":".repeat(200_000).as_bytes(), JsonLimits { bytes_max: usize::MAX, ..LIMITS }),
            Err(JsonError::Depth { .. })
        ));
        let flat = format!("[{}[]]", "[],".repeat(10_000));
        assert!(parse(flat.as_bytes(), JsonLimits { depth_max: 2, ..LIMITS }).is_ok());
    }

    #[test]
    fn length_is_bounded() {
        let limits = JsonLimits { bytes_max: 4, depth_max: 1 };
        assert!(parse(b"1234", limits).is_ok());
        assert_eq!(parse(b"12345", limits), Err(JsonError::TooLong { bytes: 5, bytes_max: 4 }));
    }

    #[test]
    fn lone_surrogates_are_refused_or_replaced() {
        for text in ["\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\ud800\"", "\"\\ud83dx\"", "\"\\udc00\\ud83d\""] {
            bad(text, "lone surrogate");
            let replaced = parse_with(text.as_bytes(), LIMITS, Surrogates::Replace).expect("replaced");
            assert!(
                replaced.replaced_surrogates && replaced.value.as_str().is_some_and(|text| text.contains('\u{fffd}'))
            );
        }
        let whole = parse_with(b"\"\\ud83d\\ude00\"", LIMITS, Surrogates::Replace).expect("a pair");
        assert!(!whole.replaced_surrogates && whole.value == json!("😀"));
    }
}
