//! What the fuzz targets need to reach: parsers of this crate that read what a program or a bundle wrote.
//!
//! The product never calls this module.

use std::path::Path;

use aria_core::UnixMs;
use serde_json::Value;

use crate::event::OutputStream;
use crate::log::LogBuffer;
use crate::schema::Schema;

/// Keeps a program's output, in pieces as they come (`true`: standard error); the kept lines, with the remark at the end.
pub fn keep_log<'a>(pieces: impl IntoIterator<Item = (bool, &'a [u8])>) -> Vec<String> {
    let mut buffer = LogBuffer::default();
    let mut kept = Vec::new();
    for (errors, bytes) in pieces {
        let stream = if errors { OutputStream::Stderr } else { OutputStream::Stdout };
        buffer.output(stream, bytes, UnixMs(0));
        kept.extend(buffer.take());
    }
    kept.extend(buffer.finish(UnixMs(0)));
    kept.into_iter().map(|line| line.text).collect()
}

/// Compiles a schema of a bundle and judges a value by it; `None` when the schema is refused.
pub fn judge(schema: &Value, value: &Value) -> Option<Result<(), String>> {
    Schema::compile(schema).ok().map(|schema| schema.check(value))
}

/// Maps a stack a tool wrote through the source maps its bundle brought.
pub fn map_stack(stack: &str, code_dir: &Path) -> String {
    crate::sourcemap::map_stack(stack, code_dir)
}
