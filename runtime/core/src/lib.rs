//! What things are and what should happen next. No I/O, no async runtime, no clock.

pub mod port;
