//! Turns bytes into a verified bundle.
