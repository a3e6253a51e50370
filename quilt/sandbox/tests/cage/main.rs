//! Real cages on this machine: what they hold, what they refuse, how they end, what they leave.
//!
//! Needs root, cgroups and the tool root that `make dev` builds; says so and passes where one is missing.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, one that is skipped says so, and one starts itself again"
)]

mod support;

mod end;
mod leaks;
mod profile;
mod refusals;
mod resources;
mod shelves;
mod start;
mod workspace;
