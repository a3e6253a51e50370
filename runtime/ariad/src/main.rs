//! The edge: speaks protocols, reads config, wires the rest, stops cleanly.

mod api;
mod auth;
mod config;
mod identity;
mod lease_events;
mod listen;
mod peer;
mod server;
mod shares;
mod status;
mod trust;
mod wire;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use config::Config;

const USAGE: &str = "\
usage: ariad --config PATH [--ready-file PATH]    serve
       ariad --config PATH --check                read the configuration, say whether it is good, touch nothing
       ariad --version
       ariad --help

--ready-file PATH   written once calls are accepted: JSON {listen, socket, node_id, ca_sha256}";

/// Wrong command line or configuration, as for other programs of this kind.
const EXIT_USAGE: u8 = 2;

enum Command {
    Serve { config: PathBuf, ready_file: Option<PathBuf> },
    Check { config: PathBuf },
    Say(String),
}

fn main() -> ExitCode {
    let command = match parse(std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned())) {
        Ok(command) => command,
        Err(message) => return complain(&format!("{message}\n{USAGE}"), EXIT_USAGE),
    };
    match command {
        Command::Say(text) => say(&text),
        Command::Check { config } => match Config::read(&config) {
            Ok(_) => say("ok"),
            Err(error) => complain(&status::chain(&error), EXIT_USAGE),
        },
        Command::Serve { config, ready_file } => match Config::read(&config) {
            Ok(config) => serve(&config, ready_file),
            Err(error) => complain(&status::chain(&error), EXIT_USAGE),
        },
    }
}

fn parse(words: impl Iterator<Item = String>) -> Result<Command, String> {
    let (mut config, mut ready_file, mut check) = (None, None, false);
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let mut path = |option: &str| match words.next() {
            Some(path) => Ok(Some(PathBuf::from(path))),
            None => Err(format!("{option} needs a path")),
        };
        match word.as_str() {
            "--version" => return Ok(Command::Say(format!("ariad {}", env!("CARGO_PKG_VERSION")))),
            "--help" => return Ok(Command::Say(USAGE.to_owned())),
            "--check" => check = true,
            "--config" => config = path("--config")?,
            "--ready-file" => ready_file = path("--ready-file")?,
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    let config = config.ok_or("--config is missing")?;
    Ok(if check { Command::Check { config } } else { Command::Serve { config, ready_file } })
}

fn serve(config: &Config, ready_file: Option<PathBuf>) -> ExitCode {
    wire::start_log(&config.telemetry.level);
    // One thread serves; what blocks (files, SQLite, unpacking) goes to the pool. At most 8 uploads use it at a time
    // (`api::transfer`), so the rest is always there for the store.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(48)
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(wire::serve(config, ready_file.as_deref()));
            // A pool thread may wait for a disk; the data on it is safe at any point.
            runtime.shutdown_timeout(std::time::Duration::from_millis(500));
            ended
        }
        Err(error) => Err(anyhow::Error::new(error).context("start the runtime")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}"), 1),
    }
}

fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    // With stderr closed there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "ariad: {text}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Command, String> {
        parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn a_configuration_is_needed() {
        assert!(parsed(&[]).is_err());
        assert!(parsed(&["--config"]).is_err());
        assert!(parsed(&["--config", "a", "more"]).is_err());
        assert!(matches!(parsed(&["--config", "a"]), Ok(Command::Serve { .. })));
        assert!(matches!(parsed(&["--check", "--config", "a"]), Ok(Command::Check { .. })));
    }
}
