//! The audit: one row per refusal and per step, in the order they were written, never changed.
//!
//! Where a step has a row of its own (a run's end, an installed bundle, an enrolled key) both are one commit. The rest comes in
//! batches from one writer. Room is bounded: when it is full, whoever has most gives up its own oldest rows, the ordinary course
//! of things before refusals, and a row says how many went. So nobody can push another owner's traces out.

use aria_core::{InvocationId, UnixMs};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};

use crate::audit_detail::clean;
use crate::db::{Db, count, doing, int, lock};
use crate::meta;
use crate::open::Config;
use crate::{Detail, Store, StoreError};

/// Counted for each row beside its texts.
const ROW_BYTES: u64 = 64;
/// Longest owner, subject and reason; they are names.
const NAME_CHARS_MAX: usize = 256;
/// When there is no room, this part of it is made.
const TRIM_SHARE: u64 = 16;
const LIMIT_DEFAULT: usize = 1000;
const LIMIT_MAX: usize = 10_000;
/// One look ends with the row that fills this.
const PAGE_BYTES: u64 = 256 << 10;
/// How many rows were ever trimmed, among the remembered values.
const TRIMMED: &str = "audit-trimmed";
const ASKED: &str =
    "FROM audit WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR owner = ?2) AND (?3 IS NULL OR invocation = ?3)
    AND (?4 IS NULL OR at >= ?4) AND (?5 IS NULL OR seq > ?5)";

/// What a row is about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AuditKind {
    /// A call was refused before its program ran.
    CallRefused,
    /// A call that ran has ended.
    CallFinished,
    /// Tokens were leased.
    LeaseGranted,
    /// Tokens were asked for and not leased.
    LeaseDenied,
    /// A lease ended before its program.
    LeaseRevoked,
    /// A wait was refused because it would have closed a cycle.
    LeaseDeadlock,
    /// Events of the engine were forgotten before they could be written here.
    LeaseLost,
    /// A running program asked for what its lease does not cover.
    GuestDenied,
    /// A running program asked for a connection it may not have.
    EgressDenied,
    /// A rule was added.
    PolicyAdded,
    /// A rule was removed.
    PolicyRemoved,
    /// A bundle was installed.
    BundleInstalled,
    /// Calls of a bundle go to another version, or it was marked as one not to use.
    BundleChanged,
    /// A bundle was removed.
    BundleRemoved,
    /// An installed bundle has another signer, who is trusted.
    BundleSigned,
    /// Somebody accepted that a bundle may touch more than before.
    AuthorityAccepted,
    /// A key that vouches for bundles was trusted.
    SignerTrusted,
    /// A key that vouches for bundles was revoked.
    SignerRevoked,
    /// A key was enrolled.
    CredentialEnrolled,
    /// A key was revoked.
    CredentialRevoked,
    /// A secret's value was set.
    SecretSet,
    /// A secret was removed.
    SecretRemoved,
    /// Old rows made room.
    AuditTrimmed,
}

impl AuditKind {
    /// Every kind.
    pub const ALL: [Self; 23] = [
        Self::CallRefused,
        Self::CallFinished,
        Self::LeaseGranted,
        Self::LeaseDenied,
        Self::LeaseRevoked,
        Self::LeaseDeadlock,
        Self::LeaseLost,
        Self::GuestDenied,
        Self::EgressDenied,
        Self::PolicyAdded,
        Self::PolicyRemoved,
        Self::BundleInstalled,
        Self::BundleChanged,
        Self::BundleRemoved,
        Self::BundleSigned,
        Self::AuthorityAccepted,
        Self::SignerTrusted,
        Self::SignerRevoked,
        Self::CredentialEnrolled,
        Self::CredentialRevoked,
        Self::SecretSet,
        Self::SecretRemoved,
        Self::AuditTrimmed,
    ];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallRefused => "call.refused",
            Self::CallFinished => "call.finished",
            Self::LeaseGranted => "lease.granted",
            Self::LeaseDenied => "lease.denied",
            Self::LeaseRevoked => "lease.revoked",
            Self::LeaseDeadlock => "lease.deadlock",
            Self::LeaseLost => "lease.lost",
            Self::GuestDenied => "guest.denied",
            Self::EgressDenied => "egress.denied",
            Self::PolicyAdded => "policy.added",
            Self::PolicyRemoved => "policy.removed",
            Self::BundleInstalled => "bundle.installed",
            Self::BundleChanged => "bundle.changed",
            Self::BundleRemoved => "bundle.removed",
            Self::BundleSigned => "bundle.signed",
            Self::AuthorityAccepted => "authority.accepted",
            Self::SignerTrusted => "signer.trusted",
            Self::SignerRevoked => "signer.revoked",
            Self::CredentialEnrolled => "credential.enrolled",
            Self::CredentialRevoked => "credential.revoked",
            Self::SecretSet => "secret.set",
            Self::SecretRemoved => "secret.removed",
            Self::AuditTrimmed => "audit.trimmed",
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    fn is_routine(self) -> bool {
        matches!(self, Self::CallFinished | Self::LeaseGranted)
    }
}

/// A row to write. Nothing in it is a value that a program read or wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditEvent {
    /// When.
    pub at: UnixMs,
    /// What it is about.
    pub kind: AuditKind,
    /// Whose request it was; empty: the device's own step, or nobody it knows.
    pub owner: String,
    /// The run, if one is concerned.
    pub invocation: Option<InvocationId>,
    /// `tool:<bundle>.<tool>`, `exec:<script>`, a method, a rule, a bundle, a key.
    pub subject: String,
    /// Reason of a refusal, outcome of a call, or empty.
    pub reason: String,
    /// Facts.
    pub detail: Detail,
}

/// How a run's tool is called where subjects of other kinds stand beside it.
pub fn run_subject(tool: &str) -> String {
    if tool.starts_with("exec:") { tool.to_owned() } else { format!("tool:{tool}") }
}

/// A row as kept. Its texts move no cursor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditRecord {
    /// Rises with every row and is never used again.
    pub seq: i64,
    /// When.
    pub at: UnixMs,
    /// What it is about, as [`AuditKind::as_str`].
    pub kind: String,
    /// Whose request it was.
    pub owner: String,
    /// The run, or empty.
    pub invocation: String,
    /// What it concerned.
    pub subject: String,
    /// Reason or outcome.
    pub reason: String,
    /// A JSON object.
    pub detail: String,
}

/// Which rows.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Of this kind.
    pub kind: Option<AuditKind>,
    /// Of this owner.
    pub owner: Option<String>,
    /// About this run.
    pub invocation: Option<InvocationId>,
    /// At or after this moment.
    pub since: Option<UnixMs>,
    /// With a greater `seq`.
    pub after: Option<i64>,
    /// At most so many of the newest; with `after`, of the oldest. Zero is 1,000; at most 10,000.
    pub limit: usize,
}

/// What one look found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditPage {
    /// Oldest first.
    pub rows: Vec<AuditRecord>,
    /// [`AuditQuery::after`] of the next look.
    pub next: i64,
    /// The look ended before the rows did.
    pub more: bool,
}

impl Store {
    /// Writes rows in order, in one commit; durable if told so, else they survive `kill -9` and a power cut may take the last of
    /// them. `remember` is a value of [`Store::meta`] that changes in the same commit.
    pub fn audit(
        &self,
        events: &[AuditEvent],
        durable: bool,
        remember: Option<(&str, &str)>,
    ) -> Result<(), StoreError> {
        let mut db = lock(&self.inner.db);
        db.audited(durable, &self.inner.config, |step| {
            remember.map_or(Ok(()), |(key, value)| meta::set(step, key, value))?;
            Ok(((), events))
        })
    }

    /// One page of rows: up to the limit, or until it has a quarter mebibyte.
    pub fn audit_rows(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let limit = if query.limit == 0 { LIMIT_DEFAULT } else { query.limit.min(LIMIT_MAX) };
        let reads = lock(&self.inner.reads);
        // Before the look: rows are committed in the order of `seq`, so the look misses none up to here.
        let newest = reads.query_row("SELECT coalesce(max(seq), 0) FROM audit", [], |row| row.get(0));
        let newest: i64 = newest.map_err(doing("find the newest audit row"))?;
        let after = match query.after {
            Some(after) => after,
            None => before_tail(&reads, query, limit)?.unwrap_or(newest),
        };
        let sql = format!("SELECT * {ASKED} ORDER BY seq LIMIT ?6");
        let mut statement = reads.prepare_cached(&sql).map_err(doing("read the audit"))?;
        let rows = statement
            .query_map(params_from_iter(values(query, Some(after), limit)), stored)
            .map_err(doing("read the audit"))?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        for row in rows {
            let row = row.map_err(doing("read the audit"))?;
            let next = row.seq;
            bytes += ROW_BYTES + row.detail.len() as u64;
            page.push(row);
            if page.len() >= limit || bytes >= PAGE_BYTES {
                return Ok(AuditPage { rows: page, next, more: true });
            }
        }
        // What was looked through and not asked for is not looked through again.
        let next = page.last().map_or(after, |row| row.seq).max(newest);
        Ok(AuditPage { rows: page, next, more: false })
    }
}

impl Db {
    /// One commit of some work and the audit rows it gives.
    pub(crate) fn audited<T, E: AsRef<[AuditEvent]>>(
        &mut self,
        durable: bool,
        config: &Config,
        work: impl FnOnce(&Transaction<'_>) -> Result<(T, E), StoreError>,
    ) -> Result<T, StoreError> {
        let connection = if durable { &mut self.durable } else { &mut self.relaxed };
        let step = connection.transaction().map_err(doing("begin an audited step"))?;
        let (done, events) = work(&step)?;
        let after = self.audit.write(&step, events.as_ref(), config)?;
        step.commit().map_err(doing("commit an audited step"))?;
        self.audit = after;
        Ok(done)
    }
}

fn values(query: &AuditQuery, after: Option<i64>, limit: usize) -> [Value; 6] {
    [
        query.kind.map(|kind| kind.as_str().to_owned()).into(),
        query.owner.clone().into(),
        query.invocation.as_ref().map(|id| id.as_str().to_owned()).into(),
        query.since.map(|time| int(time.0)).into(),
        after.into(),
        int(limit as u64).into(),
    ]
}

/// The place before the newest rows of the query; `None` when there are none.
fn before_tail(reads: &Connection, query: &AuditQuery, limit: usize) -> Result<Option<i64>, StoreError> {
    let sql = format!("SELECT min(seq) - 1 FROM (SELECT seq {ASKED} ORDER BY seq DESC LIMIT ?6)");
    let found = reads
        .prepare_cached(&sql)
        .and_then(|mut sql| sql.query_row(params_from_iter(values(query, None, limit)), |row| row.get(0)));
    found.map_err(doing("find the end of the audit"))
}

fn stored(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    Ok(AuditRecord {
        seq: row.get("seq")?,
        at: UnixMs(count(row.get("at")?)),
        kind: row.get("kind")?,
        owner: row.get("owner")?,
        invocation: row.get("invocation")?,
        subject: row.get("subject")?,
        reason: row.get("reason")?,
        detail: row.get("detail")?,
    })
}

/// What the rows take.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Room {
    rows: u64,
    bytes: u64,
}

impl Room {
    pub(crate) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM audit";
        let found =
            connection.query_row(sql, [], |row| Ok(Self { rows: count(row.get(0)?), bytes: count(row.get(1)?) }));
        found.map_err(doing("sum up the audit"))
    }

    /// Writes rows and makes room; the new sums count once the transaction is committed.
    pub(crate) fn write(
        self,
        step: &Transaction<'_>,
        events: &[AuditEvent],
        config: &Config,
    ) -> Result<Self, StoreError> {
        let mut room = self;
        for event in events {
            room.insert(step, event)?;
        }
        let Some(at) = events.last().map(|event| event.at) else { return Ok(room) };
        let mut gone = Gone::default();
        while room.rows > config.audit_rows_max || room.bytes > config.audit_bytes_max {
            if !room.trim(step, config, &mut gone)? {
                break;
            }
        }
        if gone.rows > 0 {
            room.insert(step, &gone.told(step, at)?)?;
        }
        Ok(room)
    }

    fn insert(&mut self, step: &Transaction<'_>, event: &AuditEvent) -> Result<(), StoreError> {
        let AuditEvent { at, kind, owner, invocation, subject, reason, detail } = event;
        let [owner, subject, reason] = [owner, subject, reason].map(|text| clean(text, NAME_CHARS_MAX));
        let invocation = invocation.as_ref().map(|id| id.as_str()).unwrap_or_default();
        let detail = detail.to_json();
        let texts = [owner.as_str(), invocation, &subject, &reason, &detail];
        let bytes = ROW_BYTES + texts.map(str::len).iter().sum::<usize>() as u64;
        let sql = "INSERT INTO audit (at, kind, routine, owner, invocation, subject, reason, detail, bytes)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let [owner, invocation, subject, reason, detail] = texts;
        let routine = kind.is_routine();
        let values = params![int(at.0), kind.as_str(), routine, owner, invocation, subject, reason, detail, int(bytes)];
        step.prepare_cached(sql).and_then(|mut sql| sql.execute(values)).map_err(doing("write an audit row"))?;
        self.rows += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Drops the oldest rows of whoever has most; `false` when there is nothing to drop.
    fn trim(&mut self, step: &Transaction<'_>, config: &Config, gone: &mut Gone) -> Result<bool, StoreError> {
        let most = "SELECT routine, owner FROM audit GROUP BY routine, owner ORDER BY
            routine = 1 AND (SELECT sum(bytes) FROM audit WHERE routine = 1) * 2 >= ?1 DESC, sum(bytes) DESC LIMIT 1";
        let found = step.query_row(most, [int(self.bytes)], |row| Ok((row.get(0)?, row.get(1)?))).optional();
        let Some((routine, owner)): Option<(bool, String)> = found.map_err(doing("find who has most audit rows"))?
        else {
            return Ok(false);
        };
        // Some more than is needed, so that this is not done for every row; one for the row that tells it.
        let (rows_share, bytes_share) = (config.audit_rows_max / TRIM_SHARE, config.audit_bytes_max / TRIM_SHARE);
        let oldest = "SELECT seq, bytes FROM audit WHERE routine = ?1 AND owner = ?2 ORDER BY seq";
        let mut statement = step.prepare_cached(oldest).map_err(doing("find old audit rows"))?;
        let mut found = statement.query(params![routine, owner]).map_err(doing("find old audit rows"))?;
        let mut last = 0;
        while let Some(row) = found.next().map_err(doing("find old audit rows"))? {
            let enough = self.rows + rows_share < config.audit_rows_max
                && self.bytes.saturating_add(bytes_share) < config.audit_bytes_max;
            if enough {
                break;
            }
            last = row.get(0).map_err(doing("find old audit rows"))?;
            self.rows = self.rows.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(count(row.get(1).map_err(doing("find old audit rows"))?));
            gone.rows += 1;
        }
        gone.last = gone.last.max(last);
        let sql = "DELETE FROM audit WHERE routine = ?1 AND owner = ?2 AND seq <= ?3";
        step.execute(sql, params![routine, owner, last]).map_err(doing("drop old audit rows"))?;
        Ok(true)
    }
}

/// What made room.
#[derive(Default)]
struct Gone {
    rows: u64,
    last: i64,
}

impl Gone {
    /// The row that tells it. The sum over all times is remembered, so that it is known when this row itself is gone.
    fn told(&self, step: &Transaction<'_>, at: UnixMs) -> Result<AuditEvent, StoreError> {
        let ever = meta::get(step, TRIMMED)?.and_then(|text| text.parse().ok()).unwrap_or(0u64) + self.rows;
        meta::set(step, TRIMMED, &ever.to_string())?;
        Ok(AuditEvent {
            at,
            kind: AuditKind::AuditTrimmed,
            owner: String::new(),
            invocation: None,
            subject: "audit".to_owned(),
            reason: String::new(),
            detail: Detail::default()
                .number("rows", self.rows)
                .number("upTo", count(self.last))
                .number("rowsEver", ever),
        })
    }
}
