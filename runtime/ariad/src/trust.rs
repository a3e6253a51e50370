//! Which keys the device knows: enrolled ones, revoked ones, and the one that may introduce itself.
//!
//! A copy of the store's credentials in memory, because every handshake and every request asks. Changes are written to the store
//! first, so this never says yes to what a restart would forget.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aria_store::Role;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use tokio_util::sync::CancellationToken;

use crate::identity::spki_sha256;

/// What an enrolled key stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Credential {
    pub(crate) subject: String,
    pub(crate) role: Role,
    pub(crate) revoked: bool,
}

/// The keys, by lower-case hex SHA-256 of their SubjectPublicKeyInfo.
#[derive(Debug)]
pub(crate) struct Trust {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    known: HashMap<String, Credential>,
    /// Of live keys that are served: cancelled when the key is revoked.
    ends: HashMap<String, CancellationToken>,
    /// At most [`DOORS_MAX`].
    doors: Vec<Door>,
}

/// Keys that may introduce themselves at a time.
const DOORS_MAX: usize = 16;
/// Live keys of one subject: some machines, and one that is being replaced.
const SUBJECT_KEYS_MAX: usize = 8;

/// The way in for one key, once.
#[derive(Debug)]
struct Door {
    key_sha256: String,
    role: Role,
    open_until: Instant,
}

/// Why a key is not invited or not taken for a renewal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotTaken {
    /// It is enrolled, as somebody else or as whoever is asked about.
    Known,
    /// It was revoked.
    Revoked,
    /// As many as may be.
    Full,
}

impl Trust {
    /// `door` is the expected key and when the device stops expecting it; a key that was ever enrolled is no longer expected.
    pub(crate) fn new(known: HashMap<String, Credential>, door: Option<(String, Instant)>) -> Self {
        let door = door.filter(|(key, _)| !known.contains_key(key));
        let doors = door.map(|(key_sha256, open_until)| Door { key_sha256, role: Role::Operator, open_until });
        let doors = doors.into_iter().collect();
        Self { state: Mutex::new(State { known, ends: HashMap::new(), doors }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is one insertion, so a panic elsewhere cannot leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The live credential of a key.
    pub(crate) fn enrolled(&self, key_sha256: &str) -> Option<Credential> {
        self.state().known.get(key_sha256).filter(|credential| !credential.revoked).cloned()
    }

    /// The same for a request, with what tells it that the key was revoked while it was served.
    pub(crate) fn serve(&self, key_sha256: &str) -> Option<(Credential, CancellationToken)> {
        let mut state = self.state();
        let credential = state.known.get(key_sha256).filter(|credential| !credential.revoked).cloned()?;
        let end = state.ends.entry(key_sha256.to_owned()).or_default().clone();
        Some((credential, end))
    }

    /// May this key introduce itself now, and as what?
    pub(crate) fn expects(&self, key_sha256: &str, now: Instant) -> Option<Role> {
        let state = self.state();
        state.doors.iter().find(|door| door.key_sha256 == key_sha256 && now < door.open_until).map(|door| door.role)
    }

    /// Lets a key introduce itself, once, until then. A key that was ever enrolled is not let in this way.
    pub(crate) fn invite(&self, key: &str, role: Role, open_until: Instant, now: Instant) -> Result<(), NotTaken> {
        let mut state = self.state();
        match state.known.get(key) {
            Some(credential) if credential.revoked => return Err(NotTaken::Revoked),
            Some(_) => return Err(NotTaken::Known),
            None => {}
        }
        state.doors.retain(|door| door.key_sha256 != key && now < door.open_until);
        if state.doors.len() >= DOORS_MAX {
            return Err(NotTaken::Full);
        }
        state.doors.push(Door { key_sha256: key.to_owned(), role, open_until });
        Ok(())
    }

    /// May this key become one more of the subject, or stay one?
    pub(crate) fn renews(&self, key_sha256: &str, subject: &str) -> Result<(), NotTaken> {
        let state = self.state();
        let live = || state.known.values().filter(|one| one.subject == subject && !one.revoked).count();
        match state.known.get(key_sha256) {
            Some(credential) if credential.revoked => Err(NotTaken::Revoked),
            Some(credential) if credential.subject != subject => Err(NotTaken::Known),
            None if live() >= SUBJECT_KEYS_MAX => Err(NotTaken::Full),
            _ => Ok(()),
        }
    }

    /// Does a live key other than this one belong to the subject?
    pub(crate) fn subject_is_taken(&self, subject: &str, key_sha256: &str) -> bool {
        self.state()
            .known
            .iter()
            .any(|(key, credential)| credential.subject == subject && key != key_sha256 && !credential.revoked)
    }

    /// Remembers an enrolled key and closes the door if it was the one expected.
    pub(crate) fn insert(&self, key_sha256: String, credential: Credential) {
        let mut state = self.state();
        state.doors.retain(|door| door.key_sha256 != key_sha256);
        state.known.insert(key_sha256, credential);
    }

    /// The keys a revocation names, revoked ones too: one key, or all of a subject.
    pub(crate) fn named(&self, key_sha256: &str, subject: &str) -> Vec<(String, Credential)> {
        let state = self.state();
        let matches = |key: &str, credential: &Credential| {
            if key_sha256.is_empty() { credential.subject == subject } else { key == key_sha256 }
        };
        let named = state.known.iter().filter(|(key, credential)| matches(key, credential));
        named.map(|(key, credential)| (key.clone(), credential.clone())).collect()
    }

    /// Ends a key and everything it is being served.
    pub(crate) fn revoke(&self, key_sha256: &str) {
        let mut state = self.state();
        if let Some(credential) = state.known.get_mut(key_sha256) {
            credential.revoked = true;
        }
        let end = state.ends.remove(key_sha256);
        drop(state);
        if let Some(end) = end {
            end.cancel();
        }
    }

    fn is_revoked(&self, key_sha256: &str) -> bool {
        self.state().known.get(key_sha256).is_some_and(|credential| credential.revoked)
    }
}

/// Decides in the handshake: a leaf of our authority whose key is enrolled, or the expected key. Nothing else gets past TLS.
#[derive(Debug)]
pub(crate) struct Verifier {
    chain: Arc<dyn ClientCertVerifier>,
    trust: Arc<Trust>,
}

impl Verifier {
    /// For one authority.
    pub(crate) fn new(ca: &CertificateDer<'static>, trust: Arc<Trust>) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(Self { chain, trust })
    }
}

impl ClientCertVerifier for Verifier {
    // No hints: a client that was never enrolled must still show its key to be told so, and the expected key is self-signed.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let key = spki_sha256(end_entity).ok_or(CertificateError::BadEncoding)?;
        match self.chain.verify_client_cert(end_entity, intermediates, now) {
            Ok(verified) if self.trust.enrolled(&key).is_some() => Ok(verified),
            Ok(_) if self.trust.is_revoked(&key) => Err(CertificateError::Revoked.into()),
            Ok(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
            // What counts is the key, which the client proves to hold later in this handshake; its certificate is only the envelope.
            Err(_) if self.trust.expects(&key, Instant::now()).is_some() => Ok(ClientCertVerified::assertion()),
            Err(error) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn credential(revoked: bool) -> Credential {
        Credential { subject: "ann".to_owned(), role: Role::Operator, revoked }
    }

    #[test]
    fn the_door_is_for_one_key_once_and_for_a_while() {
        let now = Instant::now();
        let until = now + Duration::from_secs(10);
        let trust = Trust::new(HashMap::new(), Some(("k".to_owned(), until)));
        assert_eq!(trust.expects("k", now), Some(Role::Operator));
        assert_eq!(trust.expects("other", now), None);
        assert_eq!(trust.expects("k", until), None);
        trust.insert("k".to_owned(), credential(false));
        assert_eq!(trust.expects("k", now), None);
        assert!(trust.enrolled("k").is_some());
    }

    #[test]
    fn a_restart_does_not_open_the_door_again() {
        let now = Instant::now();
        for revoked in [false, true] {
            let known = HashMap::from([("k".to_owned(), credential(revoked))]);
            let trust = Trust::new(known, Some(("k".to_owned(), now + Duration::from_secs(10))));
            assert_eq!(trust.expects("k", now), None);
        }
    }

    #[test]
    fn an_invited_key_comes_in_as_what_it_was_invited_and_once() {
        let now = Instant::now();
        let until = now + Duration::from_secs(10);
        let known = HashMap::from([("k".to_owned(), credential(false)), ("gone".to_owned(), credential(true))]);
        let trust = Trust::new(known, None);
        assert_eq!(trust.invite("k", Role::Caller, until, now), Err(NotTaken::Known));
        assert_eq!(trust.invite("gone", Role::Caller, until, now), Err(NotTaken::Revoked));
        assert_eq!(trust.invite("new", Role::Caller, until, now), Ok(()));
        assert_eq!((trust.expects("new", now), trust.expects("new", until)), (Some(Role::Caller), None));
        trust.insert("new".to_owned(), credential(false));
        assert_eq!(trust.expects("new", now), None);
        for n in 0..DOORS_MAX {
            assert_eq!(trust.invite(&n.to_string(), Role::Caller, until, now), Ok(()));
        }
        assert_eq!(trust.invite("more", Role::Caller, until, now), Err(NotTaken::Full));
        assert_eq!(trust.invite("0", Role::Operator, until, now), Ok(()), "the same again is no more");
        assert_eq!(
            trust.invite("late", Role::Caller, until + Duration::from_secs(1), until),
            Ok(()),
            "old ones are forgotten"
        );
    }

    #[test]
    fn a_subject_renews_with_its_own_keys_and_a_bounded_number_of_new_ones() {
        let known = HashMap::from([("k".to_owned(), credential(false)), ("gone".to_owned(), credential(true))]);
        let trust = Trust::new(known, None);
        assert_eq!(trust.renews("k", "ann"), Ok(()));
        assert_eq!(trust.renews("k", "bob"), Err(NotTaken::Known));
        assert_eq!(trust.renews("gone", "ann"), Err(NotTaken::Revoked));
        for n in 1..SUBJECT_KEYS_MAX {
            assert_eq!(trust.renews(&n.to_string(), "ann"), Ok(()));
            trust.insert(n.to_string(), credential(false));
        }
        assert_eq!(trust.renews("more", "ann"), Err(NotTaken::Full));
        assert_eq!(trust.renews("k", "ann"), Ok(()));
    }

    #[test]
    fn revocation_is_at_once() {
        let trust = Trust::new(HashMap::from([("k".to_owned(), credential(false))]), None);
        assert_eq!(trust.named("", "ann"), [("k".to_owned(), credential(false))]);
        let (_, end) = trust.serve("k").unwrap();
        assert!(!end.is_cancelled());
        trust.revoke("k");
        assert!(end.is_cancelled() && trust.serve("k").is_none());
        assert!(trust.enrolled("k").is_none());
        assert!(!trust.subject_is_taken("ann", "other"));
    }
}
