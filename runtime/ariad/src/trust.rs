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
    door: Option<Door>,
}

/// The way in for one key, once.
#[derive(Debug)]
struct Door {
    key_sha256: String,
    open_until: Instant,
}

impl Trust {
    /// `door` is the expected key and when the device stops expecting it; a key that was ever enrolled is no longer expected.
    pub(crate) fn new(known: HashMap<String, Credential>, door: Option<(String, Instant)>) -> Self {
        let door = door
            .filter(|(key, _)| !known.contains_key(key))
            .map(|(key_sha256, open_until)| Door { key_sha256, open_until });
        Self { state: Mutex::new(State { known, ends: HashMap::new(), door }) }
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

    /// May this key introduce itself now?
    pub(crate) fn expects(&self, key_sha256: &str, now: Instant) -> bool {
        let state = self.state();
        state.door.as_ref().is_some_and(|door| door.key_sha256 == key_sha256 && now < door.open_until)
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
        if state.door.as_ref().is_some_and(|door| door.key_sha256 == key_sha256) {
            state.door = None;
        }
        state.known.insert(key_sha256, credential);
    }

    /// The live keys a revocation names: one key, or all of a subject.
    pub(crate) fn named(&self, key_sha256: &str, subject: &str) -> Vec<String> {
        let state = self.state();
        let matches = |key: &str, credential: &Credential| {
            if key_sha256.is_empty() { credential.subject == subject } else { key == key_sha256 }
        };
        state.known.iter().filter(|(key, credential)| matches(key, credential)).map(|(key, _)| key.clone()).collect()
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
            Err(_) if self.trust.expects(&key, Instant::now()) => Ok(ClientCertVerified::assertion()),
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
        assert!(trust.expects("k", now));
        assert!(!trust.expects("other", now));
        assert!(!trust.expects("k", until));
        trust.insert("k".to_owned(), credential(false));
        assert!(!trust.expects("k", now));
        assert!(trust.enrolled("k").is_some());
    }

    #[test]
    fn a_restart_does_not_open_the_door_again() {
        let now = Instant::now();
        for revoked in [false, true] {
            let known = HashMap::from([("k".to_owned(), credential(revoked))]);
            let trust = Trust::new(known, Some(("k".to_owned(), now + Duration::from_secs(10))));
            assert!(!trust.expects("k", now));
        }
    }

    #[test]
    fn revocation_is_at_once() {
        let trust = Trust::new(HashMap::from([("k".to_owned(), credential(false))]), None);
        assert_eq!(trust.named("", "ann"), ["k"]);
        let (_, end) = trust.serve("k").unwrap();
        assert!(!end.is_cancelled());
        trust.revoke("k");
        assert!(end.is_cancelled() && trust.serve("k").is_none());
        assert!(trust.enrolled("k").is_none());
        assert!(!trust.subject_is_taken("ann", "other"));
    }
}
