//! Takes one request to one outcome.
