//! `aria.v1.Trust`: whose bundles this device takes.

use std::sync::Arc;

use aria_bundle::PublicKey;
use aria_core::signer::{Publisher, Signer};
use aria_core::{Digest, UnixMs};
use aria_protocol::aria::v1 as pb;
use aria_store::{NewSigner, SignerRecord};
use tonic::{Request, Response, Status};

use super::convert::{invalid, moment, rfc3339};
use super::{Device, blocking, now};
use crate::auth::Caller;
use crate::status;

pub(super) struct Trust(pub(super) Arc<Device>);

#[tonic::async_trait]
impl pb::trust_server::Trust for Trust {
    async fn list_signers(
        &self,
        _request: Request<pb::ListSignersRequest>,
    ) -> Result<Response<pb::ListSignersResponse>, Status> {
        let store = self.0.store.clone();
        let signers = blocking(move || store.signers().map_err(status::store)).await?;
        Ok(Response::new(pb::ListSignersResponse { signers: signers.into_iter().map(wire).collect() }))
    }

    async fn trust_signer(
        &self,
        request: Request<pb::TrustSignerRequest>,
    ) -> Result<Response<pb::TrustSignerResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let new = new(&request, &caller)?;
        let (store, by) = (self.0.store.clone(), caller.subject);
        let trusted = move || store.trust_signer(&new, request.joins, &by, now()).map_err(status::store);
        let (signer, changed) = blocking(trusted).await?;
        tracing::info!(key = %signer.key, publisher = %signer.publisher, changed, "signer trusted");
        Ok(Response::new(pb::TrustSignerResponse { signer: Some(wire(signer)), already_trusted: !changed }))
    }

    async fn revoke_signer(
        &self,
        request: Request<pb::RevokeSignerRequest>,
    ) -> Result<Response<pb::RevokeSignerResponse>, Status> {
        let caller = Caller::of(&request)?;
        let key = key_id(&request.into_inner().key_id)?;
        let device = Arc::clone(&self.0);
        let revoked = move || {
            let (signer, changed) = device.store.revoke_signer(&key, &caller.subject, now()).map_err(status::store)?;
            // In here, so that it happens though the caller may have left.
            device.handle.signer_revoked(&key);
            tracing::info!(%key, publisher = %signer.publisher, changed, by = %caller.subject, "signer revoked");
            Ok((signer, device.store.signed_by(&key).map_err(status::store)?))
        };
        let (signer, blocked) = blocking(revoked).await?;
        let blocked_bundles = blocked.into_iter().map(|(name, version)| format!("{name}@{version}")).collect();
        Ok(Response::new(pb::RevokeSignerResponse { signer: Some(wire(signer)), blocked_bundles }))
    }
}

fn new(request: &pb::TrustSignerRequest, caller: &Caller) -> Result<NewSigner, Status> {
    let key = PublicKey::from_spki(&request.public_key).map_err(|error| invalid("KEY_INVALID", error.to_string()))?;
    let publisher = if request.publisher.is_empty() { &caller.subject } else { &request.publisher };
    let publisher = Publisher::parse(publisher).map_err(|error| invalid("PUBLISHER_SYNTAX", error.to_string()))?;
    let expires_at: Option<UnixMs> = match request.expires_at.as_str() {
        "" => None,
        text => Some(moment(text)?),
    };
    Ok(NewSigner { signer: Signer { key: key.id(), publisher }, public_key: key.spki(), expires_at })
}

/// `sha256:<hex>` from the wire.
pub(super) fn key_id(text: &str) -> Result<Digest, Status> {
    Digest::parse(text).map_err(|error| invalid("DIGEST_SYNTAX", format!("{error}, after `sha256:`")))
}

fn wire(record: SignerRecord) -> pb::Signer {
    let time = |moment: Option<UnixMs>| moment.map(rfc3339).unwrap_or_default();
    pb::Signer {
        key_id: record.key.to_string(),
        publisher: record.publisher.to_string(),
        public_key: record.public_key,
        trusted_at: rfc3339(record.trusted_at),
        trusted_by: record.trusted_by,
        expires_at: time(record.expires_at),
        revoked_at: time(record.revoked_at),
    }
}
