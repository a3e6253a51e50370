//! Keys that vouch for bundles on this device.

use aria_core::signer::{self, Publisher, Signer, Standing, Taken};
use aria_core::{Digest, UnixMs};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::{count, digest, doing, int, lock, read};
use crate::{AuditEvent, AuditKind, Detail, Store, StoreError};

/// A key to be trusted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewSigner {
    /// The key and whom it speaks for.
    pub signer: Signer,
    /// DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// Not trusted from here on; `None`: no end.
    pub expires_at: Option<UnixMs>,
}

/// A key as kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignerRecord {
    /// SHA-256 of the public key.
    pub key: Digest,
    /// Whom it speaks for.
    pub publisher: Publisher,
    /// DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// When somebody began to trust it.
    pub trusted_at: UnixMs,
    /// Who.
    pub trusted_by: String,
    /// Not trusted from here on.
    pub expires_at: Option<UnixMs>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMs>,
}

impl Store {
    /// Trusts a key on behalf of `by`, durably; `false` when it was trusted so before. The rules are [`signer::take_up`]'s.
    pub fn trust_signer(
        &self,
        new: &NewSigner,
        joins: bool,
        by: &str,
        now: UnixMs,
    ) -> Result<(SignerRecord, bool), StoreError> {
        let NewSigner { signer: Signer { key, publisher }, public_key, expires_at } = new;
        let sql = "INSERT INTO signer (key_id, publisher, public_key, trusted_at, trusted_by, expires_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (key_id) DO UPDATE SET expires_at = ?6";
        let end = expires_at.map(|time| int(time.0));
        let values = params![key.hex(), publisher.as_str(), public_key, int(now.0), by, end];
        lock(&self.inner.db).audited(true, &self.inner.config, |step| {
            let known: Vec<Standing> = all(step)?.iter().map(SignerRecord::standing).collect();
            let taken =
                signer::take_up(&known, &new.signer, *expires_at, joins, now).map_err(StoreError::NotTrusted)?;
            let changed = taken != Taken::Unchanged;
            let mut rows = Vec::new();
            if changed {
                step.execute(sql, values).map_err(doing("trust a signer"))?;
                let detail = Detail::default().text("publisher", publisher.as_str());
                let detail = expires_at.map_or(detail.clone(), |end| detail.number("expiresMs", end.0));
                rows.push(audit(AuditKind::SignerTrusted, key, by, now, detail));
            }
            let kept = one(step, key)?.ok_or(StoreError::Corrupt { what: "signer" })?;
            Ok(((kept, changed), rows))
        })
    }

    /// Revokes a key on behalf of `by`, durably and for good; `false` when that was done before.
    pub fn revoke_signer(&self, key: &Digest, by: &str, now: UnixMs) -> Result<(SignerRecord, bool), StoreError> {
        let sql = "UPDATE signer SET revoked_at = ?2 WHERE key_id = ?1 AND revoked_at IS NULL";
        lock(&self.inner.db).audited(true, &self.inner.config, |step| {
            let changed = step.execute(sql, params![key.hex(), int(now.0)]).map_err(doing("revoke a signer"))? > 0;
            let kept = one(step, key)?.ok_or(StoreError::SignerUnknown(*key))?;
            let detail = Detail::default().text("publisher", kept.publisher.as_str());
            let row = changed.then(|| audit(AuditKind::SignerRevoked, key, by, now, detail));
            Ok(((kept, changed), row.into_iter().collect::<Vec<_>>()))
        })
    }

    /// All, oldest first, revoked ones too.
    pub fn signers(&self) -> Result<Vec<SignerRecord>, StoreError> {
        all(&lock(&self.inner.reads))
    }

    /// The key of this id, revoked or not.
    pub fn signer(&self, key: &Digest) -> Result<Option<SignerRecord>, StoreError> {
        one(&lock(&self.inner.reads), key)
    }
}

impl Store {
    /// Name and version of the installed bundles a key vouches for, by name.
    pub fn signed_by(&self, key: &Digest) -> Result<Vec<(String, String)>, StoreError> {
        let reads = lock(&self.inner.reads);
        let sql = "SELECT name, version FROM bundle WHERE signer = ?1 ORDER BY name, version";
        let mut statement = reads.prepare_cached(sql).map_err(doing("list signed bundles"))?;
        let rows = statement.query_map([key.hex()], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.and_then(Iterator::collect).map_err(doing("list signed bundles"))
    }
}

impl SignerRecord {
    fn standing(&self) -> Standing {
        Standing { signer: self.signer(), expires_at: self.expires_at, revoked: self.revoked_at.is_some() }
    }

    /// The key and whom it speaks for.
    pub fn signer(&self) -> Signer {
        Signer { key: self.key, publisher: self.publisher.clone() }
    }
}

fn all(connection: &Connection) -> Result<Vec<SignerRecord>, StoreError> {
    let sql = "SELECT * FROM signer ORDER BY trusted_at, key_id";
    let mut statement = connection.prepare_cached(sql).map_err(doing("list signers"))?;
    let rows = statement.query_map([], record).map_err(doing("list signers"))?;
    rows.map(|row| row.map_err(doing("list signers"))?).collect()
}

fn one(connection: &Connection, key: &Digest) -> Result<Option<SignerRecord>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM signer WHERE key_id = ?1").map_err(doing("look up a signer"))?;
    let found = statement.query_row([key.hex()], record).optional();
    found.map_err(doing("look up a signer"))?.transpose()
}

fn record(row: &Row<'_>) -> rusqlite::Result<Result<SignerRecord, StoreError>> {
    let publisher: String = row.get("publisher")?;
    let publisher = match read(Publisher::parse(&publisher), "signer.publisher") {
        Ok(publisher) => publisher,
        Err(error) => return Ok(Err(error)),
    };
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(|time| UnixMs(count(time))));
    Ok(Ok(SignerRecord {
        key: digest(row, "key_id")?,
        publisher,
        public_key: row.get("public_key")?,
        trusted_at: UnixMs(count(row.get("trusted_at")?)),
        trusted_by: row.get("trusted_by")?,
        expires_at: time("expires_at")?,
        revoked_at: time("revoked_at")?,
    }))
}

fn audit(kind: AuditKind, key: &Digest, by: &str, at: UnixMs, detail: Detail) -> AuditEvent {
    let (owner, subject, reason) = (by.to_owned(), format!("signer:{}", key.hex()), String::new());
    AuditEvent { at, kind, owner, invocation: None, subject, reason, detail }
}
