//! Real cages on this machine: what they hold, what they refuse, how they end, what they leave.
//!
//! Needs root, cgroups and the tool root that `make dev` builds; says so and passes where one is missing.

mod support;

mod end;
mod leaks;
mod profile;
mod refusals;
mod resources;
mod start;
