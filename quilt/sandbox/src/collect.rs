//! What a dead cage left in `/out`, taken through the descriptor of the mount and nothing else.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::{CollectError, OutFile, OutLimits, sys};

const OUT: &str = "/out";
const NAME_BYTES_MAX: usize = 255;

/// Opens every regular file directly in `out`, sorted by name. Directories, links, sockets, pipes are left where they
/// are. Only when no process of the cage is left: then nothing in it can change between two looks.
pub(crate) fn collect(out: BorrowedFd<'_>, limits: OutLimits) -> Result<Vec<OutFile>, CollectError> {
    let mut files = Vec::new();
    let mut bytes = 0u64;
    for name in names(out)? {
        let Some(file) = open_regular(out, &name)? else { continue };
        let size_bytes = file.metadata().map_err(CollectError::Read)?.len();
        let name = accept(&name)?;
        if files.len() >= limits.count_max {
            return Err(CollectError::TooMany { place: OUT, count_max: limits.count_max });
        }
        bytes = bytes.saturating_add(size_bytes);
        if bytes > limits.bytes_max {
            return Err(CollectError::TooLarge { place: OUT, bytes_max: limits.bytes_max });
        }
        files.push(OutFile { name, size_bytes, file });
    }
    Ok(files)
}

/// All names, sorted; the inode limit of the mount bounds how many there can be.
fn names(out: BorrowedFd<'_>) -> Result<Vec<CString>, CollectError> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mut dir = Dir::openat(out, ".", flags, Mode::empty()).map_err(|error| CollectError::Read(error.into()))?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry.map_err(|error| CollectError::Read(error.into()))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn open_regular(out: BorrowedFd<'_>, name: &CString) -> Result<Option<File>, CollectError> {
    // Non-blocking, or a pipe would hold us for ever.
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    match sys::open_beneath(out.as_fd(), name, flags) {
        Ok(fd) => {
            let file = File::from(fd);
            let regular = file.metadata().map_err(CollectError::Read)?.is_file();
            Ok(regular.then_some(file))
        }
        // A link, and a socket.
        Err(error) if [Errno::ELOOP as i32, Errno::ENXIO as i32].contains(&error.raw_os_error().unwrap_or(0)) => {
            Ok(None)
        }
        Err(error) => Err(CollectError::Read(error)),
    }
}

/// A name that can be shown, stored and sent as it is.
fn accept(name: &CString) -> Result<String, CollectError> {
    let refuse = |why| CollectError::Entry { place: OUT, name: name.to_string_lossy().into_owned(), why };
    let text = name.to_str().map_err(|_| refuse("has a name that is not UTF-8"))?;
    if text.len() > NAME_BYTES_MAX {
        return Err(refuse("has a name of more than 255 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(refuse("has a control character in its name"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;

    const LIMITS: OutLimits = OutLimits { count_max: 3, bytes_max: 10 };

    fn check(fill: impl Fn(&std::path::Path)) -> Result<Vec<(String, u64)>, CollectError> {
        let dir = tempfile::tempdir().expect("a directory");
        fill(dir.path());
        let out = File::open(dir.path()).expect("opens");
        let files = collect(out.as_fd(), LIMITS)?;
        Ok(files.into_iter().map(|file| (file.name, file.size_bytes)).collect())
    }

    #[test]
    fn regular_files_come_back_sorted_and_readable() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("b"), "two").expect("written");
        fs::write(dir.path().join("a"), "one").expect("written");
        let out = File::open(dir.path()).expect("opens");
        let mut files = collect(out.as_fd(), LIMITS).expect("collects");
        let mut text = String::new();
        files[0].file.read_to_string(&mut text).expect("reads");
        assert_eq!((files[0].name.as_str(), text.as_str(), files.len()), ("a", "one", 2));
    }

    #[test]
    fn links_pipes_sockets_and_directories_stay_and_block_nobody() {
        let found = check(|dir| {
            std::os::unix::fs::symlink("/etc/passwd", dir.join("link")).expect("links");
            nix::unistd::mkfifo(&dir.join("pipe"), Mode::from_bits_truncate(0o600)).expect("makes");
            std::os::unix::net::UnixListener::bind(dir.join("socket")).expect("binds");
            fs::create_dir(dir.join("directory")).expect("makes");
            fs::write(dir.join("directory/inner"), "x").expect("written");
            fs::write(dir.join("file"), "x").expect("written");
        });
        assert_eq!(found.expect("collects"), [("file".to_owned(), 1)]);
    }

    #[test]
    fn counts_and_bytes_are_bounded() {
        let many = check(|dir| (0..4).for_each(|n| fs::write(dir.join(n.to_string()), "").expect("written")));
        assert!(matches!(many, Err(CollectError::TooMany { count_max: 3, .. })));
        let large = check(|dir| fs::write(dir.join("a"), "0123456789x").expect("written"));
        assert!(matches!(large, Err(CollectError::TooLarge { bytes_max: 10, .. })));
    }

    #[test]
    fn names_that_cannot_be_shown_are_refused() {
        for name in [&b"a\nb"[..], b"\x1b[2J", b"\xff\xfe", "a\u{85}".as_bytes()] {
            let found = check(|dir| fs::write(dir.join(std::ffi::OsStr::from_bytes(name)), "").expect("written"));
            assert!(matches!(found, Err(CollectError::Entry { .. })), "{name:?}");
        }
    }
}
