//! Versions of one bundle side by side: which one calls go to, which should not be used any more, which must stay because others
//! need them. What should happen is decided by `aria_core::active` and `aria_core::dependency`.

use std::collections::BTreeSet;

use aria_core::dependency::{self, Node, Range};
use aria_core::{Active, Dependency, Digest, Name, ToolName, UnixMs};
use rusqlite::{Connection, OptionalExtension, params};
use semver::Version;

use crate::db::{doing, lock, read};
use crate::error::StoreError;
use crate::open::Store;
use crate::registry::{BUNDLES, audit, shown};
use crate::{AuditKind, BundleRecord, NewBundle};

/// Longest reason of a deprecation, bytes.
pub const DEPRECATED_BYTES_MAX: usize = 500;

/// What becomes of bundles that need what is removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dependants {
    /// They stay, so nothing is removed.
    Refuse,
    /// They are removed too.
    Remove,
}

/// Where calls of a bundle shall go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pointer<'a> {
    /// To this version, whatever else is installed.
    Pin(&'a str),
    /// To the newest, now and later.
    Follow,
    /// To where they went before.
    Back,
}

impl Store {
    /// The bundle that came as this file, if it is installed.
    pub fn bundle_by_file(&self, file_sha256: &Digest) -> Result<Option<BundleRecord>, StoreError> {
        let found = self.select(&format!("{BUNDLES} WHERE bundle.file_sha256 = ?1"), [file_sha256.hex()])?;
        Ok(found.into_iter().next())
    }

    /// Moves the pointer of one name, on behalf of `by`, and returns the version calls go to now. Calls that run are not touched.
    pub fn point(&self, name: &Name, to: Pointer<'_>, by: &str, now: UnixMs) -> Result<BundleRecord, StoreError> {
        let _alone = lock(&self.inner.installing);
        let newest = self.versions(name)?.into_iter().next();
        let newest = newest.ok_or_else(|| StoreError::BundleUnknown(shown(name, None)))?;
        let before = active(&lock(&self.inner.reads), name)?.ok_or(StoreError::Corrupt { what: "active" })?;
        let (after, reason) = match to {
            Pointer::Pin(version) => {
                let found = self.find(name, version)?;
                let found = found.ok_or_else(|| StoreError::BundleUnknown(shown(name, Some(version))))?;
                (before.clone().pin(parsed(&found.version)?), "PINNED")
            }
            Pointer::Follow => (before.clone().follow(parsed(&newest.version)?), "FOLLOWS"),
            Pointer::Back => {
                let after = before.clone().back().ok_or_else(|| StoreError::NoPrevious(name.to_string()))?;
                (after, "ROLLED_BACK")
            }
        };
        let (from, version) = (before.version.to_string(), after.version.to_string());
        let mut row = audit(AuditKind::BundleChanged, (name, &version), by, now, |detail| detail.text("from", &from));
        row.reason = reason.to_owned();
        lock(&self.inner.db).audited(true, &self.inner.config, |step| {
            set_active(step, name, &after)?;
            Ok(((), [row]))
        })?;
        self.find(name, &version)?.ok_or(StoreError::Corrupt { what: "active" })
    }

    /// Says why a version should not be used any more; an empty `why` takes that back. It is still called.
    pub fn deprecate(
        &self,
        name: &Name,
        version: &str,
        why: &str,
        by: &str,
        now: UnixMs,
    ) -> Result<BundleRecord, StoreError> {
        let _alone = lock(&self.inner.installing);
        let mut row = audit(AuditKind::BundleChanged, (name, version), by, now, |detail| detail.text("why", why));
        row.reason = if why.is_empty() { "UNDEPRECATED" } else { "DEPRECATED" }.to_owned();
        if self.find(name, version)?.is_none() {
            return Err(StoreError::BundleUnknown(shown(name, Some(version))));
        }
        lock(&self.inner.db).audited(true, &self.inner.config, |step| {
            let sql = "UPDATE bundle SET deprecated = ?3 WHERE name = ?1 AND version = ?2";
            step.execute(sql, params![name.as_str(), version, why]).map_err(doing("deprecate a bundle"))?;
            Ok(((), [row]))
        })?;
        self.find(name, version)?.ok_or_else(|| StoreError::BundleUnknown(shown(name, Some(version))))
    }

    /// Removes one version, or all with `None`, on behalf of `by`; refused when others need it. Running calls keep their files
    /// until their lease ends.
    pub fn remove_bundle(
        &self,
        name: &Name,
        version: Option<&str>,
        by: &str,
        now: UnixMs,
    ) -> Result<Vec<BundleRecord>, StoreError> {
        self.remove_with(name, version, Dependants::Refuse, by, now)
    }

    /// As [`Store::remove_bundle`], with a word on those that need it. Returns all that went, what was asked for first.
    pub fn remove_with(
        &self,
        name: &Name,
        version: Option<&str>,
        dependants: Dependants,
        by: &str,
        now: UnixMs,
    ) -> Result<Vec<BundleRecord>, StoreError> {
        let _alone = lock(&self.inner.installing);
        let removed = self.removal(name, version, dependants)?;
        let rows: Vec<_> = removed
            .iter()
            .map(|one| {
                audit(AuditKind::BundleRemoved, (&one.name, &one.version), by, now, |detail| {
                    detail.text("digest", &one.digest.to_string()).text("authority", &one.authority_digest.to_string())
                })
            })
            .collect();
        lock(&self.inner.db).audited(true, &self.inner.config, |step| {
            for one in &removed {
                let sql = "DELETE FROM bundle WHERE digest = ?1";
                step.execute(sql, [one.digest.hex()]).map_err(doing("remove bundle"))?;
            }
            for name in removed.iter().map(|one| &one.name).collect::<BTreeSet<_>>() {
                let left = installed_versions(step, name)?;
                match active(step, name)?.and_then(|active| active.removed(&left)) {
                    Some(active) => set_active(step, name, &active)?,
                    None => {
                        let sql = "DELETE FROM active WHERE name = ?1";
                        step.execute(sql, [name.as_str()]).map_err(doing("forget a pointer"))?;
                    }
                }
            }
            Ok(((), rows))
        })?;
        removed.iter().try_for_each(|record| self.release(&record.digest))?;
        Ok(removed)
    }

    /// What a removal would take away; changes nothing.
    pub fn removal(
        &self,
        name: &Name,
        version: Option<&str>,
        dependants: Dependants,
    ) -> Result<Vec<BundleRecord>, StoreError> {
        let mut removed = match version {
            Some(version) => self.find(name, version)?.into_iter().collect(),
            None => self.versions(name)?,
        };
        if removed.is_empty() {
            return Err(StoreError::BundleUnknown(shown(name, version)));
        }
        let all = nodes(&lock(&self.inner.reads))?;
        let asked = |node: &Node| node.name == *name && version.is_none_or(|asked| node.version.to_string() == asked);
        let going = all.iter().enumerate().filter(|(_, node)| asked(node)).map(|(place, _)| place).collect();
        let lacking: Vec<&Node> =
            dependency::dependants(&all, &going).into_iter().filter_map(|place| all.get(place)).collect();
        if dependants == Dependants::Refuse && !lacking.is_empty() {
            let dependants = lacking.iter().map(|node| format!("{}@{}", node.name, node.version)).collect();
            return Err(StoreError::InUse { bundle: shown(name, version), dependants });
        }
        for node in lacking {
            removed.extend(self.find(&node.name, &node.version.to_string())?);
        }
        Ok(removed)
    }

    /// The whole name of a tool that is called without its bundle: the one bundle whose active version has it, if it is one.
    pub fn tool_named(&self, tool: &Name) -> Result<Option<ToolName>, StoreError> {
        // One more than is shown; the names come in order, so the answer does not depend on what was installed first.
        let sql = "SELECT bundle.name FROM bundle_tool JOIN bundle USING (digest)
            JOIN active ON active.name = bundle.name AND active.version = bundle.version
            WHERE bundle_tool.name = ?1 ORDER BY bundle.name LIMIT 20";
        let reads = lock(&self.inner.reads);
        let mut statement = reads.prepare_cached(sql).map_err(doing("look up a tool"))?;
        let rows = statement.query_map([tool.as_str()], |row| row.get(0)).map_err(doing("look up a tool"))?;
        let found = rows.collect::<Result<Vec<String>, _>>().map_err(doing("look up a tool"))?;
        match found.as_slice() {
            [] => Ok(None),
            [bundle] => {
                let bundle = read(Name::parse(bundle), "bundle.name")?;
                Ok(Some(ToolName { bundle, tool: tool.clone() }))
            }
            several => {
                let candidates = several.iter().map(|bundle| format!("{bundle}.{tool}")).collect();
                Err(StoreError::ToolAmbiguous { tool: tool.to_string(), candidates })
            }
        }
    }

    /// Refuses a bundle that would lack another one.
    pub(crate) fn check_dependencies(&self, bundle: &NewBundle) -> Result<(), StoreError> {
        if bundle.dependencies.is_empty() {
            return Ok(());
        }
        let all = nodes(&lock(&self.inner.reads))?;
        match dependency::unmet(&bundle.dependencies, all.iter().map(|node| (&node.name, &node.version))) {
            None => Ok(()),
            Some(unmet) => Err(StoreError::DependencyMissing {
                bundle: format!("{}@{}", bundle.name, bundle.version),
                name: unmet.name.to_string(),
                range: unmet.range.to_string(),
            }),
        }
    }
}

/// What a bundle's row has of lists.
pub(crate) fn insert_parts(step: &Connection, bundle: &NewBundle) -> Result<(), StoreError> {
    let digest = bundle.digest.hex();
    for tool in &bundle.tools {
        let sql = "INSERT INTO bundle_tool (name, digest) VALUES (?1, ?2)";
        step.execute(sql, params![tool.as_str(), digest]).map_err(doing("list a tool"))?;
    }
    for Dependency { name, range } in &bundle.dependencies {
        let sql = "INSERT INTO bundle_dependency (digest, name, range) VALUES (?1, ?2, ?3)";
        step.execute(sql, params![digest, name.as_str(), range.as_str()]).map_err(doing("list a dependency"))?;
    }
    Ok(())
}

/// The pointer of one name.
pub(crate) fn active(connection: &Connection, name: &Name) -> Result<Option<Active>, StoreError> {
    let sql = "SELECT version, previous, pinned FROM active WHERE name = ?1";
    let row = connection.query_row(sql, [name.as_str()], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?, row.get(2)?))
    });
    let Some((version, previous, pinned)) = row.optional().map_err(doing("look up a pointer"))? else {
        return Ok(None);
    };
    let previous = previous.map(|text| parsed(&text)).transpose()?;
    Ok(Some(Active { version: parsed(&version)?, previous, pinned }))
}

/// Writes it.
pub(crate) fn set_active(step: &Connection, name: &Name, active: &Active) -> Result<(), StoreError> {
    let sql = "INSERT INTO active (name, version, previous, pinned) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (name) DO UPDATE SET version = ?2, previous = ?3, pinned = ?4";
    let previous = active.previous.as_ref().map(ToString::to_string);
    let values = params![name.as_str(), active.version.to_string(), previous, active.pinned];
    step.execute(sql, values).map(drop).map_err(doing("move a pointer"))
}

/// At start: a name whose pointer is absent (installed by an older program) or points at what is gone follows the newest. Returns
/// how many were mended.
pub(crate) fn mend_active(connection: &mut Connection) -> Result<usize, StoreError> {
    let step = connection.transaction().map_err(doing("mend pointers"))?;
    let sql = "DELETE FROM active WHERE NOT EXISTS (SELECT 1 FROM bundle WHERE bundle.name = active.name)";
    step.execute(sql, []).map_err(doing("mend pointers"))?;
    let sql = "SELECT DISTINCT name FROM bundle WHERE NOT EXISTS (SELECT 1 FROM active JOIN bundle AS there USING (name, version)
        WHERE active.name = bundle.name)";
    let broken: Vec<String> = texts(&step, sql, [])?;
    for name in &broken {
        let name = read(Name::parse(name), "bundle.name")?;
        let left = installed_versions(&step, &name)?;
        if let Some(newest) = left.into_iter().max() {
            set_active(&step, &name, &Active { version: newest, previous: None, pinned: false })?;
        }
    }
    step.commit().map_err(doing("mend pointers"))?;
    Ok(broken.len())
}

fn installed_versions(connection: &Connection, name: &Name) -> Result<Vec<Version>, StoreError> {
    texts(connection, "SELECT version FROM bundle WHERE name = ?1", [name.as_str()])?
        .iter()
        .map(|text| parsed(text))
        .collect()
}

fn texts(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(doing("list versions"))?;
    let rows = statement.query_map(params, |row| row.get(0)).map_err(doing("list versions"))?;
    rows.collect::<Result<_, _>>().map_err(doing("list versions"))
}

/// Every installed version and what it needs. At most as many as may be installed.
fn nodes(connection: &Connection) -> Result<Vec<Node>, StoreError> {
    let sql = "SELECT bundle.name, bundle.version, needed.name, needed.range
        FROM bundle LEFT JOIN bundle_dependency AS needed USING (digest) ORDER BY bundle.name, bundle.version";
    let mut statement = connection.prepare_cached(sql).map_err(doing("list dependencies"))?;
    let mut rows = statement.query([]).map_err(doing("list dependencies"))?;
    let mut nodes: Vec<Node> = Vec::new();
    while let Some(row) = rows.next().map_err(doing("list dependencies"))? {
        let text = |column| row.get::<_, Option<String>>(column).map_err(doing("list dependencies"));
        let name = read(Name::parse(&text(0)?.unwrap_or_default()), "bundle.name")?;
        let version = parsed(&text(1)?.unwrap_or_default())?;
        if nodes.last().is_none_or(|last| (&last.name, &last.version) != (&name, &version)) {
            nodes.push(Node { name, version, dependencies: Vec::new() });
        }
        if let (Some(name), Some(range), Some(node)) = (text(2)?, text(3)?, nodes.last_mut()) {
            let (name, range) = (Name::parse(&name), Range::parse(&range));
            node.dependencies
                .push(Dependency { name: read(name, "dependency.name")?, range: read(range, "dependency.range")? });
        }
    }
    Ok(nodes)
}

fn parsed(version: &str) -> Result<Version, StoreError> {
    read(Version::parse(version), "bundle.version")
}
