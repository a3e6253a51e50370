//! quiltd: serves the sync-engine on its Unix socket until it is told to stop.
//!
//! `quiltd [--config PATH]` serves, `quiltd --check [--config PATH]` only reads the configuration, `quiltd --version`.

mod config;
mod direct;
mod ending;
mod events;
mod execution;
mod fault;
mod fence;
pub mod for_fuzz;
mod inbox;
mod leases;
mod leftovers;
mod limits;
mod plan;
mod relay;
mod report;
mod resources;
mod roots;
mod rules;
mod serve;
mod service;
mod shared;
mod socket;
mod sources;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

const USAGE: &str = "usage: quiltd [--check] [--config PATH] | quiltd --version";

/// What the command line asks for.
#[derive(Debug, Eq, PartialEq)]
enum Command {
    Serve(PathBuf),
    Check(PathBuf),
    Version,
}

fn command(arguments: impl IntoIterator<Item = String>) -> Option<Command> {
    let (mut check, mut config) = (false, PathBuf::from("/etc/quilt/quilt.toml"));
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => return Some(Command::Version),
            "--check" => check = true,
            "--config" => config = arguments.next()?.into(),
            _ => return None,
        }
    }
    Some(if check { Command::Check(config) } else { Command::Serve(config) })
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let Some(command) = command(std::env::args().skip(1)) else {
        return say(std::io::stderr(), USAGE, ExitCode::from(2));
    };
    match run(command) {
        Ok(answer) if answer.is_empty() => ExitCode::SUCCESS,
        Ok(answer) => say(std::io::stdout(), &answer, ExitCode::SUCCESS),
        Err(error) => say(std::io::stderr(), &format!("quiltd: {error:#}"), ExitCode::FAILURE),
    }
}

/// Writes one line; a closed output changes nothing about the outcome.
fn say(mut to: impl Write, line: &str, code: ExitCode) -> ExitCode {
    drop(writeln!(to, "{line}"));
    code
}

fn run(command: Command) -> anyhow::Result<String> {
    match command {
        Command::Version => Ok(format!("quiltd {}", env!("CARGO_PKG_VERSION"))),
        Command::Check(path) => {
            config::load(&path).context("configuration")?;
            Ok(format!("{} can be used", path.display()))
        }
        Command::Serve(path) => {
            let config = config::load(&path).context("configuration")?;
            aria_telemetry::init_to(config.log_output, &config.log_level, "quiltd");
            serve::serve(config)?;
            Ok(String::new())
        }
    }
}

/// An error with its causes, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &[&str], expected: Option<Command>) {
        assert_eq!(command(arguments.iter().map(ToString::to_string)), expected);
    }

    #[test]
    fn the_command_line() {
        check(&[], Some(Command::Serve("/etc/quilt/quilt.toml".into())));
        check(&["--config", "/a"], Some(Command::Serve("/a".into())));
        check(&["--check", "--config", "/a"], Some(Command::Check("/a".into())));
        check(&["--version"], Some(Command::Version));
        check(&["--config"], None);
        check(&["--help"], None);
        check(&["/a"], None);
    }
}
