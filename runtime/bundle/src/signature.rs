//! Who vouches for a bundle: DSSE envelopes with Ed25519 signatures over an in-toto statement that names the bundle's digest.
//!
//! Format: <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md> (envelope and pre-authentication encoding),
//! <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md> (statement), RFC 8032 (Ed25519), RFC 8410 (its
//! SubjectPublicKeyInfo). Reading an envelope needs no key; [`judge`] is the one place that decides what it is worth.

use aria_core::{Digest, UnixMs, Verdict};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::digest::of_bytes;
use crate::error::{BundleError, Rule, refuse};
use crate::fields::{Fields, document};
use crate::limits::Limits;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "urn:aria:bundle:v1";
/// Signatures in one envelope; an author and a few reviewers.
const SIGNATURES_MAX: usize = 8;
/// `SubjectPublicKeyInfo` of an Ed25519 key up to the key itself (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const SIGNATURE_BYTES: usize = 64;

/// An author's public key. Its id is the SHA-256 of its DER `SubjectPublicKeyInfo`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PublicKey([u8; 32]);

/// A text is no Ed25519 key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the DER SubjectPublicKeyInfo of an Ed25519 key (44 bytes, RFC 8410)")]
pub struct NotAKey;

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo`.
    pub fn from_spki(der: &[u8]) -> Result<Self, NotAKey> {
        let key = der.strip_prefix(&SPKI_PREFIX).ok_or(NotAKey)?;
        key.try_into().map(Self).map_err(|_| NotAKey)
    }

    /// The DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.0].concat()
    }

    /// SHA-256 of the DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn id(&self) -> Digest {
        of_bytes(&self.spki())
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

/// What one envelope holds, nothing of it checked against a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Envelope {
    /// The pre-authentication encoding: the bytes that were signed.
    message: Vec<u8>,
    signatures: Vec<(Digest, Vec<u8>)>,
}

/// What a statement says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Statement {
    pub(crate) bundle: Digest,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) interface_digest: Digest,
    pub(crate) authority_digest: Digest,
}

/// A device's opinion of one key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// The key.
    pub key: PublicKey,
    /// It is not trusted any more.
    pub revoked: bool,
    /// It is not trusted from here on; `None`: no end.
    pub expires_at: Option<UnixMs>,
}

/// Signatures of a staged bundle, read and known to speak of that bundle; none when nobody signed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Signatures(pub(crate) Option<Envelope>);

/// Judges the signatures of a bundle. Any signature that claims a known key and does not hold makes the whole bundle bad; then
/// the best ones count.
pub fn judge(signatures: &Signatures, now: UnixMs, known: impl Fn(&Digest) -> Option<Standing>) -> Verdict {
    let Some(Envelope { message, signatures }) = &signatures.0 else { return Verdict::None };
    let (mut good, mut other) = (Vec::new(), Verdict::None);
    for (key_id, signature) in signatures {
        let verdict = match known(key_id) {
            None => Verdict::UnknownSigner(*key_id),
            Some(standing) if !standing.key.verifies(message, signature) => return Verdict::Bad(*key_id),
            Some(standing) if standing.revoked => Verdict::Revoked(*key_id),
            Some(standing) if standing.expires_at.is_some_and(|end| end <= now) => Verdict::Expired(*key_id),
            Some(_) => {
                good.push(*key_id);
                continue;
            }
        };
        if rank(&verdict) < rank(&other) {
            other = verdict;
        }
    }
    if good.is_empty() { other } else { Verdict::Good(good) }
}

/// Which of several verdicts that are not good tells most.
fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Bad(_) | Verdict::Good(_) => 0,
        Verdict::Revoked(_) => 1,
        Verdict::Expired(_) => 2,
        Verdict::UnknownSigner(_) => 3,
        Verdict::None => 4,
    }
}

/// Reads one envelope and its statement.
pub(crate) fn envelope(json: &[u8], place: &str, limits: &Limits) -> Result<(Envelope, Statement), BundleError> {
    let mut at = Fields::new(document(json, place, limits)?, place)?;
    let payload_type = at.text("payloadType")?;
    if payload_type != PAYLOAD_TYPE {
        return Err(refuse(Rule::FormatUnsupported, at.place("payloadType"), format!("expected {PAYLOAD_TYPE}")));
    }
    let payload = base64(&mut at, "payload")?;
    let listed = at.array("signatures")?;
    if listed.is_empty() || listed.len() > SIGNATURES_MAX {
        let detail = format!("{} signatures, 1 to {SIGNATURES_MAX} are possible", listed.len());
        return Err(refuse(Rule::SignatureInvalid, at.place("signatures"), detail));
    }
    let inside = at.place("signatures");
    at.end()?;
    let mut signatures: Vec<(Digest, Vec<u8>)> = Vec::with_capacity(listed.len());
    for (number, one) in listed.into_iter().enumerate() {
        let mut one = Fields::new(one, format!("{inside}/{number}"))?;
        let (key_id, signature) = (one.digest("keyid")?, base64(&mut one, "sig")?);
        if signature.len() != SIGNATURE_BYTES {
            return Err(refuse(Rule::SignatureInvalid, one.place("sig"), format!("not {SIGNATURE_BYTES} bytes")));
        }
        if signatures.iter().any(|(other, _)| *other == key_id) {
            return Err(refuse(Rule::SignatureInvalid, one.place("keyid"), "this key signs twice"));
        }
        one.end()?;
        signatures.push((key_id, signature));
    }
    let statement = statement(&payload, &format!("{place}/payload"), limits)?;
    Ok((Envelope { message: pre_authentication_encoding(&payload), signatures }, statement))
}

/// `DSSEv1 SP LEN(type) SP type SP LEN(body) SP body`.
fn pre_authentication_encoding(payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

fn statement(json: &[u8], place: &str, limits: &Limits) -> Result<Statement, BundleError> {
    let mut at = Fields::new(document(json, place, limits)?, place)?;
    for (key, expected) in [("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)] {
        if at.text(key)? != expected {
            return Err(refuse(Rule::FormatUnsupported, at.place(key), format!("expected {expected}")));
        }
    }
    let mut subjects = at.array("subject")?;
    let (Some(subject), true) = (subjects.pop(), subjects.is_empty()) else {
        return Err(refuse(Rule::SignatureInvalid, at.place("subject"), "a signature is about exactly one bundle"));
    };
    let mut subject = Fields::new(subject, at.place("subject/0"))?;
    let full_name = subject.text("name")?;
    let mut digests = subject.object("digest")?;
    let bundle = digests.hex("sha256")?;
    digests.end()?;
    subject.end()?;
    let mut predicate = at.object("predicate")?;
    at.end()?;
    let (name, version) = (predicate.text("name")?, predicate.text("version")?);
    if full_name != format!("{name}@{version}") {
        return Err(refuse(Rule::SignatureInvalid, place, "the subject and the predicate name two bundles"));
    }
    let interface_digest = predicate.digest("interfaceDigest")?;
    let authority_digest = predicate.digest("authorityDigest")?;
    predicate.end()?;
    Ok(Statement { bundle, name, version, interface_digest, authority_digest })
}

/// Standard base64 with padding, in its one canonical form, so that no two texts are the same signature.
fn base64(at: &mut Fields, key: &str) -> Result<Vec<u8>, BundleError> {
    let text = at.text(key)?;
    STANDARD.decode(&text).map_err(|_| refuse(Rule::SignatureInvalid, at.place(key), "not base64"))
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    const NOW: UnixMs = UnixMs(1_000);

    fn pair(seed: u8) -> (Ed25519KeyPair, PublicKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key = PublicKey(pair.public_key().as_ref().try_into().unwrap());
        (pair, key)
    }

    fn signed(seed: u8, message: &[u8]) -> Signatures {
        let (pair, key) = pair(seed);
        let signatures = vec![(key.id(), pair.sign(message).as_ref().to_vec())];
        Signatures(Some(Envelope { message: message.to_vec(), signatures }))
    }

    fn trusting(seed: u8) -> impl Fn(&Digest) -> Option<Standing> {
        let standing = Standing { key: pair(seed).1, revoked: false, expires_at: None };
        move |id| (*id == standing.key.id()).then_some(standing)
    }

    #[test]
    fn a_key_survives_its_der_and_nothing_else_is_a_key() {
        let key = pair(1).1;
        assert_eq!(PublicKey::from_spki(&key.spki()), Ok(key));
        for bad in [&key.spki()[..43], &[key.spki(), vec![0]].concat(), &[0; 44], b""] {
            assert_eq!(PublicKey::from_spki(bad), Err(NotAKey));
        }
    }

    #[test]
    fn each_verdict_is_distinct() {
        let (signatures, id) = (signed(1, b"m"), pair(1).1.id());
        let standing = Standing { key: pair(1).1, revoked: false, expires_at: None };
        assert_eq!(judge(&Signatures::default(), NOW, trusting(1)), Verdict::None);
        assert_eq!(judge(&signatures, NOW, trusting(2)), Verdict::UnknownSigner(id));
        assert_eq!(judge(&signatures, NOW, trusting(1)), Verdict::Good(vec![id]));
        let known = |standing: Standing| move |_: &Digest| Some(standing);
        assert_eq!(judge(&signatures, NOW, known(Standing { revoked: true, ..standing })), Verdict::Revoked(id));
        let ending = |end| known(Standing { expires_at: Some(UnixMs(end)), ..standing });
        assert_eq!(judge(&signatures, NOW, ending(1_000)), Verdict::Expired(id));
        assert_eq!(judge(&signatures, NOW, ending(1_001)), Verdict::Good(vec![id]));
        let mut altered = signatures.clone();
        altered.0.as_mut().unwrap().message[0] ^= 1;
        assert_eq!(judge(&altered, NOW, trusting(1)), Verdict::Bad(id));
        assert_eq!(judge(&altered, NOW, known(Standing { revoked: true, ..standing })), Verdict::Bad(id));
    }

    #[test]
    fn a_bad_signature_is_not_hidden_by_a_good_one() {
        let mut both = signed(1, b"m").0.unwrap();
        let mut bad = signed(2, b"m").0.unwrap().signatures;
        bad[0].1[5] ^= 1;
        both.signatures.append(&mut bad);
        let both = Signatures(Some(both));
        let known = |id: &Digest| trusting(1)(id).or_else(|| trusting(2)(id));
        assert_eq!(judge(&both, NOW, known), Verdict::Bad(pair(2).1.id()));
        assert_eq!(
            judge(&both, NOW, trusting(1)),
            Verdict::Good(vec![pair(1).1.id()]),
            "of an unknown key nobody can tell"
        );
    }

    #[test]
    fn all_good_signers_are_told_and_one_is_enough() {
        let mut both = signed(1, b"m").0.unwrap();
        both.signatures.append(&mut signed(2, b"m").0.unwrap().signatures);
        let both = Signatures(Some(both));
        let known = |revoked: bool| {
            move |id: &Digest| {
                trusting(1)(id).or_else(|| trusting(2)(id).map(|standing| Standing { revoked, ..standing }))
            }
        };
        let (one, two) = (pair(1).1.id(), pair(2).1.id());
        assert_eq!(judge(&both, NOW, known(false)), Verdict::Good(vec![one, two]));
        assert_eq!(judge(&both, NOW, known(true)), Verdict::Good(vec![one]));
    }

    #[test]
    fn the_encoding_is_the_one_of_the_specification() {
        let encoded = pre_authentication_encoding(b"hello world");
        assert_eq!(encoded, b"DSSEv1 28 application/vnd.in-toto+json 11 hello world");
    }
}
