//! Versions of a bundle side by side: which one calls go to, which should not be used, which goes.

use std::sync::Arc;

use aria_protocol::aria::v1 as pb;
use aria_store::{BundleRecord, DEPRECATED_BYTES_MAX, Dependants, Pointer, Store};
use tonic::Status;

use super::bundles::{name, wire};
use super::convert::{invalid, printable};
use super::{Device, blocking, now};
use crate::auth::Caller;
use crate::status;

pub(super) async fn pin(
    device: &Arc<Device>,
    caller: Caller,
    request: pb::PinBundleRequest,
) -> Result<pb::Bundle, Status> {
    let store = device.store.clone();
    blocking(move || {
        let to = if request.version.is_empty() { Pointer::Follow } else { Pointer::Pin(&request.version) };
        let record = store.point(&name(&request.name)?, to, &caller.subject, now()).map_err(status::store)?;
        moved(&store, record, &caller)
    })
    .await
}

pub(super) async fn roll_back(
    device: &Arc<Device>,
    caller: Caller,
    request: pb::RollBackBundleRequest,
) -> Result<pb::Bundle, Status> {
    let store = device.store.clone();
    blocking(move || {
        let record = store.point(&name(&request.name)?, Pointer::Back, &caller.subject, now());
        moved(&store, record.map_err(status::store)?, &caller)
    })
    .await
}

fn moved(store: &Store, record: BundleRecord, caller: &Caller) -> Result<pb::Bundle, Status> {
    tracing::info!(bundle = %record.name, version = %record.version, pinned = record.pinned, by = %caller.subject, "calls go to");
    wire(store, record)
}

pub(super) async fn deprecate(
    device: &Arc<Device>,
    caller: Caller,
    request: pb::DeprecateBundleRequest,
) -> Result<pb::Bundle, Status> {
    let why = printable(&request.why);
    if why.len() > DEPRECATED_BYTES_MAX {
        let message = format!("a reason of {} bytes, limit is {DEPRECATED_BYTES_MAX}", why.len());
        return Err(invalid("DEPRECATION_TOO_LONG", message));
    }
    let store = device.store.clone();
    blocking(move || {
        let record = store.deprecate(&name(&request.name)?, &request.version, &why, &caller.subject, now());
        wire(&store, record.map_err(status::store)?)
    })
    .await
}

pub(super) async fn remove(
    device: &Arc<Device>,
    caller: Caller,
    request: pb::RemoveBundleRequest,
) -> Result<Vec<pb::Bundle>, Status> {
    let store = device.store.clone();
    blocking(move || {
        let version = (!request.version.is_empty()).then_some(request.version.as_str());
        let dependants = if request.with_dependants { Dependants::Remove } else { Dependants::Refuse };
        let name = name(&request.name)?;
        let records = if request.dry_run {
            store.removal(&name, version, dependants)
        } else {
            store.remove_with(&name, version, dependants, &caller.subject, now())
        };
        let records = records.map_err(status::store)?;
        for record in records.iter().filter(|_| !request.dry_run) {
            tracing::info!(bundle = %record.name, version = %record.version, by = %caller.subject, "bundle removed");
        }
        records.into_iter().map(|record| wire(&store, record)).collect()
    })
    .await
}
