//! What a guest asks of its host: the envelope, the operation's body, the token it needs, the answer.

use aria_core::guest::{FRAME_BYTES_MAX, GuestEvent, GuestRecord};
use aria_core::kv::KvRequest;
use aria_core::request::{self, GuestError, ID_MAX, Request};
use aria_types::token::Kind;
use serde_json::Value;

/// Request frames, separated by NUL: each is served, refused to its sender, or nobody's; all answers fit a frame.
pub(crate) fn frames(bytes: &[u8]) {
    let mut record = GuestRecord::default();
    for frame in bytes.split(|byte| *byte == 0) {
        match record.frame(frame) {
            GuestEvent::Request(request) => served(request),
            GuestEvent::BadRequest(bad) => {
                assert!(bad.id.is_none_or(|id| id <= ID_MAX));
                answered(bad.id.unwrap_or(0), &Err(bad.error));
            }
            _ => {}
        }
    }
}

fn served(Request { id, op, body }: Request) {
    assert!(id <= ID_MAX);
    let Some(read) = KvRequest::parse(&op, body.clone()) else {
        return answered(id, &Err(GuestError::unsupported(&op)));
    };
    match read {
        Ok(request) => {
            let token = request.needs().expect("a table that was read names a token");
            assert_eq!(token.kind(), Kind::Kv, "a table is never another kind of resource");
            assert!(token.as_str().starts_with(&format!("kv:{}:", request.table)), "a table is spelled as its token");
            answered(id, &Ok(Value::Object(body)));
        }
        Err(error) => answered(id, &Err(error)),
    }
}

fn answered(id: u64, answer: &Result<Value, GuestError>) {
    let frame = request::answer(id, answer);
    assert!(frame.len() <= FRAME_BYTES_MAX, "an answer fits a frame");
    let read: Value = serde_json::from_slice(&frame).expect("an answer is JSON");
    assert_eq!(read.pointer("/response/id").and_then(Value::as_u64), Some(id), "an answer names its request");
}
