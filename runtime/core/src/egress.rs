//! Egress: which request a run may send where.
//!
//! A run names a target (scheme, host, port) and a request; the functions here say whether its tokens reach that target, whether
//! an address the name resolved to may be connected to, and what of its headers goes on. Every hop of a redirect is a request of
//! its own and is decided again. Nothing here resolves, connects or reads a clock.

use std::fmt;
use std::net::Ipv4Addr;

use aria_types::ResourceToken;
use aria_types::token::Kind;

mod address;
mod budget;
mod header;
mod mask;

pub use address::{AddressRange, AllowedAddresses, RangeError};
pub use budget::{Budget, Spent};
pub use header::{Headers, header_name, header_value, request_headers};
pub use mask::Mask;

/// The port of `https`, and of a token that names none.
pub const HTTPS_PORT: u16 = 443;
/// Longest host name, bytes.
const HOST_BYTES_MAX: usize = 253;
/// Longest label of a host name, bytes.
const LABEL_BYTES_MAX: usize = 63;
/// Longest path and query, bytes.
const PATH_BYTES_MAX: usize = 16 << 10;

/// Why a request does not go out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EgressError {
    /// No token of the run reaches the target.
    #[error("{origin} is not reachable for this run; it needs the token {token}")]
    Denied {
        /// Where it was to go.
        origin: String,
        /// What would allow it, when a token can.
        token: String,
    },
    /// The target is an address no token can name.
    #[error("{host} is an address that no token can name")]
    Unnameable {
        /// As asked, cut.
        host: String,
    },
    /// The name stands for an address that is not on the public network.
    #[error("{host} has an address that is {class}; only public addresses are reached")]
    Address {
        /// The name.
        host: String,
        /// What the address is.
        class: &'static str,
    },
    /// The request is not one this device sends.
    #[error("the request is refused: {what}")]
    Request {
        /// What is wrong.
        what: String,
    },
    /// Tunnels and upgrades.
    #[error("{what} is not built")]
    Unsupported {
        /// What was asked.
        what: &'static str,
    },
    /// The run has used up one of its bounds.
    #[error("this run has used up its {what} ({limit})")]
    Budget {
        /// Which bound.
        what: &'static str,
        /// Its size.
        limit: u64,
    },
}

impl EgressError {
    /// The stable reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Denied { .. } | Self::Unnameable { .. } | Self::Address { .. } => "EGRESS_DENIED",
            Self::Request { .. } => "EGRESS_REQUEST",
            Self::Unsupported { .. } => "UNSUPPORTED",
            Self::Budget { .. } => "EGRESS_BUDGET",
        }
    }

    /// A request that is refused for what it is.
    #[must_use]
    pub fn request(what: impl Into<String>) -> Self {
        Self::Request { what: what.into() }
    }
}

/// How the request travels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Under TLS.
    Https,
}

impl Scheme {
    /// Reads `http` or `https`.
    pub fn parse(text: &str) -> Result<Self, EgressError> {
        match text {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            _ => Err(EgressError::request("only http and https are spoken")),
        }
    }

    /// As in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => HTTPS_PORT,
        }
    }
}

/// A host name in the one form that is compared: lower-case ASCII labels (internationalised names in their `xn--` form), no dot
/// at the end. An IPv4 address is a name too, in its one dotted form; other spellings of addresses are refused.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostName(Box<str>);

impl HostName {
    /// Reads a name that is already in its canonical form.
    pub fn parse(text: &str) -> Result<Self, EgressError> {
        if text.contains(':') || text.starts_with('[') {
            return Err(EgressError::Unnameable { host: text.chars().take(64).collect() });
        }
        let bad = |what: &str| Err(EgressError::request(format!("the host name {what}")));
        if text.is_empty() || text.len() > HOST_BYTES_MAX {
            return bad("is not 1 to 253 bytes long");
        }
        let known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if !text.bytes().all(known) {
            return bad("has a character other than a-z, 0-9, - and _ between its dots");
        }
        let whole = |label: &str| {
            (1..=LABEL_BYTES_MAX).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
        };
        if !text.split('.').all(whole) {
            return bad("has a label that is empty, too long, or begins or ends with a dash");
        }
        let last = text.rsplit('.').next().unwrap_or("");
        if looks_numeric(last) && !is_dotted(text) {
            return bad("is a number that is not a plain IPv4 address");
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What URL parsers take for the last part of an IPv4 address: digits, or `0x` and hex digits.
fn looks_numeric(label: &str) -> bool {
    let hex = label.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hex || label.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_dotted(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok_and(|address| address.to_string() == text)
}

/// Where a request goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// How.
    pub scheme: Scheme,
    /// To whom.
    pub host: HostName,
    /// On which port.
    pub port: u16,
}

impl Target {
    /// Whether one of `tokens` reaches it: the same host, and the same port. A token without a port means 443. What travels in
    /// the clear never goes to 443, so plain http needs a token that names its port.
    pub fn check<'a>(&self, tokens: impl IntoIterator<Item = &'a ResourceToken>) -> Result<(), EgressError> {
        if self.port == 0 {
            return Err(EgressError::request("port 0 is no port"));
        }
        if self.scheme == Scheme::Http && self.port == HTTPS_PORT {
            return Err(EgressError::request("plain http does not go to port 443"));
        }
        if tokens.into_iter().any(|token| self.reached_by(token)) {
            return Ok(());
        }
        let text = format!("net:{}:{}", self.host, self.port);
        match ResourceToken::parse(&text) {
            Ok(token) => Err(EgressError::Denied { origin: self.origin(), token: token.to_string() }),
            Err(_) => Err(EgressError::Unnameable { host: self.host.to_string() }),
        }
    }

    fn reached_by(&self, token: &ResourceToken) -> bool {
        let (Kind::Net, Some((host, port))) = (token.kind(), token.path().split_first()) else { return false };
        let port = port.first().map_or(Some(HTTPS_PORT), |port| port.as_str().parse().ok());
        host.as_str() == self.host.as_str() && port == Some(self.port)
    }

    /// `https://host`, with the port when it is not the scheme's own.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority())
    }

    /// The value of the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.scheme.port() { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

/// The method of a request: any token but those that make a proxy a tunnel or a mirror.
pub fn method(text: &str) -> Result<&str, EgressError> {
    match text {
        "CONNECT" => Err(EgressError::Unsupported { what: "CONNECT: a raw connection through the device" }),
        "TRACE" | "TRACK" => {
            Err(EgressError::request("TRACE shows a request to its sender, with what the device added"))
        }
        _ if (1..=32).contains(&text.len()) && text.bytes().all(header::is_token_byte) => Ok(text),
        _ => Err(EgressError::request("the method is no HTTP token of 1 to 32 bytes")),
    }
}

/// Path and query as they go on the wire.
pub fn path(text: &str) -> Result<&str, EgressError> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if text.len() > PATH_BYTES_MAX {
        return Err(EgressError::request("path and query are longer than 16 KiB"));
    }
    if text.starts_with('/') && text.bytes().all(plain) {
        Ok(text)
    } else {
        Err(EgressError::request("the path does not begin with a slash, or has a space, a # or a byte outside ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(origin: &str) -> Target {
        let (scheme, rest) = origin.split_once("://").unwrap();
        let scheme = Scheme::parse(scheme).unwrap();
        let (host, port) =
            rest.split_once(':').map_or((rest, scheme.port()), |(host, port)| (host, port.parse().unwrap()));
        Target { scheme, host: HostName::parse(host).unwrap(), port }
    }

    #[track_caller]
    fn check(tokens: &[&str], origin: &str, allowed: bool) {
        let tokens: Vec<ResourceToken> = tokens.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(target(origin).check(&tokens).is_ok(), allowed, "{tokens:?} {origin}");
    }

    #[test]
    fn a_token_reaches_its_host_and_port_alone() {
        check(&["net:a.example:443"], "https://a.example", true);
        check(&["net:a.example"], "https://a.example", true);
        check(&["net:a.example:8443"], "https://a.example:8443", true);
        check(&["net:b.example", "net:a.example"], "https://a.example", true);
        for origin in
            ["https://b.example", "https://a.example:8443", "https://x.a.example", "https://a.example.evil.example"]
        {
            check(&["net:a.example:443"], origin, false);
        }
        check(&["net:a.example:8443"], "https://a.example", false);
        check(&["net:example"], "https://a.example", false);
        check(&[], "https://a.example", false);
    }

    #[test]
    fn other_kinds_reach_nothing() {
        check(&["kv:a.example", "mesh:a.example", "secret:a.example", "tool:a.example"], "https://a.example", false);
    }

    #[test]
    fn plain_http_needs_its_port_by_name() {
        check(&["net:a.example"], "http://a.example", false);
        check(&["net:a.example:443"], "http://a.example", false);
        check(&["net:a.example"], "http://a.example:443", false);
        check(&["net:a.example:80"], "http://a.example", true);
        check(&["net:a.example:80"], "https://a.example", false);
        check(&["net:a.example:8080"], "http://a.example:8080", true);
    }

    #[test]
    fn a_denial_names_the_token_that_would_allow_it() {
        let denied = target("http://a.example").check(&[]).unwrap_err();
        assert_eq!(denied.reason(), "EGRESS_DENIED");
        assert!(denied.to_string().contains("net:a.example:80"), "{denied}");
        assert!(denied.to_string().contains("http://a.example "), "{denied}");
    }

    #[test]
    fn hosts_have_one_form() {
        for good in ["a", "api.example.com", "xn--bcher-kva.example", "a_b.example", "192.0.2.7", "1.example", "0xz"] {
            assert!(HostName::parse(good).is_ok(), "{good}");
        }
        let long = format!("{}.example", "a".repeat(64));
        let whole = ["a"; 130].join(".");
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A.example",
            "bücher.example",
            "a b",
            "a\0",
            "a\r\n",
            "a/b",
            "a@b",
            "user:x@a",
            "a%2e",
            "a#",
            "a?",
            "-a.example",
            "a-.example",
            "127.1",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "2130706433",
            "1.2.3.4.5",
            "127.0.0.01",
            "256.1.1.1",
            "a.0",
            "a.0x1",
            "0x",
            "*",
            "*.example",
            &long,
            &whole,
        ] {
            assert_eq!(
                HostName::parse(bad).unwrap_err().reason(),
                if bad.contains(':') { "EGRESS_DENIED" } else { "EGRESS_REQUEST" },
                "{bad}"
            );
        }
        for address in ["[::1]", "::1", "::ffff:127.0.0.1", "[::ffff:7f00:1]", "fe80::1%eth0"] {
            assert_eq!(HostName::parse(address).unwrap_err().reason(), "EGRESS_DENIED", "{address}");
        }
    }

    #[test]
    fn an_address_needs_its_own_token() {
        check(&["net:93.184.216.34:443"], "https://93.184.216.34", true);
        check(&["net:a.example"], "https://93.184.216.34", false);
    }

    #[test]
    fn port_zero_is_nothing() {
        assert_eq!(target("https://a.example:0").check(&[]).unwrap_err().reason(), "EGRESS_REQUEST");
    }

    #[test]
    fn methods_that_tunnel_or_mirror_are_refused() {
        for good in ["GET", "POST", "PATCH", "PROPFIND", "X-OWN", "get"] {
            assert_eq!(method(good), Ok(good));
        }
        assert_eq!(method("CONNECT").unwrap_err().reason(), "UNSUPPORTED");
        for bad in ["TRACE", "TRACK", "", "GE T", "GET\r\nX: y", "GÉT", "A(B)", &"A".repeat(33)] {
            assert_eq!(method(bad).unwrap_err().reason(), "EGRESS_REQUEST", "{bad}");
        }
    }

    #[test]
    fn paths_are_one_plain_line() {
        for good in ["/", "/a?b=c&d=%20", "/a/../b", "//x", "/?q=\"{}|^`"] {
            assert!(path(good).is_ok(), "{good}");
        }
        let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
        for bad in [
            "",
            "a",
            "*",
            "http://other.example/",
            "/a b",
            "/a\r\nHost: b",
            "/a\0",
            "/ü",
            "/a#b",
            "/a\t",
            "/a\u{7f}",
            &long,
        ] {
            assert_eq!(path(bad).unwrap_err().reason(), "EGRESS_REQUEST", "{bad}");
        }
    }

    #[test]
    fn the_host_header_names_an_unusual_port() {
        assert_eq!(target("https://a.example").authority(), "a.example");
        assert_eq!(target("http://a.example").authority(), "a.example");
        assert_eq!(target("https://a.example:8443").authority(), "a.example:8443");
        assert_eq!(target("https://a.example:80").authority(), "a.example:80");
    }
}
