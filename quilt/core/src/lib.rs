//! Who may hold what, and who waits.
