//! Opening a data directory, and putting right what a crash left in it.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aria_core::{InvocationId, UnixMs};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rusqlite::Connection;

use crate::blobs::BlobState;
use crate::db::{Db, count, doing, lock, reader};
use crate::error::StoreError;
use crate::files::{io_error, make_directory, names, remove, sync_directory};
use crate::registry::Leases;
use crate::state::{State, StateLimits};
use crate::versions::mend_active;
use crate::{AuditEvent, AuditKind, Detail, run_subject};

/// Bounds of what is kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// All blobs together.
    pub blobs_bytes_max: u64,
    /// One blob.
    pub blob_bytes_max: u64,
    /// Unused blobs are dropped after this time.
    pub blob_retention: Duration,
    /// Blobs used within this time stay even when the quota is full.
    pub blob_grace: Duration,
    /// All unpacked bundles together.
    pub bundles_bytes_max: u64,
    /// Most installed bundles, each version counted.
    pub bundles_max: u64,
    /// Logs of one run before its tail.
    pub log_head_bytes_max: u64,
    /// Last log bytes of one run.
    pub log_tail_bytes_max: u64,
    /// All logs together; the oldest runs' logs go first.
    pub logs_bytes_max: u64,
    /// Most run rows; the oldest go first.
    pub runs_max: u64,
    /// What tools keep.
    pub state: StateLimits,
    /// Most audit rows.
    pub audit_rows_max: u64,
    /// All audit rows together.
    pub audit_bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            blobs_bytes_max: 2 << 30,
            blob_bytes_max: 1 << 30,
            blob_retention: Duration::from_secs(3600),
            blob_grace: Duration::from_secs(60),
            bundles_bytes_max: 4 << 30,
            bundles_max: 1000,
            log_head_bytes_max: 1 << 20,
            log_tail_bytes_max: 64 << 10,
            logs_bytes_max: 256 << 20,
            runs_max: 100_000,
            state: StateLimits::default(),
            audit_rows_max: 200_000,
            audit_bytes_max: 64 << 20,
        }
    }
}

/// What opening found and repaired; for one log line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recovered {
    /// Entries of `staging/` that were removed.
    pub staging_removed: usize,
    /// Bundle directories without a row, removed.
    pub bundles_removed: usize,
    /// Rows whose directory is gone: `name@version`. They were removed; install again.
    pub bundles_lost: Vec<String>,
    /// Names whose calls had no installed version to go to; they go to the newest now.
    pub pointers_mended: usize,
    /// Blob files without a row, removed.
    pub blobs_removed: usize,
    /// Blob rows without their file, removed.
    pub blobs_lost: usize,
    /// Runs that had not ended; their outcome is now `LOST`.
    pub runs_lost: usize,
}

/// Everything below one data directory. Cheap to clone; the directory is free for another process when the last clone and the
/// last lease are gone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) bundles: PathBuf,
    pub(crate) blobs: PathBuf,
    pub(crate) staging: PathBuf,
    /// Locks are taken in the order of these fields.
    pub(crate) installing: Mutex<()>,
    pub(crate) leases: Mutex<Leases>,
    pub(crate) blob_state: Mutex<BlobState>,
    pub(crate) db: Mutex<Db>,
    pub(crate) reads: Mutex<Connection>,
    /// What tools keep, with locks of its own.
    pub(crate) state: State,
    /// Numbers names in `staging`.
    pub(crate) staged: AtomicU64,
    _alone: Flock<File>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("bundles", &self.inner.bundles).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or makes the store and repairs what a crash left. One process at a time: a second one gets `Busy`.
    pub fn open(data_dir: &Path, config: Config) -> Result<(Self, Recovered), StoreError> {
        make_directory(data_dir)?;
        let alone = take_alone(data_dir)?;
        let [bundles, blobs, staging] = ["bundles", "blobs", "staging"].map(|name| data_dir.join(name));
        for directory in [&bundles, &blobs, &staging] {
            make_directory(directory)?;
            // Quilt mounts what is in here for other users; the data directory itself decides who gets this far.
            fs::set_permissions(directory, Permissions::from_mode(0o755))
                .map_err(io_error("set mode of", directory))?;
        }
        let path = data_dir.join("aria.db");
        let mut db = Db::open(&path)?;
        let reads = reader(&path)?;
        let state = State::open(&data_dir.join("state.db"), config.state)?;
        sync_directory(data_dir)?;
        let mut recovered = Recovered {
            staging_removed: sweep(&staging)?,
            bundles_removed: remove_strays(&bundles, &listed(&db.durable, "SELECT digest FROM bundle")?)?,
            bundles_lost: forget_bundles(&db.durable, &bundles)?,
            pointers_mended: 0,
            blobs_removed: remove_strays(&blobs, &listed(&db.durable, "SELECT sha256 FROM blob")?)?,
            blobs_lost: forget_blobs(&db.durable, &blobs)?,
            runs_lost: end_runs(&mut db, &config)?,
        };
        recovered.pointers_mended = mend_active(&mut db.durable)?;
        let inner = Inner {
            blob_state: Mutex::new(BlobState::load(&db.durable)?),
            config,
            bundles,
            blobs,
            staging,
            installing: Mutex::new(()),
            leases: Mutex::new(Leases::default()),
            db: Mutex::new(db),
            reads: Mutex::new(reads),
            state,
            staged: AtomicU64::new(0),
            _alone: alone,
        };
        Ok((Self { inner: Arc::new(inner) }, recovered))
    }

    /// Where half-done work goes (bundle readers get this directory). Same file system as the rest.
    pub fn staging_dir(&self) -> PathBuf {
        self.inner.staging.clone()
    }

    /// Where installed bundles are; one of Quilt's code roots.
    pub fn bundles_dir(&self) -> PathBuf {
        self.inner.bundles.clone()
    }

    /// Where blobs are; one of Quilt's code roots.
    pub fn blobs_dir(&self) -> PathBuf {
        self.inner.blobs.clone()
    }

    /// Whether the database answers; for health checks.
    pub fn check(&self) -> Result<(), StoreError> {
        let reads = lock(&self.inner.reads);
        reads.query_row("SELECT count(*) FROM meta", [], |_| Ok(())).map_err(doing("check database"))
    }
}

fn take_alone(data_dir: &Path) -> Result<Flock<File>, StoreError> {
    let path = data_dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io_error("open", &path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => StoreError::Busy { path: data_dir.to_owned() },
        errno => io_error("lock", &path)(errno.into()),
    })
}

fn sweep(directory: &Path) -> Result<usize, StoreError> {
    let found = names(directory)?;
    found.iter().try_for_each(|(_, path)| remove(path))?;
    Ok(found.len())
}

fn listed(connection: &Connection, sql: &str) -> Result<BTreeSet<String>, StoreError> {
    let mut statement = connection.prepare(sql).map_err(doing("list rows"))?;
    let rows = statement.query_map([], |row| row.get(0)).map_err(doing("list rows"))?;
    rows.collect::<Result<_, _>>().map_err(doing("list rows"))
}

fn remove_strays(directory: &Path, kept: &BTreeSet<String>) -> Result<usize, StoreError> {
    let strays: Vec<PathBuf> =
        names(directory)?.into_iter().filter(|(name, _)| !kept.contains(name)).map(|(_, path)| path).collect();
    strays.iter().try_for_each(|path| remove(path))?;
    Ok(strays.len())
}

fn forget_bundles(connection: &Connection, bundles: &Path) -> Result<Vec<String>, StoreError> {
    let mut lost = Vec::new();
    for digest in listed(connection, "SELECT digest FROM bundle")? {
        if bundles.join(&digest).join("app").is_dir() {
            continue;
        }
        let sql = "DELETE FROM bundle WHERE digest = ?1 RETURNING name || '@' || version";
        lost.push(connection.query_row(sql, [&digest], |row| row.get(0)).map_err(doing("forget a lost bundle"))?);
    }
    Ok(lost)
}

// A file of another length cannot come from us; its bytes are hashed when they are put, so length is enough here.
fn forget_blobs(connection: &Connection, blobs: &Path) -> Result<usize, StoreError> {
    let mut statement = connection.prepare("SELECT sha256, size_bytes FROM blob").map_err(doing("list blobs"))?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, count(row.get(1)?))))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(doing("list blobs"))?;
    let whole =
        |path: &Path, size| fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == size);
    let lost: Vec<String> =
        rows.into_iter().filter(|(name, size)| !whole(&blobs.join(name), *size)).map(|(name, _)| name).collect();
    for name in &lost {
        connection.execute("DELETE FROM blob WHERE sha256 = ?1", [name]).map_err(doing("forget a lost blob"))?;
        remove(&blobs.join(name))?;
    }
    Ok(lost.len())
}

/// When they ended is not known: it was after whatever was written last.
fn end_runs(db: &mut Db, config: &Config) -> Result<usize, StoreError> {
    db.audited(true, config, |step| {
        let last = "SELECT max(coalesce(max(at), 0), (SELECT coalesce(max(started_at), 0) FROM run)) FROM audit";
        let last = step.query_row(last, [], |row| row.get(0)).map_err(doing("find the last event"))?;
        let sql = "UPDATE run SET outcome = 'LOST' WHERE outcome = '' RETURNING id, tool, owner";
        let mut statement = step.prepare(sql).map_err(doing("end lost runs"))?;
        let rows = statement
            .query_map([], |row| {
                let (id, tool): (String, String) = (row.get(0)?, row.get(1)?);
                Ok(AuditEvent {
                    at: UnixMs(count(last)),
                    kind: AuditKind::CallFinished,
                    owner: row.get(2)?,
                    invocation: InvocationId::parse(&id).ok(),
                    subject: run_subject(&tool),
                    reason: "LOST".to_owned(),
                    detail: Detail::default().text("message", "the daemon ended before the run"),
                })
            })
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(doing("end lost runs"))?;
        Ok((rows.len(), rows))
    })
}
