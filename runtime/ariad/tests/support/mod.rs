//! A real `ariad` for one test: its own directory, socket and port, in front of a scripted engine.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod client;
pub(crate) mod engine;

#[path = "../../../bundle/tests/support/mod.rs"]
pub(crate) mod aria_file;
#[path = "../../../bundle/tests/support/author.rs"]
pub(crate) mod author;
#[path = "../../../bundle/tests/support/signed.rs"]
pub(crate) mod signed;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aria_protocol::aria::v1 as pb;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What writes signatures knows the writer of bundles by this name.
pub(crate) use aria_file as support;
use aria_file::Parts;
use client::{Client, Key};
use engine::Engine;

/// Long enough for a busy machine, short enough to notice.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon. Dropping it kills what is left of it.
pub(crate) struct Daemon {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) engine: Engine,
    pub(crate) listen: String,
    pub(crate) node_id: String,
    child: Child,
    extra: String,
}

impl Daemon {
    /// Starts with the usual configuration.
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts with more lines in `[api]` and after.
    pub(crate) async fn start_with(extra: &str) -> Self {
        Self::start_configured(&format!("exec = true\n{extra}")).await
    }

    /// Starts with these lines only.
    pub(crate) async fn start_configured(extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::start(&dir.path().join("quilt.sock"));
        let (child, ready) = launch(dir.path(), extra).await;
        let daemon = Self {
            dir,
            engine,
            listen: text(&ready, "listen"),
            node_id: text(&ready, "node_id"),
            child,
            extra: extra.to_owned(),
        };
        // Whose bundles these tests send unless they say otherwise.
        daemon.local().await.trust_key(1, "author").await.unwrap();
        daemon
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The administrator, over the socket.
    pub(crate) async fn local(&self) -> Client {
        Client::local(&self.dir.path().join("api.sock")).await
    }

    /// A fresh identity, enrolled over the socket.
    pub(crate) async fn enrol(&self, subject: &str, role: &str) -> Key {
        let key = Key::new();
        let request = key.enrol_request(subject, role);
        let answer = self.local().await.node.enroll(request).await.unwrap().into_inner();
        key.signed(&answer)
    }

    /// An enrolled operator over TCP.
    pub(crate) async fn operator(&self) -> Client {
        let key = self.enrol("operator", "operator").await;
        Client::tls(&self.listen, &key).await.unwrap()
    }

    /// Asks it to stop and waits; its exit code and how long it took.
    pub(crate) async fn stop(&mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), begun.elapsed());
            }
            assert!(begun.elapsed() < PATIENCE, "ariad does not stop");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it without notice.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same data.
    pub(crate) async fn again(&mut self) {
        let (child, ready) = launch(self.dir.path(), &self.extra).await;
        self.child = child;
        self.listen = text(&ready, "listen");
    }

    /// What is in a directory of the store.
    pub(crate) fn entries(&self, of: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.data().join(of)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(ready: &Value, key: &str) -> String {
    ready[key].as_str().unwrap().to_owned()
}

/// Writes the configuration of a test daemon; gives its path.
pub(crate) fn configure(dir: &Path, extra: &str) -> PathBuf {
    let data = dir.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let config = dir.join("aria.toml");
    let dir = dir.display();
    let text = format!(
        "[node]\ndata_dir = \"{dir}/data\"\n[quilt]\nsocket = \"{dir}/quilt.sock\"\n\
         [api]\nlisten = \"127.0.0.1:0\"\nsocket = \"{dir}/api.sock\"\n{extra}\n"
    );
    std::fs::write(&config, text).unwrap();
    config
}

#[expect(clippy::disallowed_methods, reason = "the test starts the daemon it tests")]
pub(crate) fn ariad() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ariad"));
    command.stdin(Stdio::null());
    command
}

/// A program to be run as another user.
#[expect(clippy::disallowed_methods, reason = "the test needs a second user")]
pub(crate) fn program_as(path: &Path, uid: u32) -> Command {
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).uid(uid).gid(uid).current_dir("/");
    command
}

pub(crate) fn permit(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

async fn launch(dir: &Path, extra: &str) -> (Child, Value) {
    let config = configure(dir, extra);
    let ready_file = dir.join("ready.json");
    let _ = std::fs::remove_file(&ready_file);
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("ariad.log")).unwrap();
    let mut command = ariad();
    command.arg("--config").arg(config).arg("--ready-file").arg(&ready_file);
    command.stdout(Stdio::null()).stderr(log);
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(&ready_file) {
            return (child, serde_json::from_str(&text).unwrap());
        }
        let log = || std::fs::read_to_string(dir.join("ariad.log")).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "ariad ended: {}", log());
        assert!(begun.elapsed() < PATIENCE, "ariad is not ready: {}", log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A bundle whose tools are named for what the scripted engine does with them, signed by a key the daemon trusts.
pub(crate) fn bundle(name: &str, version: &str) -> Vec<u8> {
    sign(&parts(name, version), &[1])
}

/// Signed by the keys of these seeds.
pub(crate) fn sign(parts: &Parts, seeds: &[u8]) -> Vec<u8> {
    author::signed_by(&parts.image(), seeds, |_| ())
}

/// The same, open to change.
pub(crate) fn parts(name: &str, version: &str) -> Parts {
    let any = json!({"$schema": "https://json-schema.org/draft/2020-12/schema"});
    let text = json!({"type": "object", "properties": {"text": {"type": "string"}, "at": {"type": "string", "format": "date-time"}},
        "required": ["text"], "additionalProperties": false});
    let number = json!({"type": "number"});
    let tools = engine::TOOLS.iter().map(|tool| {
        let (input, output) = match *tool {
            "greet" => (&text, &any),
            "wrong" => (&any, &number),
            _ => (&any, &any),
        };
        json!({"name": tool, "title": "", "description": format!("It {tool}s."), "input": input, "output": output,
            "annotations": {}, "tokens": [], "egress": [], "secrets": [], "limits": {}, "timeoutMs": 5000,
            "approval": "never", "spawn": false, "runtime": "bun", "entry": format!("code/{tool}.js")})
    });
    let tools: Vec<Value> = tools.collect();
    let mut parts = aria_file::parts();
    parts.files = engine::TOOLS
        .iter()
        .flat_map(|tool| {
            let map = r#"{"version":3,"sources":["../src/tools.ts"],"names":[],"mappings":"AAIA"}"#;
            [
                (format!("code/{tool}.js"), b"export const tool = {};\n".to_vec()),
                (format!("code/{tool}.js.map"), map.into()),
            ]
        })
        .collect();
    parts.files.push(("src/tools.ts".to_owned(), b"export {}\n".to_vec()));
    parts.files.sort();
    parts
        .manifest(|manifest| {
            manifest["name"] = name.into();
            manifest["version"] = version.into();
            manifest["tools"] = tools.into();
        })
        .listing_its_files()
}

/// A bundle for `Exec`.
pub(crate) fn program() -> Vec<u8> {
    let mut parts = aria_file::parts();
    parts.files = vec![("code/main.js".to_owned(), b"1;\n".to_vec())];
    parts
        .manifest(|manifest| {
            manifest["name"] = "probe".into();
            manifest["tools"] = json!([]);
            manifest["program"] = json!({"entry": "code/main.js"});
        })
        .listing_its_files()
        .bytes()
}

/// The address of some bytes.
pub(crate) fn blob(bytes: &[u8]) -> pb::BlobRef {
    pb::BlobRef { sha256: aria_file::sha256(bytes).hex(), size_bytes: bytes.len() as u64 }
}

/// Code and reason of a refusal. It must not tell anything of the device.
#[track_caller]
pub(crate) fn refusal(status: &Status) -> (Code, String) {
    for secret in ["/tmp/", "/var/", "/data", ".rs:", "SELECT", "sqlite", "panicked"] {
        assert!(!status.message().contains(secret), "{status:?}");
    }
    let reason = status.get_details_error_info().map(|info| {
        assert_eq!(info.domain, "aria");
        info.reason
    });
    (status.code(), reason.unwrap_or_default())
}

/// Waits for something that must become true.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
