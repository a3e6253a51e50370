//! What a guest asks of its host through the door: `{"request":{"id":7,"<op>":{…}}}`, and the frames that answer it.
//!
//! Here an envelope becomes a value that cannot be wrong; what an operation's body means is read in the module of its server
//! (`kv`, `vector`, …) through [`Fields`]. The guest is never trusted: ids are its own choice and mean nothing to the host.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::guest::FRAME_BYTES_MAX;

/// Requests one guest may have unanswered.
pub const REQUESTS_MAX: usize = 64;
/// Ids are integers up to this, so that every JSON reader holds them exactly.
pub const ID_MAX: u64 = (1 << 53) - 1;
/// Longest JSON text stored or passed on in one request, bytes; more goes in pieces or by file.
pub const TEXT_BYTES_MAX: usize = 700 << 10;
/// Longest name of an operation that is repeated in an answer, characters.
const OP_SHOWN_MAX: usize = 32;

/// One request of a guest.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Chosen by the guest.
    pub id: u64,
    /// The one key beside `id`.
    pub op: String,
    /// Its object.
    pub body: Map<String, Value>,
}

/// Why a request was not done, as the guest reads it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct GuestError {
    /// Stable.
    pub reason: Cow<'static, str>,
    /// For people, one line.
    pub message: String,
}

impl GuestError {
    /// An error of the host.
    pub fn new(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into() }
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("REQUEST_INVALID", message)
    }

    /// This host does not know the operation.
    pub fn unsupported(op: &str) -> Self {
        let shown: String = op.chars().filter(|symbol| !symbol.is_control()).take(OP_SHOWN_MAX).collect();
        Self::new("UNSUPPORTED", format!("this device does not know the request {shown:?}"))
    }
}

/// Why a frame that is a request cannot be served. Without an id there is nobody to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadRequest {
    /// The request's id, if it has one.
    pub id: Option<u64>,
    /// What is wrong.
    pub error: GuestError,
}

/// Reads the object below `request`.
pub fn parse(mut request: Map<String, Value>) -> Result<Request, BadRequest> {
    let id = request.remove("id").and_then(|id| id.as_u64()).filter(|id| *id <= ID_MAX);
    let bad = |message: &str| BadRequest { id, error: GuestError::invalid(message) };
    let Some(known) = id else { return Err(bad("a request needs an id, an integer from 0 to 2^53-1")) };
    let mut rest = request.into_iter();
    match (rest.next(), rest.next()) {
        (Some((op, Value::Object(body))), None) => Ok(Request { id: known, op, body }),
        _ => Err(bad("a request has an id and exactly one operation, which is an object")),
    }
}

/// The members of a request's body, taken one by one; what is left over is refused.
#[derive(Debug)]
pub struct Fields {
    body: Map<String, Value>,
}

impl Fields {
    /// All members.
    pub fn new(body: Map<String, Value>) -> Self {
        Self { body }
    }

    /// A text of at most so many bytes that must be there.
    pub fn text(&mut self, name: &str, bytes_max: usize) -> Result<String, GuestError> {
        self.text_or_none(name, bytes_max)?.ok_or_else(|| GuestError::invalid(format!("{name} is missing")))
    }

    /// A text, or `None` when it is absent.
    pub fn text_or_none(&mut self, name: &str, bytes_max: usize) -> Result<Option<String>, GuestError> {
        match self.body.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= bytes_max => Ok(Some(text)),
            Some(Value::String(text)) => {
                Err(GuestError::new("TOO_LARGE", format!("{name} has {} bytes, limit is {bytes_max}", text.len())))
            }
            Some(_) => Err(GuestError::invalid(format!("{name} is not a text"))),
        }
    }

    /// An integer from 0 to 2^53-1, or `None` when it is absent.
    pub fn integer_or_none(&mut self, name: &str) -> Result<Option<u64>, GuestError> {
        match self.body.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if number <= ID_MAX => Ok(Some(number)),
                _ => Err(GuestError::invalid(format!("{name} is not an integer from 0 to 2^53-1"))),
            },
        }
    }

    /// An integer that must be there.
    pub fn integer(&mut self, name: &str) -> Result<u64, GuestError> {
        self.integer_or_none(name)?.ok_or_else(|| GuestError::invalid(format!("{name} is missing")))
    }

    /// Any value, or `None` when it is absent.
    pub fn value_or_none(&mut self, name: &str) -> Option<Value> {
        self.body.remove(name)
    }

    /// Refuses what nobody asked for: a guest that misspells an option must not believe that it holds.
    pub fn end(self) -> Result<(), GuestError> {
        match self.body.keys().next() {
            None => Ok(()),
            Some(name) => {
                let shown: String = name.chars().filter(|symbol| !symbol.is_control()).take(OP_SHOWN_MAX).collect();
                Err(GuestError::invalid(format!("{shown:?} is not part of this request")))
            }
        }
    }
}

/// The last answer to a request. One that fits no frame becomes an error that does.
pub fn answer(id: u64, answer: &Result<Value, GuestError>) -> Vec<u8> {
    let frame = match answer {
        Ok(value) => response(id, "ok", value.clone()),
        Err(error) => response(id, "error", error_value(error)),
    };
    if frame.len() <= FRAME_BYTES_MAX {
        return frame;
    }
    let error = GuestError::new("TOO_LARGE", format!("the answer of {} bytes does not fit a frame", frame.len()));
    response(id, "error", error_value(&error))
}

/// One event of a request that goes on; `None` when it fits no frame.
pub fn event(id: u64, event: Value) -> Option<Vec<u8>> {
    Some(response(id, "event", event)).filter(|frame| frame.len() <= FRAME_BYTES_MAX)
}

fn response(id: u64, key: &str, value: Value) -> Vec<u8> {
    object([("response", object([("id", id.into()), (key, value)]))]).to_string().into_bytes()
}

fn error_value(error: &GuestError) -> Value {
    object([("reason", error.reason.as_ref().into()), ("message", error.message.as_str().into())])
}

/// A JSON object of these members.
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(value: Value) -> Result<Request, BadRequest> {
        let Value::Object(map) = value else { panic!("an object") };
        parse(map)
    }

    #[test]
    fn a_request_is_an_id_and_one_operation() {
        let request = parsed(json!({"id": 7, "kvGet": {"table": "orders"}})).expect("good");
        assert_eq!((request.id, request.op.as_str(), request.body.len()), (7, "kvGet", 1));
        assert!(parsed(json!({"kvGet": {}, "id": ID_MAX})).is_ok());
    }

    #[test]
    fn what_is_no_request_says_why_to_whoever_can_hear_it() {
        for (bad, id) in [
            (json!({"kvGet": {}}), None),
            (json!({"id": "7", "kvGet": {}}), None),
            (json!({"id": -1, "kvGet": {}}), None),
            (json!({"id": 1.5, "kvGet": {}}), None),
            (json!({"id": ID_MAX + 1, "kvGet": {}}), None),
            (json!({"id": 7}), Some(7)),
            (json!({"id": 7, "kvGet": 1}), Some(7)),
            (json!({"id": 7, "kvGet": {}, "kvPut": {}}), Some(7)),
        ] {
            let refused = parsed(bad).expect_err("bad");
            assert_eq!((refused.id, refused.error.reason.as_ref()), (id, "REQUEST_INVALID"));
        }
    }

    fn fields(value: Value) -> Fields {
        let Value::Object(map) = value else { panic!("an object") };
        Fields::new(map)
    }

    #[test]
    fn fields_have_a_type_a_bound_and_no_company() {
        let mut good = fields(json!({"key": "a", "limit": 3, "none": null}));
        assert_eq!(good.text("key", 1).expect("text"), "a");
        assert_eq!(good.integer("limit"), Ok(3));
        assert_eq!((good.text_or_none("none", 1), good.integer_or_none("absent")), (Ok(None), Ok(None)));
        assert_eq!(good.end(), Ok(()));
        let reason = |result: Result<String, GuestError>| result.expect_err("bad").reason;
        assert_eq!(reason(fields(json!({})).text("key", 9)), "REQUEST_INVALID");
        assert_eq!(reason(fields(json!({"key": 1})).text("key", 9)), "REQUEST_INVALID");
        assert_eq!(reason(fields(json!({"key": "long"})).text("key", 3)), "TOO_LARGE");
        assert!(fields(json!({"n": "1"})).integer("n").is_err());
        assert!(fields(json!({"n": 1e300})).integer("n").is_err());
        assert!(fields(json!({"kye": 1})).end().expect_err("unknown").message.contains("kye"));
    }

    #[test]
    fn answers_always_fit_a_frame() {
        let read = |frame: Vec<u8>| serde_json::from_slice::<Value>(&frame).expect("json");
        assert_eq!(read(answer(1, &Ok(json!({"a": 1})))), json!({"response": {"id": 1, "ok": {"a": 1}}}));
        let error = Err(GuestError::new("TOKEN_MISSING", "why"));
        assert_eq!(
            read(answer(1, &error)),
            json!({"response": {"id": 1, "error": {"reason": "TOKEN_MISSING", "message": "why"}}})
        );
        assert_eq!(read(event(2, json!(3)).expect("small")), json!({"response": {"id": 2, "event": 3}}));
        let large = Ok(Value::String("x".repeat(FRAME_BYTES_MAX)));
        let frame = answer(1, &large);
        assert!(frame.len() < 200 && read(frame)["response"]["error"]["reason"] == "TOO_LARGE");
        assert_eq!(event(1, Value::String("x".repeat(FRAME_BYTES_MAX))), None);
    }

    #[test]
    fn an_unknown_operation_is_shown_short_and_clean() {
        let error = GuestError::unsupported(&format!("\u{1b}[31m{}", "x".repeat(1000)));
        assert!(error.reason == "UNSUPPORTED" && error.message.len() < 200 && !error.message.contains('\u{1b}'));
    }
}
