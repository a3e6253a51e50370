//! The two services and how one is started: its user, its cgroup, its output pipe.

use std::io::{PipeReader, Read};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::Pid;

use crate::data::ARIA_ID;
use crate::error::InitError;
use crate::{cgroup, console, provision, sys};

/// One supervised program.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    user: u32,
    /// There once it can be used.
    pub(crate) offers: &'static str,
    pub(crate) stop_patience: Duration,
}

/// In starting order.
pub(crate) const SERVICES: [Service; 2] = [
    Service {
        name: "quiltd",
        program: "/usr/bin/quiltd",
        arguments: &["--config", "/etc/quilt/quilt.toml"],
        user: 0,
        offers: "/run/quilt/api.sock",
        stop_patience: Duration::from_secs(10),
    },
    Service {
        name: "ariad",
        program: "/usr/bin/ariad",
        arguments: &["--config", provision::CONFIG, "--ready-file", provision::READY_FILE],
        user: ARIA_ID,
        offers: provision::READY_FILE,
        stop_patience: Duration::from_secs(15),
    },
];

/// A started service: its process and what it writes.
pub(crate) struct Child {
    pub(crate) pid: Pid,
    pub(crate) output: Output,
}

/// Starts a service. Its standard output and error are one pipe, its input is empty, its environment is three words.
#[allow(clippy::disallowed_methods, reason = "starting services is what PID 1 is for")]
pub(crate) fn start(service: &Service) -> Result<Child, InitError> {
    let wrap = |source| InitError::File { doing: "start", path: service.program.into(), source };
    let place = sys::Place { uid: service.user, gid: service.user, cgroup: cgroup::door(service.name)? };
    let (reader, writer) = std::io::pipe().map_err(wrap)?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| wrap(errno.into()))?;
    let mut command = Command::new(service.program);
    command.args(service.arguments).env_clear().envs([("PATH", "/usr/bin"), ("LANG", "C.UTF-8"), ("HOME", "/")]);
    command.current_dir("/").stdin(Stdio::null()).stdout(writer.try_clone().map_err(wrap)?).stderr(writer);
    sys::arrange(&mut command, place);
    let child = command.spawn().map_err(wrap)?;
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    Ok(Child { pid, output: Output { reader, partial: Vec::new(), open: true } })
}

/// A service's output, cut into lines.
pub(crate) struct Output {
    reader: PipeReader,
    partial: Vec<u8>,
    open: bool,
}

impl AsRawFd for Output {
    fn as_raw_fd(&self) -> i32 {
        self.reader.as_raw_fd()
    }
}

impl std::os::fd::AsFd for Output {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Bytes taken per turn of the event loop, so that a flooding service cannot keep PID 1 from its other work.
const TURN_BYTES_MAX: usize = 32 << 10;

impl Output {
    /// False once every writer is gone and everything was read.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Whole lines that are there now. A line longer than the console shows is passed on in parts.
    pub(crate) fn read(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0; TURN_BYTES_MAX];
        self.open = match self.reader.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.partial.extend_from_slice(buffer.get(..length).unwrap_or_default());
                true
            }
            Err(error) => matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted),
        };
        cut_lines(&mut self.partial, self.open)
    }
}

fn cut_lines(partial: &mut Vec<u8>, open: bool) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    loop {
        let end = partial.iter().take(console::LINE_BYTES_MAX).position(|byte| *byte == b'\n');
        let (line, used) = match end {
            Some(end) => (end, end + 1),
            None if partial.len() >= console::LINE_BYTES_MAX => (console::LINE_BYTES_MAX, console::LINE_BYTES_MAX),
            None if !open && !partial.is_empty() => (partial.len(), partial.len()),
            None => return lines,
        };
        let mut taken: Vec<u8> = partial.drain(..used).collect();
        taken.truncate(line);
        lines.push(taken);
    }
}

/// Whether the thing a service offers is there.
pub(crate) fn offered(service: &Service) -> bool {
    std::path::Path::new(service.offers).exists()
}

/// Removes what an earlier life of this service left, so that it cannot be taken for the next one's.
pub(crate) fn forget(service: &Service) {
    let _ = std::fs::remove_file(service.offers);
}

/// What every cage runs. Read once from our own cgroup: whoever reads it first is charged for its pages, and a tool with a small limit would
/// crawl through its first start. Only asks the kernel to read ahead, which it does as far as memory is free.
pub(crate) fn warm_up() {
    let Ok(program) = std::fs::File::open("/usr/lib/aria/tool-root/bin/bun") else { return };
    let length = program.metadata().map_or(0, |about| about.len());
    let length = i64::try_from(length).unwrap_or_default();
    let _ = nix::fcntl::posix_fadvise(&program, 0, length, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_WILLNEED);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_for_their_end() {
        let mut partial = b"one\ntwo".to_vec();
        assert_eq!(cut_lines(&mut partial, true), [b"one".to_vec()]);
        assert_eq!(partial, b"two");
        assert_eq!(cut_lines(&mut partial, false), [b"two".to_vec()]);
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut partial = vec![b'x'; console::LINE_BYTES_MAX * 2 + 5];
        let lines = cut_lines(&mut partial, true);
        assert_eq!(lines.len(), 2);
        assert_eq!(partial.len(), 5);
    }
}
