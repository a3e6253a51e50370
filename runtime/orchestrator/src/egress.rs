//! The egress proxy: sends the requests of runs and streams the answers back.
//!
//! What may be sent is decided in `aria_core::egress`. Here a name is resolved once per request, the addresses are checked, and the
//! connection goes to one of exactly those addresses, with the granted name in SNI and `Host`. Nothing is followed: a redirect is a
//! new request of the run. Nothing is shared: each request has a connection of its own, without TLS resumption, so that no run sees
//! what another did.

mod body;
mod connect;
mod error;
mod resolve;
mod session;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use aria_core::egress::{AllowedAddresses, Budget, HostName};
use rustls::pki_types::CertificateDer;

pub use error::NetError;
pub use resolve::Resolve;
pub(crate) use session::{Asked, AskedBody, Head, Injected, PIECE_BYTES_MAX, Session, Written};

/// What the operator says of the network.
#[derive(Clone, Debug, Default)]
pub struct NetSettings {
    /// Ranges that are reached although they are not public.
    pub allowed: AllowedAddresses,
    /// Names with an address of their own; they are not looked up.
    pub hosts: BTreeMap<HostName, IpAddr>,
    /// Authorities trusted besides the public ones.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// The proxy. One per device.
pub struct Egress {
    allowed: AllowedAddresses,
    resolve: Resolve,
    tls: Arc<rustls::ClientConfig>,
    budget: Budget,
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Egress").field("allowed", &self.allowed).field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl Egress {
    /// With the device's own resolver. Connects to nothing yet.
    pub fn new(settings: NetSettings) -> Result<Arc<Self>, NetError> {
        let NetSettings { allowed, hosts, authorities } = settings;
        Self::with_resolver(allowed, resolve::system(hosts), authorities, Budget::default())
    }

    fn with_resolver(
        allowed: AllowedAddresses,
        resolve: Resolve,
        authorities: Vec<CertificateDer<'static>>,
        budget: Budget,
    ) -> Result<Arc<Self>, NetError> {
        let tls = connect::tls_config(authorities)?;
        Ok(Arc::new(Self { allowed, resolve, tls, budget }))
    }
}

#[cfg(test)]
mod tests;
