//! Times one cold TypeScript program: bare, in bubblewrap, in crun, in our cage, interleaved in one run.
//!
//! Same Bun file, same file system, same limits for every row; nothing is started before a row's t0 except what the row says
//! (ours: the engine and its parked launchers; bubblewrap: a helper that already sits in a limited cgroup leaf).
//! Usage: `aria-bench-cold ROUNDS TOOL_ROOT QUILT_INIT WORK_DIR`; prints one JSON object with the samples in microseconds.

mod cage;
mod peers;

use std::path::Path;

use anyhow::{Context, bail};

/// The program every row runs: proves it ran by what it prints.
pub(crate) const PROGRAM: &str = "const t: number = 40 + 2;\nconsole.log(`hello ${t}`);\n";
/// What it prints.
pub(crate) const EXPECTED: &[u8] = b"hello 42\n";
/// Memory limit of every limited row, bytes.
pub(crate) const MEMORY_BYTES: u64 = 256 << 20;
/// Process limit of every limited row.
pub(crate) const PIDS: u32 = 64;

/// One thing to time. `run` returns microseconds from before the start until the answer was read and the program was gone.
pub(crate) trait Row {
    /// Name in the result.
    fn name(&self) -> &'static str;
    /// One round.
    fn run(&mut self) -> anyhow::Result<u64>;
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().map(String::as_str) == Some("--peer") {
        return peers::serve(&args[1..]);
    }
    let [rounds, root, init, work] = args.as_slice() else {
        bail!("usage: aria-bench-cold ROUNDS TOOL_ROOT QUILT_INIT WORK_DIR")
    };
    let (root, init, work) = (Path::new(root), Path::new(init), Path::new(work));
    let rounds: usize = rounds.parse().context("ROUNDS is a number")?;
    std::fs::create_dir_all(work).with_context(|| format!("create {}", work.display()))?;
    std::fs::write(work.join("hello.ts"), PROGRAM).context("write hello.ts")?;

    let mut rows: Vec<Box<dyn Row>> = vec![
        Box::new(peers::bare(root, work)?),
        Box::new(peers::bubblewrap(root, work)?),
        Box::new(peers::crun(root, work)?),
        Box::new(cage::Cage::new(root, init, work)?),
    ];
    let mut samples: Vec<Vec<u64>> = vec![Vec::with_capacity(rounds); rows.len()];
    // Three unrecorded rounds fill the page cache and the launcher pool.
    for round in 0..rounds + 3 {
        for (row, samples) in rows.iter_mut().zip(&mut samples) {
            let micros = row.run().with_context(|| format!("row {}", row.name()))?;
            if round >= 3 {
                samples.push(micros);
            }
            // Teardown and refill are off the path; give them the same pause after every row.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    let result: serde_json::Map<String, serde_json::Value> =
        rows.iter().zip(samples).map(|(row, samples)| (row.name().to_owned(), samples.into())).collect();
    #[allow(clippy::print_stdout, reason = "the result is the output")]
    {
        println!("{}", serde_json::Value::Object(result));
    }
    Ok(())
}
