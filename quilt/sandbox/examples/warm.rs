//! How long a call takes that a waiting cage serves, beside one that a waiting bare process serves: `warm [rounds]`.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "the table is the result; the comparison starts programs"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quilt_sandbox::{
    Ask, Config, Engine, Io, Limits, OwnShelf, Profile, Sandbox, ShelfBounds, ShelfConfig, Shelves, Spec,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const TOOL: &str = "export const tool = { name: 't', input: null, output: null, run: (x) => ({ sum: x.a + x.b }) };";
const GENERIC: &[u8] = br#"{"prepare":{}}"#;
const OWN: &[u8] = br#"{"prepare":{"module":"/app/tool.js"}}"#;
const INVOKE: &[u8] = br#"{"invoke":{"module":"/app/tool.js","inputJson":"{\"a\":1,\"b\":2}"}}"#;
const ANSWER: &[u8] = br#"{"result":{"outputJson":"{\"sum\":3}"}}"#;

fn frame(bytes: &[u8]) -> Vec<u8> {
    [(bytes.len() as u32).to_le_bytes().as_slice(), bytes].concat()
}

fn ask(door: &mut UnixStream, bytes: &[u8], expected: &[u8]) -> Outcome<()> {
    door.write_all(&frame(bytes))?;
    let mut length = [0; 4];
    door.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_le_bytes(length) as usize];
    door.read_exact(&mut answer)?;
    if answer == expected { Ok(()) } else { Err(String::from_utf8_lossy(&answer).into_owned().into()) }
}

struct Bench {
    engine: Arc<Engine>,
    shelves: Shelves,
    root: PathBuf,
    app: PathBuf,
}

impl Bench {
    fn spec(&self) -> Outcome<Spec> {
        let flags = ["/bin/bun", "--no-install", "--env-file=/dev/null", "--config=/dev/null", "--no-orphans"];
        Ok(Spec {
            argv: flags.into_iter().chain(["/lib/aria/harness.js"]).map(str::to_owned).collect(),
            env: BTreeMap::from([("HOME".to_owned(), "/tmp".to_owned()), ("PATH".to_owned(), "/bin".to_owned())]),
            profile: Profile::ToolNoexec,
            app: Some(std::fs::File::open(&self.app)?.into()),
            files: Vec::new(),
            out: true,
            workspace: None,
            door: true,
            stdin: false,
            limits: Limits { memory_bytes: 256 << 20, pids: 64, cpu_millis: 1000, disk_bytes: 64 << 20 },
        })
    }

    fn take(&self, spec: &Spec, own: bool) -> Option<(Sandbox, Io)> {
        let own = own.then_some(OwnShelf { owner: "ann", key: "k", prepare: OWN });
        self.shelves.take(Ask { spec, prepare: GENERIC, own })
    }

    /// Time to the answer, then the cage goes, off the clock.
    fn caged(&self, own: bool) -> Outcome<Duration> {
        let spec = self.spec()?;
        loop {
            let begin = Instant::now();
            if let Some((sandbox, io)) = self.take(&spec, own) {
                let mut door = blocking(io.door)?;
                ask(&mut door, INVOKE, ANSWER)?;
                let time = begin.elapsed();
                sandbox.destroy()?;
                return Ok(time);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn bare(&self, prepare: &[u8]) -> Outcome<(Child, UnixStream)> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(self.root.join("bin/bun"));
        command.args(["--no-install", "--env-file=/dev/null", "--config=/dev/null"]).arg(self.app.join("bare.js"));
        command.env_clear().env("HOME", "/tmp").stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        let child = command.spawn()?;
        let text = String::from_utf8_lossy(prepare).replace("/app", &self.app.to_string_lossy());
        ask(&mut ours, text.as_bytes(), b"")?;
        Ok((child, ours))
    }

    fn bare_call(&self, (mut child, mut door): (Child, UnixStream)) -> Outcome<Duration> {
        let text = String::from_utf8_lossy(INVOKE).replace("/app", &self.app.to_string_lossy());
        let begin = Instant::now();
        ask(&mut door, text.as_bytes(), ANSWER)?;
        let time = begin.elapsed();
        let _ = child.kill();
        child.wait()?;
        Ok(time)
    }

    fn sustained(&self, clients: usize, time: Duration, one: &(dyn Fn() -> Outcome<Duration> + Sync)) -> f64 {
        let (count, begin) = (AtomicUsize::new(0), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    while begin.elapsed() < time {
                        match one() {
                            Ok(_) => drop(count.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => println!("{error}"),
                        }
                    }
                });
            }
        });
        count.into_inner() as f64 / begin.elapsed().as_secs_f64()
    }
}

fn blocking(door: Option<OwnedFd>) -> Outcome<UnixStream> {
    let door = UnixStream::from(door.ok_or("no door")?);
    door.set_nonblocking(false)?;
    Ok(door)
}

fn percentile(row: &mut [Duration], p: usize) -> f64 {
    row.sort();
    row.get(row.len() * p / 100).copied().unwrap_or_default().as_secs_f64() * 1e6
}

fn main() -> Outcome<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(40), |text| text.parse())?;
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../out/tool-root")).canonicalize()?;
    let app = tempfile::tempdir()?;
    std::fs::set_permissions(app.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    std::fs::write(app.path().join("tool.js"), TOOL)?;
    let harness = std::fs::read_to_string(root.join("lib/aria/harness.js"))?;
    std::fs::write(app.path().join("bare.js"), harness.replace("new Door(3)", "new Door(0)"))?;
    let engine = Arc::new(Engine::open(Config {
        rootfs: root.clone(),
        init: std::env::current_exe()?.with_file_name("../quilt-init").canonicalize()?,
        cgroup_name: format!("quilt-warm-{}", std::process::id()),
        uid_base: 310_000,
        uid_count: 64,
        pool: 2,
    })?);
    let bounds = |max| ShelfBounds { max, idle: Duration::from_secs(60) };
    let config =
        ShelfConfig { generic: bounds(4), own: bounds(8), total_max: 12, memory_bytes_max: 1 << 30, host_bytes_min: 0 };
    let shelves = Shelves::open(engine.clone(), config)?;
    let bench = Bench { engine, shelves, root, app: app.path().to_owned() };

    let names = ["own cage", "own bare", "generic cage", "generic bare"];
    let mut rows: Vec<Vec<Duration>> = vec![Vec::new(); 4];
    for round in 0..rounds + 3 {
        let (own, generic) = (bench.bare(OWN)?, bench.bare(GENERIC)?);
        std::thread::sleep(Duration::from_millis(40));
        let times = [bench.caged(true)?, bench.bare_call(own)?, bench.caged(false)?, bench.bare_call(generic)?];
        if round >= 3 {
            rows.iter_mut().zip(times).for_each(|(row, time)| row.push(time));
        }
    }
    for (name, row) in names.iter().zip(&mut rows) {
        let at = |row: &mut Vec<Duration>, p| percentile(row, p);
        println!(
            "{name:14} p5 {:6.0} p25 {:6.0} p50 {:6.0} p90 {:6.0} p99 {:6.0} us",
            at(row, 5),
            at(row, 25),
            at(row, 50),
            at(row, 90),
            at(row, 99)
        );
    }
    for _ in 0..2 {
        let caged = bench.sustained(2, Duration::from_secs(4), &|| bench.caged(true));
        let bare = bench.sustained(2, Duration::from_secs(4), &|| bench.bare_call(bench.bare(OWN)?));
        println!("sustained: cage {caged:.0}/s, bare {bare:.0}/s, {:.2}", caged / bare);
    }
    drop(bench.shelves);
    drop(bench.engine);
    Ok(())
}
