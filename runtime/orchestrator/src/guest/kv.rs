//! The key-value server: who may, then the store.

use std::sync::Arc;

use aria_core::kv::{KvOp, KvRequest, token};
use aria_core::request::{GuestError, object};
use aria_store::{KvChange, KvEntry, KvTable, KvWrite, KvWritten, Right, StoreError};
use aria_types::token::{Kind, Mode};
use serde_json::{Map, Value};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;

use super::lease::Held;
use super::{Caller, PARSE_HERE_BYTES_MAX};
use crate::Inner;

/// Serves one request.
pub(crate) async fn serve(
    inner: &Arc<Inner>,
    caller: &Arc<Caller>,
    id: u64,
    op: String,
    body: Map<String, Value>,
) -> Result<Value, GuestError> {
    let request = parse(caller, op, body).await?;
    let held = caller.lease.allows(&request.needs()?).await?;
    inner.leases.check(&caller.lease)?;
    caller.lease.spend(Kind::Kv, request.bytes())?;
    let KvRequest { table: path, op } = request;
    let table = KvTable { owner: caller.owner.clone(), path };
    match op {
        KvOp::Get { key } => {
            let found = match inner.store.kv_get_at_once(&table, &key) {
                Some(found) => found.map_err(|error| refused(&error))?,
                None => read(inner, caller, move |store| store.kv_get(&table, &key)).await?,
            };
            Ok(found.map_or(Value::Null, entry))
        }
        KvOp::List { prefix, after, limit } => {
            let page =
                read(inner, caller, move |store| store.kv_list(&table, &prefix, after.as_deref(), limit)).await?;
            let cursor = page.entries.last().filter(|_| page.more).map(|last| last.key.clone());
            let entries = page.entries.into_iter().map(entry).collect();
            Ok(object([("entries", Value::Array(entries)), ("cursor", cursor.into())]))
        }
        KvOp::Watch { prefix, from } => watch(inner, caller, id, table, prefix, from).await,
        KvOp::Put { key, value_json } => {
            let new_only = held.mode == Mode::Append;
            let path = table.path.clone();
            match write(inner, caller, table, KvWrite::Put { key, value: value_json, new_only }, held).await? {
                KvWritten::Done { version, .. } => Ok(object([("version", version.into())])),
                // Its right ends where something would change.
                KvWritten::Kept { .. } => Err(needs_rw(&path)?),
            }
        }
        KvOp::Append { value_json } => {
            match write(inner, caller, table, KvWrite::Append { value: value_json }, held).await? {
                KvWritten::Done { key, version } => Ok(object([("key", key.into()), ("version", version.into())])),
                // Somebody put a key of this form by hand.
                KvWritten::Kept { .. } => Err(GuestError::new("KEY_EXISTS", "the next key of this table exists")),
            }
        }
        KvOp::Delete { key } => {
            let written = write(inner, caller, table, KvWrite::Delete { key }, held).await?;
            Ok(object([("deleted", matches!(written, KvWritten::Done { .. }).into())]))
        }
        KvOp::Cas { key, expected, value_json } => {
            let write = write(inner, caller, table, KvWrite::Cas { key, expected, value: value_json }, held).await?;
            let (swapped, version) = match write {
                KvWritten::Done { version, .. } => (true, version),
                KvWritten::Kept { version } => (false, version),
            };
            Ok(object([("swapped", swapped.into()), ("version", version.into())]))
        }
    }
}

fn needs_rw(path: &str) -> Result<GuestError, GuestError> {
    let needed = token("kv", path, "rw")?;
    Ok(GuestError::new("TOKEN_MISSING", format!("{needed} is needed to change a key that exists")))
}

async fn parse(caller: &Arc<Caller>, op: String, body: Map<String, Value>) -> Result<KvRequest, GuestError> {
    let large = body.values().any(|value| value.as_str().is_some_and(|text| text.len() > PARSE_HERE_BYTES_MAX));
    let work = move || KvRequest::parse(&op, body).unwrap_or_else(|| Err(GuestError::unsupported(&op)));
    if !large {
        return work();
    }
    let _turn = caller.turn().await?;
    blocking(work).await?
}

fn entry(entry: KvEntry) -> Value {
    object([("key", entry.key.into()), ("valueJson", entry.value.into()), ("version", entry.version.into())])
}

async fn write(
    inner: &Arc<Inner>,
    caller: &Arc<Caller>,
    table: KvTable,
    write: KvWrite,
    held: Held,
) -> Result<KvWritten, GuestError> {
    let (lease, written_to) = (Arc::clone(&caller.lease), Arc::new(table.clone()));
    let shared = held.mode == Mode::Append;
    let right = Right { fence: held.fence, shared, live: Box::new(move || lease.is_live()) };
    let (told, written) = oneshot::channel();
    // A guest that is gone does not hear of it.
    inner.store.kv_write(table, write, right, move |written| drop(told.send(written)));
    let written = written.await.map_err(|_| bug())?.map_err(|error| refused(&error))?;
    // Nobody may be watching.
    let _ = inner.kv_written.send(written_to);
    Ok(written)
}

/// Sends changes as they happen until the run ends, its lease ends, or the guest does not want them any more.
async fn watch(
    inner: &Arc<Inner>,
    caller: &Arc<Caller>,
    id: u64,
    table: KvTable,
    prefix: String,
    from: Option<u64>,
) -> Result<Value, GuestError> {
    let needed = token("kv", &table.path, "ro")?;
    let mut written = inner.kv_written.subscribe();
    let mut from = match from {
        Some(from) => from,
        None => {
            let table = table.clone();
            read(inner, caller, move |store| store.kv_version(&table)).await?
        }
    };
    // So that the guest knows from where on it hears everything.
    caller.event(id, object([("from", from.into())])).await?;
    loop {
        caller.lease.allows(&needed).await?;
        let (look, begin) = (table.clone(), prefix.clone());
        let found = read(inner, caller, move |store| store.kv_changes(&look, &begin, from)).await?;
        for change in found.changes {
            if !caller.event(id, changed(change)).await? {
                return Ok(Value::Null);
            }
        }
        from = found.next;
        if !found.more {
            next_write(&mut written, &table).await?;
        }
    }
}

/// Waits for a write to one table.
async fn next_write(written: &mut Receiver<Arc<KvTable>>, table: &KvTable) -> Result<(), GuestError> {
    loop {
        match written.recv().await {
            Ok(other) if *other != *table => {}
            // Some were missed; one of them may have been ours.
            Ok(_) | Err(RecvError::Lagged(_)) => return Ok(()),
            Err(RecvError::Closed) => return Err(bug()),
        }
    }
}

fn changed(change: KvChange) -> Value {
    let value = change.value.map_or(Value::Null, Value::String);
    object([("key", change.key.into()), ("valueJson", value), ("version", change.version.into())])
}

async fn read<T: Send + 'static>(
    inner: &Arc<Inner>,
    caller: &Arc<Caller>,
    look: impl FnOnce(&aria_store::Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, GuestError> {
    let _turn = caller.turn().await?;
    let store = inner.store.clone();
    blocking(move || look(&store).map_err(|error| refused(&error))).await?
}

/// What the guest may know of an error of the store: not where its files are.
pub(crate) fn refused(error: &StoreError) -> GuestError {
    match error.reason() {
        "STORE_IO" | "STORE_CORRUPT" => {
            tracing::error!(error = error as &dyn std::error::Error, "a resource server's store");
            GuestError::new("STORE_IO", "the device could not read or write its store")
        }
        reason => GuestError::new(reason, error.to_string()),
    }
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, GuestError> {
    tokio::task::spawn_blocking(work).await.map_err(|_panicked| bug())
}

pub(crate) fn bug() -> GuestError {
    GuestError::new("BUG", "a fault of the device")
}
