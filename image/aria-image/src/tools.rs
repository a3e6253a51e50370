//! Running the few programs an image needs (`mkfs.*`, `zstd`, `apt-get`, `dpkg-deb`, `git`): output kept, failure with its last words.

use std::io;
use std::path::Path;
use std::process::Command;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("{program} is not installed; `make setup` installs it")]
    Missing { program: String },
    #[error("start {program}")]
    Start { program: String, source: io::Error },
    #[error("{command} ended with {status}: {words}")]
    Failed { command: String, status: String, words: String },
}

/// One call. Times and paths that would leak into files are fixed by the caller through `env`.
pub(crate) struct Call<'a> {
    pub(crate) program: &'a str,
    pub(crate) arguments: Vec<String>,
    pub(crate) env: Vec<(&'a str, String)>,
    pub(crate) directory: Option<&'a Path>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(program: &'a str, arguments: &[&str]) -> Call<'a> {
        Call {
            program,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            env: Vec::new(),
            directory: None,
        }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<Path>) -> Call<'a> {
        self.arguments.push(argument.as_ref().to_string_lossy().into_owned());
        self
    }

    pub(crate) fn env(mut self, key: &'a str, value: impl Into<String>) -> Call<'a> {
        self.env.push((key, value.into()));
        self
    }

    pub(crate) fn within(mut self, directory: &'a Path) -> Call<'a> {
        self.directory = Some(directory);
        self
    }

    /// Runs it and returns its standard output.
    #[allow(clippy::disallowed_methods, reason = "aria-image is one of the two crates that run programs")]
    pub(crate) fn run(self) -> Result<String, ToolError> {
        // mkfs and friends live in /usr/sbin, which an ordinary user's PATH lacks.
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned()));
        let mut command = Command::new(self.program);
        command.args(&self.arguments).envs(self.env).env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC");
        if let Some(directory) = self.directory {
            command.current_dir(directory);
        }
        let program = self.program.to_owned();
        let output = command.output().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ToolError::Missing { program },
            _ => ToolError::Start { program, source },
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let words =
            words.trim().lines().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" | ");
        Err(ToolError::Failed {
            command: format!("{} {}", self.program, self.arguments.join(" ")),
            status: output.status.to_string(),
            words,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_says_how_to_get_it() {
        let error = Call::new("no-such-program-aria", &[]).run().unwrap_err();
        assert!(matches!(&error, ToolError::Missing { .. }) && error.to_string().contains("make setup"), "{error}");
    }

    #[test]
    fn failure_keeps_the_last_words() {
        let error = Call::new("ls", &["/no/such/path"]).run().unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
    }
}
