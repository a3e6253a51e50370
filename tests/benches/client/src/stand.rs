//! Where everything is: the same root, Bun and limits for every row.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

/// Memory limit of every limited row, bytes.
pub(crate) const MEMORY_BYTES: u64 = 256 << 20;
/// Process limit of every limited row.
pub(crate) const PIDS: u32 = 64;
/// CPU limit of every limited row, thousandths of a core.
pub(crate) const CPU_MILLIS: u32 = 1000;
/// Size of `/tmp`, bytes.
pub(crate) const DISK_BYTES: u64 = 64 << 20;

/// The TypeScript program of the cold rows: proves it ran by what it prints.
const HELLO: &str = "const t: number = 40 + 2;\nconsole.log(`hello ${t}`);\n";
/// What it prints.
const HELLO_PRINTS: &[u8] = b"hello 42\n";

/// What the caller of this program found on the machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stand {
    /// Root of every cage and peer: Bun, its libraries, the harness, `/bin/true`.
    pub(crate) root: PathBuf,
    pub(crate) init: PathBuf,
    pub(crate) quiltd: PathBuf,
    /// An existing directory of our own.
    pub(crate) work: PathBuf,
    /// Rounds, or calls, or cages: each mode says what it counts.
    pub(crate) rounds: usize,
}

impl Stand {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Stand> {
        let mut stand: Stand = serde_json::from_str(text).context("the stand is a JSON object")?;
        for path in [&mut stand.root, &mut stand.init, &mut stand.quiltd, &mut stand.work] {
            *path = std::fs::canonicalize(&*path).with_context(|| format!("find {}", path.display()))?;
        }
        Ok(stand)
    }

    /// The directory every program is in, made when it is not there.
    pub(crate) fn app(&self) -> anyhow::Result<PathBuf> {
        let app = self.work.join("app");
        std::fs::create_dir_all(&app).with_context(|| format!("create {}", app.display()))?;
        std::fs::write(app.join("hello.ts"), HELLO).context("write hello.ts")?;
        Ok(app)
    }

    /// A number that makes names and uids of this process its own.
    pub(crate) fn number() -> u32 {
        std::process::id()
    }
}

/// What a row runs and how it proves that it ran.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload {
    /// `/bin/true`.
    True,
    /// A TypeScript program on Bun.
    Hello,
}

impl Payload {
    pub(crate) fn parse(name: &str) -> anyhow::Result<Payload> {
        match name {
            "true" => Ok(Payload::True),
            "hello" => Ok(Payload::Hello),
            _ => anyhow::bail!("there is no payload {name:?}"),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Payload::True => "true",
            Payload::Hello => "hello",
        }
    }

    /// Inside a root with the programs at `/app`.
    pub(crate) fn argv(self) -> Vec<String> {
        self.argv_at(Path::new("/"), Path::new("/app"))
    }

    /// The same files, seen from the host.
    pub(crate) fn argv_at(self, root: &Path, app: &Path) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        match self {
            Payload::True => vec![text(root.join("bin/true"))],
            Payload::Hello => vec![text(root.join("bin/bun")), text(app.join("hello.ts"))],
        }
    }

    pub(crate) fn check(self, code: i32, stdout: &[u8]) -> anyhow::Result<()> {
        let expected = match self {
            Payload::True => &b""[..],
            Payload::Hello => HELLO_PRINTS,
        };
        anyhow::ensure!(
            code == 0 && stdout == expected,
            "{} ended with {code} and {:?}",
            self.name(),
            String::from_utf8_lossy(stdout)
        );
        Ok(())
    }
}
