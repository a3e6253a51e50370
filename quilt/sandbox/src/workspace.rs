//! `/workspace`: a private copy of a tree for one program, and what the program changed in it.
//!
//! The copy is made inside the cage, by the shim once it has no right left: a tree is somebody's data, and what it costs is
//! the cage's own. What changed is found by the host when the cage is dead, through the descriptor of the mount and
//! nothing else.

mod changes;
mod fill;
pub(crate) mod tree;

pub(crate) use changes::find;
pub use changes::{ChangeStream, Changes};
pub(crate) use fill::fill;
pub(crate) use tree::ENTRIES_MAX;
