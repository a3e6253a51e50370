//! Resource tokens: the right to use a resource, `kind:name[:scope]…[:mode]`.
//!
//! A text is parsed once, here, into a value that cannot be wrong; its canonical form is the only form that is printed,
//! stored or compared. There are no wildcards: a token on `kv:orders` covers what lies below it (`kv:orders:pending`), and
//! nothing beside it (`kv:orders2`). `vectors/tokens.json` holds the cases that every implementation of this grammar runs.

use std::fmt;
use std::str::FromStr;

mod quantity;
mod segment;

use quantity::Quantity;
pub use segment::Segment;

/// Longest text, bytes.
pub const TOKEN_BYTES_MAX: usize = 255;
/// Most segments, counting the kind and the mode.
pub const TOKEN_SEGMENTS_MAX: usize = 8;

/// What sort of resource a token is about. It decides which modes exist, what the name looks like and what conflicts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Key-value table.
    Kv,
    /// Vector collection.
    Vector,
    /// Model of a provider.
    Llm,
    /// Host name and port reached over the network.
    Net,
    /// Named secret.
    Secret,
    /// Directory.
    Fs,
    /// SQL database.
    Sql,
    /// Service in the mesh.
    Mesh,
    /// Another callable.
    Tool,
    /// Graphics processor.
    Gpu,
    /// Memory, as a quantity.
    Mem,
    /// Processor time, as a quantity.
    Cpu,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Kind; 12] = [
        Kind::Kv,
        Kind::Vector,
        Kind::Llm,
        Kind::Net,
        Kind::Secret,
        Kind::Fs,
        Kind::Sql,
        Kind::Mesh,
        Kind::Tool,
        Kind::Gpu,
        Kind::Mem,
        Kind::Cpu,
    ];

    /// The word at the front of a token.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Kv => "kv",
            Kind::Vector => "vector",
            Kind::Llm => "llm",
            Kind::Net => "net",
            Kind::Secret => "secret",
            Kind::Fs => "fs",
            Kind::Sql => "sql",
            Kind::Mesh => "mesh",
            Kind::Tool => "tool",
            Kind::Gpu => "gpu",
            Kind::Mem => "mem",
            Kind::Cpu => "cpu",
        }
    }

    fn parse(word: &str) -> Result<Kind, TokenError> {
        let known = Kind::ALL.into_iter().find(|kind| kind.as_str() == word);
        known.ok_or_else(|| TokenError::UnknownKind { kind: word.into() })
    }

    /// What a token without a mode word means: the least this kind can give.
    #[must_use]
    pub fn weakest(self) -> Mode {
        match self {
            Kind::Kv | Kind::Vector | Kind::Fs | Kind::Sql => Mode::Ro,
            _ => Mode::Use,
        }
    }

    fn allows(self, mode: Mode) -> bool {
        match self {
            Kind::Kv | Kind::Vector | Kind::Fs | Kind::Sql => mode != Mode::Use,
            Kind::Llm | Kind::Mesh | Kind::Tool | Kind::Gpu => matches!(mode, Mode::Use | Mode::Exclusive),
            Kind::Net | Kind::Secret | Kind::Mem | Kind::Cpu => mode == Mode::Use,
        }
    }
}

impl FromStr for Kind {
    type Err = TokenError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Kind::parse(word)
    }
}

/// How a resource is used. The words `ro rw append exclusive` are reserved: they are never a name or a scope.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Mode {
    /// Use without a finer distinction; written as nothing.
    Use,
    /// Read.
    Ro,
    /// Add without reading or changing.
    Append,
    /// Read and change.
    Rw,
    /// Read and change, and nobody else meanwhile.
    Exclusive,
}

impl Mode {
    fn word(self) -> Option<&'static str> {
        match self {
            Mode::Use => None,
            Mode::Ro => Some("ro"),
            Mode::Append => Some("append"),
            Mode::Rw => Some("rw"),
            Mode::Exclusive => Some("exclusive"),
        }
    }

    fn parse(word: &str) -> Option<Mode> {
        [Mode::Ro, Mode::Append, Mode::Rw, Mode::Exclusive].into_iter().find(|mode| mode.word() == Some(word))
    }

    /// Whether whoever may `self` may also `other`. Reading and appending are beside each other, not one above the other.
    fn covers(self, other: Mode) -> bool {
        self == other
            || match self {
                Mode::Exclusive => true,
                Mode::Rw => matches!(other, Mode::Ro | Mode::Append),
                Mode::Use | Mode::Ro | Mode::Append => false,
            }
    }

    /// Whether any number of holders may have this at once.
    #[must_use]
    pub fn is_shared(self) -> bool {
        matches!(self, Mode::Use | Mode::Ro | Mode::Append)
    }
}

/// A parsed resource token.
///
/// Equal, ordered and hashed by its canonical text.
///
/// ```
/// # use aria_types::ResourceToken;
/// let token = ResourceToken::parse("kv:orders").unwrap();
/// assert_eq!(token.as_str(), "kv:orders:ro");
/// assert!(ResourceToken::parse("kv:*").is_err());
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ResourceToken {
    text: Box<str>,
    kind: Kind,
    path: Box<[Segment]>,
    mode: Mode,
    amount: u64,
}

impl ResourceToken {
    /// Reads a token; the first rule that is broken is the error.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        segment::check_text(text)?;
        let mut words: Vec<&str> = text.split(':').collect();
        if words.len() > TOKEN_SEGMENTS_MAX {
            return Err(TokenError::TooManySegments { segments: words.len() });
        }
        let kind = Kind::parse(words.remove(0))?;
        let mode = words.last().copied().and_then(Mode::parse);
        if mode.is_some() {
            words.pop();
        }
        if words.is_empty() {
            return Err(TokenError::NameMissing { kind });
        }
        let path: Box<[Segment]> = words.into_iter().map(Segment::parse).collect::<Result<_, _>>()?;
        let mode = match mode {
            Some(mode) if !kind.allows(mode) => return Err(TokenError::ModeNotForKind { kind, mode }),
            Some(mode) => mode,
            None => kind.weakest(),
        };
        Self::assemble(kind, path, mode)
    }

    /// Applies the rules of the kind to an otherwise well-formed token.
    fn assemble(kind: Kind, mut path: Box<[Segment]>, mode: Mode) -> Result<Self, TokenError> {
        let mut amount = 0;
        match (kind, path.as_ref()) {
            (Kind::Net, [_]) => {}
            (Kind::Net, [_, port]) => check_port(port)?,
            (Kind::Secret | Kind::Mem | Kind::Cpu | Kind::Gpu, [_]) => {}
            (Kind::Net | Kind::Secret | Kind::Mem | Kind::Cpu | Kind::Gpu, _) => {
                return Err(TokenError::ScopeNotForKind { kind });
            }
            _ => {}
        }
        if let Some(quantity) = Quantity::parse(kind, &path[0])? {
            amount = quantity.amount();
            path[0] = quantity.canonical();
        }
        let words = std::iter::once(kind.as_str()).chain(path.iter().map(Segment::as_str)).chain(mode.word());
        let text = words.collect::<Vec<_>>().join(":").into_boxed_str();
        if text.len() > TOKEN_BYTES_MAX || text.split(':').count() > TOKEN_SEGMENTS_MAX {
            return Err(TokenError::CanonicalTooLong);
        }
        Ok(Self { text, kind, path, mode, amount })
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The mode, the kind's weakest when none was written.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Name and scopes.
    #[must_use]
    pub fn path(&self) -> &[Segment] {
        &self.path
    }

    /// Bytes for `mem`, thousandths of a core for `cpu`, zero for every other kind.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Whether holding `self` allows everything that holding `other` allows.
    #[must_use]
    pub fn covers(&self, other: &ResourceToken) -> bool {
        if self.kind != other.kind {
            return false;
        }
        if matches!(self.kind, Kind::Mem | Kind::Cpu) {
            return self.amount >= other.amount;
        }
        // Without a port a net token means 443, so no other port is a part of it.
        if self.kind == Kind::Net
            && self.path.len() == 1
            && other.path.get(1).is_some_and(|port| port.as_str() != "443")
        {
            return false;
        }
        other.path.starts_with(&self.path) && self.mode.covers(other.mode)
    }

    /// Whether two different holders may not have these at the same time: one is about a part of the other, and at least
    /// one of them is not shared. Quantities never conflict pair by pair.
    #[must_use]
    pub fn conflicts(&self, other: &ResourceToken) -> bool {
        let overlap = self.path.starts_with(&other.path) || other.path.starts_with(&self.path);
        let quantity = matches!(self.kind, Kind::Mem | Kind::Cpu);
        self.kind == other.kind && !quantity && overlap && !(self.mode.is_shared() && other.mode.is_shared())
    }
}

fn check_port(port: &Segment) -> Result<(), TokenError> {
    let text = port.as_str();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let in_range = text.parse::<u16>().is_ok_and(|port| port > 0);
    if digits && in_range { Ok(()) } else { Err(TokenError::Port { port: text.into() }) }
}

impl FromStr for ResourceToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for ResourceToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word().unwrap_or("use"))
    }
}

impl serde::Serialize for ResourceToken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for ResourceToken {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Why a text is not a resource token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// The text is empty.
    #[error("a token is empty")]
    Empty,
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error("a token of {bytes} bytes is longer than {TOKEN_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// `*`, `?`, `[`, `]`, `{` or `}`.
    #[error("a token has no wildcards, found {found:?}")]
    Wildcard {
        /// The character.
        found: char,
    },
    /// `/` or `\`.
    #[error("a token is not a path, found {found:?}")]
    PathSeparator {
        /// The character.
        found: char,
    },
    /// `%`, as in an encoded slash.
    #[error("a token is not percent-encoded")]
    Encoded,
    /// A space, tab, line break or another control character.
    #[error("a token has no white space or control characters, found {found:?}")]
    Space {
        /// The character.
        found: char,
    },
    /// Outside ASCII.
    #[error("a token is plain ASCII, found {found:?}")]
    NotAscii {
        /// The character.
        found: char,
    },
    /// An upper-case letter.
    #[error("a token is lower case, found {found:?}")]
    UpperCase {
        /// The character.
        found: char,
    },
    /// Any other character.
    #[error("{found:?} cannot stand in a token")]
    Character {
        /// The character.
        found: char,
    },
    /// More than [`TOKEN_SEGMENTS_MAX`].
    #[error("a token of {segments} segments has more than {TOKEN_SEGMENTS_MAX}")]
    TooManySegments {
        /// How many.
        segments: usize,
    },
    /// The first word is no kind.
    #[error("{kind:?} is not a kind of resource")]
    UnknownKind {
        /// The word.
        kind: Box<str>,
    },
    /// Nothing, or only a mode, after the kind.
    #[error("a {kind} token names what it is about: {kind}:name")]
    NameMissing {
        /// The kind.
        kind: Kind,
    },
    /// Nothing between two colons, or after the last.
    #[error("a token has an empty segment")]
    EmptySegment,
    /// Longer than 63 bytes.
    #[error("segment {segment:?} is longer than 63 bytes")]
    SegmentTooLong {
        /// The segment.
        segment: Box<str>,
    },
    /// It begins or ends with a dot or a dash, or has two dots in a row.
    #[error("segment {segment:?} begins or ends with a dot or a dash, or has two dots in a row")]
    SegmentShape {
        /// The segment.
        segment: Box<str>,
    },
    /// A mode word where a name or a scope stands.
    #[error("{word:?} is a mode and cannot be a name")]
    Reserved {
        /// The word.
        word: Box<str>,
    },
    /// A mode this kind does not have.
    #[error("a {kind} token has no mode {mode}")]
    ModeNotForKind {
        /// The kind.
        kind: Kind,
        /// The mode.
        mode: Mode,
    },
    /// More scopes than this kind has.
    #[error("a {kind} token has fewer scopes")]
    ScopeNotForKind {
        /// The kind.
        kind: Kind,
    },
    /// Not a number from 1 to 65535 without leading zeros.
    #[error("{port:?} is not a port from 1 to 65535")]
    Port {
        /// The text.
        port: Box<str>,
    },
    /// Not a whole positive number with a known unit, or out of range.
    #[error("{quantity:?} is not a quantity of {kind}")]
    Quantity {
        /// The kind.
        kind: Kind,
        /// The text.
        quantity: Box<str>,
    },
    /// Within the bounds as written, but not once the mode is spelled out.
    #[error("a token is too long once its mode is written")]
    CanonicalTooLong,
}

impl TokenError {
    /// A stable word for the reason, as in the shared vectors.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            TokenError::Empty => "empty",
            TokenError::TooLong { .. } => "too-long",
            TokenError::Wildcard { .. } => "wildcard",
            TokenError::PathSeparator { .. } => "path-separator",
            TokenError::Encoded => "encoded",
            TokenError::Space { .. } => "space",
            TokenError::NotAscii { .. } => "not-ascii",
            TokenError::UpperCase { .. } => "upper-case",
            TokenError::Character { .. } => "character",
            TokenError::TooManySegments { .. } => "too-many-segments",
            TokenError::UnknownKind { .. } => "unknown-kind",
            TokenError::NameMissing { .. } => "name-missing",
            TokenError::EmptySegment => "empty-segment",
            TokenError::SegmentTooLong { .. } => "segment-too-long",
            TokenError::SegmentShape { .. } => "segment-shape",
            TokenError::Reserved { .. } => "reserved",
            TokenError::ModeNotForKind { .. } => "mode-not-for-kind",
            TokenError::ScopeNotForKind { .. } => "scope-not-for-kind",
            TokenError::Port { .. } => "port",
            TokenError::Quantity { .. } => "quantity",
            TokenError::CanonicalTooLong => "canonical-too-long",
        }
    }
}
