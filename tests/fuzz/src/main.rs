//! The targets under libFuzzer: `FUZZ_TARGET=<name> fuzz [libFuzzer's options] [corpus directories]`.

#![no_main]
#![allow(unsafe_code, missing_docs, reason = "what libFuzzer's macro expands to")]
#![allow(clippy::expect_used, clippy::panic, reason = "a target fails by panicking")]

use std::sync::OnceLock;

use fuzz::Target;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn target() -> &'static Target {
    TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names the target");
        fuzz::find(&name).unwrap_or_else(|| panic!("no target {name}"))
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (target().run)(bytes));
