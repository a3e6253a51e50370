//! Who may talk to the device: enrolling, renewing, inviting, revoking, listing.
//!
//! Changes run one at a time, to their end, and ask again whether whoever wants them still may, so that a revocation is not
//! outrun by a renewal that was under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aria_core::{Digest, UnixMs};
use aria_protocol::aria::v1 as pb;
use aria_store::{Credential, Role, Store};
use aria_types::ErrorKind;
use time::OffsetDateTime;
use tonic::Status;

use super::convert::{digest, invalid, rfc3339};
use super::{Device, blocking, now};
use crate::auth::{self, Caller, Via};
use crate::identity::{Csr, IdentityError};
use crate::status::{self, refuse};
use crate::trust::{self, NotTaken};

/// How long an invited key may take when nothing is said, and at most.
const WINDOW_S_DEFAULT: u32 = 3600;
const WINDOW_S_MAX: u32 = 86_400;

/// Enrols or renews a key.
pub(super) async fn enrol(
    device: Arc<Device>,
    caller: Caller,
    request: pb::EnrollRequest,
) -> Result<pb::EnrollResponse, Status> {
    let _alone = device.identities.lock().await;
    let csr = Csr::parse(&request.csr_der).map_err(identity)?;
    let (subject, role) = granted(&device, &caller, &csr, &request)?;
    let at = OffsetDateTime::from(now().to_system());
    let signed = device.identity.sign(&csr, &subject, at).map_err(identity)?;
    let credential = Credential {
        spki: digest(&csr.key_sha256)?,
        subject: subject.clone(),
        role,
        added_at: now(),
        expires_at: UnixMs::from_system(signed.not_after.into()),
        revoked_at: None,
    };
    let once = matches!(caller.via, Via::EnrolKey { .. }).then(|| format!("enrol-key:{}", csr.key_sha256));
    let (store, by) = (device.store.clone(), enroller(&caller, &subject));
    blocking(move || store.enroll(&credential, once.as_deref(), &by).map_err(closed)).await?;
    device.trust.insert(csr.key_sha256.clone(), trust::Credential { subject: subject.clone(), role, revoked: false });
    tracing::info!(%subject, role = role.as_str(), key_sha256 = %csr.key_sha256, not_after = %signed.not_after, "identity enrolled");
    Ok(pb::EnrollResponse {
        certificate_pem: signed.certificate_pem,
        ca_pem: device.identity.ca_pem().to_owned(),
        node_id: device.identity.node_id().to_owned(),
        role: role.as_str().to_owned(),
        listen: device.listen.clone(),
    })
}

/// Ends keys, also what they are being served.
pub(super) async fn revoke(
    device: Arc<Device>,
    caller: Caller,
    request: pb::RevokeRequest,
) -> Result<pb::RevokeResponse, Status> {
    let pb::RevokeRequest { key_sha256, subject } = request;
    if key_sha256.is_empty() == subject.is_empty() {
        return Err(invalid("FIELD_MISSING", "exactly one of key_sha256 and subject is needed"));
    }
    let _alone = device.identities.lock().await;
    still_enrolled(&device, &caller)?;
    let keys = revocable(&caller, device.trust.named(&key_sha256, &subject))?;
    let digests = keys.iter().map(|key| digest(key)).collect::<Result<Vec<Digest>, _>>()?;
    let (store, by) = (device.store.clone(), caller.subject.clone());
    let revoke =
        move || digests.iter().try_for_each(|key| store.revoke(key, &by, now()).map(drop)).map_err(status::store);
    blocking(revoke).await?;
    for key in &keys {
        device.trust.revoke(key);
        tracing::info!(key_sha256 = %key, by = %caller.subject, "identity revoked");
    }
    Ok(pb::RevokeResponse { key_sha256: keys })
}

/// Which of the named keys this caller may end. On an appliance nobody has its socket, so operators end operators.
fn revocable(caller: &Caller, named: Vec<(String, trust::Credential)>) -> Result<Vec<String>, Status> {
    let own = |credential: &trust::Credential| credential.subject == caller.subject;
    // Who only calls is told of nobody else.
    let seen = |credential: &trust::Credential| caller.role != Role::Caller || own(credential);
    let named: Vec<_> = named.into_iter().filter(|(_, credential)| seen(credential)).collect();
    if named.is_empty() {
        return Err(refuse(ErrorKind::NotFound, "CREDENTIAL_UNKNOWN", "no such key was ever enrolled"));
    }
    let may = |credential: &trust::Credential| {
        caller.role == Role::Admin || own(credential) || credential.role != Role::Admin
    };
    if !named.iter().all(|(_, credential)| may(credential)) {
        return Err(refuse(ErrorKind::Denied, "ROLE", "only an administrator revokes an administrator"));
    }
    Ok(named.into_iter().map(|(key, _)| key).collect())
}

/// Oldest first; callers see their own.
pub(super) fn list(store: &Store, caller: &Caller) -> Result<Vec<pb::Credential>, Status> {
    let all = store.credentials().map_err(status::store)?;
    let seen = |credential: &Credential| caller.role != Role::Caller || credential.subject == caller.subject;
    Ok(all.into_iter().filter(seen).map(wire).collect())
}

fn wire(credential: Credential) -> pb::Credential {
    let known = |moment: UnixMs| if moment == UnixMs(0) { String::new() } else { rfc3339(moment) };
    pb::Credential {
        key_sha256: credential.spki.hex(),
        subject: credential.subject,
        role: credential.role.as_str().to_owned(),
        enrolled_at: rfc3339(credential.added_at),
        expires_at: known(credential.expires_at),
        revoked_at: credential.revoked_at.map(rfc3339).unwrap_or_default(),
    }
}

/// Lets a key introduce itself over TCP.
pub(super) fn invite(
    device: &Device,
    caller: &Caller,
    request: &pb::InviteKeyRequest,
) -> Result<pb::InviteKeyResponse, Status> {
    let key = digest(&request.key_sha256)?.hex();
    let role = asked(&request.role)?.unwrap_or(Role::Operator);
    if role == Role::Admin && caller.role != Role::Admin {
        return Err(refuse(ErrorKind::Denied, "ROLE", "only an administrator invites an administrator"));
    }
    let window_s = if request.window_s == 0 { WINDOW_S_DEFAULT } else { request.window_s };
    if window_s > WINDOW_S_MAX {
        return Err(invalid("WINDOW_INVALID", format!("the window is at most {WINDOW_S_MAX} seconds")));
    }
    let at = Instant::now();
    let until = at + Duration::from_secs(window_s.into());
    device.trust.invite(&key, role, until, at).map_err(|why| match why {
        NotTaken::Full => {
            refuse(ErrorKind::Exhausted, "INVITATIONS_FULL", "as many keys as may are invited; try later")
        }
        NotTaken::Revoked => refuse(ErrorKind::Exists, "CREDENTIAL_EXISTS", "the key was revoked; it takes a new one"),
        NotTaken::Known => refuse(ErrorKind::Exists, "CREDENTIAL_EXISTS", "the key is enrolled"),
    })?;
    tracing::info!(key_sha256 = %key, role = role.as_str(), window_s, by = %caller.subject, "key invited");
    Ok(pb::InviteKeyResponse { ca_sha256: device.identity.ca_sha256(), listen: device.listen.clone() })
}

fn asked(role: &str) -> Result<Option<Role>, Status> {
    match role {
        "" => Ok(None),
        text => match auth::role(text) {
            Some(role) => Ok(Some(role)),
            None => Err(invalid("ROLE_UNKNOWN", "the role must be admin, operator or caller")),
        },
    }
}

fn denied(message: &str) -> Status {
    refuse(ErrorKind::Denied, "ENROLMENT_CLOSED", message)
}

/// Over the socket what the administrator asks for; over TCP an expected key as what it was invited, or whoever is enrolled as
/// itself.
fn granted(device: &Device, caller: &Caller, csr: &Csr, request: &pb::EnrollRequest) -> Result<(String, Role), Status> {
    let asked = asked(&request.role)?;
    match &caller.via {
        Via::Socket => Ok((subject(&request.subject)?, asked.unwrap_or(Role::Operator))),
        Via::Tls { .. } => renewed(device, caller, csr, &request.subject, asked),
        Via::EnrolKey { key_sha256 } => {
            let subject = subject(&request.subject)?;
            if *key_sha256 != csr.key_sha256 {
                return Err(denied("the request is for another key than the one the device expects"));
            }
            let expected = device.trust.expects(key_sha256, Instant::now());
            let role = expected.ok_or_else(|| denied("the device does not expect this key any more"))?;
            if asked.is_some_and(|asked| asked != role) {
                return Err(denied(&format!("over TCP this key is enrolled as {}", role.as_str())));
            }
            if device.trust.subject_is_taken(&subject, key_sha256) {
                return Err(refuse(ErrorKind::Exists, "SUBJECT_TAKEN", "another key has this subject"));
            }
            Ok((subject, role))
        }
    }
}

/// Whoever is enrolled gets a new certificate as what it is.
fn renewed(
    device: &Device,
    caller: &Caller,
    csr: &Csr,
    subject: &str,
    asked: Option<Role>,
) -> Result<(String, Role), Status> {
    still_enrolled(device, caller)?;
    if (!subject.is_empty() && subject != caller.subject) || asked.is_some_and(|asked| asked != caller.role) {
        return Err(denied(
            "over TCP an identity renews itself; others are invited, or enrolled over the device's own socket",
        ));
    }
    device.trust.renews(&csr.key_sha256, &caller.subject).map_err(|why| match why {
        NotTaken::Revoked => {
            refuse(ErrorKind::Denied, "CREDENTIAL_REVOKED", "the new key was revoked; make another one")
        }
        NotTaken::Known => denied("the new key is somebody else's"),
        NotTaken::Full => refuse(
            ErrorKind::Exhausted,
            "CREDENTIALS_FULL",
            "the identity has as many keys as may be; revoke one first",
        ),
    })?;
    Ok((caller.subject.clone(), caller.role))
}

fn still_enrolled(device: &Device, caller: &Caller) -> Result<(), Status> {
    match &caller.via {
        Via::Tls { key_sha256 } if device.trust.enrolled(key_sha256).is_none() => Err(auth::revoked()),
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn named(keys: &[(&str, &str, Role)]) -> Vec<(String, trust::Credential)> {
        let one = |(key, subject, role): &(&str, &str, Role)| {
            ((*key).to_owned(), trust::Credential { subject: (*subject).to_owned(), role: *role, revoked: false })
        };
        keys.iter().map(one).collect()
    }

    #[track_caller]
    fn check(role: Role, target: (&str, Role), expected: Result<(), &str>) {
        let caller = Caller { subject: "ann".into(), role, via: Via::Tls { key_sha256: "a".into() } };
        let found = revocable(&caller, named(&[("k", target.0, target.1)]));
        let reason = |status: Status| {
            use tonic_types::StatusExt;
            status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
        };
        assert_eq!(found.map(drop).map_err(reason), expected.map_err(ToOwned::to_owned));
    }

    #[test]
    fn everybody_ends_their_own_and_nobody_those_above() {
        check(Role::Caller, ("ann", Role::Caller), Ok(()));
        check(Role::Caller, ("bob", Role::Caller), Err("CREDENTIAL_UNKNOWN"));
        check(Role::Operator, ("bob", Role::Caller), Ok(()));
        check(Role::Operator, ("bob", Role::Operator), Ok(()));
        check(Role::Operator, ("bob", Role::Admin), Err("ROLE"));
        check(Role::Admin, ("bob", Role::Admin), Ok(()));
    }
}
