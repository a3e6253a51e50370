//! A real quiltd on a socket of its own, with its own cgroup and host uids, and the smallest client that can hold it to its
//! promises. Everything it makes is gone when it is dropped.

#![allow(dead_code, unreachable_pub, reason = "shared by test programs, each of which uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aria_protocol::quilt::v1 as pb;
use hyper_util::rt::TokioIo;
use pb::execute_response::Event;
use pb::sync_engine_client::SyncEngineClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};
use tonic_types::StatusExt;

pub type Client = SyncEngineClient<Channel>;

static STANDS: AtomicU32 = AtomicU32::new(0);

pub struct Stand {
    pub dir: tempfile::TempDir,
    pub cgroup_name: String,
    pub uids: std::ops::Range<u32>,
    child: Child,
}

/// The whole output of one execution.
#[derive(Debug, Default)]
pub struct Run {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub frames: Vec<Vec<u8>>,
    pub files: Vec<(String, Vec<u8>)>,
    pub fence: u64,
    pub origin: pb::SandboxOrigin,
    pub revoked: Option<String>,
    /// Their bytes are the file `/workspace`.
    pub changes: Option<pb::WorkspaceChanges>,
    pub ended: pb::Ended,
}

impl Run {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The launcher: the newer of the one built beside this daemon and the one of `make binaries`.
fn init_program() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_quiltd")).with_file_name("quilt-init");
    let programs = [beside, root().join("out/bin/quilt-init")];
    let age = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
    programs.into_iter().filter(|path| path.exists()).max_by_key(age)
}

/// What this machine lacks for a real engine, if anything.
fn missing() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("cages need root");
    }
    if !root().join("out/tool-root/bin/bun").exists() {
        return Some("out/tool-root is missing, run `make binaries`");
    }
    init_program().is_none().then_some("quilt-init is not built, run `cargo build -p quilt-sandbox`")
}

/// Starts an engine, or says why this machine cannot. `more` is appended to its configuration.
pub async fn start(more: &str) -> Option<Stand> {
    start_with(0, more).await
}

/// As [`start`], letting a group in besides root.
pub async fn start_for_group(gid: u32) -> Option<Stand> {
    start_with(gid, "").await
}

async fn start_with(gid: u32, more: &str) -> Option<Stand> {
    if let Some(why) = missing() {
        eprintln!("skipped: {why}");
        return None;
    }
    let number = STANDS.fetch_add(1, Ordering::Relaxed);
    let place = std::process::id() % 100_000;
    let dir = tempfile::Builder::new().prefix("quilt-test-").tempdir().unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir(dir.path().join("code")).unwrap();
    let base = 1_500_000_000 + place * 1_000 + number * 16;
    let cgroup_name = format!("quilt-test-{place}-{number}");
    let config = format!(
        "[socket]\npath = {socket:?}\ngid = {gid}\n[state]\ndir = {state:?}\n[telemetry]\noutput = 'human'\nlevel = 'info,quiltd=debug'\n[sandbox]\n\
         rootfs = {rootfs:?}\ninit = {init:?}\ncgroup_name = {cgroup_name:?}\nuid_base = {base}\nuid_count = 16\npool = 1\n\
         code_roots = [{code:?}]\noutput_bytes_max = 2000000000\n{more}",
        socket = dir.path().join("api.sock"),
        state = dir.path().join("state"),
        rootfs = root().join("out/tool-root"),
        init = init_program().unwrap(),
        code = dir.path().join("code"),
    );
    fs::write(dir.path().join("quilt.toml"), config).unwrap();
    let child = launch(dir.path());
    let mut stand = Stand { dir, cgroup_name, uids: base..base + 16, child };
    stand.wait_until_serving().await;
    Some(stand)
}

#[allow(clippy::disallowed_methods, reason = "the daemon under test is a program")]
fn launch(dir: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_quiltd"))
        .args(["--config".as_ref(), dir.join("quilt.toml").as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Stand {
    async fn wait_until_serving(&mut self) {
        let end = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(self.socket()).await.is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "quiltd did not start ({ended:?}):\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// Resident memory of the daemon, bytes.
    pub fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Open descriptors of the daemon.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// How often any thread of the daemon gave up the processor by itself so far.
    pub fn switches(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().flatten();
        let count = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.map_or(0, |count| count.trim().parse().unwrap())
        };
        tasks.map(|task| count(fs::read_to_string(task.path().join("status")).unwrap_or_default())).sum()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    /// Waits for the daemon's own end.
    pub async fn exited(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "quiltd did not stop:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Says the first words of HTTP/2 as somebody and reports what came back within a moment.
    #[allow(clippy::disallowed_methods, reason = "another uid needs another process")]
    pub fn connect_as(&self, id: u32) -> String {
        let script = format!(
            "const all = require('node:net').connect({:?}); let bytes = 0; const say = (text) => {{ console.log(text); process.exit(0); }};
             all.on('connect', () => all.write('PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\x04\\0\\0\\0\\0\\0'));
             all.on('data', (data) => say(`got ${{data.length}} bytes`)); all.on('error', (e) => say(e.code === 'EPIPE' || e.code === 'ECONNRESET' ? 'closed after 0 bytes' : e.code));
             all.on('close', () => say('closed after 0 bytes')); setTimeout(() => say('silence'), 3000);",
            self.socket()
        );
        let output = std::os::unix::process::CommandExt::gid(
            std::os::unix::process::CommandExt::uid(Command::new(root().join("out/bin/bun")).args(["-e", &script]), id),
            id,
        )
        .current_dir("/")
        .env_clear()
        .output()
        .unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts a second daemon with the same configuration and waits for its end.
    #[allow(clippy::disallowed_methods, reason = "the daemon under test is a program")]
    pub fn second(&self) -> (Option<i32>, String) {
        let config = self.dir.path().join("quilt.toml");
        let output = Command::new(env!("CARGO_BIN_EXE_quiltd")).arg("--config").arg(config).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Waits until no cage and no lease is left.
    pub async fn idle_within(&self, bound: Duration) {
        let end = Instant::now() + bound;
        loop {
            let status = self.status().await;
            if status.sandboxes == 0 && status.leases.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{status:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A second life in the same place.
    pub async fn relaunch(&mut self) {
        self.child = launch(self.dir.path());
        self.wait_until_serving().await;
    }

    pub fn client(&self) -> Client {
        let socket = self.socket();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // Small windows: a test that does not read must be felt by the engine.
        let endpoint = Endpoint::from(Uri::from_static("http://quilt"))
            .initial_stream_window_size(65_536)
            .http2_max_local_error_reset_streams(None);
        SyncEngineClient::new(endpoint.connect_with_connector_lazy(connector)).max_decoding_message_size(8 << 20)
    }

    /// Writes a script into a code directory of its own and returns a request that runs it.
    pub fn script(&self, source: &str) -> pb::ExecuteRequest {
        let id = execution_id();
        let code = self.dir.path().join("code").join(&id);
        fs::create_dir(&code).unwrap();
        fs::write(code.join("main.js"), source).unwrap();
        let program = pb::Program {
            argv: vec!["/bin/bun".into(), "--no-install".into(), "/app/main.js".into()],
            profile: pb::Profile::Tool.into(),
            code_dir: code.to_str().unwrap().into(),
            ..pb::Program::default()
        };
        pb::ExecuteRequest { execution_id: id, owner: "ann".into(), program: Some(program), ..Default::default() }
    }

    /// Runs a request to its end.
    pub async fn run(&self, request: pb::ExecuteRequest) -> Run {
        let stream = self.client().execute(request).await.unwrap_or_else(|status| panic!("{status}\n{}", self.log()));
        collect(stream.into_inner()).await.unwrap_or_else(|status| panic!("{status}\n{}", self.log()))
    }

    /// The reason a request is refused with, and its message.
    pub async fn refusal(&self, request: pb::ExecuteRequest) -> (tonic::Code, String, String) {
        let refused = match self.client().execute(request).await {
            Ok(stream) => collect(stream.into_inner()).await.expect_err("it was not refused"),
            Err(status) => status,
        };
        (refused.code(), reason(&refused), refused.message().to_owned())
    }

    /// Processes that run as one of our host uids.
    pub fn leftovers(&self) -> Vec<String> {
        processes(&self.uids)
    }

    /// Waits until no program and nothing that served one is left.
    pub async fn clean_within(&self, bound: Duration) {
        let end = Instant::now() + bound;
        loop {
            let left = self.leftovers();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "left behind: {left:#?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Directories of our cgroup name, anywhere below the cgroup mounts.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mut tops = vec![PathBuf::from("/sys/fs/cgroup")];
        tops.extend(fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()));
        tops.into_iter().map(|top| top.join(&self.cgroup_name)).filter(|path| path.exists()).collect()
    }

    pub async fn status(&self) -> pb::StatusResponse {
        self.client().status(pb::StatusRequest {}).await.unwrap().into_inner()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        // Asked first, so that it removes its cages; killed if it does not listen.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(nix::sys::signal::Signal::SIGTERM);
            let end = Instant::now() + Duration::from_secs(10);
            while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Processes of these uids, with what is needed to tell whose fault they are.
fn processes(uids: &std::ops::Range<u32>) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let uid = field("Uid:").split_whitespace().next().and_then(|uid| uid.parse().ok());
        // Once the engine itself is gone its dead wait for this machine's init, which need not be in a hurry.
        let init_will_reap = field("State:").starts_with('Z') && field("PPid:") == "1";
        if uid.is_some_and(|uid| uids.contains(&uid)) && !init_will_reap {
            let (name, state, parent) = (field("Name:"), field("State:"), field("PPid:"));
            found.push(format!("{name} {} {state} child of {parent}", entry.path().display()));
        }
    }
    found
}

pub fn execution_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{:032x}", u128::from(std::process::id()) << 32 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}

pub fn reason(status: &Status) -> String {
    status.get_details_error_info().filter(|info| info.domain == "quilt").map(|info| info.reason).unwrap_or_default()
}

/// Reads a stream to its end, checking the order of events.
pub async fn collect(mut stream: Streaming<pb::ExecuteResponse>) -> Result<Run, Status> {
    let mut run = Run::default();
    let (mut granted, mut started, mut ended) = (false, false, false);
    while let Some(message) = stream.message().await? {
        assert!(!ended, "an event after the end");
        match message.event.expect("an event") {
            Event::Queued(_) => assert!(!granted),
            Event::Granted(event) => {
                assert!(!granted);
                (granted, run.fence) = (true, event.fence);
            }
            Event::Started(event) => {
                assert!(granted && !started);
                (started, run.origin) = (true, event.origin());
            }
            Event::Output(output) => {
                assert!(started);
                match output.stream() {
                    pb::OutputStream::Stdout => run.stdout.extend(output.data),
                    pb::OutputStream::Stderr => run.stderr.extend(output.data),
                    pb::OutputStream::Unspecified => panic!("output of no stream"),
                }
            }
            Event::GuestFrame(frame) => {
                assert!(started);
                run.frames.push(frame);
            }
            Event::OutFile(file) => run.files.push((file.name, Vec::new())),
            Event::WorkspaceChanges(changes) => {
                run.changes = Some(changes);
                run.files.push(("/workspace".to_owned(), Vec::new()));
            }
            Event::OutChunk(chunk) => run.files.last_mut().expect("a chunk of no file").1.extend(chunk),
            Event::Renewed(_) => assert!(granted),
            Event::Revoked(event) => {
                assert!(granted);
                run.revoked = Some(event.reason);
            }
            Event::Ended(event) => (ended, run.ended) = (true, event),
        }
    }
    assert!(ended, "the stream ended without Ended");
    Ok(run)
}
