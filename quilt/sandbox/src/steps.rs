//! Everything privileged that happens between an empty process and a tool's first instruction, in order.
//!
//! Five lists, run one after the other: `TEMPLATE` in the launcher and `PARK` in the shim (pid 1 of the cage), ahead of
//! time; `CAGE` and `IDENTITY` in the shim when a call comes; `PROGRAM` in the process that becomes the tool. An error
//! names its step.
//!
//! Undo: every step changes only the process it runs in or a namespace that ends with that process, so killing the leaf
//! undoes all of them. What outlives a process is made by the engine and undone there: the leaf (`cgroup::destroy`), the
//! uid (`uids::Lease`), pipes and detached mounts (dropped descriptors).

use std::io;

use crate::build::{Cage, Program, Template};
use crate::{build, identity, landlock, workspace};

/// A named piece of set-up.
pub struct Step<C> {
    /// Stable; shown in errors.
    pub name: &'static str,
    /// Does it.
    pub run: fn(&mut C) -> io::Result<()>,
}

/// Which step of which list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct At {
    /// 0 to 4, in the order above; 5 for `FORK`.
    pub(crate) list: u8,
    /// Index in the list.
    pub(crate) index: u8,
}

/// Making the process that becomes the program; between `IDENTITY` and `PROGRAM`.
pub(crate) const FORK: At = At { list: 5, index: 0 };

/// The step that unpacks a workspace.
pub(crate) const FILES: &str = "workspace-files";

/// In the launcher, before any call is known.
pub const TEMPLATE: &[Step<Template>] = &[
    Step { name: "launcher-death-signal", run: build::launcher_death_signal },
    Step { name: "launcher-undumpable", run: build::launcher_undumpable },
    Step { name: "groups", run: identity::groups },
    Step { name: "keyring", run: identity::keyring },
    Step { name: "mount-namespace", run: build::mount_namespace },
    Step { name: "network-namespace", run: build::network_namespace },
    Step { name: "ipc-namespace", run: build::ipc_namespace },
    Step { name: "uts-namespace", run: build::uts_namespace },
    Step { name: "cgroup-namespace", run: build::cgroup_namespace },
    Step { name: "pid-namespace", run: build::pid_namespace },
    Step { name: "private-mounts", run: build::private_mounts },
    Step { name: "root-bind", run: build::root_bind },
    Step { name: "dev", run: build::dev },
    Step { name: "root-read-only", run: build::root_read_only },
    Step { name: "pivot", run: build::pivot },
    Step { name: "hostname", run: build::hostname },
];

/// In the shim, still before any call is known.
pub const PARK: &[Step<Template>] =
    &[Step { name: "shim-death-signal", run: build::shim_death_signal }, Step { name: "proc", run: build::proc }];

/// In the shim, still root.
pub const CAGE: &[Step<Cage>] = &[
    Step { name: "tmp", run: build::tmp },
    Step { name: "app", run: build::app },
    Step { name: "in", run: build::files },
    Step { name: "out", run: build::out },
    Step { name: "workspace", run: build::workspace },
    Step { name: "limits", run: build::limits },
];

/// In the shim: from root to nobody. The last step handles somebody's data, so it has no right left.
pub const IDENTITY: &[Step<Cage>] = &[
    Step { name: "uid", run: identity::uid },
    Step { name: "user-namespace", run: identity::user_namespace },
    Step { name: "capabilities", run: identity::capabilities },
    Step { name: "no-new-privileges", run: identity::no_new_privileges },
    Step { name: "undumpable", run: identity::undumpable },
    Step { name: "death-signal", run: identity::death_signal },
    Step { name: FILES, run: workspace::fill },
];

/// In the process that becomes the program.
pub const PROGRAM: &[Step<Program>] = &[
    Step { name: "session", run: build::session },
    Step { name: "stdio", run: build::stdio },
    Step { name: "door", run: build::door },
    Step { name: "descriptors", run: build::descriptors },
    Step { name: "directory", run: build::directory },
    Step { name: "oom-score", run: build::oom_score },
    Step { name: "signals", run: build::signals },
    Step { name: "arguments", run: build::arguments },
    Step { name: "landlock", run: landlock::restrict },
    Step { name: "seccomp", run: build::seccomp },
    Step { name: "execve", run: build::execve },
];

/// Runs a list to its end or to the first failure.
pub(crate) fn run<C>(list: u8, steps: &[Step<C>], on: &mut C) -> Result<(), (At, io::Error)> {
    for (index, step) in (0u8..).zip(steps) {
        (step.run)(on).map_err(|error| (At { list, index }, error))?;
    }
    Ok(())
}

/// The name of a step another process reported.
pub(crate) fn name(at: At) -> &'static str {
    fn nth<C>(steps: &[Step<C>], index: u8) -> Option<&'static str> {
        steps.get(usize::from(index)).map(|step| step.name)
    }
    if at == FORK {
        return "program-process";
    }
    let found = match at.list {
        0 => nth(TEMPLATE, at.index),
        1 => nth(PARK, at.index),
        2 => nth(CAGE, at.index),
        3 => nth(IDENTITY, at.index),
        4 => nth(PROGRAM, at.index),
        _ => None,
    };
    found.unwrap_or("unknown")
}
