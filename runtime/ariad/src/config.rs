//! The daemon's configuration: one TOML file, unknown keys are errors, every default stands beside its reason.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use aria_core::egress::{AllowedAddresses, HostName};
use aria_orchestrator::NetSettings;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It is not the TOML this daemon knows.
    #[error("configuration {path:?}: {message}")]
    Parse { path: PathBuf, message: String },
    /// A value is outside its range.
    #[error("configuration key {key}: {message}")]
    Value { key: &'static str, message: String },
}

/// `aria.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) node: Node,
    #[serde(default)]
    pub(crate) api: Api,
    #[serde(default)]
    pub(crate) quilt: Quilt,
    #[serde(default)]
    pub(crate) net: Net,
    #[serde(default)]
    pub(crate) budget: Budget,
    #[serde(default)]
    pub(crate) telemetry: Telemetry,
}

/// `[budget]`: what one run may ask of each kind of resource before it gets BUDGET_EXHAUSTED. An absent key is the default.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Budget {
    pub(crate) kv_calls_max: Option<u64>,
    pub(crate) kv_bytes_max: Option<u64>,
    pub(crate) vector_calls_max: Option<u64>,
    pub(crate) vector_bytes_max: Option<u64>,
    pub(crate) tool_calls_max: Option<u64>,
}

impl Budget {
    /// Every number.
    pub(crate) fn whole(self) -> aria_orchestrator::Budget {
        let usual = aria_orchestrator::Budget::default();
        aria_orchestrator::Budget {
            kv_calls_max: self.kv_calls_max.unwrap_or(usual.kv_calls_max),
            kv_bytes_max: self.kv_bytes_max.unwrap_or(usual.kv_bytes_max),
            vector_calls_max: self.vector_calls_max.unwrap_or(usual.vector_calls_max),
            vector_bytes_max: self.vector_bytes_max.unwrap_or(usual.vector_bytes_max),
            tool_calls_max: self.tool_calls_max.unwrap_or(usual.tool_calls_max),
        }
    }
}

/// `[node]`: who the device is and where it keeps things.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    /// Made up once and remembered when absent.
    pub(crate) id: Option<String>,
    pub(crate) data_dir: PathBuf,
}

/// `[api]`: the doors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Api {
    /// Mutual TLS.
    pub(crate) listen: SocketAddr,
    /// Local administration.
    pub(crate) socket: PathBuf,
    /// Group that may use the socket besides root and the daemon's own user.
    pub(crate) socket_gid: Option<u32>,
    /// More names and addresses the server certificate is good for.
    pub(crate) names: Vec<String>,
    /// May programs be run by `Exec.Run`? Off unless the operator says so: it runs code that no bundle vouches for.
    pub(crate) exec: bool,
    /// Largest `.aria` file; never above the format's own limit.
    pub(crate) bundle_bytes_max: u64,
    /// Everything stored: bundles and blobs.
    pub(crate) storage_bytes_max: u64,
    /// RPCs served at the same time.
    pub(crate) inflight_max: usize,
    /// Tool calls and programs at the same time, all owners together. One cage costs about 50 MB on a small board.
    pub(crate) runs_max: usize,
    /// Running and waiting runs of one owner, so that nobody can take all places.
    pub(crate) runs_per_owner_max: usize,
    pub(crate) enrol: Option<Enrol>,
}

/// `[api.enrol]`: the one key that may introduce itself over TCP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Enrol {
    /// Lower-case hex SHA-256 of the SubjectPublicKeyInfo.
    pub(crate) key_sha256: String,
    /// Seconds from the daemon's start. An hour is enough to find the device on the network.
    #[serde(default = "Enrol::window_s_default")]
    pub(crate) window_s: u64,
}

impl Enrol {
    fn window_s_default() -> u64 {
        3600
    }
}

/// `[quilt]`: where the engine is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Quilt {
    pub(crate) socket: PathBuf,
}

/// `[net]`: what the egress proxy may reach beside the public network. All empty unless the operator says so.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Net {
    /// Ranges like `10.1.0.0/16` that are not public and may be connected to all the same, by runs that hold a token for the name.
    pub(crate) allow_addresses: Vec<String>,
    /// Names with an address of their own; they are not looked up.
    pub(crate) hosts: BTreeMap<String, IpAddr>,
    /// Authorities trusted beside the public ones, PEM.
    pub(crate) ca_file: Option<PathBuf>,
}

impl Net {
    /// Most authorities in one file.
    const AUTHORITIES_MAX: usize = 64;

    /// In the proxy's terms. Reads the file of authorities.
    pub(crate) fn settings(&self) -> Result<NetSettings, ConfigError> {
        let bad = |key, message: String| ConfigError::Value { key, message };
        let ranges = self.allow_addresses.iter().map(|text| text.parse());
        let ranges = ranges
            .collect::<Result<_, _>>()
            .map_err(|error: aria_core::egress::RangeError| bad("net.allow_addresses", error.to_string()))?;
        let host = |(name, address): (&String, &IpAddr)| HostName::parse(name).map(|name| (name, *address));
        let hosts = self.hosts.iter().map(host).collect::<Result<_, _>>();
        let hosts = hosts.map_err(|error| bad("net.hosts", error.to_string()))?;
        Ok(NetSettings { allowed: AllowedAddresses::new(ranges), hosts, authorities: self.authorities()? })
    }

    fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let Some(path) = &self.ca_file else { return Ok(Vec::new()) };
        let bad = |error: &dyn std::fmt::Display| ConfigError::Value {
            key: "net.ca_file",
            message: format!("{path:?}: {error}"),
        };
        let found = CertificateDer::pem_file_iter(path).map_err(|error| bad(&error))?;
        let found: Vec<_> = found.take(Self::AUTHORITIES_MAX).collect::<Result<_, _>>().map_err(|error| bad(&error))?;
        if found.is_empty() { Err(bad(&"it holds no certificate")) } else { Ok(found) }
    }
}

/// `[telemetry]`: what goes to the log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// error, warn, info, debug or trace.
    pub(crate) level: String,
}

const MIB: u64 = 1 << 20;
/// `docs/formats.md`: an `.aria` file is at most this long.
const BUNDLE_BYTES_FORMAT_MAX: u64 = 256 * MIB;

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 7600)),
            socket: PathBuf::from("/run/aria/api.sock"),
            socket_gid: None,
            names: Vec::new(),
            exec: false,
            bundle_bytes_max: BUNDLE_BYTES_FORMAT_MAX,
            storage_bytes_max: 4096 * MIB,
            inflight_max: 256,
            runs_max: 16,
            runs_per_owner_max: 128,
            enrol: None,
        }
    }
}

impl Default for Quilt {
    fn default() -> Self {
        Self { socket: PathBuf::from("/run/quilt/api.sock") }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}

impl Config {
    /// Reads and checks the file. Touches nothing else.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let value = |key, message: &str| Err(ConfigError::Value { key, message: message.to_owned() });
        if let Some(id) = &self.node.id
            && !node_id_is_valid(id)
        {
            return value("node.id", "must be a-z, 0-9 and -, begin with a letter, 1 to 63 bytes");
        }
        if !self.node.data_dir.is_absolute() {
            return value("node.data_dir", "must be an absolute path");
        }
        if !self.api.socket.is_absolute() {
            return value("api.socket", "must be an absolute path");
        }
        if !self.quilt.socket.is_absolute() {
            return value("quilt.socket", "must be an absolute path");
        }
        if self.api.bundle_bytes_max == 0 || self.api.bundle_bytes_max > BUNDLE_BYTES_FORMAT_MAX {
            return value("api.bundle_bytes_max", "must be 1 to 268435456");
        }
        if self.api.storage_bytes_max < self.api.bundle_bytes_max {
            return value("api.storage_bytes_max", "must be at least api.bundle_bytes_max");
        }
        if !(1..=65_536).contains(&self.api.inflight_max) {
            return value("api.inflight_max", "must be 1 to 65536");
        }
        if !(1..=4096).contains(&self.api.runs_max) || !(1..=4096).contains(&self.api.runs_per_owner_max) {
            return value("api.runs_max", "and api.runs_per_owner_max must be 1 to 4096");
        }
        if let Some(enrol) = &self.api.enrol {
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if enrol.key_sha256.len() != 64 || !enrol.key_sha256.bytes().all(hex) {
                return value("api.enrol.key_sha256", "must be 64 lower-case hex characters");
            }
        }
        if self.net.ca_file.as_ref().is_some_and(|path| !path.is_absolute()) {
            return value("net.ca_file", "must be an absolute path");
        }
        self.net.settings()?;
        match self.telemetry.level.as_str() {
            "error" | "warn" | "info" | "debug" | "trace" => Ok(()),
            _ => value("telemetry.level", "must be error, warn, info, debug or trace"),
        }
    }
}

fn node_id_is_valid(id: &str) -> bool {
    (1..=63).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_lowercase())
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_data_directory_is_enough() {
        let config = parse("[node]\ndata_dir = \"/data\"").unwrap();
        assert_eq!(config.api.listen.port(), 7600);
        assert!(!config.api.exec);
    }

    #[test]
    fn a_budget_may_name_some_of_its_numbers() {
        let budget = parse("[node]\ndata_dir = \"/d\"\n[budget]\nkv_calls_max = 7").unwrap().budget.whole();
        let usual = aria_orchestrator::Budget::default();
        assert_eq!((budget.kv_calls_max, budget.kv_bytes_max), (7, usual.kv_bytes_max));
    }

    #[test]
    fn bad_values_are_named() {
        let cases = [
            ("[node]\ndata_dir = \"/d\"\ncolour = 1", "colour"),
            ("[node]\ndata_dir = \"d\"", "node.data_dir"),
            ("[node]\ndata_dir = \"/d\"\nid = \"A b\"", "node.id"),
            ("[node]\ndata_dir = \"/d\"\n[api]\nlisten = \"here\"", "listen"),
            ("[node]\ndata_dir = \"/d\"\n[api]\nsocket = \"s\"", "api.socket"),
            ("[node]\ndata_dir = \"/d\"\n[api]\nbundle_bytes_max = 0", "api.bundle_bytes_max"),
            ("[node]\ndata_dir = \"/d\"\n[api]\nbundle_bytes_max = 268435457", "api.bundle_bytes_max"),
            ("[node]\ndata_dir = \"/d\"\n[api]\nstorage_bytes_max = 5", "api.storage_bytes_max"),
            ("[node]\ndata_dir = \"/d\"\n[api]\ninflight_max = 0", "api.inflight_max"),
            ("[node]\ndata_dir = \"/d\"\n[api.enrol]\nkey_sha256 = \"ABC\"", "api.enrol.key_sha256"),
            ("[node]\ndata_dir = \"/d\"\n[net]\nallow_addresses = [\"10.0.0.1/8\"]", "net.allow_addresses"),
            ("[node]\ndata_dir = \"/d\"\n[net.hosts]\n\"A.example\" = \"10.0.0.1\"", "net.hosts"),
            ("[node]\ndata_dir = \"/d\"\n[net.hosts]\na = \"here\"", "IP address"),
            ("[node]\ndata_dir = \"/d\"\n[net]\nca_file = \"ca.pem\"", "net.ca_file"),
            ("[node]\ndata_dir = \"/d\"\n[net]\nca_file = \"/nowhere/ca.pem\"", "net.ca_file"),
            ("[node]\ndata_dir = \"/d\"\n[budget]\nkv_call_max = 1", "kv_call_max"),
            ("[node]\ndata_dir = \"/d\"\n[telemetry]\nlevel = \"loud\"", "telemetry.level"),
            ("[api]\nexec = true", "node"),
        ];
        for (text, named) in cases {
            let message = parse(text).unwrap_err();
            assert!(message.contains(named), "{text}: {message}");
        }
    }
}
