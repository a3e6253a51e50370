//! Stage 2, on the read-only root: everything services expect to find, then the supervisor.

use std::fs;

use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

use crate::cmdline::{Options, Outcome};
use crate::data::{self, ARIA_ID};
use crate::error::InitError;
use crate::network::Network;
use crate::{cgroup, console, power, provision, run};

const OS_RELEASE: &str = "/usr/lib/os-release";

/// Kernel settings, each with its reason: see `security.md`'s device baseline. A kernel that lacks one says so and goes on.
const SYSCTLS: [(&str, &str); 6] = [
    ("kernel/sysrq", "0"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_regular", "2"),
];

/// Sets the machine up and runs it until it is told to stop.
pub(crate) fn run() -> Result<Outcome, InitError> {
    mount_trees()?;
    let options = Options::current();
    for word in &options.refused {
        console::say(&format!("kernel option {word} is not understood, its default holds"));
    }
    power::own_ctrl_alt_del();
    harden();
    floor_clock();
    cgroup::prepare(&options)?;
    let data = data::prepare(&options)?;
    name_machine();
    let network = Network::start(options.fixed_address);
    provision::write_config()?;
    run::supervise(network, data)
}

fn mount_trees() -> Result<(), InitError> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let closed = plain | MsFlags::MS_NOEXEC;
    for (kind, at, flags, wish) in [
        ("tmpfs", "/run", closed, "mode=755,size=64m"),
        ("tmpfs", "/tmp", closed, "mode=1777,size=64m"),
        ("cgroup2", "/sys/fs/cgroup", closed, "nsdelegate"),
    ] {
        mount(Some(kind), at, Some(kind), flags, Some(wish)).map_err(|source| InitError::Mount {
            fs: kind.to_owned(),
            at: at.into(),
            source,
        })?;
    }
    // aria's socket directory belongs to aria; quilt's only lets that group through.
    data::directory("/run/aria", ARIA_ID, 0o750)?;
    data::directory("/run/quilt", 0, 0o755)?;
    data::directory("/run/etc", 0, 0o755)
}

/// Open files a service may have: connections and cages are bounded by the services themselves, well below this.
const OPEN_FILES: (u64, u64) = (8192, 65_536);

fn harden() {
    if let Err(cause) = setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.0, OPEN_FILES.1) {
        console::say(&format!("limit of open files: {cause}"));
    }
    for (name, value) in SYSCTLS {
        if let Err(cause) = fs::write(format!("/proc/sys/{name}"), value) {
            console::say(&format!("sysctl {name}={value}: {cause}"));
        }
    }
}

/// A board without a battery starts in 1970, where no certificate is valid: never earlier than the image itself.
fn floor_clock() {
    let floor = fs::read_to_string(OS_RELEASE).ok().as_deref().and_then(provision::build_epoch).unwrap_or(0);
    let now = clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |now| now.tv_sec());
    if now < floor {
        console::say(&format!("clock is before the image was built, set to {floor}"));
        if let Err(cause) = clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(floor, 0)) {
            console::say(&format!("set clock: {cause}"));
        }
    }
}

fn name_machine() {
    let name = fs::read_to_string("/etc/hostname").unwrap_or_default();
    if let Err(cause) = nix::unistd::sethostname(name.trim()) {
        console::say(&format!("set host name: {cause}"));
    }
}
