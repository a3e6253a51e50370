//! PID 1 of the image, both stages in one static program.
//!
//! In the initramfs it loads modules, finds the root disk and moves onto it (`stage1`). On the root it mounts what services need, sets up the data
//! disk, cgroups, clock and network (`stage2`), then supervises quiltd and ariad until power-off (`run`). Decisions are pure modules (`cmdline`,
//! `supervise`, `dhcp`, `gpt`, `provision`); `sys` holds every unsafe call. No shell, no async runtime, one thread.

mod cgroup;
mod cmdline;
mod console;
mod data;
mod dhcp;
mod disk;
mod error;
mod gpt;
mod network;
mod power;
mod provision;
mod run;
mod service;
mod service_log;
mod stage1;
mod stage2;
mod supervise;
mod sys;

use std::path::Path;

use cmdline::Options;

/// Present only in the initramfs, so one binary knows which stage it is.
const INITRAMFS_MARKER: &str = "/etc/initrd-release";

fn main() {
    if std::process::id() != 1 {
        console::say("fatal: this program is PID 1 of the image; it does nothing elsewhere");
        std::process::exit(2);
    }
    let in_initramfs = Path::new(INITRAMFS_MARKER).exists();
    let outcome = if in_initramfs { stage1::run() } else { stage2::run() };
    let after = match outcome {
        Ok(after) => after,
        Err(failure) => {
            console::say(&format!("fatal: {}", error::chain(&failure)));
            Options::current().on_failure
        }
    };
    power::leave(after)
}
