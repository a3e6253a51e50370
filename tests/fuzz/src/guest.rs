//! What comes through a guest's door.

use aria_core::guest::Answer;
use aria_core::guest::{GuestEvent, GuestRecord, LOG_BYTES_MAX, MESSAGE_BYTES_MAX, STACK_BYTES_MAX};

/// A run's frames: what is kept of them is bounded, and the first answer is the only one.
pub(crate) fn frames(bytes: &[u8]) {
    let mut record = GuestRecord::default();
    for frame in bytes.split(|byte| *byte == 0) {
        let before = (record.answer().cloned(), record.defect().map(str::to_owned));
        match record.frame(frame) {
            GuestEvent::Log { message, fields_json, .. } => {
                assert!(message.len() <= LOG_BYTES_MAX && fields_json.len() <= LOG_BYTES_MAX);
            }
            GuestEvent::Progress { fraction, message } => {
                assert!(message.len() <= MESSAGE_BYTES_MAX && (-1.0..=1.0).contains(&fraction));
            }
            _ => {}
        }
        if before.0.is_some() {
            assert_eq!(record.answer().cloned(), before.0, "the first answer stays");
        }
        if before.1.is_some() {
            assert_eq!(record.defect().map(str::to_owned), before.1, "the first defect stays");
        }
    }
    if let Some(Answer::Threw { message, stack } | Answer::NoJson { message, stack }) = record.answer() {
        assert!(message.len() <= MESSAGE_BYTES_MAX && stack.len() <= STACK_BYTES_MAX);
        assert!(!message.chars().any(char::is_control), "a message drives no terminal");
    }
}
