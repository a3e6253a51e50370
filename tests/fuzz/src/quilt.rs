//! What the engine reads: requests of its callers, words of its launchers, trees of sessions.

use std::path::Path;

use quilt_sandbox::for_fuzz as cage;
use quiltd::for_fuzz as engine;

/// The longest refusal, bytes.
const MESSAGE_BYTES_MAX: usize = 4096;

/// A request from the wire: planned within all bounds, or refused in a message that can be shown.
pub(crate) fn plan(bytes: &[u8]) {
    let planned = match engine::plan(bytes) {
        None => return,
        Some(Ok(planned)) => planned,
        Some(Err(status)) => {
            assert!(status.message().len() <= MESSAGE_BYTES_MAX, "a refusal is bounded");
            assert!(!status.message().chars().any(char::is_control), "a refusal drives no terminal");
            return;
        }
    };
    assert!(planned.argv.first().is_some_and(|program| program.starts_with('/')), "a program is a path");
    let strings = planned.argv.iter().chain(planned.env.iter().flat_map(|(name, value)| [name, value]));
    assert!(strings.into_iter().all(|text| !text.contains('\0')), "the kernel ends a string at NUL");
    assert!(planned.env.iter().all(|(name, _)| !name.is_empty() && !name.contains('=')), "a variable has a name");
    let names: std::collections::BTreeSet<_> = planned.files.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), planned.files.len(), "a name is there once");
    assert!(names.iter().all(|name| !name.is_empty() && !name.contains('/') && !matches!(name.as_str(), "." | "..")));
    let paths = planned.files.iter().map(|(_, path)| path).chain(&planned.code_dir);
    assert!(paths.into_iter().all(|path| path.is_absolute() && stays(path)), "a host path goes down only");
    assert!(planned.frames.iter().all(|length| *length <= aria_types::frame::FRAME_BYTES_MAX));
    assert!((1..=engine::MEMORY_BYTES_MAX).contains(&planned.memory_bytes));
    assert!((1..=engine::WALL_MS_MAX).contains(&planned.wall_ms));
}

fn stays(path: &Path) -> bool {
    path.components().all(|part| !matches!(part, std::path::Component::ParentDir))
}

/// A number of descriptors and an order, or a report of six bytes.
pub(crate) fn wire(bytes: &[u8]) {
    if let Some((again, step)) = cage::record(bytes) {
        assert!(step.is_none_or(|step| !step.is_empty()), "a step has a name");
        assert_eq!(cage::record(&again), Some((again.clone(), step)), "a report says the same when it is passed on");
    }
    let Some((count, text)) = bytes.split_first() else { return };
    let Some((used, again)) = cage::order(text, usize::from(*count)) else { return };
    assert_eq!(used, (0..usize::from(*count)).collect::<Vec<_>>(), "each descriptor is used once, for one thing");
    assert_eq!(cage::order(&again, usize::from(*count)), Some((used, again.clone())), "an order stays what it is");
}

/// A tree of a session: what is read is what was written, and all of it lies below its root.
pub(crate) fn tree(bytes: &[u8]) {
    let Ok((paths, again)) = cage::tree(bytes) else { return };
    assert_eq!(again, bytes, "a tree has one form");
    assert!(paths.is_sorted_by(|a, b| a < b), "a path is there once");
    let is_name = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    assert!(paths.iter().all(|path| path.split(|byte| *byte == b'/').all(is_name)), "a path goes down only");
}
