//! Ways to be told to stop (signals, Ctrl-Alt-Del, the ACPI power button) and the last steps of a machine.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};

use crate::cmdline::Outcome;
use crate::console;

const INPUT: &str = "/dev/input";
/// Input devices looked at; more would be a strange machine.
const INPUTS_MAX: usize = 16;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
/// `struct input_event` on a 64-bit kernel: two 8-byte times, type, code, value.
const EVENT_BYTES: usize = 24;

/// Ctrl-Alt-Del becomes SIGINT to PID 1 instead of a reset.
pub(crate) fn own_ctrl_alt_del() {
    if let Err(cause) = set_cad_enabled(false) {
        console::say(&format!("take over ctrl-alt-del: {cause}"));
    }
}

/// The input devices a power button may sit on.
pub(crate) fn buttons() -> Vec<File> {
    let open = |path: &Path| OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok();
    let entries = fs::read_dir(INPUT)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>())
        .unwrap_or_default();
    let events = entries
        .iter()
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("event")));
    events.filter_map(|path| open(path)).take(INPUTS_MAX).collect()
}

/// Reads what an input device has and says whether the power button went down.
pub(crate) fn pressed(button: &mut File) -> bool {
    let mut buffer = [0; EVENT_BYTES * 32];
    let length = button.read(&mut buffer).unwrap_or(0);
    buffer.get(..length).unwrap_or_default().chunks_exact(EVENT_BYTES).any(is_power_down)
}

fn is_power_down(event: &[u8]) -> bool {
    let half = |at: usize| event.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let value = event.get(20..24).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    (half(16), half(18), value) == (Some(EV_KEY), Some(KEY_POWER), Some(1))
}

/// Puts everything on disk and lets go of it. Called when no service runs any more.
pub(crate) fn release_disks() {
    nix::unistd::sync();
    for at in ["/var/lib/aria", "/var/lib/quilt", "/data"] {
        if let Err(cause) = umount2(at, MntFlags::UMOUNT_NOFOLLOW) {
            console::say(&format!("unmount {at}: {cause}"));
            // Read-only is as good as unmounted for what is on the disk.
            let _ = mount(None::<&str>, at, None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>);
        }
    }
    nix::unistd::sync();
}

/// Leaves: does not return, whatever the kernel says.
pub(crate) fn leave(outcome: Outcome) -> ! {
    nix::unistd::sync();
    let (word, mode) = match outcome {
        Outcome::PowerOff => ("power off", RebootMode::RB_POWER_OFF),
        Outcome::Reboot => ("reboot", RebootMode::RB_AUTOBOOT),
        Outcome::Halt => ("halt", RebootMode::RB_HALT_SYSTEM),
    };
    console::say(word);
    let Err(cause) = reboot(mode);
    console::say(&format!("{word}: {cause}"));
    loop {
        // PID 1 must not return: the kernel would panic over the message above.
        nix::unistd::pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    #[test]
    fn only_the_power_button_going_down_counts() {
        assert!(is_power_down(&event(EV_KEY, KEY_POWER, 1)));
        assert!(!is_power_down(&event(EV_KEY, KEY_POWER, 0)));
        assert!(!is_power_down(&event(EV_KEY, 30, 1)));
        assert!(!is_power_down(&event(0, KEY_POWER, 1)));
        assert!(!is_power_down(&[]));
    }
}
