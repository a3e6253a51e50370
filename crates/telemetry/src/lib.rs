//! One way to log.
