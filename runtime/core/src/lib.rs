//! What things are and what should happen next.
