//! Installed bundles: a row each, a directory each, and who uses the directory right now.
//!
//! The directory comes first and the row second, so a row always has its directory; a crash between leaves a directory without
//! a row, which opening removes. A directory goes away by one rename into `staging`, never piece by piece in its place.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aria_core::admission::Admission;
use aria_core::{Active, Dependency, Digest, Name, UnixMs};
use rusqlite::{OptionalExtension, Row, params};
use semver::Version;

use crate::db::{count, digest, doing, int, lock, read};
use crate::error::StoreError;
use crate::files::{io_error, remove};
use crate::history::{self, History};
use crate::open::{Inner, Store};
use crate::versions;
use crate::{AuditEvent, AuditKind, Detail};

/// A bundle about to be installed.
#[derive(Clone, Debug)]
pub struct NewBundle {
    /// Its name.
    pub name: Name,
    /// Semver text.
    pub version: String,
    /// Identity.
    pub digest: Digest,
    /// What a model sees.
    pub interface_digest: Digest,
    /// What it may touch.
    pub authority_digest: Digest,
    /// Length of the `.aria` file.
    pub size_bytes: u64,
    /// What it takes on a disk.
    pub unpacked_bytes: u64,
    /// The manifest's text.
    pub manifest_json: String,
    /// Who installs it.
    pub owner: String,
    /// The `.aria` file it came as.
    pub file_sha256: Digest,
    /// Its tools.
    pub tools: Vec<Name>,
    /// Bundles it needs.
    pub dependencies: Vec<Dependency>,
}

/// An installed bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BundleRecord {
    /// Its name.
    pub name: Name,
    /// Semver text.
    pub version: String,
    /// Identity.
    pub digest: Digest,
    /// What a model sees.
    pub interface_digest: Digest,
    /// What it may touch.
    pub authority_digest: Digest,
    /// Length of the `.aria` file.
    pub size_bytes: u64,
    /// What it takes on a disk.
    pub unpacked_bytes: u64,
    /// The manifest's text.
    pub manifest_json: String,
    /// Who installed it.
    pub owner: String,
    /// When.
    pub installed_at: UnixMs,
    /// Why it should not be used any more, or empty.
    pub deprecated: String,
    /// Calls go to this version.
    pub active: bool,
    /// They do so whatever else is installed.
    pub pinned: bool,
    /// The key that vouched for it; `None`: it came before devices asked.
    pub signer: Option<Digest>,
}

/// What an install did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Installed {
    /// It is new.
    Now(BundleRecord),
    /// The same digest was there; nothing changed.
    Before(BundleRecord),
}

/// Bundle directories in use, and those among them that go when the last user is done.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    used: HashMap<Digest, Use>,
}

#[derive(Debug, Default)]
struct Use {
    holders: usize,
    doomed: bool,
}

/// Keeps a bundle's directory while it is used, also when the bundle is removed meanwhile. Dropping the last lease of a removed
/// bundle deletes the directory, so it may block.
pub struct BundleLease {
    inner: Arc<Inner>,
    digest: Digest,
}

impl std::fmt::Debug for BundleLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BundleLease").field(&self.digest).finish()
    }
}

impl BundleLease {
    /// The code, for `/app`.
    pub fn app_dir(&self) -> PathBuf {
        self.inner.bundles.join(self.digest.hex()).join("app")
    }
}

impl Drop for BundleLease {
    fn drop(&mut self) {
        let mut leases = lock(&self.inner.leases);
        let Some(used) = leases.used.get_mut(&self.digest) else { return };
        used.holders = used.holders.saturating_sub(1);
        if used.holders > 0 {
            return;
        }
        let doomed = used.doomed;
        leases.used.remove(&self.digest);
        // What cannot be removed now is a directory without a row: the next start removes it.
        let trash = if doomed { self.inner.discard(&self.digest).ok().flatten() } else { None };
        drop(leases);
        drop(trash.map(|trash| remove(&trash)));
    }
}

/// Bundles with what their name points at.
pub(crate) const BUNDLES: &str = "SELECT bundle.*, active.version = bundle.version AS is_active,
    active.version = bundle.version AND active.pinned AS is_pinned
    FROM bundle JOIN active ON active.name = bundle.name";

impl NewBundle {
    /// As it would be once installed.
    #[must_use]
    pub fn would_be(self, signer: Digest) -> BundleRecord {
        let Self { name, version, digest, interface_digest, authority_digest, .. } = self;
        let Self { size_bytes, unpacked_bytes, manifest_json, owner, .. } = self;
        BundleRecord {
            name,
            version,
            digest,
            interface_digest,
            authority_digest,
            size_bytes,
            unpacked_bytes,
            manifest_json,
            owner,
            installed_at: UnixMs(0),
            deprecated: String::new(),
            active: false,
            pinned: false,
            signer: Some(signer),
        }
    }
}

impl Store {
    /// Installs a bundle if `admit`, given what the device knows of its name, says so. `place` gets the `bundles` directory and
    /// must leave the durable directory `<hex digest>` in it (`Staged::commit` does); it is not called when the bundle is there
    /// already. Then the row is written. Installs and removals run one at a time; lookups go on meanwhile. After an error nothing
    /// is installed and nothing is remembered.
    pub fn install(
        &self,
        bundle: NewBundle,
        now: UnixMs,
        admit: impl FnOnce(&History) -> Result<Admission, StoreError>,
        place: impl FnOnce(&Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<Installed, StoreError> {
        let _alone = lock(&self.inner.installing);
        let history = self.history(&bundle)?;
        let admission = admit(&history)?;
        if let Some(there) = &history.same_version {
            return self.vouch_again(there.clone(), &history, &admission, &bundle.owner, now);
        }
        self.check_dependencies(&bundle)?;
        self.check_quota(bundle.unpacked_bytes)?;
        // Removed while in use and now back: the directory is still whole and stays.
        if let Some(used) = lock(&self.inner.leases).used.get_mut(&bundle.digest) {
            used.doomed = false;
        }
        let digest = bundle.digest;
        let insert = || self.insert(bundle, &history, &admission, now);
        match place(&self.inner.bundles).map_err(StoreError::Place).and_then(|()| insert()) {
            Ok(record) => Ok(Installed::Now(record)),
            Err(error) => {
                // What cannot be removed either has no row, so the next start removes it.
                drop(self.release(&digest));
                Err(error)
            }
        }
    }

    /// The same bundle again. When whoever vouched for it may no more, whoever vouches now takes the place.
    fn vouch_again(
        &self,
        mut there: BundleRecord,
        history: &History,
        admission: &Admission,
        by: &str,
        now: UnixMs,
    ) -> Result<Installed, StoreError> {
        let (Admission::Present { signer } | Admission::Install { signer, .. }) = admission;
        match self.check_vouched(&there) {
            Ok(()) => return Ok(Installed::Before(there)),
            Err(StoreError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
        there.signer = Some(signer.key);
        let row = audit(AuditKind::BundleSigned, (&there.name, &there.version), by, now, |detail| {
            detail.text("digest", &there.digest.to_string()).text("signer", &signer.key.to_string())
        });
        lock(&self.inner.db).audited(true, &self.inner.config, |step| {
            let sql = "UPDATE bundle SET signer = ?2 WHERE digest = ?1";
            step.execute(sql, [there.digest.hex(), signer.key.hex()]).map_err(doing("sign a bundle"))?;
            history::remember(step, (&there.name, &there.version), history, admission, now)?;
            Ok(((), [row]))
        })?;
        Ok(Installed::Before(there))
    }

    /// Name and version of all installed bundles by name, then newest version first. Not the bundles: all their manifests
    /// together may be more than a device can hold.
    pub fn bundles(&self) -> Result<Vec<(Name, String)>, StoreError> {
        let reads = lock(&self.inner.reads);
        let mut statement = reads.prepare_cached("SELECT name, version FROM bundle").map_err(doing("list bundles"))?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(doing("list bundles"))?;
        let mut keyed = Vec::new();
        for row in rows {
            let (name, version): (String, String) = row.map_err(doing("list bundles"))?;
            let parsed = read(Version::parse(&version), "bundle.version")?;
            keyed.push((read(Name::parse(&name), "bundle.name")?, parsed, version));
        }
        keyed.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        Ok(keyed.into_iter().map(|(name, _, version)| (name, version)).collect())
    }

    /// One version; `None` is the one calls go to.
    pub fn bundle(&self, name: &Name, version: Option<&str>) -> Result<BundleRecord, StoreError> {
        let found = match version {
            Some(version) => self.find(name, version)?,
            None => self.find_active(name)?,
        };
        found.ok_or_else(|| StoreError::BundleUnknown(shown(name, version)))
    }

    /// Keeps the bundle's directory until the lease is dropped. Cheap.
    pub fn lease_bundle(&self, digest: &Digest) -> Result<BundleLease, StoreError> {
        let mut leases = lock(&self.inner.leases);
        let sql = "SELECT 1 FROM bundle WHERE digest = ?1";
        let found = lock(&self.inner.reads).query_row(sql, [digest.hex()], |_| Ok(())).optional();
        if found.map_err(doing("look up bundle"))?.is_none() {
            return Err(StoreError::BundleUnknown(digest.to_string()));
        }
        leases.used.entry(*digest).or_default().holders += 1;
        Ok(BundleLease { inner: Arc::clone(&self.inner), digest: *digest })
    }

    pub(crate) fn find(&self, name: &Name, version: &str) -> Result<Option<BundleRecord>, StoreError> {
        let sql = format!("{BUNDLES} WHERE bundle.name = ?1 AND bundle.version = ?2");
        Ok(self.select(&sql, [name.as_str(), version])?.into_iter().next())
    }

    fn find_active(&self, name: &Name) -> Result<Option<BundleRecord>, StoreError> {
        let sql = format!("{BUNDLES} AND active.version = bundle.version WHERE bundle.name = ?1");
        Ok(self.select(&sql, [name.as_str()])?.into_iter().next())
    }

    /// All versions of one name, newest first.
    pub(crate) fn versions(&self, name: &Name) -> Result<Vec<BundleRecord>, StoreError> {
        let mut records = self.select(&format!("{BUNDLES} WHERE bundle.name = ?1"), [name.as_str()])?;
        sort(&mut records)?;
        Ok(records)
    }

    pub(crate) fn select(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<BundleRecord>, StoreError> {
        let reads = lock(&self.inner.reads);
        let mut statement = reads.prepare_cached(sql).map_err(doing("look up bundles"))?;
        let rows = statement.query_map(params, record).map_err(doing("look up bundles"))?;
        rows.map(|row| row.map_err(doing("look up bundles"))?).collect()
    }

    fn insert(
        &self,
        bundle: NewBundle,
        history: &History,
        admission: &Admission,
        now: UnixMs,
    ) -> Result<BundleRecord, StoreError> {
        let (Admission::Present { signer } | Admission::Install { signer, .. }) = admission;
        let version = read(Version::parse(&bundle.version), "bundle.version")?;
        let sql =
            "INSERT INTO bundle (name, version, digest, interface_digest, authority_digest, size_bytes, unpacked_bytes,
            manifest_json, owner, installed_at, file_sha256, signer)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        let values = params![
            bundle.name.as_str(),
            bundle.version,
            bundle.digest.hex(),
            bundle.interface_digest.hex(),
            bundle.authority_digest.hex(),
            int(bundle.size_bytes),
            int(bundle.unpacked_bytes),
            bundle.manifest_json,
            bundle.owner,
            int(now.0),
            bundle.file_sha256.hex(),
            signer.key.hex(),
        ];
        let rows = installed_rows(&bundle, admission, now);
        lock(&self.inner.db).audited(true, &self.inner.config, |step| {
            step.execute(sql, values).map_err(doing("install bundle"))?;
            versions::insert_parts(step, &bundle)?;
            let active = Active::installed(versions::active(step, &bundle.name)?, version);
            versions::set_active(step, &bundle.name, &active)?;
            history::remember(step, (&bundle.name, &bundle.version), history, admission, now)?;
            if let Admission::Install { signer, grants: true, .. } = admission {
                history::remember_grant(step, &bundle, &signer.publisher, now)?;
            }
            Ok(((), rows))
        })?;
        self.find(&bundle.name, &bundle.version)?.ok_or(StoreError::Corrupt { what: "bundle" })
    }

    fn check_quota(&self, needed_bytes: u64) -> Result<(), StoreError> {
        let (quota_bytes, limit) = (self.inner.config.bundles_bytes_max, self.inner.config.bundles_max);
        let sql = "SELECT count(*), coalesce(sum(unpacked_bytes), 0) FROM bundle";
        let found = lock(&self.inner.reads).query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        let (installed, used) = found.map_err(doing("sum up bundles"))?;
        if count(installed) >= limit {
            return Err(StoreError::TooManyBundles { limit });
        }
        let used = count(used);
        if used.saturating_add(needed_bytes) <= quota_bytes {
            return Ok(());
        }
        Err(StoreError::DiskQuota { of: "bundles", needed_bytes, quota_bytes })
    }

    /// The directory of a bundle without a row goes now, or with its last lease.
    pub(crate) fn release(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut leases = lock(&self.inner.leases);
        if let Some(used) = leases.used.get_mut(digest) {
            used.doomed = true;
            return Ok(());
        }
        let trash = self.inner.discard(digest)?;
        drop(leases);
        trash.map_or(Ok(()), |trash| remove(&trash))
    }
}

impl Inner {
    /// Moves a bundle's directory out of sight; the caller removes what comes back when it holds no lock.
    fn discard(&self, digest: &Digest) -> Result<Option<PathBuf>, StoreError> {
        let from = self.bundles.join(digest.hex());
        let to = self.staged_path("bundle-trash");
        match fs::rename(&from, &to) {
            Ok(()) => Ok(Some(to)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("remove bundle directory", &from)(error)),
        }
    }

    /// A name in `staging` that this process did not use before; opening emptied the directory.
    pub(crate) fn staged_path(&self, kind: &str) -> PathBuf {
        self.staging.join(format!("{kind}-{}", self.staged.fetch_add(1, Ordering::Relaxed)))
    }
}

/// The rows of an installed bundle: that it is, and that more authority was accepted for it.
fn installed_rows(bundle: &NewBundle, admission: &Admission, now: UnixMs) -> Vec<AuditEvent> {
    let (Admission::Present { signer } | Admission::Install { signer, .. }) = admission;
    let row = |kind, changes: &[String]| {
        audit(kind, (&bundle.name, &bundle.version), &bundle.owner, now, |detail| {
            let detail = detail.text("digest", &bundle.digest.to_string());
            let detail = detail.text("authority", &bundle.authority_digest.to_string());
            detail.text("signer", &signer.key.to_string()).texts("changes", changes)
        })
    };
    let mut rows = vec![row(AuditKind::BundleInstalled, &[])];
    if let Admission::Install { grants: true, changes, .. } = admission {
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        rows.push(row(AuditKind::AuthorityAccepted, &changes));
    }
    rows
}

/// The row of a step with a bundle.
pub(crate) fn audit(
    kind: AuditKind,
    (name, version): (&Name, &str),
    by: &str,
    at: UnixMs,
    detail: impl FnOnce(Detail) -> Detail,
) -> AuditEvent {
    let (subject, detail) = (format!("bundle:{name}@{version}"), detail(Detail::default()));
    AuditEvent { at, kind, owner: by.to_owned(), invocation: None, subject, reason: String::new(), detail }
}

fn record(row: &Row<'_>) -> rusqlite::Result<Result<BundleRecord, StoreError>> {
    let name: String = row.get("name")?;
    let name = match read(Name::parse(&name), "bundle.name") {
        Ok(name) => name,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(BundleRecord {
        name,
        version: row.get("version")?,
        digest: digest(row, "digest")?,
        interface_digest: digest(row, "interface_digest")?,
        authority_digest: digest(row, "authority_digest")?,
        size_bytes: count(row.get("size_bytes")?),
        unpacked_bytes: count(row.get("unpacked_bytes")?),
        manifest_json: row.get("manifest_json")?,
        owner: row.get("owner")?,
        installed_at: UnixMs(count(row.get("installed_at")?)),
        deprecated: row.get("deprecated")?,
        active: row.get("is_active")?,
        pinned: row.get("is_pinned")?,
        signer: row.get::<_, Option<String>>("signer")?.map(|_| digest(row, "signer")).transpose()?,
    }))
}

fn sort(records: &mut Vec<BundleRecord>) -> Result<(), StoreError> {
    let key = |record: BundleRecord| Ok((read(Version::parse(&record.version), "bundle.version")?, record));
    let mut keyed = records.drain(..).map(key).collect::<Result<Vec<_>, StoreError>>()?;
    keyed.sort_by(|(a_version, a), (b_version, b)| a.name.cmp(&b.name).then(b_version.cmp(a_version)));
    records.extend(keyed.into_iter().map(|(_, record)| record));
    Ok(())
}

pub(crate) fn shown(name: &Name, version: Option<&str>) -> String {
    let version: String = version.unwrap_or_default().chars().take(128).collect();
    if version.is_empty() { name.to_string() } else { format!("{name}@{version}") }
}
