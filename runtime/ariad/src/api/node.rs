//! `aria.v1.Node`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aria_core::{Digest, InvocationId};
use aria_protocol::aria::v1 as pb;
use aria_store::{Credential, LogPage, LogQuery, LogSource, Role, StoredLog};
use aria_types::ErrorKind;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::{digest, invalid, moment, printable, rfc3339};
use super::{Device, blocking, now};
use crate::auth::{Caller, Via, role};
use crate::identity::{Csr, IdentityError};
use crate::status::{self, refuse};
use crate::trust;

/// The only protocol there is yet.
const PROTOCOL: u32 = 1;
/// How long the engine may take to describe itself before it counts as down.
const ENGINE_TIME: Duration = Duration::from_secs(2);
/// Log lines when the caller does not say, and at most.
const TAIL_DEFAULT: usize = 1000;
const TAIL_MAX: usize = 10_000;
/// How long a reader of logs may leave a line unread.
const UNREAD_MAX: Duration = Duration::from_secs(60);

pub(super) struct Node(pub(super) Arc<Device>);

type LogStream = Pin<Box<dyn Stream<Item = Result<pb::StreamLogsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl pb::node_server::Node for Node {
    type StreamLogsStream = LogStream;

    async fn get_node(&self, request: Request<pb::GetNodeRequest>) -> Result<Response<pb::GetNodeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let device = &self.0;
        let engine = tokio::time::timeout(ENGINE_TIME, device.handle.engine_status()).await.ok().and_then(Result::ok);
        Ok(Response::new(pb::GetNodeResponse {
            node_id: device.identity.node_id().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            time: rfc3339(now()),
            arch: std::env::consts::ARCH.to_owned(),
            subject: caller.subject,
            role: caller.role.as_str().to_owned(),
            quilt_up: engine.is_some(),
            sandbox_layers: engine.map(|engine| engine.layers).unwrap_or_default(),
            uptime_ms: u64::try_from(device.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            exec_enabled: device.exec,
        }))
    }

    async fn enroll(&self, request: Request<pb::EnrollRequest>) -> Result<Response<pb::EnrollResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let device = &self.0;
        let csr = Csr::parse(&request.csr_der).map_err(identity)?;
        let subject = subject(&request.subject)?;
        let role = granted_role(device, &caller, &csr, &subject, &request.role)?;
        let at = OffsetDateTime::from(now().to_system());
        let signed = device.identity.sign(&csr, &subject, at).map_err(identity)?;
        let credential = Credential {
            spki: digest(&csr.key_sha256)?,
            subject: subject.clone(),
            role,
            added_at: now(),
            revoked_at: None,
        };
        let once = matches!(caller.via, Via::EnrolKey { .. }).then(|| format!("enrol-key:{}", csr.key_sha256));
        let (store, by) = (device.store.clone(), enroller(&caller, &subject));
        blocking(move || store.enroll(&credential, once.as_deref(), &by).map_err(closed)).await?;
        device
            .trust
            .insert(csr.key_sha256.clone(), trust::Credential { subject: subject.clone(), role, revoked: false });
        tracing::info!(%subject, role = role.as_str(), key_sha256 = %csr.key_sha256, not_after = %signed.not_after, "identity enrolled");
        Ok(Response::new(pb::EnrollResponse {
            certificate_pem: signed.certificate_pem,
            ca_pem: device.identity.ca_pem().to_owned(),
            node_id: device.identity.node_id().to_owned(),
            role: role.as_str().to_owned(),
            listen: device.listen.clone(),
        }))
    }

    async fn revoke(&self, request: Request<pb::RevokeRequest>) -> Result<Response<pb::RevokeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let pb::RevokeRequest { key_sha256, subject } = request.into_inner();
        if key_sha256.is_empty() == subject.is_empty() {
            return Err(invalid("FIELD_MISSING", "exactly one of key_sha256 and subject is needed"));
        }
        let keys = self.0.trust.named(&key_sha256, &subject);
        if keys.is_empty() {
            return Err(refuse(ErrorKind::NotFound, "CREDENTIAL_UNKNOWN", "no such key was ever enrolled"));
        }
        let digests = keys.iter().map(|key| digest(key)).collect::<Result<Vec<Digest>, _>>()?;
        let (store, by) = (self.0.store.clone(), caller.subject.clone());
        let revoke =
            move || digests.iter().try_for_each(|key| store.revoke(key, &by, now()).map(drop)).map_err(status::store);
        blocking(revoke).await?;
        for key in &keys {
            self.0.trust.revoke(key);
            tracing::info!(key_sha256 = %key, by = %caller.subject, "identity revoked");
        }
        Ok(Response::new(pb::RevokeResponse { key_sha256: keys }))
    }

    async fn stream_logs(&self, request: Request<pb::StreamLogsRequest>) -> Result<Response<LogStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let query = log_query(&caller, &request)?;
        // A few lines under way beside one page; a slow reader slows only itself.
        let (sender, receiver) = mpsc::channel(4);
        // Ends with its reader, with the daemon, or when everything is told.
        tokio::spawn(send_logs(Arc::clone(&self.0), query, request.follow, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Over the socket what the administrator asks for; over TCP only the expected key, only in time, only as operator.
fn granted_role(device: &Device, caller: &Caller, csr: &Csr, subject: &str, asked: &str) -> Result<Role, Status> {
    let closed = |message: &str| Err(refuse(ErrorKind::Denied, "ENROLMENT_CLOSED", message));
    let asked = match asked {
        "" => Role::Operator,
        text => role(text).ok_or_else(|| invalid("ROLE_UNKNOWN", "the role must be admin, operator or caller"))?,
    };
    match &caller.via {
        Via::Socket => Ok(asked),
        Via::Tls => closed("identities are enrolled over the device's own socket"),
        Via::EnrolKey { key_sha256 } if *key_sha256 != csr.key_sha256 => {
            closed("the request is for another key than the one the device expects")
        }
        Via::EnrolKey { key_sha256 } if !device.trust.expects(key_sha256, Instant::now()) => {
            closed("the device does not expect this key any more")
        }
        Via::EnrolKey { .. } if asked != Role::Operator => closed("over TCP a key is enrolled as operator"),
        Via::EnrolKey { key_sha256 } if device.trust.subject_is_taken(subject, key_sha256) => {
            Err(refuse(ErrorKind::Exists, "SUBJECT_TAKEN", "another key has this subject"))
        }
        Via::EnrolKey { .. } => Ok(Role::Operator),
    }
}

/// Who enrols a key: a key the device was told to expect speaks for itself.
fn enroller(caller: &Caller, subject: &str) -> String {
    if caller.subject.is_empty() { subject.to_owned() } else { caller.subject.clone() }
}

fn subject(text: &str) -> Result<String, Status> {
    let allowed = |symbol: char| symbol.is_ascii_alphanumeric() || "._-@".contains(symbol);
    let good = (1..=63).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(allowed);
    if good {
        return Ok(text.to_owned());
    }
    Err(invalid(
        "SUBJECT_SYNTAX",
        "the subject must be letters, digits, . _ - @, 1 to 63 bytes, beginning with a letter or digit",
    ))
}

fn identity(error: IdentityError) -> Status {
    match error {
        IdentityError::Csr { .. } => invalid("CSR_INVALID", error.to_string()),
        error => status::internal("sign a certificate", &error),
    }
}

fn closed(error: aria_store::StoreError) -> Status {
    match error {
        aria_store::StoreError::AlreadyUsed(_) => {
            refuse(ErrorKind::Denied, "ENROLMENT_CLOSED", "the device does not expect this key any more")
        }
        error => status::store(error),
    }
}

/// Administrators see every owner's logs, others their own.
fn log_query(caller: &Caller, request: &pb::StreamLogsRequest) -> Result<LogQuery, Status> {
    let invocation = match request.invocation_id.as_str() {
        "" => None,
        text => Some(InvocationId::parse(text).map_err(|error| invalid("INVOCATION_SYNTAX", error.to_string()))?),
    };
    let since = match request.since.as_str() {
        "" => None,
        text => Some(moment(text)?),
    };
    let tail = usize::try_from(request.tail).unwrap_or(TAIL_MAX).min(TAIL_MAX);
    Ok(LogQuery {
        invocation,
        tool: (!request.tool.is_empty()).then(|| request.tool.clone()),
        owner: (caller.role != Role::Admin).then(|| caller.subject.clone()),
        since,
        after: None,
        limit: if tail == 0 { TAIL_DEFAULT } else { tail },
    })
}

async fn send_logs(
    device: Arc<Device>,
    mut query: LogQuery,
    follow: bool,
    sender: mpsc::Sender<Result<pb::StreamLogsResponse, Status>>,
) {
    // Subscribed before the first look, so that nothing falls between the look and the wait.
    let mut written = device.handle.written();
    loop {
        written.borrow_and_update();
        let (store, asked) = (device.store.clone(), query.clone());
        let found = blocking(move || store.logs(&asked).map_err(status::store)).await;
        let (page, failed) = match found {
            Ok(page) => (page, None),
            Err(error) => (LogPage { lines: Vec::new(), next: 0, more: false }, Some(error)),
        };
        query.after = Some(page.next);
        query.limit = if follow { TAIL_MAX } else { query.limit - page.lines.len().min(query.limit) };
        let ends = failed.is_some() || (!follow && (!page.more || query.limit == 0));
        for answer in page.lines.into_iter().map(|line| Ok(wire(line))).chain(failed.map(Err)) {
            match tokio::time::timeout(UNREAD_MAX, sender.send(answer)).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
        if ends {
            return;
        }
        if page.more {
            continue;
        }
        tokio::select! {
            changed = written.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
            () = device.stop.cancelled() => return,
        }
    }
}

fn wire(line: StoredLog) -> pb::StreamLogsResponse {
    let source = match line.entry.source {
        LogSource::Stdout => "stdout",
        LogSource::Stderr => "stderr",
        LogSource::Log => "log",
        LogSource::Event => "event",
    };
    pb::StreamLogsResponse {
        time: rfc3339(line.entry.time),
        invocation_id: line.invocation.to_string(),
        tool: line.tool,
        source: source.to_owned(),
        level: line.entry.level,
        text: printable(&line.entry.text),
    }
}
