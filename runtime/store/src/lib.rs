//! Remembers: registry, runs, enrolled credentials, blobs.
