//! Bounds of one execution: what a request asks for, filled up with the defaults and held against the maxima.

use crate::fault::Fault;

/// Bounds of one execution, all of them set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: u64,
    pub(crate) pids: u32,
    pub(crate) cpu_millis: u32,
    pub(crate) disk_bytes: u64,
    pub(crate) output_bytes: u64,
    pub(crate) wall_ms: u64,
}

/// Less than one period of the scheduler's smallest quota cannot be enforced.
const CPU_MILLIS_MIN: u32 = 10;

/// What a silent request gets, and the most any request gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitRange {
    pub(crate) default: Limits,
    pub(crate) max: Limits,
}

impl LimitRange {
    /// Zero means the default. Above the maximum is refused rather than cut, so that nobody runs with less than it asked for.
    pub(crate) fn fill(&self, asked: Limits) -> Result<Limits, Fault> {
        let default = &self.default;
        self.check(Limits {
            memory_bytes: or(asked.memory_bytes, default.memory_bytes),
            pids: or(asked.pids, default.pids),
            cpu_millis: or(asked.cpu_millis, default.cpu_millis),
            disk_bytes: or(asked.disk_bytes, default.disk_bytes),
            output_bytes: or(asked.output_bytes, default.output_bytes),
            wall_ms: or(asked.wall_ms, default.wall_ms),
        })
    }

    /// Holds complete limits against the maxima.
    pub(crate) fn check(&self, limits: Limits) -> Result<Limits, Fault> {
        let max = &self.max;
        for (name, value, max, min) in [
            ("memory_bytes", limits.memory_bytes, max.memory_bytes, 1),
            ("pids", limits.pids.into(), max.pids.into(), 1),
            ("cpu_millis", limits.cpu_millis.into(), max.cpu_millis.into(), CPU_MILLIS_MIN.into()),
            ("disk_bytes", limits.disk_bytes, max.disk_bytes, 1),
            ("output_bytes", limits.output_bytes, max.output_bytes, 1),
            ("wall_ms", limits.wall_ms, max.wall_ms, 1),
        ] {
            if value > max {
                return Err(Fault::spec("limits", format!("{name} is {value}, the maximum here is {max}")));
            }
            if value < min {
                return Err(Fault::spec("limits", format!("{name} is {value}, the minimum is {min}")));
            }
        }
        Ok(limits)
    }
}

fn or<T: Default + PartialEq>(asked: T, default: T) -> T {
    if asked == T::default() { default } else { asked }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const NOTHING: Limits =
        Limits { memory_bytes: 0, pids: 0, cpu_millis: 0, disk_bytes: 0, output_bytes: 0, wall_ms: 0 };

    pub(crate) fn range() -> LimitRange {
        let default =
            Limits { memory_bytes: 100, pids: 10, cpu_millis: 500, disk_bytes: 50, output_bytes: 60, wall_ms: 70 };
        let max =
            Limits { memory_bytes: 200, pids: 20, cpu_millis: 900, disk_bytes: 90, output_bytes: 90, wall_ms: 90 };
        LimitRange { default, max }
    }

    #[test]
    fn zero_is_the_default_and_the_maximum_is_allowed() {
        assert_eq!(range().fill(NOTHING).unwrap(), range().default);
        assert_eq!(range().fill(range().max).unwrap(), range().max);
    }

    #[test]
    fn each_limit_above_its_maximum_is_refused_by_name() {
        for (asked, name) in [
            (Limits { memory_bytes: 201, ..NOTHING }, "memory_bytes is 201, the maximum here is 200"),
            (Limits { pids: 21, ..NOTHING }, "pids is 21"),
            (Limits { cpu_millis: 901, ..NOTHING }, "cpu_millis is 901"),
            (Limits { disk_bytes: u64::MAX, ..NOTHING }, "disk_bytes is"),
            (Limits { output_bytes: 91, ..NOTHING }, "output_bytes is 91"),
            (Limits { wall_ms: 91, ..NOTHING }, "wall_ms is 91"),
            (Limits { cpu_millis: 9, ..NOTHING }, "the minimum is 10"),
        ] {
            let fault = range().fill(asked).unwrap_err();
            assert!(fault.reason == "SPEC_INVALID" && fault.message.contains(name), "{fault}");
        }
    }
}
