//! Assembles and boots images.

fn main() {}
