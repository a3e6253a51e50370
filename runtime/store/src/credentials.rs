//! Enrolled keys: who they are, what they may do, whether they still may.

use aria_core::{Digest, UnixMs};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::{count, digest, doing, int, lock};
use crate::{AuditEvent, AuditKind, Detail, Store, StoreError};

/// What an identity may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Bundles and exec.
    Operator,
    /// Calls tools.
    Caller,
}

impl Role {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Caller => "caller",
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Admin, Self::Operator, Self::Caller].into_iter().find(|role| role.as_str() == text)
    }
}

/// One enrolled key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki: Digest,
    /// The identity's name.
    pub subject: String,
    /// What it may do.
    pub role: Role,
    /// When it was enrolled.
    pub added_at: UnixMs,
    /// When its newest certificate ends; zero: not known.
    pub expires_at: UnixMs,
    /// When it was revoked.
    pub revoked_at: Option<UnixMs>,
}

impl Store {
    /// Enrols a key on behalf of `by`, durably. The same key again changes subject, role and time, and lifts a revocation.
    ///
    /// With `once`, only the first key ever to come with that text succeeds: the right is used up in the same commit. The same
    /// key may repeat it (its answer may have been lost); another one gets `AlreadyUsed`.
    pub fn enroll(&self, credential: &Credential, once: Option<&str>, by: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO credential (spki, subject, role, added_at, revoked_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
            ON CONFLICT (spki) DO UPDATE SET subject = ?2, role = ?3, added_at = ?4, revoked_at = ?5, expires_at = ?6";
        let Credential { spki, subject, role, added_at, expires_at, revoked_at } = credential;
        let revoked = revoked_at.map(|time| int(time.0));
        let values = params![spki.hex(), subject, role.as_str(), int(added_at.0), revoked, int(expires_at.0)];
        let detail = Detail::default().text("subject", subject).text("role", role.as_str());
        let row = audit(AuditKind::CredentialEnrolled, spki, by, *added_at, detail);
        lock(&self.inner.db).audited(true, &self.inner.config, |step| {
            once.map_or(Ok(()), |right| use_right(step, right, spki))?;
            step.execute(sql, values).map_err(doing("enrol a key"))?;
            Ok(((), [row]))
        })
    }

    /// The key's credential, revoked or not.
    pub fn credential(&self, spki: &Digest) -> Result<Option<Credential>, StoreError> {
        let reads = lock(&self.inner.reads);
        let sql = "SELECT * FROM credential WHERE spki = ?1";
        let found = reads.query_row(sql, [spki.hex()], credential).optional();
        found.map_err(doing("look up a key"))?.transpose()
    }

    /// All, oldest first.
    pub fn credentials(&self) -> Result<Vec<Credential>, StoreError> {
        let reads = lock(&self.inner.reads);
        let sql = "SELECT * FROM credential ORDER BY added_at, spki";
        let mut statement = reads.prepare(sql).map_err(doing("list keys"))?;
        let rows = statement.query_map([], credential).map_err(doing("list keys"))?;
        rows.map(|row| row.map_err(doing("list keys"))?).collect()
    }

    /// Revokes a key on behalf of `by`, durably; `false` when there is no live one.
    pub fn revoke(&self, spki: &Digest, by: &str, now: UnixMs) -> Result<bool, StoreError> {
        let sql = "UPDATE credential SET revoked_at = ?2 WHERE spki = ?1 AND revoked_at IS NULL RETURNING subject";
        lock(&self.inner.db).audited(true, &self.inner.config, |step| {
            let revoked = step.query_row(sql, params![spki.hex(), int(now.0)], |row| row.get(0)).optional();
            let subject: Option<String> = revoked.map_err(doing("revoke a key"))?;
            let row = subject.as_deref().map(|subject| {
                audit(AuditKind::CredentialRevoked, spki, by, now, Detail::default().text("subject", subject))
            });
            Ok((row.is_some(), row.into_iter().collect::<Vec<_>>()))
        })
    }
}

fn audit(kind: AuditKind, spki: &Digest, by: &str, at: UnixMs, detail: Detail) -> AuditEvent {
    let reason = String::new();
    AuditEvent {
        at,
        kind,
        owner: by.to_owned(),
        invocation: None,
        subject: format!("key:{}", spki.hex()),
        reason,
        detail,
    }
}

fn use_right(step: &Connection, right: &str, spki: &Digest) -> Result<(), StoreError> {
    let sql = "INSERT INTO used_right (name, spki) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET spki = spki RETURNING spki";
    let holder: String =
        step.query_row(sql, [right, &spki.hex()], |row| row.get(0)).map_err(doing("use a one-time right"))?;
    if holder == spki.hex() { Ok(()) } else { Err(StoreError::AlreadyUsed(right.to_owned())) }
}

fn credential(row: &Row<'_>) -> rusqlite::Result<Result<Credential, StoreError>> {
    let role: String = row.get("role")?;
    let Some(role) = Role::parse(&role) else { return Ok(Err(StoreError::Corrupt { what: "credential.role" })) };
    let revoked_at: Option<i64> = row.get("revoked_at")?;
    Ok(Ok(Credential {
        spki: digest(row, "spki")?,
        subject: row.get("subject")?,
        role,
        added_at: UnixMs(count(row.get("added_at")?)),
        expires_at: UnixMs(count(row.get("expires_at")?)),
        revoked_at: revoked_at.map(|time| UnixMs(count(time))),
    }))
}
