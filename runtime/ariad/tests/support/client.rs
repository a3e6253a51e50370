//! Clients of the device API: over the Unix socket, and over mutual TLS with keys made here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aria_protocol::aria::v1 as pb;
use hyper_util::rt::TokioIo;
use pb::blobs_client::BlobsClient;
use pb::bundles_client::BundlesClient;
use pb::exec_client::ExecClient;
use pb::node_client::NodeClient;
use pb::tools_client::ToolsClient;
use pb::trust_client::TrustClient;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, PublicKeyData};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::aria_file;

/// One connection and all services on it.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) channel: Channel,
    pub(crate) node: NodeClient<Channel>,
    pub(crate) bundles: BundlesClient<Channel>,
    pub(crate) blobs: BlobsClient<Channel>,
    pub(crate) tools: ToolsClient<Channel>,
    pub(crate) exec: ExecClient<Channel>,
    pub(crate) trust: TrustClient<Channel>,
}

impl Client {
    pub(crate) fn on(channel: Channel) -> Self {
        Self {
            node: NodeClient::new(channel.clone()),
            bundles: BundlesClient::new(channel.clone()),
            blobs: BlobsClient::new(channel.clone()),
            tools: ToolsClient::new(channel.clone()).max_decoding_message_size(16 << 20),
            exec: ExecClient::new(channel.clone()),
            trust: TrustClient::new(channel.clone()),
            channel,
        }
    }

    pub(crate) async fn local(socket: &Path) -> Self {
        let socket: PathBuf = socket.to_owned();
        let connect = service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://device");
        Self::on(endpoint.connect_with_connector(connect).await.unwrap())
    }

    /// Fails when the handshake does.
    pub(crate) async fn tls(address: &str, key: &Key) -> Result<Self, String> {
        let stream = connect_tls(address, key).await.map_err(|error| error.to_string())?;
        let mut stream = Some(stream);
        let connect = service_fn(move |_| {
            let stream = stream.take().ok_or_else(|| io::Error::other("one connection only"));
            async move { stream.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://device");
        let channel = endpoint.connect_with_connector(connect).await.map_err(|error| error.to_string())?;
        let client = Self::on(channel);
        // In TLS 1.3 the server's refusal of a certificate arrives with the first answer.
        match client.node.clone().get_node(pb::GetNodeRequest {}).await {
            Err(status) if status.code() == tonic::Code::Unknown || status.code() == tonic::Code::Unavailable => {
                Err(format!("{status:?}"))
            }
            _ => Ok(client),
        }
    }

    /// Trusts the key of a seed for a publisher.
    pub(crate) async fn trust_key(&self, seed: u8, publisher: &str) -> Result<pb::Signer, Status> {
        let public_key = super::author::pair(seed).1.spki();
        let request = pb::TrustSignerRequest { public_key, publisher: publisher.to_owned(), ..Default::default() };
        Ok(self.trust.clone().trust_signer(request).await?.into_inner().signer.unwrap())
    }

    pub(crate) async fn revoke_key(&self, seed: u8) -> Result<pb::RevokeSignerResponse, Status> {
        let key_id = super::author::pair(seed).1.id().to_string();
        Ok(self.trust.clone().revoke_signer(pb::RevokeSignerRequest { key_id }).await?.into_inner())
    }

    pub(crate) async fn upload(&self, bytes: &[u8]) -> Result<pb::UploadBundleResponse, Status> {
        self.upload_as(super::blob(bytes), bytes, 100_000).await
    }

    /// Uploads under any name, in pieces of any size.
    pub(crate) async fn upload_as(
        &self,
        file: pb::BlobRef,
        bytes: &[u8],
        piece: usize,
    ) -> Result<pb::UploadBundleResponse, Status> {
        self.upload_start(pb::UploadStart { file: Some(file), ..Default::default() }, bytes, piece).await
    }

    /// Uploads with more wishes.
    pub(crate) async fn upload_start(
        &self,
        start: pb::UploadStart,
        bytes: &[u8],
        piece: usize,
    ) -> Result<pb::UploadBundleResponse, Status> {
        use pb::upload_bundle_request::Part;
        let start = Part::Start(start);
        let parts = [start].into_iter().chain(bytes.chunks(piece).map(|chunk| Part::Chunk(chunk.to_vec())));
        let messages: Vec<_> = parts.map(|part| pb::UploadBundleRequest { part: Some(part) }).collect();
        Ok(self.bundles.clone().upload_bundle(tokio_stream::iter(messages)).await?.into_inner())
    }

    pub(crate) async fn put(&self, bytes: &[u8]) -> Result<pb::BlobRef, Status> {
        self.put_as(super::blob(bytes), bytes).await
    }

    pub(crate) async fn put_as(&self, blob: pb::BlobRef, bytes: &[u8]) -> Result<pb::BlobRef, Status> {
        use pb::put_blob_request::Part;
        let parts =
            [Part::Start(blob)].into_iter().chain(bytes.chunks(1 << 18).map(|chunk| Part::Chunk(chunk.to_vec())));
        let messages: Vec<_> = parts.map(|part| pb::PutBlobRequest { part: Some(part) }).collect();
        let answer = self.blobs.clone().put_blob(tokio_stream::iter(messages)).await?.into_inner();
        Ok(answer.blob.unwrap())
    }

    pub(crate) async fn get(&self, sha256: &str) -> Result<Vec<u8>, Status> {
        let request = pb::GetBlobRequest { sha256: sha256.to_owned() };
        let mut stream = self.blobs.clone().get_blob(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.message().await? {
            bytes.extend(piece.chunk);
        }
        Ok(bytes)
    }

    /// Calls a tool and keeps its events.
    pub(crate) async fn invoke(&self, tool: &str, input: &str) -> Result<Vec<pb::run_event::Event>, Status> {
        let request = pb::InvokeRequest { tool: tool.to_owned(), input_json: input.to_owned(), ..Default::default() };
        self.invoke_with(request).await
    }

    pub(crate) async fn invoke_with(&self, request: pb::InvokeRequest) -> Result<Vec<pb::run_event::Event>, Status> {
        let mut stream = self.tools.clone().invoke(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(message) = stream.message().await? {
            events.push(message.event.unwrap().event.unwrap());
        }
        Ok(events)
    }
}

/// The outcome at the end of a run's events.
#[track_caller]
pub(crate) fn outcome(events: &[pb::run_event::Event]) -> pb::outcome::Kind {
    match events.last() {
        Some(pb::run_event::Event::Finished(finished)) => finished.outcome.clone().unwrap().kind.unwrap(),
        other => panic!("not finished: {other:?}"),
    }
}

/// A client key with whatever certificate a test wants.
pub(crate) struct Key {
    pub(crate) pair: KeyPair,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) ca: Option<CertificateDer<'static>>,
}

impl Key {
    /// With a certificate it signed itself.
    pub(crate) fn new() -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = client_params("self").self_signed(&pair).unwrap().der().clone();
        Self { pair, certificate, ca: None }
    }

    pub(crate) fn sha256(&self) -> String {
        aria_file::sha256(&self.pair.subject_public_key_info()).hex()
    }

    pub(crate) fn csr(&self) -> Vec<u8> {
        CertificateParams::default().serialize_request(&self.pair).unwrap().der().to_vec()
    }

    pub(crate) fn enrol_request(&self, subject: &str, role: &str) -> pb::EnrollRequest {
        pb::EnrollRequest { csr_der: self.csr(), subject: subject.to_owned(), role: role.to_owned() }
    }

    /// The same key with the certificate it was given.
    pub(crate) fn signed(self, answer: &pb::EnrollResponse) -> Self {
        let certificate = CertificateDer::from_pem_slice(answer.certificate_pem.as_bytes()).unwrap();
        let ca = CertificateDer::from_pem_slice(answer.ca_pem.as_bytes()).unwrap();
        Self { pair: self.pair, certificate, ca: Some(ca) }
    }

    /// The same key with a certificate of the device's authority that the device did not make.
    pub(crate) fn forged(self, data: &Path, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let text = std::fs::read(data.join("identity/ca.pem")).unwrap();
        let ca = CertificateDer::from_pem_slice(&text).unwrap();
        let ca_key = PrivatePkcs8KeyDer::from_pem_slice(&text).unwrap();
        let ca_key = KeyPair::from_pkcs8_der_and_sign_algo(&ca_key, &rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let issuer = Issuer::from_ca_cert_der(&ca, ca_key).unwrap();
        let mut params = client_params("forged");
        change(&mut params);
        let certificate = params.signed_by(&self.pair, &issuer).unwrap().der().clone();
        Self { pair: self.pair, certificate, ca: Some(ca) }
    }
}

pub(crate) fn client_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A raw connection after the handshake, as far as the client can tell.
pub(crate) async fn connect_tls(address: &str, key: &Key) -> io::Result<TlsStream<TcpStream>> {
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pair.serialize_der()));
    let config = client_config(key.ca.as_ref());
    let config = config.with_client_auth_cert(vec![key.certificate.clone()], private).map_err(io::Error::other)?;
    handshake(address, config).await
}

/// The same without any certificate.
pub(crate) async fn connect_anonymous(address: &str) -> io::Result<TlsStream<TcpStream>> {
    handshake(address, client_config(None).with_no_client_auth()).await
}

type Builder = rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert>;

fn client_config(ca: Option<&CertificateDer<'static>>) -> Builder {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    match ca {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.clone()).unwrap();
            builder.with_root_certificates(roots)
        }
        // Who is not enrolled yet compares the fingerprint; these tests look at the other direction.
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))),
    }
}

async fn handshake(address: &str, mut config: rustls::ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
