//! The clock of `make bench`: one mode per run, the result one JSON object on stdout.
//!
//! Same Bun file, same file system, same limits for every row of a mode, interleaved; nothing runs before a row's t0 except
//! what the row says. Usage: `aria-bench MODE STAND_JSON`, where the stand says where everything is (`stand::Stand`).

mod bombs;
mod cgroup;
mod cold;
mod echo;
mod engine;
mod guest;
mod idle;
mod leaks;
mod peers;
mod rate;
mod sample;
mod shelf;
mod socket;
mod stand;
mod warm;
mod worker;

use anyhow::bail;
use serde_json::{Value, to_value};

use stand::Stand;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["--peer", ..] => return peers::serve(&args[1..]),
        // What PID 1 of the image starts its engine with.
        ["--config", _] => return guest::serve(),
        ["--idle", ..] => idle::serve(&args[1..])?,
        [mode, stand] => measure(mode, &Stand::parse(stand)?)?,
        _ => bail!("usage: aria-bench MODE STAND_JSON"),
    };
    #[allow(clippy::print_stdout, reason = "the result is the output")]
    {
        println!("{result}");
    }
    Ok(())
}

fn measure(mode: &str, stand: &Stand) -> anyhow::Result<Value> {
    match mode {
        "cold" => cold::measure(stand),
        "floor" => cold::floor(stand),
        "echo" => Ok(to_value(echo::round_trips(stand.rounds)?)?),
        "idle" => idle::measure(stand),
        "leaks" => leaks::measure(stand),
        "neighbours" => bombs::neighbours(stand),
        "kills" => bombs::kills(stand),
        "warm" => warm::measure(stand),
        "rate" => rate::measure(stand),
        _ => bail!("there is no mode {mode:?}"),
    }
}
