//! Why a request of a run got no answer, or only a part of one.

use aria_core::egress::EgressError;

/// Why a request of a run got no answer, or only a part of one.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// It was not sent.
    #[error(transparent)]
    Refused(#[from] EgressError),
    /// The name has no address.
    #[error("{host} has no address")]
    Unresolved {
        /// The name.
        host: String,
    },
    /// Nobody answers there.
    #[error("connect to {origin}: {source}")]
    Unreachable {
        /// Where.
        origin: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The other side is not who it should be, or speaks no TLS we speak.
    #[error("TLS with {origin}: {source}")]
    Tls {
        /// Where.
        origin: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An authority of the configuration is none.
    #[error("trust an authority: {source}")]
    Authority {
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// It took too long.
    #[error("{origin} took longer than {seconds} s to {what}")]
    Late {
        /// Where.
        origin: String,
        /// To do what.
        what: &'static str,
        /// The bound.
        seconds: u64,
    },
    /// The conversation broke off.
    #[error("talk to {origin}: {source}")]
    Broken {
        /// Where.
        origin: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The answer is not one that is passed on.
    #[error("the answer of {origin} {what}")]
    Answer {
        /// Whose.
        origin: String,
        /// What is wrong.
        what: &'static str,
    },
    /// No request of this number is under way.
    #[error("request {stream} is over or was never begun")]
    Stream {
        /// Its number.
        stream: u32,
    },
}

impl NetError {
    /// The stable reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(error) => error.reason(),
            Self::Unresolved { .. } => "EGRESS_UNRESOLVED",
            Self::Unreachable { .. } => "EGRESS_UNREACHABLE",
            Self::Tls { .. } | Self::Authority { .. } => "EGRESS_TLS",
            Self::Late { .. } => "EGRESS_TIMEOUT",
            Self::Broken { .. } | Self::Answer { .. } => "EGRESS_BROKEN",
            Self::Stream { .. } => "EGRESS_STREAM",
        }
    }
}
