//! Our rows through the engine's own socket: a quiltd of ours, and one connection that is already open.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use aria_protocol::quilt::v1 as pb;
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pb::execute_response::Event;
use pb::sync_engine_client::SyncEngineClient;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::sample::{Row, Sample};
use crate::stand::{CPU_MILLIS, DISK_BYTES, MEMORY_BYTES, PIDS, Payload, Stand};

const START_MAX: Duration = Duration::from_secs(20);
const STOP_MAX: Duration = Duration::from_secs(20);
/// Host uids of one engine, so its cages at once.
const UIDS: u32 = 256;
/// Deadline of a program that nobody expects to meet it.
pub(crate) const WALL_MS: u64 = 20_000;

/// A quiltd that lives as long as this value.
pub(crate) struct Daemon {
    child: Child,
    dir: PathBuf,
    cgroup: String,
}

impl Daemon {
    /// Starts one and waits until it serves; `sandbox` is more lines of its `[sandbox]` table.
    pub(crate) fn start(stand: &Stand, sandbox: &str) -> anyhow::Result<Daemon> {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = stand.work.join(format!("quiltd-{number}"));
        fs::create_dir_all(dir.join("state")).with_context(|| format!("create {}", dir.display()))?;
        let cgroup = format!("aria-bench-quiltd-{}-{number}", Stand::number());
        let config = dir.join("quilt.toml");
        fs::write(&config, toml(stand, &dir, &cgroup, sandbox)).context("write quilt.toml")?;
        let log = fs::File::create(dir.join("log")).context("create the log")?;
        #[allow(clippy::disallowed_methods, reason = "a bench starts the daemon it measures")]
        let child = Command::new(&stand.quiltd)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start quiltd")?;
        let mut daemon = Daemon { child, dir, cgroup };
        let deadline = Instant::now() + START_MAX;
        while !daemon.socket().exists() {
            if daemon.child.try_wait().context("look after quiltd")?.is_some() || Instant::now() > deadline {
                bail!("quiltd does not serve:\n{}", fs::read_to_string(daemon.dir.join("log")).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(daemon)
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// Name of the directory its cages' leaves are in.
    pub(crate) fn cgroup(&self) -> &str {
        &self.cgroup
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn caller(&self) -> anyhow::Result<Caller> {
        Caller::connect(self.socket())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its cages end with it. What does not stop is killed; nothing more can be done here.
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0));
        let _ = kill(pid, Signal::SIGTERM);
        let deadline = Instant::now() + STOP_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn toml(stand: &Stand, dir: &Path, cgroup: &str, sandbox: &str) -> String {
    let base = 600_000_000 + (Stand::number() % 1_000_000) * UIDS;
    format!(
        "[socket]\npath = {:?}\ngid = 0\n[state]\ndir = {:?}\n[telemetry]\nlevel = \"warn\"\n[sandbox]\nrootfs = {:?}\ninit = {:?}\n\
         cgroup_name = {cgroup:?}\nuid_base = {base}\nuid_count = {UIDS}\ncode_roots = [{:?}]\n{sandbox}\n",
        dir.join("sock"),
        dir.join("state"),
        stand.root,
        stand.init,
        stand.work,
    )
}

/// One open connection to an engine.
pub(crate) struct Caller {
    runtime: Runtime,
    client: SyncEngineClient<Channel>,
}

/// What came back, and when; times count from before the request was sent.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) sandbox: String,
    pub(crate) stdout: Vec<u8>,
    pub(crate) frame: Option<(Duration, Vec<u8>)>,
    pub(crate) started: Duration,
    pub(crate) ended: Duration,
    pub(crate) end: pb::Ended,
}

impl Caller {
    fn connect(socket: PathBuf) -> anyhow::Result<Caller> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime")?;
        // The address only fills the authority of the requests; the connector goes to the socket.
        let endpoint = Endpoint::from(Uri::from_static("http://quilt"));
        let connector = service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = runtime.block_on(endpoint.connect_with_connector(connector)).context("connect to quiltd")?;
        Ok(Caller { runtime, client: SyncEngineClient::new(channel) })
    }

    /// Runs one program to the end of its stream: then nothing is left of the sandbox.
    pub(crate) fn execute(&mut self, request: pb::ExecuteRequest) -> anyhow::Result<Answer> {
        self.watch(request, |_| {})
    }

    /// The same; `started` is called with the sandbox's id once the program runs.
    pub(crate) fn watch(
        &mut self,
        request: pb::ExecuteRequest,
        mut started: impl FnMut(&str),
    ) -> anyhow::Result<Answer> {
        let client = &mut self.client;
        self.runtime.block_on(async {
            let mut answer = Answer::default();
            let start = Instant::now();
            let mut stream = client.execute(request).await.map_err(refusal)?.into_inner();
            while let Some(message) = stream.message().await.map_err(refusal)? {
                let now = start.elapsed();
                match message.event {
                    Some(Event::Started(event)) => {
                        answer.started = now;
                        started(&event.sandbox_id);
                        answer.sandbox = event.sandbox_id;
                    }
                    Some(Event::Output(output)) => answer.stdout.extend(output.data),
                    Some(Event::GuestFrame(frame)) => {
                        answer.frame.get_or_insert((now, frame));
                    }
                    Some(Event::Ended(end)) => {
                        answer.ended = now;
                        answer.end = end;
                    }
                    _ => {}
                }
            }
            anyhow::Ok(answer)
        })
    }
}

fn refusal(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("the engine said {}: {}", status.code(), status.message())
}

/// A program with the limits of every row, in a sandbox of its own made for it.
pub(crate) fn request(argv: Vec<String>, code_dir: &Path, wall_ms: u64) -> pb::ExecuteRequest {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let id = format!("{:016x}{:016x}", Stand::number(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let env = [("HOME", "/tmp"), ("PATH", "/bin")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    pb::ExecuteRequest {
        execution_id: id,
        owner: "bench".to_owned(),
        program: Some(pb::Program {
            argv,
            env: HashMap::from(env),
            profile: pb::Profile::ToolNoexec.into(),
            code_dir: code_dir.display().to_string(),
            ..pb::Program::default()
        }),
        limits: Some(pb::Limits {
            memory_bytes: MEMORY_BYTES,
            pids: PIDS,
            cpu_millis: CPU_MILLIS,
            disk_bytes: DISK_BYTES,
            wall_ms,
            output_bytes: 0,
        }),
        ..pb::ExecuteRequest::default()
    }
}

/// One payload through the socket per round, shelves off.
pub(crate) struct Socket {
    caller: Caller,
    app: PathBuf,
    payload: Payload,
}

impl Socket {
    pub(crate) fn new(daemon: &Daemon, app: &Path, payload: Payload) -> anyhow::Result<Self> {
        Ok(Self { caller: daemon.caller()?, app: app.to_owned(), payload })
    }
}

impl Row for Socket {
    fn name(&self) -> String {
        format!("{}/socket", self.payload.name())
    }

    fn run(&mut self) -> anyhow::Result<Sample> {
        let answer = self.caller.execute(request(self.payload.argv(), &self.app, WALL_MS))?;
        if answer.end.reason() != pb::EndReason::Exited {
            bail!("the program ended as {:?}: {}", answer.end.reason(), answer.end.detail);
        }
        self.payload.check(answer.end.exit_code, &answer.stdout)?;
        Ok(Sample { wall: answer.ended, cpu: None })
    }
}
