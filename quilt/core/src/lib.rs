//! Who may hold what, and until when.
//!
//! Everything here is a function of values and `now`: no file, no socket, no clock, no async runtime. [`Policy`] says what
//! may be asked for at all, [`Ledger`] who holds it at this moment.

mod ledger;
mod policy;

pub use ledger::{Bounds, Grant, LeaseId, LeaseRequest, LeaseView, Ledger, NotHeld, Refusal};
pub use policy::{Denied, Policy, Rule};
