//! The edge: speaks protocols, reads config, wires the rest, stops cleanly.

fn main() {}
