//! The private directory in which a bundle is taken apart, and the way out of it.
//!
//! Everything is opened relative to descriptors of directories made here, links refused, so no name in a bundle and no other
//! process can lead a write elsewhere.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use aria_core::{Digest, Manifest};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, mkdirat};

use crate::error::BundleError;
use crate::signature::Signatures;

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const NEW_FILE: OFlag =
    OFlag::O_RDWR.union(OFlag::O_CREAT).union(OFlag::O_EXCL).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const APP: &str = "app";
/// Up to this many files each is flushed alone; above it the file system is flushed once.
const SINGLE_FLUSH_MAX: usize = 256;

/// A directory below the stage, open.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Makes a directory in this one, or takes the one this stage made before, and opens it.
    pub(crate) fn make(&self, name: &str) -> Result<Directory, BundleError> {
        let path = self.path.join(name);
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(io_error("make directory", &path, errno.into())),
        }
        let fd = openat(&self.fd, name, DIRECTORY, Mode::empty())
            .map_err(|errno| io_error("open directory", &path, errno.into()))?;
        // The process's umask must not decide what a tool can read.
        fchmod(&fd, Mode::from_bits_truncate(0o755)).map_err(|errno| io_error("set mode of", &path, errno.into()))?;
        Ok(Directory { fd, path })
    }

    /// Makes a file that must not exist.
    pub(crate) fn create(&self, name: &str, executable: bool) -> Result<StagedFile, BundleError> {
        let path = self.path.join(name);
        let mode = Mode::from_bits_truncate(if executable { 0o755 } else { 0o644 });
        let fd = openat(&self.fd, name, NEW_FILE, mode).map_err(|errno| io_error("create", &path, errno.into()))?;
        fchmod(&fd, mode).map_err(|errno| io_error("set mode of", &path, errno.into()))?;
        Ok(StagedFile { file: File::from(fd), path })
    }

    /// Opens a file of this stage for reading.
    pub(crate) fn open(&self, name: &str) -> Result<StagedFile, BundleError> {
        let path = self.path.join(name);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty()).map_err(|errno| io_error("open", &path, errno.into()))?;
        Ok(StagedFile { file: File::from(fd), path })
    }

    /// Another handle of the same directory.
    pub(crate) fn again(&self) -> Result<Directory, BundleError> {
        let fd = self.fd.try_clone().map_err(|source| io_error("open directory", &self.path, source))?;
        Ok(Directory { fd, path: self.path.clone() })
    }
}

/// A file being written.
#[derive(Debug)]
pub(crate) struct StagedFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl StagedFile {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        self.file.write_all(bytes).map_err(|source| io_error("write", &self.path, source))
    }
}

pub(crate) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> BundleError {
    BundleError::Io { doing, path: path.to_owned(), source }
}

/// The private directory; removed with everything in it when dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    path: PathBuf,
    pub(crate) root: Directory,
}

impl Stage {
    /// Makes a fresh directory (0700) below `staging`.
    pub(crate) fn new(staging: &Path) -> Result<Self, BundleError> {
        let template = staging.join("bundle-XXXXXX");
        let path =
            nix::unistd::mkdtemp(&template).map_err(|errno| io_error("make directory", &template, errno.into()))?;
        let fd = nix::fcntl::open(&path, DIRECTORY, Mode::empty()).map_err(|errno| {
            // The directory was made a moment ago and is empty; when this fails too, the start-up sweep takes it.
            drop(fs::remove_dir(&path));
            io_error("open directory", &path, errno.into())
        })?;
        Ok(Self { root: Directory { fd, path: path.clone() }, path })
    }

    pub(crate) fn make_app(&self) -> Result<Directory, BundleError> {
        self.root.make(APP)
    }

    /// Removes a directory in the stage that is not part of the result.
    pub(crate) fn discard(&self, name: &str) -> Result<(), BundleError> {
        let path = self.path.join(name);
        fs::remove_dir_all(&path).map_err(|source| io_error("remove", &path, source))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // After a commit there is nothing here; after a failure to remove, the start-up sweep tries again.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// A verified bundle, not yet installed. Dropping it removes its directory.
#[derive(Debug)]
pub struct Staged {
    /// The checked manifest.
    pub manifest: Manifest,
    /// Its text as the bundle has it.
    pub manifest_json: String,
    /// Identity: SHA-256 of the OCI manifest.
    pub digest: Digest,
    /// What a model sees.
    pub interface_digest: Digest,
    /// What it may touch.
    pub authority_digest: Digest,
    /// Who signed it; what that is worth is for [`crate::judge`].
    pub signatures: Signatures,
    /// Length of the `.aria` file.
    pub size_bytes: u64,
    /// What it takes on a disk once installed: whole blocks, and one for each file and directory; for the quota.
    pub unpacked_bytes: u64,
    pub(crate) stage: Stage,
}

impl Staged {
    /// The code as tools see it at `/app`, while staged: for a bundle that runs once without being installed. The directory
    /// around it is 0700, so only its owner and root can mount it.
    pub fn app_dir(&self) -> PathBuf {
        self.stage.path.join(APP)
    }

    /// Lets other users pass through the directory itself, as cages do.
    fn open_for_others(&self) -> Result<(), BundleError> {
        fchmod(&self.stage.root.fd, Mode::from_bits_truncate(0o755))
            .map_err(|errno| io_error("set mode of", &self.stage.path, errno.into()))
    }

    /// Puts everything on disk and moves it, in one step, to `<bundles>/<hex digest>`; the code is at `app` below that.
    ///
    /// A directory that is already there is complete (it came the same way) and stays; the staged copy is removed.
    /// After `Ok` a power cut loses nothing; after an error nothing of it is in `bundles`.
    pub fn commit(self, bundles: &Path) -> Result<PathBuf, BundleError> {
        let to = bundles.join(self.digest.hex());
        self.open_for_others()?;
        flush(&self.stage)?;
        match fs::rename(&self.stage.path, &to) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
            Err(source) => return Err(io_error("install bundle directory", &to, source)),
        }
        sync_directory(bundles)?;
        Ok(to)
    }
}

/// Flushes files before the directories that name them.
fn flush(stage: &Stage) -> Result<(), BundleError> {
    let (mut files, mut directories) = (Vec::new(), vec![stage.path.clone()]);
    let mut next = 0;
    while let Some(directory) = directories.get(next).cloned() {
        let listing = fs::read_dir(&directory).map_err(|source| io_error("list", &directory, source))?;
        for entry in listing {
            let entry = entry.map_err(|source| io_error("list", &directory, source))?;
            let kind = entry.file_type().map_err(|source| io_error("look at", &entry.path(), source))?;
            if kind.is_dir() { directories.push(entry.path()) } else { files.push(entry.path()) }
        }
        next += 1;
    }
    if files.len() > SINGLE_FLUSH_MAX {
        return nix::unistd::syncfs(&stage.root.fd).map_err(|errno| io_error("flush", &stage.path, errno.into()));
    }
    for path in files.iter().chain(directories.iter().rev()) {
        sync_directory(path)?;
    }
    Ok(())
}

/// `fsync` of a file or directory.
fn sync_directory(path: &Path) -> Result<(), BundleError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| io_error("flush", path, source))
}
