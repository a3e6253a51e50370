//! `/etc/quilt/quilt.toml`: what the operator decides. Unknown keys are errors; every default stands here with its reason.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aria_telemetry::Output;
use aria_types::ResourceToken;
use aria_types::token::Kind;
use quilt_core::{Bounds, Capacity, Origin, Rule};
use serde::Deserialize;

use crate::limits::{LimitRange, Limits};
use crate::resources::{self, ResourceTable};

/// Tokens one execution may ask for.
const TOKENS_MAX: usize = 64;
/// Levels of calls: a tool that calls a tool that calls a tool that calls a tool.
const DEPTH_MAX: usize = 4;

/// A configuration that can work.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) socket: Socket,
    pub(crate) bounds: Bounds,
    pub(crate) capacity: Capacity,
    pub(crate) sandbox: quilt_sandbox::Config,
    /// `None`: no cage is made before its call.
    pub(crate) shelf: Option<quilt_sandbox::ShelfConfig>,
    pub(crate) code_roots: Vec<PathBuf>,
    pub(crate) concurrent_max: usize,
    /// Children at once, beside those.
    pub(crate) child_max: usize,
    pub(crate) limits: LimitRange,
    pub(crate) policy: Vec<Rule>,
    pub(crate) state_dir: PathBuf,
    pub(crate) log_level: String,
    pub(crate) log_output: Output,
}

/// Where we listen, and who besides root may call.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) path: PathBuf,
    pub(crate) gid: u32,
    pub(crate) uid: Option<u32>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("read {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("parse {path:?}: {message}")]
    Parse { path: PathBuf, message: String },
    #[error("{key}: {message}")]
    Value { key: String, message: String },
}

pub(crate) fn value(key: &str, message: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.to_owned(), message: message.into() }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    socket: SocketTable,
    #[serde(default)]
    queue: QueueTable,
    #[serde(default)]
    sandbox: SandboxTable,
    #[serde(default)]
    shelf: ShelfTable,
    #[serde(default)]
    state: StateTable,
    #[serde(default)]
    telemetry: TelemetryTable,
    #[serde(default)]
    lease: LeaseTable,
    #[serde(default)]
    resource: Vec<ResourceTable>,
    #[serde(default)]
    policy: Vec<RuleTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SocketTable {
    path: PathBuf,
    group: Option<String>,
    gid: Option<u32>,
    uid: Option<u32>,
}

impl Default for SocketTable {
    fn default() -> Self {
        Self { path: "/run/quilt/api.sock".into(), group: None, gid: None, uid: None }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct QueueTable {
    waiting_max: usize,
    waiting_owner_max: usize,
    wait_ms_max: u64,
}

impl Default for QueueTable {
    fn default() -> Self {
        // A caller that waits longer than a minute is better served by an error it can act on.
        // One owner leaves room for others. A waiter costs a stream and a few kilobytes.
        Self { waiting_max: 1024, waiting_owner_max: 256, wait_ms_max: 60_000 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LeaseTable {
    ttl_ms: u64,
}

impl Default for LeaseTable {
    fn default() -> Self {
        // Long enough for a machine under load to renew three times, short enough to wait for after a freeze.
        Self { ttl_ms: 10_000 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SandboxTable {
    rootfs: PathBuf,
    init: PathBuf,
    cgroup_name: String,
    uid_base: u32,
    uid_count: u32,
    pool: usize,
    code_roots: Vec<PathBuf>,
    concurrent_max: usize,
    child_max: usize,
    memory_bytes_default: u64,
    memory_bytes_max: u64,
    pids_default: u32,
    pids_max: u32,
    cpu_millis_default: u32,
    cpu_millis_max: u32,
    disk_bytes_default: u64,
    disk_bytes_max: u64,
    output_bytes_default: u64,
    output_bytes_max: u64,
    wall_ms_default: u64,
    wall_ms_max: u64,
}

const MIB: u64 = 1 << 20;

impl Default for SandboxTable {
    fn default() -> Self {
        Self {
            rootfs: "/usr/lib/aria/tool-root".into(),
            init: "/usr/libexec/quilt-init".into(),
            cgroup_name: "quilt".into(),
            // Far above login uids and the ranges distributions give to containers of users.
            uid_base: 2_000_000_000,
            uid_count: 64,
            pool: 2,
            code_roots: vec!["/var/lib/aria".into()],
            concurrent_max: 16,
            child_max: 16,
            memory_bytes_default: 256 * MIB,
            memory_bytes_max: 2048 * MIB,
            // A script runtime with workers needs at least 16.
            pids_default: 64,
            pids_max: 512,
            cpu_millis_default: 1000,
            cpu_millis_max: 16_000,
            disk_bytes_default: 64 * MIB,
            disk_bytes_max: 1024 * MIB,
            output_bytes_default: 64 * MIB,
            output_bytes_max: 1024 * MIB,
            wall_ms_default: 30_000,
            wall_ms_max: 3_600_000,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ShelfTable {
    generic: usize,
    per_tool: usize,
    total: usize,
    memory_bytes: u64,
    host_bytes_min: u64,
    idle_ms: u64,
}

impl Default for ShelfTable {
    fn default() -> Self {
        Self {
            generic: 2,
            per_tool: 4,
            total: 16,
            // One waits on 3 to 6 MiB.
            memory_bytes: 128 * MIB,
            // Below this a machine has better uses for memory.
            host_bytes_min: 128 * MIB,
            idle_ms: 300_000,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StateTable {
    dir: PathBuf,
}

impl Default for StateTable {
    fn default() -> Self {
        Self { dir: "/var/lib/quilt".into() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TelemetryTable {
    level: String,
    output: String,
}

impl Default for TelemetryTable {
    fn default() -> Self {
        Self { level: "info".into(), output: "auto".into() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    name: String,
    #[serde(default)]
    kinds: Vec<String>,
    #[serde(default)]
    tokens: Vec<ResourceToken>,
    #[serde(default)]
    owners: Vec<String>,
    #[serde(default)]
    subjects: Vec<String>,
}

/// Reads and checks the file at `path`.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let file = toml::from_str(&text)
        .map_err(|error: toml::de::Error| ConfigError::Parse { path: path.into(), message: error.to_string() })?;
    check(file)
}

fn check(file: File) -> Result<Config, ConfigError> {
    let sandbox = file.sandbox;
    for (key, path) in [
        ("socket.path", &file.socket.path),
        ("sandbox.rootfs", &sandbox.rootfs),
        ("sandbox.init", &sandbox.init),
        ("state.dir", &file.state.dir),
    ] {
        absolute(key, path)?;
    }
    sandbox.code_roots.iter().try_for_each(|root| absolute("sandbox.code_roots", root))?;
    if sandbox.code_roots.iter().any(|root| root.as_os_str() == "/") {
        return Err(value("sandbox.code_roots", "the whole file system cannot be a code root"));
    }
    if sandbox.uid_base == 0 || sandbox.uid_count == 0 {
        return Err(value("sandbox.uid_base", "cages need at least one host uid, and never 0"));
    }
    if sandbox.concurrent_max == 0 || sandbox.concurrent_max > 4096 {
        return Err(value("sandbox.concurrent_max", "is between 1 and 4096"));
    }
    let limits = limits(&sandbox)?;
    if sandbox.child_max > 4096 {
        return Err(value("sandbox.child_max", "is at most 4096"));
    }
    let (concurrent_max, child_max) =
        resources::slots(sandbox.concurrent_max, sandbox.child_max, sandbox.uid_count as usize);
    let bounds = bounds(&file.queue, &file.lease)?;
    Ok(Config {
        socket: socket(file.socket)?,
        bounds,
        capacity: resources::capacity(&file.resource, concurrent_max, child_max)?,
        sandbox: quilt_sandbox::Config {
            rootfs: sandbox.rootfs,
            init: sandbox.init,
            cgroup_name: sandbox.cgroup_name,
            uid_base: sandbox.uid_base,
            uid_count: sandbox.uid_count,
            pool: sandbox.pool,
        },
        shelf: shelf(&file.shelf, sandbox.uid_count as usize - concurrent_max - child_max),
        code_roots: sandbox.code_roots,
        concurrent_max,
        child_max,
        limits,
        policy: policy(file.policy)?,
        state_dir: file.state.dir,
        log_level: file.telemetry.level,
        log_output: output(&file.telemetry.output)?,
    })
}

fn bounds(queue: &QueueTable, lease: &LeaseTable) -> Result<Bounds, ConfigError> {
    if queue.wait_ms_max == 0 {
        return Err(value("queue.wait_ms_max", "is at least 1"));
    }
    if !(100..=3_600_000).contains(&lease.ttl_ms) {
        return Err(value("lease.ttl_ms", "is between 100 and 3600000"));
    }
    Ok(Bounds {
        tokens_max: TOKENS_MAX,
        waiting_max: queue.waiting_max,
        waiting_owner_max: queue.waiting_owner_max.min(queue.waiting_max),
        wait_max: Duration::from_millis(queue.wait_ms_max),
        depth_max: DEPTH_MAX,
        ttl: Duration::from_millis(lease.ttl_ms),
    })
}

/// What waits on a shelf has a uid, and every run that may start needs one.
fn shelf(table: &ShelfTable, uids_spare: usize) -> Option<quilt_sandbox::ShelfConfig> {
    let total_max = table.total.min(uids_spare);
    let bounds = |max| quilt_sandbox::ShelfBounds { max, idle: Duration::from_millis(table.idle_ms) };
    (total_max > 0).then(|| quilt_sandbox::ShelfConfig {
        generic: bounds(table.generic),
        own: bounds(table.per_tool),
        total_max,
        memory_bytes_max: table.memory_bytes,
        host_bytes_min: table.host_bytes_min,
    })
}

fn absolute(key: &str, path: &Path) -> Result<(), ConfigError> {
    if path.is_absolute() { Ok(()) } else { Err(value(key, format!("{path:?} is not an absolute path"))) }
}

fn limits(table: &SandboxTable) -> Result<LimitRange, ConfigError> {
    let range = LimitRange {
        default: Limits {
            memory_bytes: table.memory_bytes_default.min(table.memory_bytes_max),
            pids: table.pids_default.min(table.pids_max),
            cpu_millis: table.cpu_millis_default.min(table.cpu_millis_max),
            disk_bytes: table.disk_bytes_default.min(table.disk_bytes_max),
            output_bytes: table.output_bytes_default.min(table.output_bytes_max),
            wall_ms: table.wall_ms_default.min(table.wall_ms_max),
        },
        max: Limits {
            memory_bytes: table.memory_bytes_max,
            pids: table.pids_max,
            cpu_millis: table.cpu_millis_max,
            disk_bytes: table.disk_bytes_max,
            output_bytes: table.output_bytes_max,
            wall_ms: table.wall_ms_max,
        },
    };
    // The same rules a request must keep hold for what a request gets when it is silent.
    range.check(range.default).map_err(|fault| value("sandbox", fault.message))?;
    Ok(range)
}

fn socket(table: SocketTable) -> Result<Socket, ConfigError> {
    let gid = match (table.gid, table.group) {
        (Some(_), Some(_)) => return Err(value("socket", "has a group or a gid, not both")),
        (Some(gid), None) => gid,
        (None, None) => 0,
        (None, Some(name)) => {
            let groups = std::fs::read_to_string("/etc/group")
                .map_err(|source| ConfigError::Read { path: "/etc/group".into(), source })?;
            gid_of(&groups, &name).ok_or_else(|| value("socket.group", format!("there is no group {name:?}")))?
        }
    };
    Ok(Socket { path: table.path, gid, uid: table.uid })
}

/// The group database is read as text: the resolver of a static binary cannot load its plug-ins.
fn gid_of(groups: &str, name: &str) -> Option<u32> {
    let fields = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut found = fields.filter(|fields| fields.len() >= 3 && fields[0] == name);
    found.next()?.get(2)?.parse().ok()
}

fn output(text: &str) -> Result<Output, ConfigError> {
    match text {
        "auto" => Ok(Output::Auto),
        "human" => Ok(Output::Human),
        "json" => Ok(Output::Json),
        "journal" => Ok(Output::Journal),
        _ => Err(value("telemetry.output", format!("{text:?} is not auto, human, json or journal"))),
    }
}

fn policy(rules: Vec<RuleTable>) -> Result<Vec<Rule>, ConfigError> {
    let rule = |table: RuleTable| {
        let kinds = table.kinds.iter().map(|word| word.parse::<Kind>()).collect::<Result<Vec<_>, _>>();
        let kinds = kinds.map_err(|error| value(&format!("policy {:?}", table.name), error.to_string()))?;
        let RuleTable { name, tokens, owners, subjects, .. } = table;
        Ok(Rule { name, kinds, tokens, owners, subjects, origin: Origin::Config })
    };
    rules.into_iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let file = toml::from_str::<File>(text).map_err(|error| error.to_string())?;
        check(file).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(text: &str, part: &str) {
        let error = parse(text).expect_err(text);
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn an_empty_file_denies_every_token_and_listens_on_the_usual_socket() {
        let config = parse("").unwrap();
        assert_eq!(config.socket.path, Path::new("/run/quilt/api.sock"));
        assert_eq!(config.policy, []);
    }

    #[test]
    fn unknown_keys_are_errors() {
        refused("[sandbox]\nmemory_max = 1", "memory_max");
        refused("[sockets]", "sockets");
        refused("[[policy]]\nname = 'a'\nallow = 'kv'", "allow");
    }

    #[test]
    fn values_that_cannot_work_are_named() {
        refused("[socket]\npath = 'api.sock'", "socket.path");
        refused("[socket]\ngid = 1\ngroup = 'root'", "not both");
        refused("[socket]\ngroup = 'no such group'", "no such group");
        refused("[sandbox]\ncode_roots = ['/']", "code_roots");
        refused("[sandbox]\nuid_base = 0", "uid_base");
        refused("[sandbox]\nconcurrent_max = 0", "concurrent_max");
        refused("[sandbox]\ncpu_millis_max = 1", "cpu_millis");
        refused("[queue]\nwait_ms_max = 0", "wait_ms_max");
        refused("[lease]\nttl_ms = 5", "ttl_ms");
        refused("[telemetry]\noutput = 'loud'", "loud");
        refused("[[policy]]\nname = 'a'\nkinds = ['table']", "table");
        refused("[[policy]]\nname = 'a'\ntokens = ['kv:*']", "wildcards");
    }

    #[test]
    fn a_default_above_its_maximum_becomes_the_maximum() {
        let config = parse("[sandbox]\nmemory_bytes_max = 67108864").unwrap();
        assert_eq!(config.limits.default.memory_bytes, 64 * MIB);
    }

    #[test]
    fn there_are_never_more_cages_than_uids() {
        let config = parse("[sandbox]\nuid_count = 16").unwrap();
        assert_eq!((config.concurrent_max, config.child_max), (12, 4));
    }

    #[test]
    fn shelves_never_take_a_uid_from_a_run() {
        let total = |text: &str| parse(text).unwrap().shelf.map(|shelf| shelf.total_max);
        assert_eq!(total(""), Some(16));
        assert_eq!(total("[sandbox]\nuid_count = 36"), Some(4));
        assert_eq!(total("[sandbox]\nuid_count = 16"), None);
        assert_eq!(total("[shelf]\ntotal = 0"), None);
    }

    #[test]
    fn rules_are_read() {
        let config = parse("[[policy]]\nname = 'kv'\nkinds = ['kv']\nowners = ['ann']").unwrap();
        let policy = quilt_core::Policy::new(config.policy);
        assert!(policy.decide("ann", "exec", &ResourceToken::parse("kv:a").unwrap()).is_ok());
        assert!(policy.decide("bob", "exec", &ResourceToken::parse("kv:a").unwrap()).is_err());
    }

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(gid_of("root:x:0:\naria:x:7600:a,b\n", "aria"), Some(7600));
        assert_eq!(gid_of("root:x:0:\nbroken\n", "aria"), None);
    }
}
