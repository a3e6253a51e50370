//! Who the device is: its node id, its certificate authority, and the certificates that authority signs.
//!
//! One file, `identity/ca.pem`, holds the authority's key and certificate, so that a power cut leaves both or none. Server keys are
//! made in memory and never stored: clients pin the authority, not the server. Keys are ECDSA P-256, which every TLS stack can do.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

/// How long the authority lives: longer than the board it is made on.
const CA_DAYS: i64 = 365 * 25;
/// How long a server certificate lives; a running daemon replaces it after two thirds of that.
const SERVER_DAYS: i64 = 90;
/// How long an enrolled certificate lives; revocation does not wait for it.
const CLIENT_DAYS: i64 = 365;
/// Certificates begin this long ago, for clients whose clock is behind.
const BACKDATE: Duration = Duration::hours(24);

/// Why the identity cannot be loaded, made or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// A file of it.
    #[error("{doing} {path:?}")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The stored authority is not one.
    #[error("{path:?} holds no certificate authority: {message}")]
    Damaged { path: PathBuf, message: String },
    /// Making a certificate.
    #[error("make the {what} certificate: {message}")]
    Certificate { what: &'static str, message: String },
    /// What a client asked us to sign is no good.
    #[error("the signing request is not a valid PKCS #10 for an ECDSA P-256 key: {message}")]
    Csr { message: String },
}

/// The loaded identity.
pub(crate) struct Identity {
    node_id: String,
    names: Vec<String>,
    ca_der: CertificateDer<'static>,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A freshly signed client certificate.
pub(crate) struct Signed {
    pub(crate) certificate_pem: String,
    pub(crate) not_after: OffsetDateTime,
}

/// A signing request whose self-signature holds.
pub(crate) struct Csr {
    params: CertificateSigningRequestParams,
    /// Lower-case hex SHA-256 of the SubjectPublicKeyInfo.
    pub(crate) key_sha256: String,
}

impl Identity {
    /// Loads `<data_dir>/identity`, or makes it on the first start.
    pub(crate) fn open(
        data_dir: &Path,
        id: Option<&str>,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<Self, IdentityError> {
        let dir = data_dir.join("identity");
        make_private_dir(&dir)?;
        let node_id = match id {
            Some(id) => id.to_owned(),
            None => remembered_id(&dir.join("node_id"))?,
        };
        let path = dir.join("ca.pem");
        if !path.try_exists().map_err(file("look for", &path))? {
            write_private(&path, new_authority(&node_id, now)?.as_bytes())?;
        }
        let text = fs::read(&path).map_err(file("read", &path))?;
        let damaged = |message: String| IdentityError::Damaged { path: path.clone(), message };
        let ca_der = CertificateDer::from_pem_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|error| damaged(error.to_string()))?;
        if spki_sha256(&ca_der).as_deref() != Some(&key_sha256(&key)) {
            return Err(damaged("the key is not the certificate's".to_owned()));
        }
        let ca_pem = pem_of(&ca_der);
        let issuer = Issuer::from_ca_cert_der(&ca_der, key).map_err(|error| damaged(error.to_string()))?;
        Ok(Self { node_id, names: names.to_vec(), ca_der, ca_pem, issuer })
    }

    /// The device's name.
    pub(crate) fn node_id(&self) -> &str {
        &self.node_id
    }

    /// The authority's certificate.
    pub(crate) fn ca_der(&self) -> &CertificateDer<'static> {
        &self.ca_der
    }

    /// The authority's certificate for people and files.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// What a client compares: lower-case hex SHA-256 of the authority's certificate (DER).
    pub(crate) fn ca_sha256(&self) -> String {
        hex(&Sha256::digest(&self.ca_der))
    }

    /// Whether a server certificate made at `issued` should make way for a new one: it is old, or the clock was set meanwhile.
    pub(crate) fn server_is_due(issued: OffsetDateTime, now: OffsetDateTime) -> bool {
        now < issued - BACKDATE / 2 || now > issued + Duration::days(SERVER_DAYS * 2 / 3)
    }

    /// A new server key and certificate, with the chain clients need.
    pub(crate) fn server(&self, now: OffsetDateTime) -> Result<Arc<CertifiedKey>, IdentityError> {
        let failed = |message: String| IdentityError::Certificate { what: "server", message };
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| failed(error.to_string()))?;
        let mut params = leaf(&self.node_id, now, SERVER_DAYS, ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names = self.server_names().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|error| failed(error.to_string()))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = rustls::crypto::ring::sign::any_ecdsa_type(&key).map_err(|error| failed(error.to_string()))?;
        Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone(), self.ca_der.clone()], key)))
    }

    fn server_names(&self) -> Result<Vec<SanType>, String> {
        let fixed = [self.node_id.as_str(), "localhost", "127.0.0.1", "::1"];
        let all = fixed.into_iter().chain(self.names.iter().map(String::as_str));
        all.map(|name| match name.parse::<IpAddr>() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) => name
                .try_into()
                .map(SanType::DnsName)
                .map_err(|error| format!("{name:?} cannot be a name of the server: {error}")),
        })
        .collect()
    }

    /// Signs the key of a request for client authentication. Everything else the request asks for is ignored.
    pub(crate) fn sign(&self, csr: &Csr, subject: &str, now: OffsetDateTime) -> Result<Signed, IdentityError> {
        let params = leaf(subject, now, CLIENT_DAYS, ExtendedKeyUsagePurpose::ClientAuth);
        let not_after = params.not_after;
        let certificate = params
            .signed_by(&csr.params.public_key, &self.issuer)
            .map_err(|error| IdentityError::Certificate { what: "client", message: error.to_string() })?;
        Ok(Signed { certificate_pem: pem_of(certificate.der()), not_after })
    }
}

impl Csr {
    /// Checks form, size, key type and self-signature.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, IdentityError> {
        // A P-256 request is about 250 bytes; the bound keeps parsing trivial.
        if der.is_empty() || der.len() > 4096 {
            return Err(IdentityError::Csr { message: "it must be 1 to 4096 bytes of DER".to_owned() });
        }
        let params = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
            .map_err(|error| IdentityError::Csr { message: error.to_string() })?;
        if params.public_key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(IdentityError::Csr { message: "the key is of another kind".to_owned() });
        }
        let key_sha256 = hex(&Sha256::digest(params.public_key.subject_public_key_info()));
        Ok(Self { params, key_sha256 })
    }
}

/// Lower-case hex SHA-256 of a certificate's SubjectPublicKeyInfo; `None` when it is not a certificate.
pub(crate) fn spki_sha256(certificate: &[u8]) -> Option<String> {
    let (rest, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    rest.is_empty().then(|| hex(&Sha256::digest(parsed.public_key().raw)))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        text
    })
}

fn key_sha256(key: &KeyPair) -> String {
    hex(&Sha256::digest(key.subject_public_key_info()))
}

fn leaf(name: &str, now: OffsetDateTime, days: i64, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATE;
    params.not_after = now + Duration::days(days);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn new_authority(node_id: &str, now: OffsetDateTime) -> Result<String, IdentityError> {
    let failed = |error: rcgen::Error| IdentityError::Certificate { what: "authority", message: error.to_string() };
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATE;
    params.not_after = now + Duration::days(CA_DAYS);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{node_id} device CA"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(format!("{}{}", pem_of(certificate.der()), key.serialize_pem()))
}

fn pem_of(certificate: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, symbol) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(symbol);
    }
    text + "\n-----END CERTIFICATE-----\n"
}

fn remembered_id(path: &Path) -> Result<String, IdentityError> {
    match fs::read_to_string(path) {
        Ok(id) => Ok(id.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut random = [0_u8; 4];
            getrandom::fill(&mut random).map_err(|error| file("make up", path)(io::Error::other(error)))?;
            let id = format!("aria-{}", hex(&random));
            write_private(path, id.as_bytes())?;
            Ok(id)
        }
        Err(error) => Err(file("read", path)(error)),
    }
}

fn make_private_dir(dir: &Path) -> Result<(), IdentityError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(file("make", dir))?;
    // Or a power cut takes the directory with the authority that clients already trust.
    let parent = dir.parent().unwrap_or(dir);
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(file("flush", parent))
}

/// Whole or not at all, also across a power cut.
fn write_private(path: &Path, content: &[u8]) -> Result<(), IdentityError> {
    let draft = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        out.write_all(content)?;
        out.sync_all()?;
        fs::rename(&draft, path)?;
        path.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
    };
    write().map_err(file("write", path))
}

fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_start_is_the_same_device() {
        let dir = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        let first = Identity::open(dir.path(), None, &[], now).unwrap();
        let second = Identity::open(dir.path(), None, &[], now).unwrap();
        assert_eq!(first.node_id(), second.node_id());
        assert_eq!(first.ca_sha256(), second.ca_sha256());
        second.server(now).unwrap();
    }

    #[test]
    fn a_server_certificate_is_replaced_in_time_and_when_the_clock_was_wrong() {
        let issued = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        assert!(!Identity::server_is_due(issued, issued + Duration::days(59)));
        assert!(Identity::server_is_due(issued, issued + Duration::days(61)));
        assert!(Identity::server_is_due(issued, issued - Duration::days(1)));
    }

    #[test]
    fn a_damaged_authority_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        Identity::open(dir.path(), None, &[], now).unwrap();
        let path = dir.path().join("identity/ca.pem");
        fs::write(&path, "nothing").unwrap();
        assert!(matches!(Identity::open(dir.path(), None, &[], now), Err(IdentityError::Damaged { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"nothing");
    }

    #[test]
    fn a_request_signed_by_another_key_is_refused() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        assert!(Csr::parse(csr.der()).is_ok());
        let mut bent = csr.der().to_vec();
        let last = bent.len() - 1;
        bent[last] ^= 1;
        assert!(Csr::parse(&bent).is_err());
        assert!(Csr::parse(&[]).is_err());
        assert!(Csr::parse(&[0x30; 5000]).is_err());
    }
}
