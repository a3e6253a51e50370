//! Secrets: what the device adds to the requests of runs that hold `secret:name`, to which hosts, in which header.
//!
//! A run never sees the value. Whenever it holds the token and sends an https request to one of the secret's hosts, the header is
//! set, whatever the run put there itself.

use aria_types::ResourceToken;
use aria_types::token::{Kind, Segment};

use crate::egress::{EgressError, HTTPS_PORT, HostName, Scheme, Target, header_name, header_value};

/// Most hosts one secret is bound to.
pub const HOSTS_MAX: usize = 16;
/// Shortest value, bytes: a shorter one cannot be told from ordinary text when an answer is searched for it.
pub const VALUE_BYTES_MIN: usize = 8;
/// Longest value, bytes.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Longest header with its name, bytes, the value left out.
const HEADER_BYTES_MAX: usize = 256;
/// Where the value goes.
const PLACE: &str = "{}";
/// The proxy sets these itself, or they say how long the request is.
const REFUSED: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "accept-encoding"];

/// Why a secret is not one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SecretError {
    /// Its name cannot stand in a token.
    #[error("{name:?} is no name for a secret: a-z, 0-9, dots, dashes and underscores, at most 63")]
    Name {
        /// As given, cut.
        name: String,
    },
    /// A host is none, or there are too few or too many.
    #[error("a secret is bound to 1 to {HOSTS_MAX} hosts like api.example.com or api.example.com:8443: {what}")]
    Host {
        /// What is wrong.
        what: String,
    },
    /// The header is none.
    #[error(
        "a secret's header is written like \"Authorization: Bearer {PLACE}\", with {PLACE} once, for the value: {what}"
    )]
    Header {
        /// What is wrong.
        what: String,
    },
    /// The value cannot be sent. It is never repeated.
    #[error(
        "a secret's value is {VALUE_BYTES_MIN} to {VALUE_BYTES_MAX} printable ASCII characters without a space at either end"
    )]
    Value,
}

/// Everything of a secret but its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecretBinding {
    name: Segment,
    hosts: Vec<(HostName, u16)>,
    header: String,
    template: String,
}

impl SecretBinding {
    /// Reads name, hosts (`host` or `host:port`) and header (`Name: text with {}`).
    pub fn parse(name: &str, hosts: &[String], header: &str) -> Result<Self, SecretError> {
        let bad_name = || SecretError::Name { name: name.chars().take(64).collect() };
        let name = Segment::parse(name).map_err(|_| bad_name())?;
        let bad = |what: &str| SecretError::Host { what: what.chars().take(128).collect() };
        if hosts.is_empty() || hosts.len() > HOSTS_MAX {
            return Err(bad(&format!("{} were given", hosts.len())));
        }
        let mut bound = hosts.iter().map(|text| host(text).ok_or_else(|| bad(text))).collect::<Result<Vec<_>, _>>()?;
        bound.sort();
        bound.dedup();
        let (header, template) = header_parts(header)?;
        Ok(Self { name, hosts: bound, header, template })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Its hosts as `host:port`, sorted.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect()
    }

    /// The header as it was given, with `{}` for the value.
    #[must_use]
    pub fn header(&self) -> String {
        format!("{}: {}", self.header, self.template)
    }

    /// The header's name in lower case.
    #[must_use]
    pub fn header_name(&self) -> &str {
        &self.header
    }

    /// The header's value with the secret in its place.
    #[must_use]
    pub fn header_value(&self, value: &str) -> zeroize::Zeroizing<String> {
        zeroize::Zeroizing::new(self.template.replacen(PLACE, value, 1))
    }

    /// Whether requests to `target` carry it: one of its hosts, under TLS.
    #[must_use]
    pub fn applies_to(&self, target: &Target) -> bool {
        let bound = |(host, port): &(HostName, u16)| *host == target.host && *port == target.port;
        target.scheme == Scheme::Https && self.hosts.iter().any(bound)
    }
}

/// The names of the secrets that `tokens` give.
pub fn names<'a>(tokens: impl IntoIterator<Item = &'a ResourceToken>) -> Vec<&'a str> {
    let secrets = tokens.into_iter().filter(|token| token.kind() == Kind::Secret);
    secrets.filter_map(|token| token.path().first().map(Segment::as_str)).collect()
}

/// Checks a value without ever repeating it.
pub fn check_value(value: &str) -> Result<(), SecretError> {
    let length = (VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(&value.len());
    let plain = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if length && plain && value.trim() == value { Ok(()) } else { Err(SecretError::Value) }
}

/// Refuses two secrets that want the same header of the same request.
pub fn check_apart<'a>(bindings: impl IntoIterator<Item = &'a SecretBinding>) -> Result<(), EgressError> {
    let mut seen: Vec<&SecretBinding> = Vec::new();
    for binding in bindings {
        if let Some(other) = seen.iter().find(|other| other.header == binding.header) {
            let (one, two, header) = (other.name(), binding.name(), binding.header_name());
            return Err(EgressError::request(format!("secret:{one} and secret:{two} both set the header {header}")));
        }
        seen.push(binding);
    }
    Ok(())
}

fn host(text: &str) -> Option<(HostName, u16)> {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port),
        None => return Some((HostName::parse(text).ok()?, HTTPS_PORT)),
    };
    // The same rules as in a token, so that a host that cannot be granted cannot be bound either.
    let token = ResourceToken::parse(&format!("net:{host}:{port}")).ok()?;
    let port = token.path().get(1)?.as_str().parse().ok()?;
    Some((HostName::parse(host).ok()?, port))
}

fn header_parts(text: &str) -> Result<(String, String), SecretError> {
    let bad = |what: &str| SecretError::Header { what: what.to_owned() };
    if text.len() > HEADER_BYTES_MAX {
        return Err(bad("it is longer than 256 bytes"));
    }
    let (name, template) = text.split_once(':').ok_or_else(|| bad("it has no colon"))?;
    let name = header_name(name).map_err(|_| bad("its name is no header name"))?;
    if REFUSED.contains(&name.as_str()) || name.starts_with("proxy-") {
        return Err(bad("this header is the device's own"));
    }
    let template = header_value(template).map_err(|_| bad("its value has a control character"))?;
    if !template.is_ascii() || template.matches(PLACE).count() != 1 {
        return Err(bad("its value is plain ASCII with {} exactly once"));
    }
    Ok((name, template.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, hosts: &[&str], header: &str) -> Result<SecretBinding, SecretError> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        SecretBinding::parse(name, &hosts, header)
    }

    const HEADER: &str = "Authorization: Bearer {}";

    #[test]
    fn a_secret_is_bound_to_its_hosts_under_tls() {
        let binding = parse("stripe", &["b.example:8443", "a.example", "a.example:443"], HEADER).unwrap();
        assert_eq!((binding.name(), binding.header_name()), ("stripe", "authorization"));
        assert_eq!(binding.hosts(), ["a.example:443", "b.example:8443"]);
        assert_eq!(binding.header_value("v{}").as_str(), "Bearer v{}");
        assert_eq!(parse("stripe", &["a.example", "b.example:8443"], &binding.header()), Ok(binding.clone()));
        let target = |scheme, host: &str, port| Target { scheme, host: HostName::parse(host).unwrap(), port };
        for (scheme, host, port, applies) in [
            (Scheme::Https, "a.example", 443, true),
            (Scheme::Https, "b.example", 8443, true),
            (Scheme::Http, "b.example", 8443, false),
            (Scheme::Https, "a.example", 8443, false),
            (Scheme::Https, "x.a.example", 443, false),
        ] {
            assert_eq!(binding.applies_to(&target(scheme, host, port)), applies, "{host}:{port}");
        }
    }

    #[test]
    fn what_is_no_secret_says_why() {
        for name in ["", "A", "../x", "a:b", "ro", ".hidden", "ü"] {
            assert!(matches!(parse(name, &["a.example"], HEADER), Err(SecretError::Name { .. })), "{name}");
        }
        let many = vec!["a.example"; HOSTS_MAX + 1];
        for hosts in [
            &[][..],
            &["*"],
            &["a.example:0"],
            &["a.example:443:1"],
            &["https://a.example"],
            &["[::1]:443"],
            &["A.example"],
            &many,
        ] {
            assert!(matches!(parse("a", hosts, HEADER), Err(SecretError::Host { .. })), "{hosts:?}");
        }
        let long = format!("X: {{}}{}", "x".repeat(300));
        for header in [
            "",
            "Authorization",
            "Authorization:",
            "Authorization: Bearer",
            "X: {} {}",
            "X Y: {}",
            ": {}",
            "X: {}\r\nY: z",
            "Host: {}",
            "Content-Length: {}",
            "Proxy-Authorization: {}",
            "transfer-encoding: {}",
            "X: ü{}",
            &long,
        ] {
            assert!(matches!(parse("a", &["a.example"], header), Err(SecretError::Header { .. })), "{header}");
        }
    }

    #[test]
    fn values_can_be_sent_and_found_again() {
        let long = "x".repeat(VALUE_BYTES_MAX);
        for good in ["sk_live_1234", "12345678", "two words", &long] {
            assert_eq!(check_value(good), Ok(()));
        }
        for bad in [
            "",
            "short",
            " padded  ",
            "line\nbreak",
            "12345678\r",
            "12345678\0",
            "schlüssel",
            "tab\there1",
            &format!("{long}x"),
        ] {
            let error = check_value(bad).unwrap_err();
            assert!(bad.len() < 6 || !error.to_string().contains(bad.trim()));
        }
    }

    #[test]
    fn two_secrets_never_share_a_header() {
        let [a, b, c] = [("a", HEADER), ("b", "authorization: Basic {}"), ("c", "X-Key: {}")]
            .map(|(name, header)| parse(name, &["a.example"], header).unwrap());
        assert!(check_apart([&a, &c]).is_ok());
        assert!(check_apart([&a, &b]).unwrap_err().to_string().contains("secret:a and secret:b"));
    }

    #[test]
    fn tokens_name_the_secrets() {
        let tokens: Vec<ResourceToken> =
            ["secret:stripe", "net:stripe", "secret:a.b"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(names(&tokens), ["stripe", "a.b"]);
    }
}
