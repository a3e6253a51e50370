//! `aria.v1.Secrets`: values go in and never come out.

use std::sync::Arc;

use aria_core::secret::{SecretBinding, check_value};
use aria_protocol::aria::v1 as pb;
use aria_store::{AuditEvent, AuditKind, Detail, SecretRecord};
use aria_types::ErrorKind;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::convert::{invalid, required};
use super::{Device, blocking, now};
use crate::auth::Caller;
use crate::status::{self, refuse};

pub(super) struct Secrets(pub(super) Arc<Device>);

#[tonic::async_trait]
impl pb::secrets_server::Secrets for Secrets {
    async fn set_secret(
        &self,
        request: Request<pb::SetSecretRequest>,
    ) -> Result<Response<pb::SetSecretResponse>, Status> {
        let caller = Caller::of(&request)?;
        let pb::SetSecretRequest { secret, value } = request.into_inner();
        let value = Zeroizing::new(value);
        let pb::Secret { name, hosts, header, .. } = required(secret, "secret")?;
        let refused = |error: aria_core::secret::SecretError| invalid("SECRET_INVALID", error.to_string());
        let binding = SecretBinding::parse(&name, &hosts, &header).map_err(refused)?;
        check_value(&value).map_err(refused)?;
        let record = SecretRecord { binding, set_at: now() };
        // Its row comes first: what is not in the audit must not hold.
        self.audited(&caller, AuditKind::SecretSet, &record.binding).await?;
        let secrets = self.0.secrets.clone();
        let set = record.clone();
        blocking(move || secrets.set(&set.binding, &value, set.set_at).map_err(status::store)).await?;
        tracing::info!(secret = record.binding.name(), by = %caller.subject, "secret set");
        Ok(Response::new(pb::SetSecretResponse { secret: Some(wire(&record)) }))
    }

    async fn list_secrets(
        &self,
        _request: Request<pb::ListSecretsRequest>,
    ) -> Result<Response<pb::ListSecretsResponse>, Status> {
        let secrets = self.0.secrets.clone();
        let records = blocking(move || secrets.list().map_err(status::store)).await?;
        Ok(Response::new(pb::ListSecretsResponse { secrets: records.iter().map(wire).collect() }))
    }

    async fn remove_secret(
        &self,
        request: Request<pb::RemoveSecretRequest>,
    ) -> Result<Response<pb::RemoveSecretResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let secrets = self.0.secrets.clone();
        let (removed, known) = (name.clone(), self.0.secrets.clone());
        let unknown = || refuse(ErrorKind::NotFound, "SECRET_UNKNOWN", "the device has no secret of this name");
        let record = blocking(move || known.list().map_err(status::store)).await?;
        let record = record.into_iter().find(|record| record.binding.name() == name).ok_or_else(unknown)?;
        self.audited(&caller, AuditKind::SecretRemoved, &record.binding).await?;
        if !blocking(move || secrets.remove(&removed).map_err(status::store)).await? {
            return Err(unknown());
        }
        tracing::info!(secret = record.binding.name(), by = %caller.subject, "secret removed");
        Ok(Response::new(pb::RemoveSecretResponse {}))
    }
}

impl Secrets {
    async fn audited(&self, caller: &Caller, kind: AuditKind, binding: &SecretBinding) -> Result<(), Status> {
        let event = AuditEvent {
            at: now(),
            kind,
            owner: caller.subject.clone(),
            invocation: None,
            subject: format!("secret:{}", binding.name()),
            reason: String::new(),
            detail: Detail::default().text("hosts", &binding.hosts().join(" ")).text("header", binding.header_name()),
        };
        self.0.handle.audit().record(event).await.map_err(status::invoke)
    }
}

fn wire(record: &SecretRecord) -> pb::Secret {
    let SecretRecord { binding, set_at } = record;
    let (name, hosts, header) = (binding.name().to_owned(), binding.hosts(), binding.header());
    pb::Secret { name, hosts, header, set_at_ms: set_at.0 }
}
