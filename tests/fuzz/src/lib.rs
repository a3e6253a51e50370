//! Fuzz targets: every parser that reads what somebody else wrote, one function of bytes each.
//!
//! A target fails by panicking: in the parser, or in an assertion about what it answered. The same functions run twice: over the
//! saved corpus as an ordinary test (`tests/corpus.rs`), and under libFuzzer (`src/main.rs`), which finds new inputs.

#![allow(clippy::expect_used, clippy::panic, reason = "a target fails by panicking")]

mod bundle;
mod guest;
mod quilt;
mod request;
mod run;
mod text;

/// One parser and what holds for its every answer.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of its corpus directory.
    pub name: &'static str,
    /// What one input is.
    pub input: &'static str,
    /// Runs it.
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    Target { name: "bundle", input: "a whole .aria file", run: bundle::file },
    Target { name: "bundle-code", input: "the tar of a code layer in an otherwise good bundle", run: bundle::code },
    Target { name: "bundle-layer", input: "the zstd frame of a code layer", run: bundle::layer },
    Target { name: "envelope", input: "the DSSE envelope of a bundle's signatures", run: bundle::envelope },
    Target { name: "guest-frames", input: "frames of a guest, separated by NUL", run: guest::frames },
    Target { name: "guest-requests", input: "requests of a guest, separated by NUL", run: request::frames },
    Target { name: "json", input: "a JSON document of a stranger", run: text::json },
    Target { name: "log", input: "pieces of a program's output", run: run::log },
    Target { name: "manifest", input: "the manifest of a bundle", run: text::manifest },
    Target { name: "names", input: "a name, an id, a digest, a file name", run: text::names },
    Target { name: "plan", input: "a request to the engine, as protobuf", run: quilt::plan },
    Target { name: "schema", input: "a schema of a bundle and a value for it, separated by NUL", run: run::schema },
    Target { name: "stack", input: "a tool's stack and a bundle's source map, separated by NUL", run: run::stack },
    Target { name: "token", input: "two resource tokens, separated by a line end", run: text::tokens },
    Target { name: "tree", input: "the tree of a session", run: quilt::tree },
    Target {
        name: "wire",
        input: "a count of descriptors and an order to a launcher, or its report",
        run: quilt::wire,
    },
];

/// The target with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
