//! From a bundle that was read whole to one that is installed, or to the reason why it is not.

use aria_bundle::{PublicKey, Reader, Staged, Standing, judge};
use aria_core::admission::{self, Admission, Known, Offer};
use aria_core::authority::Change;
use aria_core::signer::Signer;
use aria_core::{Digest, Verdict};
use aria_store::{
    AuditEvent, AuditKind, BundleRecord, Detail, History, Installed, NewBundle, SignerRecord, StoreError,
};
use tonic::Status;

use super::convert::invalid;
use super::signers::key_id;
use super::{Device, now};
use crate::status;

/// What the sender wants.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) owner: String,
    /// The file, which may be known without its bytes the next time.
    pub(super) file_sha256: Digest,
    /// The authority that may be wider than the installed version's.
    pub(super) accept_authority: Option<Digest>,
    pub(super) dry_run: bool,
}

/// What came of it.
pub(super) struct Judged {
    pub(super) record: BundleRecord,
    pub(super) already_present: bool,
    /// Against `compared_version`.
    pub(super) changes: Vec<Change>,
    pub(super) compared_version: String,
    /// Only in a dry run.
    pub(super) needs_acceptance: bool,
}

impl Wanted {
    /// `accept_authority` as on the wire.
    pub(super) fn read(owner: &str, file_sha256: Digest, accept: &str, dry_run: bool) -> Result<Self, Status> {
        let accept_authority = if accept.is_empty() { None } else { Some(key_id(accept)?) };
        Ok(Self { owner: owner.to_owned(), file_sha256, accept_authority, dry_run })
    }
}

/// Why it is not installed, and the row that says so where the device decided it.
pub(super) struct NotInstalled {
    pub(super) status: Status,
    pub(super) row: Option<AuditEvent>,
}

impl NotInstalled {
    /// Writes the row; gives what the sender is told.
    pub(super) async fn told(self, device: &Device) -> Status {
        if let Some(row) = self.row {
            device.handle.audit().refused(row).await;
        }
        self.status
    }
}

impl From<Status> for Box<NotInstalled> {
    fn from(status: Status) -> Self {
        Self::new(NotInstalled { status, row: None })
    }
}

/// Judges the bundle and installs it unless this is a dry run. Blocks. Whatever the answer, nothing is left in staging.
pub(super) fn install(device: &Device, reader: Reader, wanted: &Wanted) -> Result<Judged, Box<NotInstalled>> {
    let staged = reader.finish().map_err(status::bundle)?;
    fits(device, &staged)?;
    let signers = device.store.signers().map_err(status::store)?;
    let verdict = verdict(&staged, &signers);
    let signers: Vec<Signer> = signers.iter().map(SignerRecord::signer).collect();
    let manifest = staged.manifest.clone();
    let offer = Offer {
        manifest: &manifest,
        digest: staged.digest,
        authority_digest: staged.authority_digest,
        verdict: &verdict,
        signers: &signers,
        accepted: if wanted.dry_run { Some(staged.authority_digest) } else { wanted.accept_authority },
    };
    let new = new_bundle(&staged, wanted);
    let row = refusal_row(&new);
    let refused = |error: StoreError| refused(row, error);
    if wanted.dry_run {
        let history = device.store.history(&new).map_err(status::store)?;
        let admission = decide(&offer, &history).map_err(refused)?;
        return Ok(dry(new, &history, admission));
    }
    let mut judged = None;
    let admit = |history: &History| {
        let admission = decide(&offer, history)?;
        judged = Some((compared(history), admission.clone()));
        Ok(admission)
    };
    let place = |bundles: &std::path::Path| staged.commit(bundles).map(drop).map_err(Into::into);
    let installed = device.store.install(new, now(), admit, place).map_err(refused)?;
    let (record, already_present) = match installed {
        Installed::Now(record) => (record, false),
        Installed::Before(record) => (record, true),
    };
    let (compared_version, changes) = match judged {
        Some((version, Admission::Install { changes, .. })) => (version, changes),
        _ => (String::new(), Vec::new()),
    };
    Ok(Judged { record, already_present, changes, compared_version, needs_acceptance: false })
}

impl Judged {
    /// A bundle that is installed, with nothing to compare.
    pub(super) fn present(record: BundleRecord) -> Self {
        let (changes, compared_version) = (Vec::new(), String::new());
        Self { record, already_present: true, changes, compared_version, needs_acceptance: false }
    }
}

/// What an upload would do.
fn dry(new: NewBundle, history: &History, admission: Admission) -> Judged {
    let already_present = history.same_version.is_some();
    let (signer, changes, needs_acceptance) = match admission {
        Admission::Present { signer } => (signer, Vec::new(), false),
        Admission::Install { signer, changes, grants } => (signer, changes, grants),
    };
    let record = history.same_version.clone().unwrap_or_else(|| new.would_be(signer.key));
    let compared_version = if changes.is_empty() { String::new() } else { compared(history) };
    Judged { record, already_present, changes, compared_version, needs_acceptance }
}

fn compared(history: &History) -> String {
    history.newest.as_ref().map(|there| there.version.clone()).unwrap_or_default()
}

/// The facts in the decision's terms.
fn decide(offer: &Offer<'_>, history: &History) -> Result<Admission, StoreError> {
    let damaged = |_| StoreError::Corrupt { what: "bundle.manifest_json" };
    let read = |there: &BundleRecord| aria_bundle::parse_manifest(there.manifest_json.as_bytes()).map_err(damaged);
    let newest = history.newest.as_ref().map(read).transpose()?;
    let known = Known {
        publisher: history.publisher.as_ref(),
        highest: history.highest.as_ref(),
        same_version: history.same_version.as_ref().map(|there| there.digest),
        newest: newest.as_ref(),
        granted: history.granted,
    };
    admission::admit(offer, &known).map_err(StoreError::Refused)
}

fn verdict(staged: &Staged, signers: &[SignerRecord]) -> Verdict {
    let standing = |record: &SignerRecord| {
        let key = PublicKey::from_spki(&record.public_key).ok()?;
        Some(Standing { key, revoked: record.revoked_at.is_some(), expires_at: record.expires_at })
    };
    judge(&staged.signatures, now(), |id| signers.iter().find(|record| record.key == *id).and_then(standing))
}

fn new_bundle(staged: &Staged, wanted: &Wanted) -> NewBundle {
    NewBundle {
        name: staged.manifest.name.clone(),
        version: staged.manifest.version.to_string(),
        digest: staged.digest,
        interface_digest: staged.interface_digest,
        authority_digest: staged.authority_digest,
        size_bytes: staged.size_bytes,
        unpacked_bytes: staged.unpacked_bytes,
        manifest_json: staged.manifest_json.clone(),
        owner: wanted.owner.clone(),
        file_sha256: wanted.file_sha256,
        tools: staged.manifest.tools.iter().map(|tool| tool.name.clone()).collect(),
        dependencies: staged.manifest.dependencies.clone(),
    }
}

/// What the audit says when the bundle is refused; the reason is still to come.
fn refusal_row(bundle: &NewBundle) -> AuditEvent {
    AuditEvent {
        at: now(),
        kind: AuditKind::CallRefused,
        owner: bundle.owner.clone(),
        invocation: None,
        subject: format!("bundle:{}@{}", bundle.name, bundle.version),
        reason: String::new(),
        detail: Detail::default().text("digest", &bundle.digest.to_string()),
    }
}

fn refused(row: AuditEvent, error: StoreError) -> Box<NotInstalled> {
    let row = matches!(error, StoreError::Refused(_)).then(|| AuditEvent {
        reason: error.reason().to_owned(),
        detail: row.detail.text("message", &error.to_string()),
        ..row
    });
    Box::new(NotInstalled { status: status::store(error), row })
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
