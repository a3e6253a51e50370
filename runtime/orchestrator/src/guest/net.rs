//! The network server: requests of a run through the egress proxy, with the device's secrets in them.
//!
//! A request is `netOpen`, then `netWrite` for a body in pieces and `netHead` for its answer, then `netRead` until its end, or
//! `netClose`. The number of a request is the run's choice. Every denial is a row of the audit.

use std::sync::Arc;

use aria_core::egress::{EgressError, HostName, Scheme, Target};
use aria_core::request::{Fields, GuestError, object};
use aria_core::secret;
use aria_store::{AuditEvent, AuditKind, Detail};
use aria_types::ResourceToken;
use aria_types::token::Kind;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use super::Caller;
use crate::Inner;
use crate::egress::{Asked, AskedBody, Head, Injected, NetError, PIECE_BYTES_MAX, Written};

/// Texts of a request: a method, a host, a path, a header.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// Serves one request.
pub(crate) async fn serve(
    inner: &Arc<Inner>,
    caller: &Arc<Caller>,
    op: &str,
    body: Map<String, Value>,
) -> Result<Value, GuestError> {
    let mut fields = Fields::new(body);
    let stream = u32::try_from(fields.integer("stream")?).map_err(|_| GuestError::invalid("stream is above 2^32-1"))?;
    if op == "netOpen" {
        return open(inner, caller, stream, fields).await;
    }
    if op == "netClose" {
        fields.end()?;
        caller.net.close(stream);
        return Ok(object([]));
    }
    live(caller).await?;
    match op {
        "netHead" => {
            fields.end()?;
            caller.net.head(stream).await.map(head).map_err(refused)
        }
        "netRead" => {
            fields.end()?;
            let piece = caller.net.read(stream).await.map_err(refused)?;
            Ok(object([("data", BASE64_STANDARD.encode(&piece.bytes).into()), ("end", piece.end.into())]))
        }
        "netWrite" => {
            let data = bytes(&mut fields, "data")?.unwrap_or_default();
            let end = flag(&mut fields, "end")?;
            fields.end()?;
            let written = caller.net.write(stream, data, end).await.map_err(refused)?;
            Ok(object([("taken", (written == Written::Taken).into())]))
        }
        _ => Err(GuestError::unsupported(op)),
    }
}

async fn open(inner: &Arc<Inner>, caller: &Arc<Caller>, stream: u32, fields: Fields) -> Result<Value, GuestError> {
    let (asked, origin) = match asked(fields) {
        Ok(asked) => asked,
        Err(Trouble::Guest(error)) => return Err(error),
        Err(Trouble::Egress(error)) => return Err(denied(inner, caller, None, NetError::Refused(error)).await),
    };
    let tokens = caller.lease.tokens();
    let result = match asked.target.check(tokens.iter()) {
        Err(error) => Err(NetError::Refused(error)),
        Ok(()) => {
            live(caller).await?;
            inner.leases.check(&caller.lease)?;
            let injected = injected(inner, &tokens, &asked.target).await?;
            caller.net.open(stream, asked, tokens.iter(), injected).await
        }
    };
    match result {
        Ok(begun) => Ok(begun.map_or_else(|| object([]), head)),
        Err(error) => Err(denied(inner, caller, Some(origin), error).await),
    }
}

/// The lease holds now. Which host it reaches was decided when the request began.
async fn live(caller: &Caller) -> Result<(), GuestError> {
    let tokens = caller.lease.tokens();
    match tokens.iter().find(|token| token.kind() == Kind::Net) {
        Some(token) => caller.lease.allows(token).await.map(drop),
        None => Err(GuestError::new("EGRESS_DENIED", "this run holds no net token")),
    }
}

/// What the device adds to a request to `target`. A secret that is held and not stored is a mistake worth telling before the other
/// side answers 401.
async fn injected(inner: &Arc<Inner>, tokens: &[ResourceToken], target: &Target) -> Result<Vec<Injected>, GuestError> {
    let names: Vec<String> = secret::names(tokens).into_iter().map(str::to_owned).collect();
    if names.is_empty() || target.scheme != Scheme::Https {
        return Ok(Vec::new());
    }
    let secrets = inner.network.secrets.clone();
    let work = move || {
        names.into_iter().map(|name| secrets.get(&name).map(|found| (name, found))).collect::<Result<Vec<_>, _>>()
    };
    let bug = |_| GuestError::new("BUG", "the device could not read its secrets");
    let found = tokio::task::spawn_blocking(work).await.map_err(bug)?.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "read a secret");
        GuestError::new("SECRET_UNREADABLE", "the device cannot read a secret this run holds; its log says why")
    })?;
    let mut bound = Vec::new();
    for (name, secret) in found {
        let unknown = || {
            let fix = format!("arc secret set {name} --host HOST --header 'Authorization: Bearer {{}}'");
            GuestError::new(
                "SECRET_UNKNOWN",
                format!("this device has no secret {name}; its operator adds it with: {fix}"),
            )
        };
        let (binding, value) = secret.ok_or_else(unknown)?;
        if binding.applies_to(target) {
            bound.push((binding, value));
        }
    }
    secret::check_apart(bound.iter().map(|(binding, _)| binding)).map_err(|error| refused(error.into()))?;
    let header = |(binding, value): (secret::SecretBinding, zeroize::Zeroizing<String>)| Injected {
        header: binding.header_name().to_owned(),
        value: binding.header_value(&value),
        secret: value,
    };
    Ok(bound.into_iter().map(header).collect())
}

/// The error as the guest reads it; what is a denial is written down first.
async fn denied(inner: &Arc<Inner>, caller: &Caller, origin: Option<String>, error: NetError) -> GuestError {
    if error.reason() == "EGRESS_DENIED" {
        let mut detail = Detail::default().text("message", &error.to_string());
        if let Some(origin) = origin {
            detail = detail.text("origin", &origin);
        }
        let event = AuditEvent {
            at: (inner.config.clock)(),
            kind: AuditKind::EgressDenied,
            owner: caller.owner.clone(),
            invocation: Some(caller.invocation.clone()),
            subject: "net".to_owned(),
            reason: error.reason().to_owned(),
            detail,
        };
        inner.audit.refused(event).await;
    }
    refused(error)
}

fn refused(error: NetError) -> GuestError {
    GuestError::new(error.reason(), error.to_string())
}

fn head(head: Head) -> Value {
    let pair = |(name, value): (String, String)| Value::Array(vec![name.into(), value.into()]);
    let headers = head.headers.into_iter().map(pair).collect();
    object([
        ("status", head.status.into()),
        ("statusText", head.status_text.into()),
        ("headers", Value::Array(headers)),
    ])
}

/// Why a request is not one.
enum Trouble {
    Guest(GuestError),
    Egress(EgressError),
}

impl From<GuestError> for Trouble {
    fn from(error: GuestError) -> Self {
        Self::Guest(error)
    }
}

impl From<EgressError> for Trouble {
    fn from(error: EgressError) -> Self {
        Self::Egress(error)
    }
}

fn asked(mut fields: Fields) -> Result<(Asked, String), Trouble> {
    let scheme = Scheme::parse(&fields.text("scheme", 16)?)?;
    let host = HostName::parse(&fields.text("host", TEXT_BYTES_MAX)?)?;
    let port = u16::try_from(fields.integer("port")?).map_err(|_| EgressError::request("the port is above 65535"))?;
    let method = fields.text("method", TEXT_BYTES_MAX)?;
    let path = fields.text("path", TEXT_BYTES_MAX)?;
    let headers = headers(fields.value_or_none("headers"))?;
    let body = bytes(&mut fields, "body")?;
    let pieces = flag(&mut fields, "pieces")?;
    let body = match (body, pieces) {
        (None, false) => AskedBody::None,
        (Some(bytes), false) => AskedBody::Whole(bytes),
        (None, true) => AskedBody::Pieces,
        (Some(_), true) => return Err(GuestError::invalid("a body is whole or in pieces, not both").into()),
    };
    fields.end()?;
    let target = Target { scheme, host, port };
    let origin = target.origin();
    Ok((Asked { target, method, path, headers, body }, origin))
}

fn headers(value: Option<Value>) -> Result<Vec<(String, String)>, GuestError> {
    let bad = || GuestError::invalid("headers is a list of pairs of texts");
    let Some(value) = value else { return Ok(Vec::new()) };
    let Value::Array(pairs) = value else { return Err(bad()) };
    let pair = |pair: Value| match pair {
        Value::Array(pair) => match <[Value; 2]>::try_from(pair) {
            Ok([Value::String(name), Value::String(value)]) => Ok((name, value)),
            _ => Err(bad()),
        },
        _ => Err(bad()),
    };
    pairs.into_iter().map(pair).collect()
}

fn bytes(fields: &mut Fields, name: &str) -> Result<Option<Vec<u8>>, GuestError> {
    let Some(text) = fields.text_or_none(name, PIECE_BYTES_MAX.div_ceil(3) * 4)? else { return Ok(None) };
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| GuestError::invalid(format!("{name} is not base64")))?;
    Ok(Some(bytes))
}

fn flag(fields: &mut Fields, name: &str) -> Result<bool, GuestError> {
    match fields.value_or_none(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(_) => Err(GuestError::invalid(format!("{name} is not true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Asked, String> {
        let Value::Object(body) = value else { panic!("an object") };
        asked(Fields::new(body)).map(|(asked, _)| asked).map_err(|trouble| match trouble {
            Trouble::Guest(error) => error.reason.into_owned(),
            Trouble::Egress(error) => error.reason().to_owned(),
        })
    }

    fn good() -> Value {
        json!({"scheme": "https", "host": "a.example", "port": 443, "method": "GET", "path": "/", "headers": [["a", "b"]]})
    }

    #[test]
    fn a_request_is_read_strictly() {
        let asked = read(good()).expect("good");
        assert_eq!((asked.target.origin().as_str(), asked.headers.len()), ("https://a.example", 1));
        assert!(matches!(asked.body, AskedBody::None));
        for (key, value, reason) in [
            ("scheme", json!("ftp"), "EGRESS_REQUEST"),
            ("scheme", json!(1), "REQUEST_INVALID"),
            ("host", json!("[::1]"), "EGRESS_DENIED"),
            ("host", json!("A.example"), "EGRESS_REQUEST"),
            ("port", json!(65_536), "EGRESS_REQUEST"),
            ("port", json!("443"), "REQUEST_INVALID"),
            ("headers", json!({"a": "b"}), "REQUEST_INVALID"),
            ("headers", json!([["a"]]), "REQUEST_INVALID"),
            ("headers", json!([["a", 1]]), "REQUEST_INVALID"),
            ("body", json!("not base64!"), "REQUEST_INVALID"),
            ("pieces", json!("yes"), "REQUEST_INVALID"),
            ("proxy", json!("x"), "REQUEST_INVALID"),
        ] {
            let mut request = good();
            request[key] = value;
            assert_eq!(read(request).expect_err(key), reason, "{key}");
        }
        let mut both = good();
        (both["body"], both["pieces"]) = (json!(""), json!(true));
        assert_eq!(read(both).expect_err("both"), "REQUEST_INVALID");
    }
}
