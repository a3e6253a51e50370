//! PID 1 of the image, both stages.

fn main() {}
