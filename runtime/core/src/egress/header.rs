//! Headers of a request: what goes on, what the proxy sets itself, what is refused.

use super::EgressError;

/// Most headers of one request.
const HEADERS_MAX: usize = 100;
/// Names and values of one request together, bytes.
const HEADERS_BYTES_MAX: usize = 32 << 10;

/// What belongs to one connection and not to the message (RFC 9110 §7.6.1), or to talking to a proxy. Programs set them out of
/// habit; the proxy has a connection of its own.
const DROPPED: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "expect",
    "http2-settings",
    "host",
];

/// Headers that go on, and what they said of the body.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Headers {
    /// In the order they were given, names in lower case.
    pub pairs: Vec<(String, String)>,
    /// The body's length, when it was stated.
    pub content_length: Option<u64>,
}

/// Sorts the headers of a request to `authority`. Whatever could make the other side read another request than the one that was
/// checked is refused, not repaired.
pub fn request_headers(asked: &[(String, String)], authority: &str) -> Result<Headers, EgressError> {
    if asked.len() > HEADERS_MAX {
        return Err(EgressError::request(format!("{} headers are more than {HEADERS_MAX}", asked.len())));
    }
    let bytes: usize = asked.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADERS_BYTES_MAX {
        return Err(EgressError::request("the headers are longer than 32 KiB together"));
    }
    let mut headers = Headers::default();
    for (name, value) in asked {
        let name = header_name(name)?;
        let value = header_value(value)?;
        match name.as_str() {
            "content-length" => headers.content_length = Some(content_length(headers.content_length, value)?),
            "upgrade" => return Err(EgressError::Unsupported { what: "an upgrade to another protocol" }),
            // Another name in the header than on the wire is how one host is asked for another's pages.
            "host" if !value.eq_ignore_ascii_case(authority) && !names_the_port(value, authority) => {
                return Err(EgressError::request("the Host header names another host than the request"));
            }
            name if DROPPED.contains(&name) => {}
            _ => headers.pairs.push((name, value.to_owned())),
        }
    }
    Ok(headers)
}

fn names_the_port(value: &str, authority: &str) -> bool {
    [":443", ":80"].iter().any(|port| value.strip_suffix(port).is_some_and(|host| host.eq_ignore_ascii_case(authority)))
}

fn content_length(before: Option<u64>, value: &str) -> Result<u64, EgressError> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let length = value.parse().ok().filter(|_| digits);
    match (before, length) {
        (None, Some(length)) => Ok(length),
        (Some(_), _) => Err(EgressError::request("two Content-Length headers")),
        (None, None) => Err(EgressError::request("Content-Length is no number")),
    }
}

/// A header's name in lower case.
pub fn header_name(text: &str) -> Result<String, EgressError> {
    if (1..=256).contains(&text.len()) && text.bytes().all(is_token_byte) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(EgressError::request("a header's name is no HTTP token of 1 to 256 bytes"))
    }
}

/// A header's value: one line, without blanks around it.
pub fn header_value(text: &str) -> Result<&str, EgressError> {
    let plain = |c: char| c == '\t' || (!c.is_control() && c <= '\u{ff}');
    if text.chars().all(plain) {
        Ok(text.trim_matches([' ', '\t']))
    } else {
        Err(EgressError::request("a header's value has a control character or one outside Latin-1"))
    }
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(asked: &[(&str, &str)]) -> Result<Headers, EgressError> {
        let asked: Vec<_> = asked.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        request_headers(&asked, "a.example")
    }

    #[test]
    fn headers_go_on_in_order_and_lower_case() {
        let headers = sorted(&[("Accept", "*/*"), ("X-A", " 1 "), ("x-a", "2"), ("Content-Length", "12")]).unwrap();
        let pairs: Vec<_> = headers.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("accept", "*/*"), ("x-a", "1"), ("x-a", "2")]);
        assert_eq!(headers.content_length, Some(12));
    }

    #[test]
    fn what_belongs_to_a_connection_stays_here() {
        for name in DROPPED {
            let value = if name == "host" { "A.example" } else { "x" };
            assert_eq!(sorted(&[(name, value)]), Ok(Headers::default()), "{name}");
        }
        assert!(sorted(&[("Host", "a.example:443")]).is_ok());
    }

    #[test]
    fn what_could_change_the_request_is_refused() {
        let long = "x".repeat(HEADERS_BYTES_MAX);
        for (name, value) in [
            ("a\r\nb", "c"),
            ("a b", "c"),
            ("a:", "c"),
            ("", "c"),
            ("ü", "c"),
            ("a", "b\r\nc: d"),
            ("a", "b\nc"),
            ("a", "b\rc"),
            ("a", "b\0"),
            ("a", "b\u{1b}"),
            ("a", "b\u{7f}"),
            ("a", "\u{100}"),
            ("host", "b.example"),
            ("Host", "a.example.b"),
            ("host", "a.example, b"),
            ("content-length", "-1"),
            ("content-length", "+1"),
            ("content-length", "1, 1"),
            ("content-length", "0x1"),
            ("content-length", ""),
            ("content-length", "99999999999999999999999"),
            ("a", &long),
        ] {
            assert_eq!(sorted(&[(name, value)]).unwrap_err().reason(), "EGRESS_REQUEST", "{name:?}: {value:?}");
        }
        assert!(sorted(&[("content-length", "1"), ("Content-Length", "1")]).is_err());
        assert!(sorted(&vec![("a", "b"); HEADERS_MAX + 1]).is_err());
        assert!(sorted(&vec![("a", "b"); HEADERS_MAX]).is_ok());
        assert_eq!(sorted(&[("upgrade", "websocket")]).unwrap_err().reason(), "UNSUPPORTED");
    }

    #[test]
    fn a_smuggled_length_never_goes_on() {
        let headers = sorted(&[("Transfer-Encoding", "chunked"), ("Content-Length", "5")]).unwrap();
        assert!(headers.pairs.is_empty());
    }
}
