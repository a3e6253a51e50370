//! `aria.v1.Bundles`.

use std::sync::Arc;

use aria_bundle::{Expected, Limits, Reader};
use aria_core::authority::{Change, Way};
use aria_core::{Dependency, Name};
use aria_protocol::aria::v1 as pb;
use aria_store::{BundleRecord, Store, StoreError};
use aria_types::ErrorKind;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{blob, required, rfc3339};
use super::install::{Judged, Wanted, install};
use super::transfer::{self, Part};
use super::{Device, List, blocking, listed, recipe, versions};
use crate::auth::Caller;
use crate::status::{self, refuse};

pub(super) struct Bundles(pub(super) Arc<Device>);

fn part(message: pb::UploadBundleRequest) -> Part<pb::UploadStart> {
    match message.part {
        Some(pb::upload_bundle_request::Part::Start(start)) => Part::Start(start),
        Some(pb::upload_bundle_request::Part::Chunk(chunk)) => Part::Chunk(chunk),
        None => Part::Neither,
    }
}

#[tonic::async_trait]
impl pb::bundles_server::Bundles for Bundles {
    async fn upload_bundle(
        &self,
        request: Request<Streaming<pb::UploadBundleRequest>>,
    ) -> Result<Response<pb::UploadBundleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let device = &self.0;
        let (start, upload) = transfer::begin(&device.uploads, &caller.subject, request.into_inner(), part).await?;
        let file = blob(&required(start.file, "start.file")?)?;
        if file.size_bytes > device.bundle_bytes_max {
            let message = format!("bundle of {} bytes, limit is {}", file.size_bytes, device.bundle_bytes_max);
            return Err(refuse(ErrorKind::Exhausted, "BUNDLE_TOO_LARGE", message));
        }
        let dry_run = start.dry_run;
        let wanted = Wanted::read(&caller.subject, file.sha256, &start.accept_authority, dry_run)?;
        let limits = Limits { file_bytes_max: device.bundle_bytes_max, ..Limits::default() };
        let expected = Expected { size_bytes: file.size_bytes, sha256: file.sha256 };
        let staging = device.store.staging_dir();
        let reader = blocking(move || Reader::new(&staging, limits, Some(expected)).map_err(status::bundle)).await?;
        let reader = upload.into(part, reader, |reader, chunk| reader.feed(chunk).map_err(status::bundle)).await?;
        // From here the whole file is here; a caller that goes away now finds it installed.
        let work = Arc::clone(device);
        let judged = match blocking(move || Ok(install(&work, reader, &wanted))).await? {
            Ok(judged) => judged,
            Err(refused) => return Err(refused.told(device).await),
        };
        let store = device.store.clone();
        let (bundle, already_present, authority) = blocking(move || told(&store, judged, dry_run)).await?;
        Ok(Response::new(pb::UploadBundleResponse { bundle: Some(bundle), already_present, authority }))
    }

    async fn commit_bundle(
        &self,
        request: Request<pb::CommitBundleRequest>,
    ) -> Result<Response<pb::CommitBundleResponse>, Status> {
        let caller = Caller::of(&request)?;
        recipe::commit(&self.0, caller, request.into_inner()).await.map(Response::new)
    }

    async fn pin_bundle(
        &self,
        request: Request<pb::PinBundleRequest>,
    ) -> Result<Response<pb::PinBundleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let bundle = versions::pin(&self.0, caller, request.into_inner()).await?;
        Ok(Response::new(pb::PinBundleResponse { bundle: Some(bundle) }))
    }

    async fn roll_back_bundle(
        &self,
        request: Request<pb::RollBackBundleRequest>,
    ) -> Result<Response<pb::RollBackBundleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let bundle = versions::roll_back(&self.0, caller, request.into_inner()).await?;
        Ok(Response::new(pb::RollBackBundleResponse { bundle: Some(bundle) }))
    }

    async fn deprecate_bundle(
        &self,
        request: Request<pb::DeprecateBundleRequest>,
    ) -> Result<Response<pb::DeprecateBundleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let bundle = versions::deprecate(&self.0, caller, request.into_inner()).await?;
        Ok(Response::new(pb::DeprecateBundleResponse { bundle: Some(bundle) }))
    }

    async fn list_bundles(
        &self,
        _request: Request<pb::ListBundlesRequest>,
    ) -> Result<Response<pb::ListBundlesResponse>, Status> {
        let store = self.0.store.clone();
        let bundles = blocking(move || {
            let mut list = List::new("GetBundle");
            for (name, version) in store.bundles().map_err(status::store)? {
                if let Some(record) = listed(&store, &name, Some(&version))? {
                    list.push(wire(&store, record)?)?;
                }
            }
            Ok(list.items)
        });
        Ok(Response::new(pb::ListBundlesResponse { bundles: bundles.await? }))
    }

    async fn get_bundle(
        &self,
        request: Request<pb::GetBundleRequest>,
    ) -> Result<Response<pb::GetBundleResponse>, Status> {
        let pb::GetBundleRequest { name, version } = request.into_inner();
        let store = self.0.store.clone();
        let found = blocking(move || {
            let version = (!version.is_empty()).then_some(version.as_str());
            let record = store.bundle(&self::name(&name)?, version).map_err(status::store)?;
            let manifest_json = record.manifest_json.clone();
            Ok(pb::GetBundleResponse { bundle: Some(wire(&store, record)?), manifest_json })
        });
        Ok(Response::new(found.await?))
    }

    async fn remove_bundle(
        &self,
        request: Request<pb::RemoveBundleRequest>,
    ) -> Result<Response<pb::RemoveBundleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let removed = versions::remove(&self.0, caller, request.into_inner()).await?;
        Ok(Response::new(pb::RemoveBundleResponse { removed }))
    }
}

/// A name that cannot exist is one that is not installed.
pub(super) fn name(text: &str) -> Result<Name, Status> {
    let unknown = || refuse(ErrorKind::NotFound, "BUNDLE_UNKNOWN", "no bundle has such a name");
    Name::parse(text).map_err(|_| unknown())
}

/// For the log and for the wire: the bundle, whether it was there before, and what it may touch more or less.
pub(super) fn told(
    store: &Store,
    judged: Judged,
    dry_run: bool,
) -> Result<(pb::Bundle, bool, Option<pb::AuthorityDiff>), Status> {
    let Judged { record, already_present, changes, compared_version, needs_acceptance } = judged;
    let mut bundle = wire(store, record)?;
    if !dry_run {
        let (name, version, digest) = (&bundle.name, &bundle.version, &bundle.digest);
        tracing::info!(bundle = %name, %version, %digest, already_present, "bundle installed");
    } else if !already_present {
        bundle.installed_at.clear();
    }
    let changes = changes.into_iter().map(change).collect();
    Ok((bundle, already_present, Some(pb::AuthorityDiff { compared_version, changes, needs_acceptance })))
}

fn change(change: Change) -> pb::AuthorityChange {
    let Change { tool, way, touch } = change;
    pb::AuthorityChange { tool: tool.to_string(), wider: way == Way::Wider, touch: touch.to_string() }
}

pub(super) fn wire(store: &Store, record: BundleRecord) -> Result<pb::Bundle, Status> {
    let signer = record.signer.map(|key| store.signer(&key)).transpose().map_err(status::store)?.flatten();
    let blocked = match store.check_vouched(&record) {
        Ok(()) => String::new(),
        Err(error @ StoreError::Refused(_)) => error.reason().to_owned(),
        Err(error) => return Err(status::store(error)),
    };
    let manifest = aria_bundle::parse_manifest(record.manifest_json.as_bytes()).map_err(status::bundle)?;
    Ok(pb::Bundle {
        name: record.name.to_string(),
        version: record.version,
        digest: record.digest.to_string(),
        interface_digest: record.interface_digest.to_string(),
        authority_digest: record.authority_digest.to_string(),
        size_bytes: record.size_bytes,
        installed_at: rfc3339(record.installed_at),
        tools: manifest.tool_names().map(|tool| tool.to_string()).collect(),
        description: manifest.description,
        active: record.active,
        pinned: record.pinned,
        deprecated: record.deprecated,
        dependencies: manifest.dependencies.iter().map(dependency).collect(),
        publisher: signer.map(|signer| signer.publisher.to_string()).unwrap_or_default(),
        signer: record.signer.map(|key| key.to_string()).unwrap_or_default(),
        blocked,
    })
}

fn dependency(needed: &Dependency) -> pb::BundleDependency {
    pb::BundleDependency { name: needed.name.to_string(), version: needed.range.to_string() }
}
