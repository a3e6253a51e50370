//! How long a cage takes beside a bare start of the same program: `bench [rounds] [pool]`.
//!
//! Interleaved rounds of the same Bun file: bare, in a cage, and in bubblewrap where that is installed. The clock runs
//! from before `spawn` until the program's end is known; the cage is destroyed off the clock.

#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quilt_sandbox::{Config, Engine, Exit, Limits, Profile, Spec};

const SCRIPT: &str = "console.log('hello')\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().map_or(Ok(40), |text| text.parse())?;
    let pool: usize = arguments.next().map_or(Ok(4), |text| text.parse())?;
    let out = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../out")).canonicalize()?;
    let root = out.join("tool-root");
    let app = tempfile::tempdir()?;
    std::fs::set_permissions(app.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    std::fs::write(app.path().join("hello.ts"), SCRIPT)?;
    let engine = Engine::open(Config {
        rootfs: root.clone(),
        init: std::env::current_exe()?.with_file_name("../quilt-init").canonicalize()?,
        cgroup_name: format!("quilt-bench-{}", std::process::id()),
        uid_base: 300_000,
        uid_count: 64,
        pool,
    })?;
    let mut rows: Vec<(&str, Vec<Duration>)> =
        vec![("bare", vec![]), ("cage", vec![]), ("spawn alone", vec![]), ("bwrap", vec![])];
    for round in 0..rounds + 3 {
        while engine.ready() < pool {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(20));
        let (cage, spawn) = caged(&engine, app.path())?;
        let measured = [Some(bare(&root, app.path())?), Some(cage), Some(spawn), bubblewrap(&root, app.path()).ok()];
        for ((_, row), time) in rows.iter_mut().zip(measured) {
            row.extend(time.filter(|_| round >= 3));
        }
    }
    let floor = percentile(&mut rows[0].1.clone(), 50);
    for (name, row) in &mut rows {
        let at = |row: &mut Vec<Duration>, p| percentile(row, p).as_secs_f64() * 1e3;
        let ratio = percentile(row, 50).as_secs_f64() / floor.as_secs_f64();
        println!(
            "{name:12} p50 {:7.2} ms  p90 {:7.2} ms  ÷ bare {ratio:.2}  (n={})",
            at(row, 50),
            at(row, 90),
            row.len()
        );
    }
    Ok(())
}

fn percentile(row: &mut [Duration], p: usize) -> Duration {
    row.sort();
    row.get(row.len() * p / 100).copied().unwrap_or_default()
}

fn environment() -> [(&'static str, &'static str); 3] {
    [("HOME", "/tmp"), ("PATH", "/bin"), ("BUN_RUNTIME_TRANSPILER_CACHE_PATH", "0")]
}

#[allow(clippy::disallowed_methods, reason = "the comparison starts programs")]
fn bare(root: &Path, app: &Path) -> io::Result<Duration> {
    let begin = Instant::now();
    let status = Command::new(root.join("bin/bun"))
        .arg(app.join("hello.ts"))
        .env_clear()
        .envs(environment())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    assert!(status.success(), "bare bun: {status}");
    Ok(begin.elapsed())
}

#[allow(clippy::disallowed_methods, reason = "the comparison starts programs")]
fn bubblewrap(root: &Path, app: &Path) -> io::Result<Duration> {
    let begin = Instant::now();
    let status = Command::new("bwrap")
        .args(["--unshare-all", "--cap-drop", "ALL", "--ro-bind"])
        .arg(root)
        .args(["/", "--proc", "/proc", "--tmpfs", "/tmp", "--dev", "/dev", "--ro-bind"])
        .arg(app)
        .args(["/app", "--", "/bin/bun", "/app/hello.ts"])
        .env_clear()
        .envs(environment())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    if status.success() { Ok(begin.elapsed()) } else { Err(io::ErrorKind::Other.into()) }
}

fn caged(engine: &Engine, app: &Path) -> Result<(Duration, Duration), Box<dyn std::error::Error>> {
    let app = std::fs::File::open(app)?.into();
    let spec = Spec {
        argv: vec!["/bin/bun".into(), "/app/hello.ts".into()],
        env: environment()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        profile: Profile::ToolNoexec,
        app: Some(app),
        files: Vec::new(),
        out: true,
        workspace: None,
        door: true,
        stdin: false,
        limits: Limits { memory_bytes: 256 << 20, pids: 64, cpu_millis: 1000, disk_bytes: 64 << 20 },
    };
    let begin = Instant::now();
    let (mut sandbox, io) = engine.spawn(spec)?;
    let spawned = begin.elapsed();
    let exit = sandbox.exit();
    let elapsed = begin.elapsed();
    assert_eq!(exit, Exit::Code(0), "{}", read(io.stderr.as_fd()));
    assert_eq!(read(io.stdout.as_fd()), "hello\n");
    sandbox.destroy()?;
    Ok((elapsed, spawned))
}

fn read(fd: std::os::fd::BorrowedFd<'_>) -> String {
    let mut bytes = [0; 4096];
    let got = nix::unistd::read(fd, &mut bytes).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..got]).into_owned()
}
