//! Serves the socket, runs the ledger loop, reaps.

fn main() {}
