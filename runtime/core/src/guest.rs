//! What the guest said through its door, frame by frame. The guest is never trusted: each frame is parsed strictly and bounded,
//! and only the first answer counts.

use serde_json::{Map, Value};

use crate::json::{self, JsonLimits, Surrogates};
use crate::request::{self, BadRequest, Request};

/// Largest frame in either direction, bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Deepest result, levels.
pub const RESULT_DEPTH_MAX: usize = 128;
/// Longest one-line message kept, bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Longest text of a log line, bytes; what is longer is cut.
pub const LOG_BYTES_MAX: usize = 64 << 10;
/// Longest stack kept, bytes.
pub const STACK_BYTES_MAX: usize = 32 << 10;

/// What one frame means to those who watch the run.
#[derive(Clone, Debug, PartialEq)]
pub enum GuestEvent {
    /// A line the tool logged.
    Log {
        /// `debug`, `info`, `warn` or `error`.
        level: &'static str,
        /// The text as sent, cut to [`LOG_BYTES_MAX`]; control characters are the reader's to escape.
        message: String,
        /// JSON object text or empty; empty too when it is longer than [`LOG_BYTES_MAX`].
        fields_json: String,
    },
    /// How far it is.
    Progress {
        /// 0 to 1; negative when unknown.
        fraction: f64,
        /// For people.
        message: String,
    },
    /// The guest asks for something.
    Request(Request),
    /// It asks for something in a way nobody can understand.
    BadRequest(BadRequest),
    /// An answer came; the outcome is decided when the run has ended.
    Answered,
    /// Not a frame we know. Counted, otherwise without effect.
    Ignored,
}

/// The first answer of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The tool returned.
    Result {
        /// Exactly as sent.
        output_json: String,
        /// The same, parsed.
        value: Value,
    },
    /// The tool threw.
    Threw {
        /// `Name: message`, one line.
        message: String,
        /// May be empty.
        stack: String,
    },
    /// What the tool returned has no JSON form.
    NoJson {
        /// One line.
        message: String,
        /// May be empty.
        stack: String,
    },
    /// The answer does not fit a frame.
    TooLarge {
        /// One line.
        message: String,
    },
}

/// Everything kept of a guest's frames: one answer, one defect, one count.
#[derive(Clone, Debug, Default)]
pub struct GuestRecord {
    answer: Option<Answer>,
    defect: Option<String>,
    ignored: u64,
}

impl GuestRecord {
    /// Takes the next frame, without its length prefix.
    pub fn frame(&mut self, bytes: &[u8]) -> GuestEvent {
        match parse(bytes) {
            Ok(Parsed::Event(event)) => event,
            Ok(Parsed::Answer(answer)) => self.answered(answer),
            Err(Refused::Answer(detail)) => self.spoiled(detail),
            Err(Refused::Other) => {
                self.ignored = self.ignored.saturating_add(1);
                GuestEvent::Ignored
            }
        }
    }

    /// The first answer, if one came.
    pub fn answer(&self) -> Option<&Answer> {
        self.answer.as_ref()
    }

    /// Why no answer of this run can count.
    pub fn defect(&self) -> Option<&str> {
        self.defect.as_deref()
    }

    /// Frames that were no frame we know.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    fn answered(&mut self, answer: Answer) -> GuestEvent {
        if self.answer.is_some() {
            return self.spoiled("a second result or failure".into());
        }
        self.answer = Some(answer);
        GuestEvent::Answered
    }

    fn spoiled(&mut self, detail: String) -> GuestEvent {
        self.defect.get_or_insert(detail);
        GuestEvent::Answered
    }
}

/// The frame that calls a tool, as the guest reads it.
pub fn invoke_frame(invocation_id: &str, module: &str, input_json: &str) -> Vec<u8> {
    let invoke: Map<String, Value> = [("invocationId", invocation_id), ("module", module), ("inputJson", input_json)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let frame = Map::from_iter([("invoke".to_owned(), Value::Object(invoke))]);
    Value::Object(frame).to_string().into_bytes()
}

/// The frame a process gets that is started ahead of its call; with a module it loads that.
pub fn prepare_frame(module: Option<&str>) -> Vec<u8> {
    let prepare = Map::from_iter(module.map(|module| ("module".to_owned(), module.into())));
    let frame = Map::from_iter([("prepare".to_owned(), Value::Object(prepare))]);
    Value::Object(frame).to_string().into_bytes()
}

/// The first line of `text`, without control characters, cut to [`MESSAGE_BYTES_MAX`] at a character border.
pub fn one_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
    let clean: String = line.chars().filter(|c| !c.is_control()).collect();
    cut(clean.trim(), MESSAGE_BYTES_MAX).to_owned()
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or("")
}

enum Parsed {
    Event(GuestEvent),
    Answer(Answer),
}

/// A frame that does not hold; it matters only when it claims to answer.
enum Refused {
    Answer(String),
    Other,
}

fn parse(bytes: &[u8]) -> Result<Parsed, Refused> {
    // The envelope is shallow; what the tool returned is text inside it and has its own, deeper limit.
    let limits = JsonLimits { bytes_max: FRAME_BYTES_MAX, depth_max: 8 };
    let document =
        json::parse_with(bytes, limits, Surrogates::Replace).map_err(|error| refuse(bytes, &error.to_string()))?;
    let Value::Object(frame) = document.value else { return Err(Refused::Other) };
    if frame.contains_key("result") || frame.contains_key("failure") {
        if frame.len() != 1 {
            return Err(Refused::Answer("a frame that is a result and something else".into()));
        }
        if let Some(Value::Object(result)) = frame.get("result") {
            if document.replaced_surrogates {
                return Err(Refused::Answer("lone surrogate in the result frame".into()));
            }
            return result_frame(result).map(Parsed::Answer);
        }
        if let Some(Value::Object(failure)) = frame.get("failure") {
            return failure_frame(failure).map(Parsed::Answer);
        }
        return Err(Refused::Answer("a result or failure that is no object".into()));
    }
    let mut members = frame.into_iter();
    match (members.next(), members.next()) {
        (Some((key, Value::Object(inner))), None) => match key.as_str() {
            "log" => log_frame(&inner).map(Parsed::Event),
            "progress" => progress_frame(&inner).map(Parsed::Event),
            "request" => Ok(Parsed::Event(request_frame(inner, document.replaced_surrogates))),
            _ => Err(Refused::Other),
        },
        _ => Err(Refused::Other),
    }
}

// A quoted `"result"` cannot hide inside a JSON string (its quotes would be escaped), so the bytes alone show the claim.
fn refuse(bytes: &[u8], detail: &str) -> Refused {
    let claims =
        [&b"\"result\""[..], b"\"failure\""].iter().any(|key| bytes.windows(key.len()).any(|window| window == *key));
    if claims { Refused::Answer(format!("the result frame is not valid: {detail}")) } else { Refused::Other }
}

fn result_frame(result: &Map<String, Value>) -> Result<Answer, Refused> {
    let output_json = match result.get("outputJson") {
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err(Refused::Answer("outputJson is no string".into())),
        None => return Err(Refused::Answer("the result has no outputJson".into())),
    };
    let limits = JsonLimits { bytes_max: FRAME_BYTES_MAX, depth_max: RESULT_DEPTH_MAX };
    let value = json::parse(output_json.as_bytes(), limits)
        .map_err(|error| Refused::Answer(format!("the result is not valid JSON: {error}")))?;
    Ok(Answer::Result { output_json, value })
}

fn failure_frame(failure: &Map<String, Value>) -> Result<Answer, Refused> {
    let text = |key: &str| failure.get(key).and_then(Value::as_str).unwrap_or("");
    let name = one_line(text("name"));
    let message = one_line(text("message"));
    let message = match (name.is_empty(), message.is_empty()) {
        (true, true) => "no message".to_owned(),
        (false, true) => name,
        (true, false) => message,
        (false, false) => cut(&format!("{name}: {message}"), MESSAGE_BYTES_MAX).to_owned(),
    };
    let stack = cut(text("stack"), STACK_BYTES_MAX).to_owned();
    match text("kind") {
        "threw" => Ok(Answer::Threw { message, stack }),
        "result" => Ok(Answer::NoJson { message, stack }),
        "too-large" => Ok(Answer::TooLarge { message }),
        _ => Err(Refused::Answer("a failure of unknown kind".into())),
    }
}

/// A text with a replaced character is not what the guest meant, so it is neither a key nor a value.
fn request_frame(request: Map<String, Value>, replaced_surrogates: bool) -> GuestEvent {
    match request::parse(request) {
        Ok(Request { id, .. }) if replaced_surrogates => {
            let error = request::GuestError::invalid("lone surrogate in the request");
            GuestEvent::BadRequest(BadRequest { id: Some(id), error })
        }
        Ok(request) => GuestEvent::Request(request),
        Err(bad) => GuestEvent::BadRequest(bad),
    }
}

fn log_frame(log: &Map<String, Value>) -> Result<GuestEvent, Refused> {
    let text = |key: &str| log.get(key).and_then(Value::as_str).unwrap_or("");
    let level = match log.get("level").and_then(Value::as_str) {
        Some("debug") => "debug",
        Some("warn") => "warn",
        Some("error") => "error",
        _ => "info",
    };
    let fields_json = text("fieldsJson");
    // Cut it would be no JSON, so what is too long goes the way of what is no object.
    let limits = JsonLimits { bytes_max: LOG_BYTES_MAX, depth_max: RESULT_DEPTH_MAX };
    let is_object = matches!(json::parse(fields_json.as_bytes(), limits), Ok(Value::Object(_)));
    let fields_json = if is_object { fields_json } else { "" }.to_owned();
    Ok(GuestEvent::Log { level, message: cut(text("message"), LOG_BYTES_MAX).to_owned(), fields_json })
}

fn progress_frame(progress: &Map<String, Value>) -> Result<GuestEvent, Refused> {
    let fraction = progress.get("fraction").and_then(Value::as_f64).unwrap_or(0.0);
    let fraction = if fraction < 0.0 { -1.0 } else { fraction.min(1.0) };
    let message = one_line(progress.get("message").and_then(Value::as_str).unwrap_or(""));
    Ok(GuestEvent::Progress { fraction, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(frame: Value) -> GuestEvent {
        GuestRecord::default().frame(frame.to_string().as_bytes())
    }

    #[test]
    fn log_lines_come_through_with_a_level_we_know() {
        for (sent, level) in [
            ("debug", "debug"),
            ("info", "info"),
            ("warn", "warn"),
            ("error", "error"),
            ("fatal", "info"),
            ("", "info"),
        ] {
            let frame = json!({"log": {"level": sent, "message": "two\nlines", "fieldsJson": "{\"a\":1}"}});
            let expected = GuestEvent::Log { level, message: "two\nlines".into(), fields_json: "{\"a\":1}".into() };
            assert_eq!(event(frame), expected);
        }
    }

    #[test]
    fn log_fields_that_are_no_object_are_left_out() {
        for fields in ["[1]", "{", "{\"a\":1,\"a\":2}", "text"] {
            let frame = json!({"log": {"message": "m", "fieldsJson": fields}});
            assert_eq!(
                event(frame),
                GuestEvent::Log { level: "info", message: "m".into(), fields_json: String::new() }
            );
        }
    }

    #[test]
    fn long_log_lines_are_cut_and_long_fields_left_out() {
        let long = "ü".repeat(LOG_BYTES_MAX);
        let fields = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
        for (length, kept) in [(LOG_BYTES_MAX, LOG_BYTES_MAX), (LOG_BYTES_MAX + 1, 0)] {
            let frame = json!({"log": {"message": long, "fieldsJson": fields(length)}});
            let GuestEvent::Log { message, fields_json, .. } = event(frame) else { panic!("not a log line") };
            assert_eq!((message.len(), fields_json.len()), (LOG_BYTES_MAX, kept));
        }
        let GuestEvent::Progress { message, .. } = event(json!({"progress": {"message": long}})) else { panic!() };
        assert!(message.len() <= LOG_BYTES_MAX);
    }

    #[test]
    fn a_lone_surrogate_in_a_log_line_is_replaced() {
        let answer = GuestRecord::default().frame(b"{\"log\":{\"message\":\"\\ud800\"}}");
        assert!(matches!(answer, GuestEvent::Log { message, .. } if message == "\u{fffd}"));
    }

    #[test]
    fn a_lone_surrogate_in_a_result_frame_spoils_it() {
        let mut record = GuestRecord::default();
        record.frame(b"{\"result\":{\"outputJson\":\"\\ud800\"}}");
        assert!(record.answer().is_none() && record.defect().is_some_and(|defect| defect.contains("surrogate")));
    }

    #[test]
    fn a_request_comes_through_and_a_bad_one_says_why() {
        let asked = event(json!({"request": {"id": 3, "kvGet": {"table": "a", "key": "result"}}}));
        assert!(matches!(asked, GuestEvent::Request(Request { id: 3, .. })));
        let bad = event(json!({"request": {"id": 3}}));
        assert!(matches!(bad, GuestEvent::BadRequest(BadRequest { id: Some(3), .. })));
        for ignored in
            [json!({"request": 1}), json!({"request": {"id": 1, "a": {}}, "log": {}}), json!({"response": {}})]
        {
            assert_eq!(event(ignored), GuestEvent::Ignored);
        }
        let lone = GuestRecord::default().frame(b"{\"request\":{\"id\":1,\"kvGet\":{\"key\":\"\\ud800\"}}}");
        assert!(matches!(lone, GuestEvent::BadRequest(BadRequest { id: Some(1), .. })));
    }

    #[test]
    fn progress_is_cut_to_its_range() {
        for (sent, fraction) in [(0.5, 0.5), (7.0, 1.0), (-3.0, -1.0), (0.0, 0.0)] {
            let frame = json!({"progress": {"fraction": sent, "message": "half\nway"}});
            assert_eq!(event(frame), GuestEvent::Progress { fraction, message: "half".into() });
        }
    }

    #[test]
    fn the_invoke_frame_is_what_the_contract_says() {
        let frame = invoke_frame("id", "/app/code/a.js", "{\"a\":\"\\u0000\"}");
        let read: Value = serde_json::from_slice(&frame).expect("json");
        assert_eq!(
            read,
            json!({"invoke": {"invocationId": "id", "module": "/app/code/a.js", "inputJson": "{\"a\":\"\\u0000\"}"}})
        );
    }

    #[test]
    fn messages_are_one_clean_line_of_bounded_length() {
        assert_eq!(one_line("\n  \n a\u{1b}[31mb \r\nc"), "a[31mb");
        assert_eq!(one_line(""), "");
        assert_eq!(one_line(&"ü".repeat(MESSAGE_BYTES_MAX)).len(), MESSAGE_BYTES_MAX);
        assert_eq!(cut("aü", 2), "a");
    }

    #[test]
    fn a_failure_without_words_still_says_something() {
        let mut record = GuestRecord::default();
        record.frame(b"{\"failure\":{\"kind\":\"threw\"}}");
        assert_eq!(record.answer(), Some(&Answer::Threw { message: "no message".into(), stack: String::new() }));
    }

    #[test]
    fn stacks_are_bounded() {
        let mut record = GuestRecord::default();
        record.frame(json!({"failure": {"kind": "threw", "stack": "x".repeat(100_000)}}).to_string().as_bytes());
        assert!(matches!(record.answer(), Some(Answer::Threw { stack, .. }) if stack.len() == STACK_BYTES_MAX));
    }
}
