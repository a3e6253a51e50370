//! Who is asking, and may they? One layer before every method, known or not: without an identity nothing is decoded.
//!
//! The rules are two functions of values, `caller` and `permitted`; the layer only carries them out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aria_orchestrator::Audit;
use aria_store::{AuditEvent, AuditKind, Detail, Role};
use aria_types::ErrorKind;
use http::{Request, Response};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::{Layer, Service};

use crate::api::now;
use crate::peer::Peer;
use crate::shares::{Share, Shares};
use crate::status::{self, refuse};
use crate::trust::Trust;

/// Reads a role from the wire.
pub(crate) fn role(text: &str) -> Option<Role> {
    [Role::Admin, Role::Operator, Role::Caller].into_iter().find(|role| role.as_str() == text)
}

/// How the caller came in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Via {
    /// The Unix socket.
    Socket,
    /// Mutual TLS with the certificate of an enrolled key.
    Tls { key_sha256: String },
    /// Mutual TLS with the key the device was told to expect; good for `Enroll` alone.
    EnrolKey { key_sha256: String },
}

/// The identity behind a request, in its extensions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Caller {
    pub(crate) subject: String,
    pub(crate) role: Role,
    pub(crate) via: Via,
}

impl Caller {
    /// The identity the layer put into a request. A request without one never reaches a method; this is the second lock.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        request.extensions().get::<Self>().cloned().ok_or_else(missing)
    }
}

/// The identity of a peer as of now, and what ends everything it asks for: revocation bites on connections that are already
/// open, and on what is being answered.
fn caller(peer: &Peer, trust: &Trust) -> Result<(Caller, CancellationToken), Status> {
    let for_ever = |caller| Ok((caller, CancellationToken::new()));
    match peer {
        Peer::Local { uid, trusted: true } => {
            for_ever(Caller { subject: format!("uid:{uid}"), role: Role::Admin, via: Via::Socket })
        }
        Peer::Local { trusted: false, .. } => Err(refuse(
            ErrorKind::Unauthenticated,
            "CREDENTIAL_MISSING",
            "this user is neither root nor in the group that may use the socket",
        )),
        Peer::Enrolled { key_sha256 } => {
            let (credential, end) = trust.serve(key_sha256).ok_or_else(revoked)?;
            let via = Via::Tls { key_sha256: key_sha256.clone() };
            Ok((Caller { subject: credential.subject, role: credential.role, via }, end))
        }
        Peer::EnrolKey { key_sha256 } => for_ever(Caller {
            subject: String::new(),
            role: Role::Caller,
            via: Via::EnrolKey { key_sha256: key_sha256.clone() },
        }),
    }
}

pub(crate) fn revoked() -> Status {
    refuse(ErrorKind::Unauthenticated, "CREDENTIAL_REVOKED", "the credential of this connection was revoked")
}

/// Which callers may use which method. What they may do with it to whom (`Enroll`, `Revoke`) is the method's question. Methods that do not exist are open to all so that they answer UNIMPLEMENTED.
fn permitted(caller: &Caller, path: &str) -> bool {
    if matches!(caller.via, Via::EnrolKey { .. }) {
        return path == "/aria.v1.Node/Enroll";
    }
    match path {
        "/aria.v1.Bundles/UploadBundle"
        | "/aria.v1.Bundles/CommitBundle"
        | "/aria.v1.Bundles/RemoveBundle"
        | "/aria.v1.Bundles/PinBundle"
        | "/aria.v1.Bundles/RollBackBundle"
        | "/aria.v1.Bundles/DeprecateBundle"
        | "/aria.v1.Exec/Run"
        | "/aria.v1.Policy/AddRule"
        | "/aria.v1.Policy/RemoveRule"
        | "/aria.v1.Secrets/SetSecret"
        | "/aria.v1.Secrets/ListSecrets"
        | "/aria.v1.Secrets/RemoveSecret"
        | "/aria.v1.Trust/ListSigners"
        | "/aria.v1.Trust/TrustSigner"
        | "/aria.v1.Trust/RevokeSigner"
        | "/aria.v1.Node/InviteKey" => caller.role != Role::Caller,
        _ => true,
    }
}

fn missing() -> Status {
    refuse(ErrorKind::Unauthenticated, "CREDENTIAL_MISSING", "no credential")
}

/// Puts [`Caller`] into requests that may go on, and bounds how many are served at once.
#[derive(Clone)]
pub(crate) struct AuthLayer {
    trust: Arc<Trust>,
    audit: Audit,
    inflight: Arc<Shares>,
}

impl AuthLayer {
    /// At most `inflight_max` requests are past this layer at a time; more are told to come back.
    pub(crate) fn new(trust: Arc<Trust>, audit: Audit, inflight_max: usize) -> Self {
        Self { trust, audit, inflight: Shares::new(inflight_max) }
    }

    fn admit(&self, request: &mut Request<Body>) -> Result<Admitted, Refused> {
        let nobody = |status| Refused { status, owner: String::new() };
        let peer = request.extensions().get::<Peer>().ok_or_else(|| nobody(missing()))?;
        let (caller, end) = caller(peer, &self.trust).map_err(|status| Refused { status, owner: shown(peer) })?;
        let owner = caller.subject.clone();
        if !permitted(&caller, request.uri().path()) {
            let status = refuse(ErrorKind::Denied, "ROLE", "the role of this identity does not allow this method");
            return Err(Refused { status, owner });
        }
        let Some(share) = self.inflight.take(&owner) else {
            let message = "the device serves as many requests as it may; try again";
            return Err(Refused { status: refuse(ErrorKind::Exhausted, "QUEUE_FULL", message), owner });
        };
        request.extensions_mut().insert(caller);
        Ok(Admitted { share, end, owner })
    }
}

/// A request that goes on.
struct Admitted {
    share: Share,
    end: CancellationToken,
    owner: String,
}

/// One that does not.
struct Refused {
    status: Status,
    owner: String,
}

/// What the audit calls a peer that is nobody (any more).
fn shown(peer: &Peer) -> String {
    match peer {
        Peer::Local { uid, .. } => format!("uid:{uid}"),
        Peer::Enrolled { key_sha256 } | Peer::EnrolKey { key_sha256 } => format!("key:{key_sha256}"),
    }
}

/// The row of a refused right; other refusals are none of the audit's.
fn row(owner: String, path: &str, status: &Status) -> Option<AuditEvent> {
    if !matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated) {
        return None;
    }
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    let (at, kind, subject) = (now(), AuditKind::CallRefused, path.trim_start_matches("/aria.v1.").replace('/', "."));
    let detail = Detail::default().text("message", status.message());
    Some(AuditEvent { at, kind, owner, invocation: None, subject, reason, detail })
}

/// Methods whose refusals past the door are written with the run or the bundle they are about.
fn writes_its_own(path: &str) -> bool {
    matches!(
        path,
        "/aria.v1.Tools/Invoke"
            | "/aria.v1.Exec/Run"
            | "/aria.v1.Bundles/UploadBundle"
            | "/aria.v1.Bundles/CommitBundle"
    )
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth { layer: self.clone(), inner }
    }
}

/// The service [`AuthLayer`] makes.
#[derive(Clone)]
pub(crate) struct Auth<S> {
    layer: AuthLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Auth<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (audit, path) = (self.layer.audit.clone(), request.uri().path().to_owned());
        let Admitted { share, end, owner } = match self.layer.admit(&mut request) {
            Ok(admitted) => admitted,
            Err(Refused { status, owner }) => {
                return Box::pin(async move {
                    if let Some(row) = row(owner, &path, &status) {
                        audit.refused(row).await;
                    }
                    Ok(status.into_http())
                });
            }
        };
        // The clone left behind has not been polled ready, the one polled goes with the request.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        Box::pin(async move {
            let response = tokio::select! {
                response = inner.call(request) => status::of_response(response?),
                () = end.cancelled() => return Ok(revoked().into_http()),
            };
            if !writes_its_own(&path)
                && let Some(status) = Status::from_header_map(response.headers())
                && let Some(row) = row(owner, &path, &status)
            {
                audit.refused(row).await;
            }
            Ok(response.map(|body| Body::new(Held { rest: Some((body, share)), end: Box::pin(end.cancelled_owned()) })))
        })
    }
}

/// A response body that keeps its place among the served requests until its last byte, or until its caller is nobody any more.
struct Held {
    rest: Option<(Body, Share)>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl http_body::Body for Held {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        let Some((body, _)) = &mut this.rest else { return Poll::Ready(None) };
        if this.end.as_mut().poll(context).is_ready() {
            // With the body goes what fills it: a run is cancelled, a log is not followed any more.
            this.rest = None;
            let mut trailers = http::HeaderMap::new();
            return Poll::Ready(Some(
                revoked().add_header(&mut trailers).map(|()| http_body::Frame::trailers(trailers)),
            ));
        }
        Pin::new(body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.rest.as_ref().map_or_else(http_body::SizeHint::default, |(body, _)| body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls() -> Via {
        Via::Tls { key_sha256: "k".to_owned() }
    }

    #[track_caller]
    fn check(role: Role, via: Via, path: &str, expected: bool) {
        let caller = Caller { subject: "s".to_owned(), role, via };
        assert_eq!(permitted(&caller, path), expected, "{caller:?} {path}");
    }

    #[test]
    fn callers_call_and_read() {
        check(Role::Caller, tls(), "/aria.v1.Tools/Invoke", true);
        check(Role::Caller, tls(), "/aria.v1.Bundles/ListBundles", true);
        check(Role::Caller, tls(), "/aria.v1.Bundles/UploadBundle", false);
        for method in ["CommitBundle", "RemoveBundle", "PinBundle", "RollBackBundle", "DeprecateBundle"] {
            check(Role::Caller, tls(), &format!("/aria.v1.Bundles/{method}"), false);
            check(Role::Operator, tls(), &format!("/aria.v1.Bundles/{method}"), true);
        }
        check(Role::Caller, tls(), "/aria.v1.Exec/Run", false);
    }

    #[test]
    fn operators_say_whose_bundles_are_taken() {
        for path in ["/aria.v1.Trust/ListSigners", "/aria.v1.Trust/TrustSigner", "/aria.v1.Trust/RevokeSigner"] {
            check(Role::Caller, tls(), path, false);
            check(Role::Operator, tls(), path, true);
            check(Role::Admin, Via::Socket, path, true);
        }
    }

    #[test]
    fn operators_change_bundles_and_invite_others() {
        for path in ["/aria.v1.Secrets/SetSecret", "/aria.v1.Secrets/ListSecrets", "/aria.v1.Secrets/RemoveSecret"] {
            check(Role::Caller, tls(), path, false);
            check(Role::Operator, tls(), path, true);
        }
        check(Role::Operator, tls(), "/aria.v1.Bundles/UploadBundle", true);
        check(Role::Operator, tls(), "/aria.v1.Exec/Run", true);
        check(Role::Operator, tls(), "/aria.v1.Node/InviteKey", true);
        check(Role::Caller, tls(), "/aria.v1.Node/InviteKey", false);
    }

    #[test]
    fn the_policy_is_read_by_all_and_changed_by_operators() {
        for path in ["/aria.v1.Policy/ListRules", "/aria.v1.Audit/List", "/aria.v1.Leases/List"] {
            check(Role::Caller, tls(), path, true);
        }
        for path in ["/aria.v1.Policy/AddRule", "/aria.v1.Policy/RemoveRule"] {
            check(Role::Caller, tls(), path, false);
            check(Role::Operator, tls(), path, true);
            check(Role::Admin, Via::Socket, path, true);
        }
    }

    #[test]
    fn a_refused_right_has_a_row_and_a_full_device_has_none() {
        let row = |kind, reason| row("ann".into(), "/aria.v1.Policy/AddRule", &refuse(kind, reason, "why"));
        let denied = row(ErrorKind::Denied, "ROLE").unwrap();
        assert_eq!((denied.subject.as_str(), denied.reason.as_str()), ("Policy.AddRule", "ROLE"));
        assert!(row(ErrorKind::Unauthenticated, "CREDENTIAL_REVOKED").is_some());
        assert!(row(ErrorKind::Exhausted, "QUEUE_FULL").is_none());
        assert!(row(ErrorKind::Invalid, "FIELD_MISSING").is_none());
    }

    #[test]
    fn the_expected_key_may_only_enrol() {
        let via = || Via::EnrolKey { key_sha256: String::new() };
        check(Role::Caller, via(), "/aria.v1.Node/Enroll", true);
        check(Role::Caller, via(), "/aria.v1.Node/GetNode", false);
        check(Role::Caller, via(), "/grpc.health.v1.Health/Check", false);
        check(Role::Caller, via(), "/no.Such/Method", false);
    }
}
