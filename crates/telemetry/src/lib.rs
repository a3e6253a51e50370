//! One way to log.
//!
//! The journal when this machine has one and nobody watches, stderr otherwise. Nothing here fails or panics: a service
//! that cannot log still serves.

use std::io::IsTerminal;
use std::path::Path;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Where the journal listens.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// Where lines go and what they look like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Output {
    /// The journal if its socket exists and stderr is not a terminal, else lines for people.
    #[default]
    Auto,
    /// Lines for people on stderr.
    Human,
    /// One JSON object a line on stderr.
    Json,
    /// The journal; stderr when it cannot be reached.
    Journal,
}

/// Starts logging for this process. `level` is `error`, `warn`, `info`, `debug` or `trace`, or a list of `target=level`
/// directives; one that cannot be read means `info`. A second call changes nothing.
pub fn init(level: &str, service: &'static str) {
    init_to(Output::Auto, level, service);
}

/// As [`init`], with the output chosen.
pub fn init_to(output: Output, level: &str, service: &'static str) {
    let (filter, understood) = filter(level);
    let layer = match resolve(output, Path::new(JOURNAL_SOCKET).exists(), std::io::stderr().is_terminal()) {
        Output::Journal => journal(service).unwrap_or_else(human),
        Output::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
        Output::Human | Output::Auto => human(),
    };
    let started = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().is_ok();
    if started && !understood {
        tracing::warn!(level, "log level is not understood, using info");
    }
}

fn filter(level: &str) -> (EnvFilter, bool) {
    let default = || EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    match EnvFilter::try_new(level) {
        Ok(filter) if !level.trim().is_empty() => (filter, true),
        _ => (default().parse_lossy("info"), false),
    }
}

fn resolve(output: Output, journal_exists: bool, terminal: bool) -> Output {
    match output {
        Output::Auto if journal_exists && !terminal => Output::Journal,
        Output::Auto => Output::Human,
        chosen => chosen,
    }
}

type Sink = Box<dyn Layer<Registry> + Send + Sync>;

fn journal(service: &'static str) -> Option<Sink> {
    let layer = tracing_journald::layer().ok()?;
    Some(layer.with_syslog_identifier(service.to_owned()).boxed())
}

fn human() -> Sink {
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt::layer().with_ansi(colours).with_target(false).with_writer(std::io::stderr).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_used_when_it_exists_and_nobody_watches() {
        assert_eq!(resolve(Output::Auto, true, false), Output::Journal);
        assert_eq!(resolve(Output::Auto, true, true), Output::Human);
        assert_eq!(resolve(Output::Auto, false, false), Output::Human);
    }

    #[test]
    fn a_choice_is_kept() {
        assert_eq!(resolve(Output::Json, true, false), Output::Json);
        assert_eq!(resolve(Output::Human, true, false), Output::Human);
    }

    #[test]
    fn a_level_that_cannot_be_read_means_info() {
        assert!(!filter("loud=&").1);
        assert!(!filter("").1);
        assert!(filter("debug").1);
        assert!(filter("warn,quiltd=debug").1);
        assert_eq!(filter("loud=&").0.max_level_hint(), Some(LevelFilter::INFO));
    }

    #[test]
    fn starting_twice_is_harmless() {
        init("info", "test");
        init_to(Output::Json, "nonsense=&", "test");
        tracing::info!("still here");
    }
}
