//! Who may hold what, until when, and who waits.
//!
//! Everything here is a function of values and `now`: no file, no socket, no clock, no async runtime. [`Policy`] says what
//! may be asked for at all, [`Ledger`] who holds it at this moment and who is next.

mod capacity;
mod check;
mod deadlock;
mod event;
mod index;
mod lease;
mod ledger;
mod policy;
mod queue;
mod refusal;
mod settle;
mod shelf;
mod views;

pub use capacity::{Capacity, CapacityView, RESOURCES_MAX, TooMuch};
pub use event::{EVENTS_MAX, Event, EventKind, EventLog};
pub use lease::{Asker, Grant, LeaseId, LeaseRequest, LeaseView, NotHeld, PRIORITY_DEFAULT, PRIORITY_MAX};
pub use ledger::{Admission, Bounds, Effect, Ledger, Setup};
pub use policy::{Denied, Origin, Policy, Rule};
pub use queue::{ROUNDS_PER_PRIORITY, Ticket};
pub use refusal::{Blocker, Refusal};
pub use shelf::{Demand, ShelfBounds};
pub use views::WaiterView;
