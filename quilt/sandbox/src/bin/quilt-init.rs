//! The only code between clone and exec.

fn main() {}
