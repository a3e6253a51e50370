//! A point in time as the device stores it. Nobody here reads a clock; `now` is always an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01 UTC. A clock before that reads as zero.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// The same moment; later than `i64::MAX` milliseconds is cut to that, so every value fits a database integer.
    pub fn from_system(time: SystemTime) -> Self {
        let millis = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
        Self(u64::try_from(millis).unwrap_or(u64::MAX).min(i64::MAX as u64))
    }

    /// The same moment.
    pub fn to_system(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0)
    }

    /// This moment, `duration` earlier; zero at the earliest.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_comes_back() {
        assert_eq!(UnixMs::from_system(UnixMs(1_700_000_000_123).to_system()), UnixMs(1_700_000_000_123));
    }

    #[test]
    fn borders_are_cut() {
        assert_eq!(UnixMs::from_system(UNIX_EPOCH - Duration::from_secs(1)), UnixMs(0));
        assert_eq!(UnixMs(5).minus(Duration::from_millis(9)), UnixMs(0));
        assert_eq!(UnixMs(5).minus(Duration::MAX), UnixMs(0));
    }
}
