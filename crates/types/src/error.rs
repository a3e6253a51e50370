//! The one question an error answers at a border: what kind of failure is it, and may the caller try again?

/// What an error means to a caller. Each service maps it to its wire in one place.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ErrorKind {
    /// The request itself is wrong; the same request fails again.
    Invalid,
    /// Nobody proved who is asking.
    Unauthenticated,
    /// Known caller, not allowed.
    Denied,
    /// The named thing is not here, or not the caller's.
    NotFound,
    /// Something else already has this name.
    Exists,
    /// Right request, wrong state of the device.
    State,
    /// Lost against a concurrent change; start again.
    Conflict,
    /// A quota, queue or budget is full; try again later.
    Exhausted,
    /// Time ran out.
    Deadline,
    /// The caller or an operator ended it.
    Cancelled,
    /// A part of the device is down; safe to retry.
    Unavailable,
    /// Stored or sent bytes are not what their digest says.
    Damaged,
    /// A bug.
    Internal,
    /// Not built.
    Unsupported,
}
