//! What the device remembers of a bundle's name beside what is installed: whose it is, how far it got, which authority was accepted.

use aria_core::admission::{Admission, Refusal};
use aria_core::signer::Publisher;
use aria_core::{Digest, Name, UnixMs};
use rusqlite::{Connection, OptionalExtension, params};
use semver::Version;

use crate::db::{count, doing, int, lock, read};
use crate::registry::BundleRecord;
use crate::{NewBundle, Store, StoreError};

/// Names of bundles that were ever installed. About 100 bytes each.
const NAMES_MAX: u64 = 10_000;
/// Accepted authorities of one name; the oldest are forgotten and would have to be accepted again.
const GRANTS_MAX: i64 = 16;

/// The facts about a name that decide whether a bundle is installed under it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Whose it is.
    pub publisher: Option<Publisher>,
    /// The highest version that was ever installed.
    pub highest: Option<Version>,
    /// What is installed under the very version.
    pub same_version: Option<BundleRecord>,
    /// The newest installed version.
    pub newest: Option<BundleRecord>,
    /// Exactly this interface and authority were accepted from the name's publisher.
    pub granted: bool,
}

impl Store {
    /// The facts about a bundle's name, version and digests.
    pub fn history(&self, bundle: &NewBundle) -> Result<History, StoreError> {
        let installed = self.versions(&bundle.name)?;
        let same_version = installed.iter().find(|there| there.version == bundle.version).cloned();
        let newest = installed.into_iter().next();
        let reads = lock(&self.inner.reads);
        let seen = seen(&reads, &bundle.name)?;
        // A bundle from before the device remembered names counts as seen.
        let there = newest.as_ref().map(|there| read(Version::parse(&there.version), "bundle.version")).transpose()?;
        let (publisher, version) = seen.unzip();
        let granted = publisher.as_ref().map(|publisher| granted(&reads, publisher, bundle)).transpose()?;
        let highest = version.into_iter().chain(there).max();
        Ok(History { publisher, highest, same_version, newest, granted: granted.unwrap_or_default() })
    }

    /// Whether somebody who may still vouches for an installed bundle. A signer whose time is over vouched while it lasted.
    pub fn check_vouched(&self, bundle: &BundleRecord) -> Result<(), StoreError> {
        let Some(key) = bundle.signer else { return Err(StoreError::Refused(Refusal::SignatureMissing)) };
        match self.signer(&key)? {
            Some(signer) if signer.revoked_at.is_none() => Ok(()),
            Some(_) => Err(StoreError::Refused(Refusal::SignerRevoked(key))),
            None => Err(StoreError::Corrupt { what: "bundle.signer" }),
        }
    }
}

fn seen(connection: &Connection, name: &Name) -> Result<Option<(Publisher, Version)>, StoreError> {
    let sql = "SELECT publisher, version FROM bundle_seen WHERE name = ?1";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let found = connection.query_row(sql, [name.as_str()], row).optional().map_err(doing("look up a name"))?;
    let Some((publisher, version)) = found else { return Ok(None) };
    let publisher = read(Publisher::parse(&publisher), "bundle_seen.publisher")?;
    Ok(Some((publisher, read(Version::parse(&version), "bundle_seen.version")?)))
}

fn granted(connection: &Connection, publisher: &Publisher, bundle: &NewBundle) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM authority_grant
        WHERE publisher = ?1 AND name = ?2 AND interface_digest = ?3 AND authority_digest = ?4";
    let values = key(publisher, &bundle.name, &bundle.interface_digest, &bundle.authority_digest);
    let found = connection.query_row(sql, values, |_| Ok(())).optional();
    found.map(|found| found.is_some()).map_err(doing("look up an accepted authority"))
}

fn key(publisher: &Publisher, name: &Name, interface: &Digest, authority: &Digest) -> [String; 4] {
    [publisher.to_string(), name.to_string(), interface.hex(), authority.hex()]
}

/// Remembers that a bundle is installed, in the step that does it. `highest` is what was remembered before.
pub(crate) fn remember(
    step: &Connection,
    (name, version): (&Name, &str),
    history: &History,
    admission: &Admission,
    now: UnixMs,
) -> Result<(), StoreError> {
    let (Admission::Present { signer } | Admission::Install { signer, .. }) = admission;
    let version = read(Version::parse(version), "bundle.version")?;
    let highest = history.highest.clone().into_iter().chain([version]).max().map(|version| version.to_string());
    if history.publisher.is_none() {
        let names = step.query_row("SELECT count(*) FROM bundle_seen", [], |row| row.get(0)).map(count);
        if names.map_err(doing("count names"))? >= NAMES_MAX {
            return Err(StoreError::TooManyNames { limit: NAMES_MAX });
        }
    }
    let sql = "INSERT INTO bundle_seen (name, publisher, version, seen_at) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (name) DO UPDATE SET version = ?3, seen_at = ?4";
    let values = params![name.as_str(), signer.publisher.as_str(), highest, int(now.0)];
    step.execute(sql, values).map(drop).map_err(doing("remember a name"))
}

/// Remembers that a bundle's authority was accepted, in the step that installs it.
pub(crate) fn remember_grant(
    step: &Connection,
    bundle: &NewBundle,
    publisher: &Publisher,
    now: UnixMs,
) -> Result<(), StoreError> {
    let [publisher, name, interface, authority] =
        key(publisher, &bundle.name, &bundle.interface_digest, &bundle.authority_digest);
    let sql = "INSERT OR REPLACE INTO authority_grant
        (publisher, name, interface_digest, authority_digest, granted_by, granted_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    step.execute(sql, params![publisher, name, interface, authority, bundle.owner, int(now.0)])
        .map_err(doing("remember an accepted authority"))?;
    let sql = "DELETE FROM authority_grant WHERE name = ?1 AND seq NOT IN
        (SELECT seq FROM authority_grant WHERE name = ?1 ORDER BY seq DESC LIMIT ?2)";
    step.execute(sql, params![name, GRANTS_MAX]).map(drop).map_err(doing("forget accepted authorities"))
}
