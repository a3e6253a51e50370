//! From a call to a program ready to run: look up, lease, check, plan. Blocks; runs on the pool.

use std::collections::VecDeque;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use aria_bundle::{Expected, Limits as BundleLimits, Reader, Staged};
use aria_core::json::{self, JsonLimits};
use aria_core::plan::{self, INPUT_BYTES_MAX, InputFile, ProgramCall, Session, ToolCall};
use aria_core::port::ExecuteRequest;
use aria_core::{Digest, InvocationId, Manifest, Name, ToolName};
use aria_store::{BlobLease, BlobRef, BundleLease, BundleRecord, StoreError};
use tokio_util::sync::CancellationToken;

use crate::Inner;
use crate::error::InvokeError;
use crate::event::{ExecCall, FileInput, InvokeCall};
use crate::schema::Schema;

/// Deepest input, levels; the same as for results.
const INPUT_DEPTH_MAX: usize = 128;
/// Manifests kept parsed. One is rarely above 100 KiB.
const MANIFESTS_MAX: usize = 64;

/// A run that can start.
pub(crate) struct Prepared {
    pub(crate) id: InvocationId,
    pub(crate) owner: String,
    /// `<bundle>.<tool>` or `exec:<bundle>`.
    pub(crate) tool: String,
    pub(crate) bundle: Digest,
    /// Digest and length of the input; none for a program.
    pub(crate) input: Option<BlobRef>,
    pub(crate) kind: Kind,
    pub(crate) request: ExecuteRequest,
    /// Why the bundle should not be used any more, or empty.
    pub(crate) deprecated: String,
    pub(crate) held: Held,
    /// Cancelled when nobody vouches for the code any more.
    pub(crate) vouched: CancellationToken,
}

/// How its end is judged.
#[derive(Clone)]
pub(crate) enum Kind {
    /// By its answer and this schema.
    Tool { output: Arc<Schema>, code_dir: PathBuf },
    /// By its exit code.
    Program,
}

/// What must stay on disk until the program is gone.
pub(crate) struct Held {
    _blobs: Vec<BlobLease>,
    _installed: Option<BundleLease>,
    _ephemeral: Option<Box<Staged>>,
}

/// Manifests by the digest of their bundle, parsed once. The oldest leaves when there is no room.
#[derive(Default)]
pub(crate) struct Manifests(Mutex<VecDeque<(Digest, Arc<Manifest>)>>);

impl Manifests {
    fn get(&self, digest: &Digest, json: &str) -> Result<Arc<Manifest>, InvokeError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, manifest)) = known.iter().find(|(key, _)| key == digest) {
            return Ok(Arc::clone(manifest));
        }
        let manifest = Arc::new(aria_bundle::parse_manifest(json.as_bytes()).map_err(InvokeError::Bundle)?);
        if known.len() == MANIFESTS_MAX {
            known.pop_front();
        }
        known.push_back((*digest, Arc::clone(&manifest)));
        Ok(manifest)
    }
}

/// Prepares the call of a tool.
pub(crate) fn tool(
    inner: &Inner,
    id: InvocationId,
    parent: Option<&InvocationId>,
    call: InvokeCall,
) -> Result<Prepared, InvokeError> {
    if call.input_json.len() > INPUT_BYTES_MAX {
        let (bytes, bytes_max) = (call.input_json.len(), INPUT_BYTES_MAX);
        return Err(InvokeError::InputJson(json::JsonError::TooLong { bytes, bytes_max }));
    }
    let (name, code) = match &call.bundle {
        None => installed(inner, &call.tool)?,
        Some(sha256) => isolated(inner, &call.owner, sha256, &call.tool)?,
    };
    if let Some(composite) = code.manifest.composite(&name.tool) {
        return Err(InvokeError::NotBuilt { name: name.to_string(), kind: composite.kind.as_str() });
    }
    let tool = code.manifest.tool(&name.tool).ok_or_else(|| InvokeError::ToolUnknown { tool: name.to_string() })?;
    let schema =
        |schema| inner.schemas.get(schema).map_err(|source| InvokeError::Schema { tool: name.to_string(), source });
    let (input, output) = (schema(&tool.input)?, schema(&tool.output)?);

    let input_json = if call.input_json.is_empty() { "{}" } else { &call.input_json };
    let limits = JsonLimits { bytes_max: INPUT_BYTES_MAX, depth_max: INPUT_DEPTH_MAX };
    let value = json::parse(input_json.as_bytes(), limits).map_err(InvokeError::InputJson)?;
    input.check(&value).map_err(|message| InvokeError::InputSchema { message })?;

    let digest = BlobRef::of(input_json.as_bytes());
    let code_dir = code.dir;
    let (blobs, files) = lease_files(inner, &call.owner, &call.files)?;
    let planned = ToolCall {
        invocation: &id,
        owner: &call.owner,
        name: &name,
        tool,
        parent,
        code_dir: code_dir.clone(),
        input_json,
        files,
        timeout_ms: call.timeout_ms,
        shelf: code.installed.as_ref().and_then(|_| shelf(inner, &call.owner, &code.digest, &tool.entry)),
    };
    let request = plan::plan_tool(planned, &inner.config.limits).map_err(InvokeError::Plan)?;
    Ok(Prepared {
        id,
        owner: call.owner,
        tool: name.to_string(),
        bundle: code.digest,
        input: Some(digest),
        kind: Kind::Tool { output, code_dir },
        request,
        deprecated: code.deprecated,
        held: Held { _blobs: blobs, _installed: code.installed, _ephemeral: code.ephemeral },
        vouched: code.vouched,
    })
}

/// The key of cages kept for this tool, once it is called often. The digest names the code for good.
fn shelf(inner: &Inner, owner: &str, digest: &Digest, entry: &str) -> Option<String> {
    let key = format!("{digest}/{entry}");
    let mut hot = inner.hot.lock().unwrap_or_else(PoisonError::into_inner);
    hot.note(&format!("{owner}/{key}"), (inner.config.clock)()).then_some(key)
}

/// The bundle a call goes to, kept while it runs.
struct Code {
    manifest: Arc<Manifest>,
    digest: Digest,
    dir: PathBuf,
    deprecated: String,
    installed: Option<BundleLease>,
    ephemeral: Option<Box<Staged>>,
    /// Cancelled when nobody vouches for it any more.
    vouched: CancellationToken,
}

/// What a caller wrote: a tool, and its bundle unless that was left out.
fn asked(text: &str) -> Result<(Option<Name>, Name), InvokeError> {
    if let Ok(tool) = Name::parse(text) {
        return Ok((None, tool));
    }
    let name = ToolName::parse(text).map_err(|source| InvokeError::ToolName {
        tool: text.chars().filter(|symbol| !symbol.is_control()).take(130).collect(),
        source,
    })?;
    Ok((Some(name.bundle), name.tool))
}

/// The version calls go to, held. One that is removed between the two steps makes way for the next.
fn installed(inner: &Inner, text: &str) -> Result<(ToolName, Code), InvokeError> {
    let name = match asked(text)? {
        (Some(bundle), tool) => ToolName { bundle, tool },
        (None, tool) => {
            let found = inner.store.tool_named(&tool).map_err(InvokeError::Store)?;
            found.ok_or_else(|| InvokeError::ToolUnknown { tool: tool.to_string() })?
        }
    };
    let gone = |error| match error {
        StoreError::BundleUnknown(_) => InvokeError::ToolUnknown { tool: name.to_string() },
        error => InvokeError::Store(error),
    };
    let attempt = || {
        let record = inner.store.bundle(&name.bundle, None)?;
        inner.store.lease_bundle(&record.digest).map(|lease| (record, lease))
    };
    // Somebody who removes versions faster than this finds out that there are none.
    let (record, lease) = attempt().or_else(|_| attempt()).or_else(|_| attempt()).map_err(gone)?;
    let vouched = inner.vouched.by(record.signer);
    inner.store.check_vouched(&record).map_err(InvokeError::Store)?;
    let BundleRecord { digest, deprecated, manifest_json, .. } = record;
    let manifest = inner.manifests.get(&digest, &manifest_json)?;
    let dir = lease.app_dir();
    Ok((name, Code { manifest, digest, dir, deprecated, installed: Some(lease), ephemeral: None, vouched }))
}

/// A bundle for this one call: through the same reader as an upload, into staging, and gone after the run.
fn isolated(inner: &Inner, owner: &str, sha256: &Digest, text: &str) -> Result<(ToolName, Code), InvokeError> {
    let (bundle, tool) = asked(text)?;
    let staged = stage(inner, owner, sha256)?;
    let name = ToolName { bundle: bundle.unwrap_or_else(|| staged.manifest.name.clone()), tool };
    if name.bundle != staged.manifest.name {
        return Err(InvokeError::ToolUnknown { tool: name.to_string() });
    }
    let (manifest, digest, dir) = (Arc::new(staged.manifest.clone()), staged.digest, staged.app_dir());
    let (deprecated, ephemeral) = (String::new(), Some(Box::new(staged)));
    // Like a program it is run by whoever sends it.
    let vouched = CancellationToken::new();
    Ok((name, Code { manifest, digest, dir, deprecated, installed: None, ephemeral, vouched }))
}

/// Prepares a program: its bundle goes through the same reader as an upload, into staging, and is gone after the run.
pub(crate) fn program(inner: &Inner, id: InvocationId, call: ExecCall) -> Result<Prepared, InvokeError> {
    let staged = stage(inner, &call.owner, &call.bundle)?;
    let (mut blobs, files) = lease_files(inner, &call.owner, &call.files)?;
    let session = match call.session {
        None => None,
        Some(session) => {
            let now = (inner.config.clock)();
            let lease = inner.store.lease_blob(&call.owner, &session.tree, now).map_err(InvokeError::Store)?;
            let tree = lease.path().to_owned();
            blobs.push(lease);
            Some(Session { tree, collect: session.collect })
        }
    };
    let planned = ProgramCall {
        invocation: &id,
        owner: &call.owner,
        manifest: &staged.manifest,
        code_dir: staged.app_dir(),
        args: call.args,
        env: call.env,
        tokens: call.tokens,
        limits: call.limits,
        profile: call.profile,
        files,
        session,
    };
    let request = plan::plan_program(planned, &inner.config.limits).map_err(InvokeError::Plan)?;
    Ok(Prepared {
        id,
        owner: call.owner,
        tool: format!("exec:{}", staged.manifest.name),
        bundle: staged.digest,
        input: None,
        kind: Kind::Program,
        request,
        deprecated: String::new(),
        held: Held { _blobs: blobs, _installed: None, _ephemeral: Some(Box::new(staged)) },
        // A program is run by whoever sends it, which is a permission of its own.
        vouched: CancellationToken::new(),
    })
}

fn stage(inner: &Inner, owner: &str, sha256: &Digest) -> Result<Staged, InvokeError> {
    let lease = inner.store.lease_blob(owner, sha256, (inner.config.clock)()).map_err(InvokeError::Store)?;
    let blob = lease.blob();
    let expected = Expected { size_bytes: blob.size_bytes, sha256: blob.sha256 };
    let mut reader = Reader::new(&inner.store.staging_dir(), BundleLimits::default(), Some(expected))
        .map_err(InvokeError::Bundle)?;
    let mut file = lease.open().map_err(InvokeError::Store)?;
    let mut piece = vec![0; 64 << 10];
    loop {
        let count =
            file.read(&mut piece).map_err(|source| InvokeError::ReadBlob { sha256: sha256.to_string(), source })?;
        match piece.get(..count) {
            None | Some([]) => return reader.finish().map_err(InvokeError::Bundle),
            Some(bytes) => reader.feed(bytes).map_err(InvokeError::Bundle)?,
        }
    }
}

fn lease_files(
    inner: &Inner,
    owner: &str,
    files: &[FileInput],
) -> Result<(Vec<BlobLease>, Vec<InputFile>), InvokeError> {
    // The plan refuses too many; leasing them first would be work for nothing.
    if files.len() > plan::FILES_MAX {
        return Err(InvokeError::Plan(plan::PlanError::FilesTooMany { count: files.len() }));
    }
    let now = (inner.config.clock)();
    let mut leases = Vec::with_capacity(files.len());
    let mut inputs = Vec::with_capacity(files.len());
    for file in files {
        let lease = inner.store.lease_blob(owner, &file.sha256, now).map_err(InvokeError::Store)?;
        inputs.push(InputFile { name: file.name.clone(), path: lease.path().to_owned() });
        leases.push(lease);
    }
    Ok((leases, inputs))
}
