//! The facts of an audit row: a small JSON object whose text moves no cursor, however it is printed.

/// Longest object.
const BYTES_MAX: usize = 4096;
/// Room kept for `,"cut":true}`.
const END_BYTES: usize = 12;
/// Longest text of one fact, before escaping.
const TEXT_CHARS_MAX: usize = 512;
/// Most texts in one list.
const TEXTS_MAX: usize = 64;

/// Facts by key. What does not fit into 4 KiB is left out and `cut` says so.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Detail {
    members: String,
    cut: bool,
}

impl Detail {
    /// Adds a text, cut after 512 characters. An empty one adds nothing.
    #[must_use]
    pub fn text(self, key: &'static str, value: &str) -> Self {
        if value.is_empty() { self } else { self.member(key, &quoted(value)) }
    }

    /// Adds a number.
    #[must_use]
    pub fn number(self, key: &'static str, value: u64) -> Self {
        self.member(key, &value.to_string())
    }

    /// Adds a list, of which at most 64. An empty one adds nothing.
    #[must_use]
    pub fn texts(mut self, key: &'static str, values: &[String]) -> Self {
        if values.is_empty() {
            return self;
        }
        self.cut |= values.len() > TEXTS_MAX;
        let listed: Vec<String> = values.iter().take(TEXTS_MAX).map(|value| quoted(value)).collect();
        self.member(key, &format!("[{}]", listed.join(",")))
    }

    fn member(mut self, key: &'static str, value: &str) -> Self {
        if self.members.len() + key.len() + value.len() + 5 + END_BYTES > BYTES_MAX {
            self.cut = true;
            return self;
        }
        let comma = if self.members.is_empty() { "" } else { "," };
        self.members.push_str(&format!("{comma}\"{key}\":{value}"));
        self
    }

    /// The object's text.
    pub(crate) fn to_json(&self) -> String {
        match (self.cut, self.members.is_empty()) {
            (false, _) => format!("{{{}}}", self.members),
            (true, true) => "{\"cut\":true}".to_owned(),
            (true, false) => format!("{{{},\"cut\":true}}", self.members),
        }
    }
}

fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for symbol in text.chars().take(TEXT_CHARS_MAX) {
        match symbol {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            symbol if is_harmful(symbol) => {
                let mut units = [0; 2];
                for unit in symbol.encode_utf16(&mut units) {
                    json.push_str(&format!("\\u{unit:04x}"));
                }
            }
            symbol => json.push(symbol),
        }
    }
    json.push('"');
    json
}

/// A name as it may be shown: harmful characters as escapes, cut.
pub(crate) fn clean(text: &str, chars_max: usize) -> String {
    let mut safe = String::with_capacity(text.len());
    for symbol in text.chars().take(chars_max) {
        if is_harmful(symbol) {
            safe.extend(symbol.escape_unicode());
        } else {
            safe.push(symbol);
        }
    }
    safe
}

/// What a terminal may act on, or what hides or reorders text.
fn is_harmful(symbol: char) -> bool {
    symbol.is_control()
        || matches!(symbol, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_one_json_object() {
        let detail =
            Detail::default().text("message", "a \"b\"\\c").number("count", 3).texts("tokens", &["kv:a:ro".into()]);
        assert_eq!(detail.to_json(), r#"{"message":"a \"b\"\\c","count":3,"tokens":["kv:a:ro"]}"#);
        assert_eq!(Detail::default().text("empty", "").texts("none", &[]).to_json(), "{}");
    }

    #[test]
    fn nothing_in_it_moves_a_cursor() {
        let json = Detail::default().text("m", "\u{1b}[2J\n\u{202e}\u{e0041}é").to_json();
        assert_eq!(json, "{\"m\":\"\\u001b[2J\\u000a\\u202e\\udb40\\udc41é\"}");
        assert_eq!(clean("a\u{9b}\u{feff}b", 3), "a\\u{9b}\\u{feff}");
    }

    #[test]
    fn it_is_bounded_and_says_what_is_missing() {
        let long = "\u{1}".repeat(2000);
        let detail = Detail::default().text("a", &long).text("b", &long).number("c", 1);
        let json = detail.to_json();
        assert!(json.len() <= BYTES_MAX && json.ends_with(",\"c\":1,\"cut\":true}"), "{}", json.len());
        let many: Vec<String> = (0..1000).map(|n| format!("t{n}")).collect();
        assert!(Detail::default().texts("tokens", &many).to_json().ends_with("\"t63\"],\"cut\":true}"));
    }
}
