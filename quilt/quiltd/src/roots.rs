//! Host paths a request may name: only below the configured code roots, opened without following a single link.
//!
//! A path is opened once, here, and from then on is a descriptor; nobody resolves it a second time.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::fault::Fault;

/// The directories below which callers may point.
#[derive(Debug)]
pub(crate) struct CodeRoots(Vec<PathBuf>);

impl CodeRoots {
    pub(crate) fn new(roots: Vec<PathBuf>) -> Self {
        Self(roots)
    }

    /// Opens a directory for mounting (`O_PATH`).
    pub(crate) fn open_dir(&self, path: &Path) -> Result<OwnedFd, Fault> {
        self.open("program.code_dir", path, OFlag::O_PATH | OFlag::O_DIRECTORY)
    }

    /// Opens a regular file for mounting (`O_PATH`).
    pub(crate) fn open_file(&self, path: &Path) -> Result<OwnedFd, Fault> {
        self.regular("program.files", path, OFlag::O_PATH)
    }

    /// Opens a regular file for reading. Non-blocking, or a pipe would hold us before we know that it is one.
    pub(crate) fn read_file(&self, path: &Path) -> Result<OwnedFd, Fault> {
        self.regular("program.workspace", path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
    }

    fn regular(&self, field: &'static str, path: &Path, kind: OFlag) -> Result<OwnedFd, Fault> {
        let file = self.open(field, path, kind)?;
        let stat = fstat(&file).map_err(|errno| refused(field, path, errno))?;
        if is_regular(&stat) { Ok(file) } else { Err(Fault::spec(field, format!("{path:?} is not a regular file"))) }
    }

    fn open(&self, field: &'static str, path: &Path, kind: OFlag) -> Result<OwnedFd, Fault> {
        let below = |root: &PathBuf| path.strip_prefix(root).ok().map(|rest| (root.clone(), rest.to_owned()));
        let (root, rest) = self.0.iter().find_map(below).ok_or_else(|| outside(field, path))?;
        if rest.as_os_str().is_empty() {
            return Err(outside(field, path));
        }
        // The root is opened anew each time, so that a directory made after our start counts; links are refused in it as
        // well, because its parent may belong to the caller.
        let top = how(OFlag::O_PATH | OFlag::O_DIRECTORY, ResolveFlag::empty());
        let root = openat2(nix::fcntl::AT_FDCWD, &root, top).map_err(|errno| refused(field, path, errno))?;
        let inside = how(kind, ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV);
        openat2(&root, &rest, inside).map_err(|errno| refused(field, path, errno))
    }
}

fn how(kind: OFlag, resolve: ResolveFlag) -> OpenHow {
    let links = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    OpenHow::new().flags(OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | kind).resolve(links | resolve)
}

fn is_regular(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
}

fn outside(field: &'static str, path: &Path) -> Fault {
    Fault::spec(field, format!("{path:?} is not below a code root"))
}

fn refused(field: &'static str, path: &Path, errno: Errno) -> Fault {
    let why = match errno {
        Errno::ELOOP => "has a symbolic link in it".to_owned(),
        Errno::EXDEV => "leaves its code root".to_owned(),
        other => format!("cannot be opened: {}", other.desc()),
    };
    Fault::spec(field, format!("{path:?} {why}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Tree {
        dir: tempfile::TempDir,
        roots: CodeRoots,
    }

    /// `root/{code/,file,link→/etc,up→..,fifo}` and `secret` beside it.
    fn tree() -> Tree {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("code/deep")).unwrap();
        fs::write(root.join("file"), "x").unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        symlink("/etc", root.join("link")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("file", root.join("near")).unwrap();
        nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        Tree { roots: CodeRoots::new(vec![root]), dir }
    }

    impl Tree {
        fn at(&self, rest: &str) -> PathBuf {
            PathBuf::from(format!("{}/root/{rest}", self.dir.path().display()))
        }

        #[track_caller]
        fn file_refused(&self, path: &Path, part: &str) {
            let fault = self.roots.open_file(path).unwrap_err();
            assert!(fault.reason == "SPEC_INVALID" && fault.message.contains(part), "{fault}");
        }

        #[track_caller]
        fn dir_refused(&self, path: &Path, part: &str) {
            let fault = self.roots.open_dir(path).unwrap_err();
            assert!(fault.reason == "SPEC_INVALID" && fault.message.contains(part), "{fault}");
        }
    }

    #[test]
    fn what_is_below_a_root_opens() {
        let tree = tree();
        tree.roots.open_dir(&tree.at("code/deep")).unwrap();
        tree.roots.open_file(&tree.at("file")).unwrap();
    }

    #[test]
    fn what_is_elsewhere_does_not() {
        let tree = tree();
        tree.dir_refused(Path::new("/etc"), "not below a code root");
        tree.dir_refused(&tree.at(""), "not below a code root");
        tree.file_refused(&tree.dir.path().join("secret"), "not below a code root");
        tree.dir_refused(&tree.dir.path().join("rootx"), "not below a code root");
    }

    #[test]
    fn dots_and_links_do_not_lead_out() {
        let tree = tree();
        tree.file_refused(&tree.at("../secret"), "leaves its code root");
        tree.file_refused(&tree.at("code/../../secret"), "leaves its code root");
        tree.file_refused(&tree.at("link/passwd"), "symbolic link");
        tree.file_refused(&tree.at("up/secret"), "symbolic link");
        tree.dir_refused(&tree.at("link"), "cannot be opened");
        tree.file_refused(&tree.at("near"), "not a regular file");
    }

    #[test]
    fn a_root_that_became_a_link_is_refused() {
        let tree = tree();
        let link = tree.dir.path().join("other");
        symlink("/", &link).unwrap();
        let roots = CodeRoots::new(vec![link.clone()]);
        assert!(roots.open_dir(&link.join("etc")).unwrap_err().message.contains("cannot be opened"));
    }

    #[test]
    fn only_regular_files_are_files_and_only_directories_are_directories() {
        let tree = tree();
        tree.file_refused(&tree.at("code"), "not a regular file");
        tree.file_refused(&tree.at("fifo"), "not a regular file");
        tree.dir_refused(&tree.at("file"), "cannot be opened");
        tree.dir_refused(&tree.at("nothing"), "cannot be opened");
    }
}
