//! `aria.v1.Bundles`.

use std::sync::Arc;

use aria_bundle::{Expected, Limits, Reader, Staged};
use aria_core::{Dependency, Digest, Name};
use aria_protocol::aria::v1 as pb;
use aria_store::{BundleRecord, Installed, NewBundle};
use aria_types::ErrorKind;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{blob, invalid, required, rfc3339};
use super::transfer::{self, Part};
use super::{Device, List, blocking, listed, now, recipe, versions};
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
        let limits = Limits { file_bytes_max: device.bundle_bytes_max, ..Limits::default() };
        let expected = Expected { size_bytes: file.size_bytes, sha256: file.sha256 };
        let staging = device.store.staging_dir();
        let reader = blocking(move || Reader::new(&staging, limits, Some(expected)).map_err(status::bundle)).await?;
        let reader = upload.into(part, reader, |reader, chunk| reader.feed(chunk).map_err(status::bundle)).await?;
        // From here the whole file is here; a caller that goes away now finds it installed.
        let work = Arc::clone(device);
        let installed = blocking(move || install(&work, reader, file.sha256, caller.subject)).await?;
        let (bundle, already_present) = blocking(move || told(installed)).await?;
        Ok(Response::new(pb::UploadBundleResponse { bundle: Some(bundle), already_present }))
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
                    list.push(wire(record)?)?;
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
            Ok(pb::GetBundleResponse { bundle: Some(wire(record)?), manifest_json })
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

/// Judges what the reader took and installs it.
pub(super) fn install(
    device: &Device,
    reader: Reader,
    file_sha256: Digest,
    owner: String,
) -> Result<Installed, Status> {
    let staged = reader.finish().map_err(status::bundle)?;
    fits(device, &staged)?;
    let new = NewBundle {
        name: staged.manifest.name.clone(),
        version: staged.manifest.version.to_string(),
        digest: staged.digest,
        interface_digest: staged.interface_digest,
        authority_digest: staged.authority_digest,
        size_bytes: staged.size_bytes,
        unpacked_bytes: staged.unpacked_bytes,
        manifest_json: staged.manifest_json.clone(),
        owner,
        file_sha256,
        tools: staged.manifest.tools.iter().map(|tool| tool.name.clone()).collect(),
        dependencies: staged.manifest.dependencies.clone(),
    };
    let place = |bundles: &std::path::Path| staged.commit(bundles).map(drop).map_err(Into::into);
    device.store.install(new, now(), place).map_err(status::store)
}

/// For the log and for the wire: the bundle, and whether it was there before.
pub(super) fn told(installed: Installed) -> Result<(pb::Bundle, bool), Status> {
    let (record, already_present) = match installed {
        Installed::Now(record) => (record, false),
        Installed::Before(record) => (record, true),
    };
    tracing::info!(bundle = %record.name, version = %record.version, digest = %record.digest, already_present, "bundle installed");
    Ok((wire(record)?, already_present))
}

/// What the format allows and this device cannot use.
fn fits(device: &Device, staged: &Staged) -> Result<(), Status> {
    let manifest = &staged.manifest;
    if manifest.program.is_some() {
        return Err(invalid("MANIFEST_INVALID", "a bundle with a program is run by exec, not installed"));
    }
    let engine = env!("CARGO_PKG_VERSION").parse();
    if engine.is_ok_and(|engine| !manifest.runs_on(&engine)) {
        let message = format!("engine {} is asked for, this device is {}", manifest.engine, env!("CARGO_PKG_VERSION"));
        return Err(invalid("FORMAT_UNSUPPORTED", message));
    }
    device.handle.check_schemas(manifest).map_err(status::invoke)
}

pub(super) fn wire(record: BundleRecord) -> Result<pb::Bundle, Status> {
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
    })
}

fn dependency(needed: &Dependency) -> pb::BundleDependency {
    pb::BundleDependency { name: needed.name.to_string(), version: needed.range.to_string() }
}
