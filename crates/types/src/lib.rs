//! Words both services must spell the same: resource tokens and the kinds of error.
//!
//! Nothing here does I/O, and nothing here knows bundles or cages.

pub mod error;
pub mod frame;
pub mod token;

pub use error::ErrorKind;
pub use token::{ResourceToken, TokenError};
