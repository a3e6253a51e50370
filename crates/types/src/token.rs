//! Resource tokens: `kind:name[:scope]…[:mode]`.
//!
//! (grammar, canonical form, subset and conflict: filled in by the quilt work)

/// A parsed resource token in canonical form.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ResourceToken(String);

/// Why a text is not a resource token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// Nothing between two colons, or an empty text.
    #[error("empty segment")]
    EmptySegment,
}
