//! What our cages are compared with when nothing is caged: a Bun process with the same harness on descriptor 3, started
//! ahead of time and good for one call. And the same call as our own rows send it.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde_json::{Value, json};

const FRAME_BYTES_MAX: usize = 1 << 20;
/// The harness as every tool call starts it.
const HARNESS: [&str; 6] =
    ["bin/bun", "--no-install", "--env-file=/dev/null", "--config=/dev/null", "--no-orphans", "lib/aria/harness.js"];
const TOOL_FILE: &str = "tool.js";
/// A tool as the compiler leaves it: small, without types that need a codec.
const TOOL: &str = "const run = ({ a, b }) => ({ sum: a + b });\nexport const tool = { name: \"bench\", run, input: null, output: null };\n";

/// The command line of the harness in a root; `/` for the root a cage sees.
pub(crate) fn harness(root: &Path) -> Vec<String> {
    let place =
        |word: &&str| if word.starts_with('-') { (*word).to_owned() } else { root.join(word).display().to_string() };
    HARNESS.iter().map(place).collect()
}

/// Writes the tool into the directory every program is in.
pub(crate) fn write_tool(app: &Path) -> anyhow::Result<()> {
    std::fs::write(app.join(TOOL_FILE), TOOL).context("write the tool")
}

/// The frame that readies a process ahead of its call: with the tool imported, or able to serve any.
pub(crate) fn prepare(module: Option<&Path>) -> Vec<u8> {
    let prepare = module.map_or_else(|| json!({}), |app| json!({ "module": app.join(TOOL_FILE) }));
    json!({ "prepare": prepare }).to_string().into_bytes()
}

/// The frame that calls the tool at `app`, and what must come back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    a: u64,
}

impl Call {
    /// A call no other call of this run can answer.
    pub(crate) fn new(number: usize) -> Call {
        Call { a: number as u64 }
    }

    pub(crate) fn frame(self, app: &Path) -> Vec<u8> {
        let input = json!({ "a": self.a, "b": 1 }).to_string();
        json!({ "invoke": { "invocationId": "bench", "module": app.join(TOOL_FILE), "inputJson": input } })
            .to_string()
            .into_bytes()
    }

    pub(crate) fn check(self, frame: &[u8]) -> anyhow::Result<()> {
        let answer: Value = serde_json::from_slice(frame).context("the answer is JSON")?;
        let output = answer.pointer("/result/outputJson").and_then(Value::as_str).unwrap_or_default();
        let sum = serde_json::from_str::<Value>(output).ok().and_then(|value| value.get("sum")?.as_u64());
        ensure!(sum == Some(self.a + 1), "{} + 1 was answered with {}", self.a, String::from_utf8_lossy(frame));
        Ok(())
    }
}

/// One end of a guest door: frames of a little-endian length and JSON.
pub(crate) struct Door(UnixStream);

impl Door {
    /// The host's end as the engine hands it out.
    pub(crate) fn new(fd: OwnedFd) -> anyhow::Result<Door> {
        let stream = UnixStream::from(fd);
        stream.set_nonblocking(false).context("make the door blocking")?;
        Ok(Door(stream))
    }

    pub(crate) fn send(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        let length = u32::try_from(frame.len())?.to_le_bytes();
        self.0.write_all(&[&length[..], frame].concat()).context("write to the door")
    }

    pub(crate) fn receive(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).context("read from the door")?;
        let length = u32::from_le_bytes(length) as usize;
        ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
        let mut frame = vec![0; length];
        self.0.read_exact(&mut frame).context("read from the door")?;
        Ok(frame)
    }
}

/// A worker nobody has called yet. It is ended and reaped when dropped.
pub(crate) struct Worker {
    pid: Pid,
    door: Door,
}

impl Worker {
    /// By vfork and exec, and a prepare frame; does not wait until it is ready.
    pub(crate) fn start(root: &Path, prepare: &[u8]) -> anyhow::Result<Worker> {
        let (ours, theirs) = UnixStream::pair().context("socket pair")?;
        let mut actions = PosixSpawnFileActions::init()?;
        let null = File::options().read(true).write(true).open("/dev/null").context("open /dev/null")?;
        for fd in 0..3 {
            actions.add_dup2(null.as_raw_fd(), fd)?;
        }
        actions.add_dup2(theirs.as_raw_fd(), 3)?;
        let argv = harness(root).into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
        let Some(program) = argv.first() else { bail!("no program") };
        let env = [c"HOME=/tmp", c"PATH=/bin"];
        let pid =
            posix_spawn(program.as_c_str(), &actions, &PosixSpawnAttr::init()?, &argv, &env).context("start bun")?;
        let mut worker = Worker { pid, door: Door(ours) };
        worker.door.send(prepare)?;
        Ok(worker)
    }

    /// Waits until it is.
    pub(crate) fn ready(mut self) -> anyhow::Result<Worker> {
        let answer = self.door.receive()?;
        ensure!(answer.is_empty(), "the worker said {:?} when asked to get ready", String::from_utf8_lossy(&answer));
        Ok(self)
    }

    /// Its one call.
    pub(crate) fn call(&mut self, frame: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.door.send(frame)?;
        self.door.receive()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // After its call it ends by itself; one that was never called is ended here.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}
