//! Kernel command line: the `aria.*` words and nothing else.
//!
//! A word that cannot be read is not fatal: it is reported and its default holds, because a typo must not cost the device.

use std::net::Ipv4Addr;

/// What PID 1 does when it has nothing left to do or cannot go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    PowerOff,
    Reboot,
    Halt,
}

/// A fixed IPv4 address, used when no DHCP server answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Static {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<Ipv4Addr>,
}

/// Everything the command line decides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Options {
    pub(crate) root: String,
    pub(crate) data: String,
    pub(crate) on_failure: Outcome,
    /// Memory limit of ariad's own cgroup.
    pub(crate) ariad_memory_bytes: u64,
    pub(crate) fixed_address: Option<Static>,
    /// Words beginning with `aria.` that could not be read.
    pub(crate) refused: Vec<String>,
}

/// Below this ariad cannot hold its own tables; a smaller wish is refused, not tried.
const ARIAD_MEMORY_MIN: u64 = 32 << 20;

impl Default for Options {
    fn default() -> Self {
        Options {
            root: "partlabel:root-a".to_owned(),
            data: "partlabel:data".to_owned(),
            on_failure: Outcome::Reboot,
            // SQLite, TLS and bounded queues fit in a tenth of this; uploads must not need it.
            ariad_memory_bytes: 192 << 20,
            fixed_address: None,
            refused: Vec::new(),
        }
    }
}

impl Options {
    /// The running kernel's command line; defaults where /proc is not there.
    pub(crate) fn current() -> Options {
        Options::parse(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default())
    }

    /// Reads one command line; the last of equal words wins.
    pub(crate) fn parse(line: &str) -> Options {
        let mut options = Options::default();
        for word in line.split_ascii_whitespace().filter(|word| word.starts_with("aria.")) {
            if options.take(word).is_none() {
                options.refused.push(word.to_owned());
            }
        }
        options
    }

    fn take(&mut self, word: &str) -> Option<()> {
        let (key, value) = word.split_once('=')?;
        match key {
            "aria.root" => self.root = non_empty(value)?,
            "aria.data" => self.data = non_empty(value)?,
            "aria.on-failure" => self.on_failure = outcome(value)?,
            "aria.ariad-memory" => self.ariad_memory_bytes = bytes(value).filter(|bytes| *bytes >= ARIAD_MEMORY_MIN)?,
            "aria.ip" => self.fixed_address = Some(fixed(value)?),
            _ => return None,
        }
        Some(())
    }
}

fn non_empty(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn outcome(value: &str) -> Option<Outcome> {
    match value {
        "poweroff" => Some(Outcome::PowerOff),
        "reboot" => Some(Outcome::Reboot),
        "halt" => Some(Outcome::Halt),
        _ => None,
    }
}

/// `192M`, `1G`, `65536K`; a unit is required so that nobody guesses.
fn bytes(value: &str) -> Option<u64> {
    let shift = match value.as_bytes().last()? {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        _ => return None,
    };
    let count: u64 = value.get(..value.len() - 1)?.parse().ok()?;
    count.checked_mul(1 << shift)
}

/// `192.0.2.10/24` or `192.0.2.10/24,192.0.2.1`.
fn fixed(value: &str) -> Option<Static> {
    let (network, gateway) = match value.split_once(',') {
        Some((network, gateway)) => (network, Some(gateway.parse().ok()?)),
        None => (value, None),
    };
    let (address, prefix) = network.split_once('/')?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| (1..=32).contains(prefix))?;
    Some(Static { address: address.parse().ok()?, prefix, gateway })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(line: &str) {
        let options = Options::parse(line);
        assert_eq!(options, Options { refused: vec![line.to_owned()], ..Options::default() });
    }

    #[test]
    fn foreign_words_are_ignored() {
        assert_eq!(Options::parse("console=ttyS0 quiet panic=-1"), Options::default());
    }

    #[test]
    fn every_word_is_read() {
        let options = Options::parse(
            "aria.root=/dev/vda aria.data=serial:x aria.on-failure=halt aria.ariad-memory=64M aria.ip=192.0.2.10/24,192.0.2.1\n",
        );
        assert_eq!(options.root, "/dev/vda");
        assert_eq!(options.data, "serial:x");
        assert_eq!(options.on_failure, Outcome::Halt);
        assert_eq!(options.ariad_memory_bytes, 64 << 20);
        let expected =
            Static { address: Ipv4Addr::new(192, 0, 2, 10), prefix: 24, gateway: Some(Ipv4Addr::new(192, 0, 2, 1)) };
        assert_eq!(options.fixed_address, Some(expected));
        assert!(options.refused.is_empty());
    }

    #[test]
    fn a_limit_needs_a_unit() {
        refused("aria.ariad-memory=1000000000");
    }

    #[test]
    fn a_limit_too_small_to_live_is_refused() {
        refused("aria.ariad-memory=1M");
    }

    #[test]
    fn an_overflowing_limit_is_refused() {
        refused("aria.ariad-memory=99999999999999999999G");
        refused("aria.ariad-memory=18446744073709551615G");
    }

    #[test]
    fn an_address_needs_a_sane_prefix() {
        refused("aria.ip=192.0.2.10");
        refused("aria.ip=192.0.2.10/33");
        refused("aria.ip=192.0.2.10/24,gateway");
    }

    #[test]
    fn unknown_words_and_values_are_named() {
        refused("aria.rot=/dev/vda");
        refused("aria.root=");
        refused("aria.on-failure=explode");
        refused("aria.root");
    }
}
