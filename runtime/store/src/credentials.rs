//! skeleton
use aria_core::{Digest, UnixMs};

use crate::{Store, StoreError};

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
    /// When it was revoked.
    pub revoked_at: Option<UnixMs>,
}

impl Store {
    /// Enrols a key. The same key again changes subject and role and lifts a revocation.
    /// With `once`, only the first call ever with that text succeeds (the right to enrol is used up with the same commit); the
    /// same key may repeat it.
    pub fn enroll(&self, _credential: &Credential, _once: Option<&str>) -> Result<(), StoreError> {
        todo!()
    }
    /// The key's credential, revoked or not.
    pub fn credential(&self, _spki: &Digest) -> Result<Option<Credential>, StoreError> {
        todo!()
    }
    /// All, oldest first.
    pub fn credentials(&self) -> Result<Vec<Credential>, StoreError> {
        todo!()
    }
    /// Revokes a key; `false` when there is no live one.
    pub fn revoke(&self, _spki: &Digest, _now: UnixMs) -> Result<bool, StoreError> {
        todo!()
    }
}
