//! Asks Quilt to run something and relays what happens.
