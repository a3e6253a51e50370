//! What a run leaves with the orchestrator: output that is kept, answers that are judged, stacks that are mapped.

use aria_core::json::{JsonLimits, parse};
use aria_orchestrator::for_fuzz;

/// The most that may be kept of a run's output, with what a row costs, and one line more.
const KEPT_BYTES_MAX: usize = (1 << 20) + (64 << 10) + (8 << 10);
const LINE_BYTES_MAX: usize = 8 << 10;

/// Output in pieces: the first byte of each piece, cut at `0xff`, says from which stream it is.
pub(crate) fn log(bytes: &[u8]) {
    let pieces = bytes.split(|byte| *byte == 0xff).filter_map(<[u8]>::split_first);
    let kept = for_fuzz::keep_log(pieces.map(|(stream, rest)| (stream & 1 == 1, rest)));
    assert!(kept.iter().map(String::len).sum::<usize>() <= 4 * KEPT_BYTES_MAX, "what is kept is bounded");
    // Bytes that are no UTF-8 grow to three when they are replaced.
    assert!(kept.iter().all(|line| line.len() <= 3 * LINE_BYTES_MAX), "a line is bounded");
}

/// A schema and a value, separated by NUL: both are strangers'.
pub(crate) fn schema(bytes: &[u8]) {
    let limits = JsonLimits { bytes_max: 64 << 10, depth_max: 64 };
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (Some(schema), Some(value)) = (parts.next(), parts.next()) else { return };
    let (Ok(schema), Ok(value)) = (parse(schema, limits), parse(value, limits)) else { return };
    if let Some(Err(message)) = for_fuzz::judge(&schema, &value) {
        assert!(message.len() < 8 << 10, "a message is bounded");
    }
}

/// A stack and the source map of `code/a.js`, separated by NUL.
pub(crate) fn stack(bytes: &[u8]) {
    thread_local! {
        static CODE: tempfile::TempDir = tempfile::tempdir().expect("a temporary directory");
    }
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (Some(stack), Some(map)) = (parts.next(), parts.next()) else { return };
    let Ok(stack) = std::str::from_utf8(stack) else { return };
    CODE.with(|code| {
        std::fs::create_dir_all(code.path().join("code")).expect("directory");
        std::fs::write(code.path().join("code/a.js.map"), map).expect("map");
        let mapped = for_fuzz::map_stack(stack, code.path());
        assert!(mapped.lines().count() <= stack.lines().count().max(1), "no line is added");
    });
}
