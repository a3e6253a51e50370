//! The second wall behind the mounts: what the program may do with files, whatever is mounted.
//!
//! Rights are granted per directory of the root, never on `/` as a whole, because a right on a directory holds for all
//! mounts below it, and `/tmp` must not be executable.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::Access;
use crate::build::Program;
use crate::sys::landlock::{Handled, abi, allow, create, restrict as enforce};

const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_SYM: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;

const READ: u64 = READ_FILE | READ_DIR;
/// Everything but running programs and making devices and pipes.
const WRITE: u64 =
    READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_SYM | REFER | TRUNCATE;

/// What a cage grants, by directory; one that is not there is skipped.
const GRANTS: [(&str, u64); 11] = [
    // Only listing: a name is no secret, and reading needs a grant below.
    ("/", READ_DIR),
    ("/bin", READ | EXECUTE),
    ("/lib", READ | EXECUTE),
    ("/lib64", READ | EXECUTE),
    ("/etc", READ),
    ("/app", READ),
    ("/in", READ),
    ("/proc", READ),
    ("/dev", READ | WRITE_FILE),
    ("/tmp", WRITE),
    ("/out", WRITE),
];

/// What an ABI can handle, and how many bytes of `Handled` it knows. Newer ones get what the newest known here has.
fn handled(abi: u32) -> (Handled, usize) {
    let last_fs_right = match abi {
        1 => 12,
        2 => 13,
        3 | 4 => 14,
        _ => 15,
    };
    let all = Handled {
        access_fs: (1 << (last_fs_right + 1)) - 1,
        // Bind and connect over TCP.
        access_net: if abi >= 4 { 0b11 } else { 0 },
        // Abstract Unix sockets and signals stay among the program's own processes.
        scoped: if abi >= 6 { 0b11 } else { 0 },
    };
    let size_bytes = match abi {
        ..=3 => 8,
        4 | 5 => 16,
        _ => 24,
    };
    (all, size_bytes)
}

/// The kernel's Landlock ABI, if it has one.
pub(crate) fn version() -> Option<u32> {
    abi().ok().filter(|version| *version > 0)
}

/// Applies what the kernel has; a kernel without Landlock is reported by `Engine::layers`, not here.
pub(crate) fn restrict(program: &mut Program) -> io::Result<()> {
    let Some(version) = version() else { return Ok(()) };
    let (wanted, size_bytes) = handled(version);
    let rules = create(&wanted, size_bytes)?;
    let workspace = program.cage.order.workspace.map(|access| match access {
        Access::ReadOnly => ("/workspace", READ),
        Access::ReadWrite => ("/workspace", WRITE),
    });
    for (path, access) in GRANTS.into_iter().chain(workspace) {
        if let Some(directory) = open(path)? {
            allow(rules.as_fd(), directory.as_fd(), access & wanted.access_fs)?;
        }
    }
    enforce(rules.as_fd())
}

fn open(path: &str) -> io::Result<Option<OwnedFd>> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match nix::fcntl::open(path, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abi_handles_exactly_what_it_knows() {
        assert_eq!(handled(1), (Handled { access_fs: 0x1fff, access_net: 0, scoped: 0 }, 8));
        assert_eq!(handled(2), (Handled { access_fs: 0x3fff, access_net: 0, scoped: 0 }, 8));
        assert_eq!(handled(4), (Handled { access_fs: 0x7fff, access_net: 3, scoped: 0 }, 16));
        assert_eq!(handled(7), (Handled { access_fs: 0xffff, access_net: 3, scoped: 3 }, 24));
    }

    #[test]
    fn nothing_writable_is_executable_and_no_device_can_be_made() {
        const MAKE_CHAR: u64 = 1 << 6;
        const MAKE_FIFO: u64 = 1 << 10;
        const MAKE_BLOCK: u64 = 1 << 11;
        for (path, access) in GRANTS {
            assert!(access & EXECUTE == 0 || access & (WRITE_FILE | MAKE_REG) == 0, "{path}");
            assert_eq!(access & (MAKE_CHAR | MAKE_FIFO | MAKE_BLOCK), 0, "{path}");
        }
    }
}
