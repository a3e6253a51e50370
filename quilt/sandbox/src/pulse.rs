//! Whether the program in a cage can act right now: alive, neither frozen nor stopped.
//!
//! Who renews what a program holds asks this first. A program that cannot act does not know how much time goes by, so what it
//! holds must be able to end meanwhile. The program is the one process that was started for the call; a child that lives on beside
//! a stopped parent keeps nothing for it.

use std::path::Path;

use crate::cgroup::{Cgroup, read};

pub(crate) fn can_act(cgroup: &dyn Cgroup, leaf: &str) -> bool {
    let events = read(&cgroup.events_file(leaf)).unwrap_or_default();
    if events.lines().any(|line| line == "frozen 1") {
        return false;
    }
    let procs = read(&cgroup.home().join(leaf).join("cgroup.procs")).unwrap_or_default();
    let status = |pid: &str| read(&Path::new("/proc").join(pid).join("status")).unwrap_or_default();
    procs.lines().any(|pid| acts(&status(pid)))
}

/// Number of the program in its pid namespace: the first process the shim, number 1, makes.
const PROGRAM: &str = "2";

/// Reads the status of one process: the program itself, in a state in which it runs or may run again by itself.
fn acts(status: &str) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    // The launcher is outside the cage's pid namespace and has no second number.
    let inner = field("NSpid:").and_then(|pids| pids.split_whitespace().nth(1));
    inner == Some(PROGRAM) && field("State:").is_some_and(|state| !state.starts_with(['T', 't', 'Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(state: &str, pids: &str, expected: bool) {
        assert_eq!(acts(&format!("Name:\tbun\nState:\t{state}\nNSpid:\t{pids}\n")), expected);
    }

    #[test]
    fn only_the_program_itself_acts_and_only_when_it_is_not_stopped() {
        check("S (sleeping)", "4711\t2", true);
        check("R (running)", "4711\t2", true);
        check("R (running)", "4711\t77", false);
        check("R (running)", "4711\t22", false);
        check("D (disk sleep)", "4711\t2", true);
        check("T (stopped)", "4711\t2", false);
        check("t (tracing stop)", "4711\t2", false);
        check("Z (zombie)", "4711\t2", false);
        check("S (sleeping)", "4711\t1", false);
        check("S (sleeping)", "4711", false);
        assert!(!acts(""));
    }
}
