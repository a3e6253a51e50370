//! What the test-only weak launcher needs to run the real steps with some of them left out.
//!
//! The product never calls this module, so no shipped binary contains it: quilt-init and the engine run the constant
//! lists and have no way to skip an entry.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use nix::unistd::ForkResult;

pub use crate::build::{Cage, Program, Template};
pub use crate::steps::{CAGE, IDENTITY, PARK, PROGRAM, Step, TEMPLATE};

use crate::cgroup::{self, Cgroup, LEAF_PREFIX};
use crate::sys::mount::{self, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY};
use crate::wire::{Descriptors, Order};
use crate::{Limits, OpenError, Profile, sys};

/// A program for the steps to start.
#[derive(Debug)]
pub struct Request {
    /// `argv[0]` is an absolute path in the cage.
    pub argv: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The `tool-noexec` filter instead of `tool`.
    pub noexec: bool,
    /// Host uid of the cage.
    pub uid: u32,
    /// Largest file.
    pub file_bytes_max: u64,
    /// Detached mounts for `/tmp` and `/out`.
    pub scratch: [OwnedFd; 2],
    /// Detached mount for `/app`.
    pub app: Option<OwnedFd>,
    /// Becomes readable and then ends when the program is executed; a failing step of the program writes to it.
    pub started: OwnedFd,
}

/// The launcher's view: `rootfs` is the root, the caller's parent must stay the parent.
pub fn template(rootfs: PathBuf) -> Template {
    Template { rootfs, parent: nix::unistd::getppid().as_raw() as u32 }
}

/// The shim's view, with this process's own input and outputs for the program.
pub fn cage(request: Request) -> io::Result<Cage> {
    let own = |number| sys::duplicate_above(sys::borrow(number), 3);
    let [tmp, out] = request.scratch;
    let descriptors = Descriptors {
        status: request.started.try_clone()?,
        started: request.started,
        stdin: Some(own(0)?),
        stdout: own(1)?,
        stderr: own(2)?,
        tmp,
        door: None,
        app: request.app,
        out: Some(out),
        workspace: None,
        tree: None,
        files: Vec::new(),
    };
    let order = Order {
        argv: request.argv,
        env: request.env,
        profile: if request.noexec { Profile::ToolNoexec } else { Profile::Tool },
        uid: request.uid,
        file_bytes_max: request.file_bytes_max,
        stdin: true,
        door: false,
        app: descriptors.app.is_some(),
        app_later: false,
        out: true,
        workspace: None,
        files: Vec::new(),
    };
    Ok(Cage { order, descriptors })
}

/// The program's view.
pub fn program(cage: Cage) -> Program {
    Program { cage, exec: None }
}

/// A tmpfs as the engine makes it, without its size or its `noexec` if so wished.
pub fn scratch(uid: u32, size_bytes: Option<u64>, executable: bool) -> io::Result<OwnedFd> {
    let text = |value: u64| sys::exec::c_string(&value.to_string());
    let (size, owner) = (text(size_bytes.unwrap_or(0))?, text(uid.into())?);
    let mut options = vec![(c"mode", c"0700"), (c"uid", owner.as_c_str()), (c"gid", owner.as_c_str())];
    if size_bytes.is_some() {
        options.extend([(c"size", size.as_c_str()), (c"nr_inodes", c"16384")]);
    }
    mount::detached(c"tmpfs", &options, NO_SUID | NO_DEV | if executable { 0 } else { NO_EXEC })
}

/// A read-only bind of something given, as the engine makes it, without `noexec` if so wished.
pub fn given(source: &OwnedFd, executable: bool) -> io::Result<OwnedFd> {
    mount::detached_bind(source.as_fd(), READ_ONLY | NO_SUID | NO_DEV | if executable { 0 } else { NO_EXEC })
}

/// `/proc` with everything in it, in place of the step of that name.
pub fn whole_proc(_: &mut Template) -> io::Result<()> {
    let proc = mount::detached(c"proc", &[], NO_SUID | NO_DEV | NO_EXEC)?;
    let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_CLOEXEC;
    let point = nix::fcntl::open("/proc", flags, nix::sys::stat::Mode::empty())?;
    mount::attach(proc.as_fd(), point.as_fd())
}

/// Forks this process, which has one thread: the child's pid, or `None` in the child.
pub fn fork() -> io::Result<Option<i32>> {
    Ok(match sys::fork()? {
        ForkResult::Child => None,
        ForkResult::Parent { child } => Some(child.as_raw()),
    })
}

/// Ends this process at once.
pub fn exit_now(code: i32) -> ! {
    sys::exit_now(code)
}

/// Reaps until `child` has ended; its exit code, or 128 and its signal.
pub fn reap_until(child: i32) -> io::Result<i32> {
    loop {
        let (pid, status) = sys::wait_any()?;
        if pid == child {
            let exited = libc::WIFEXITED(status);
            return Ok(if exited { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) });
        }
    }
}

/// A limited cgroup leaf with a process in it.
#[derive(Debug)]
pub struct Leaf {
    cgroup: Arc<dyn Cgroup>,
    name: String,
}

impl Leaf {
    /// Makes the leaf below `home` and puts process `pid` into it. Removes leaves of processes that are gone: whoever
    /// made them was killed before it could.
    pub fn enter(home: &str, pid: u32, limits: &Limits) -> Result<Leaf, OpenError> {
        let cgroup: Arc<dyn Cgroup> = Arc::from(cgroup::detect(home)?);
        let failed = |source| OpenError::Cgroup { path: cgroup.home().into(), source };
        for leaf in cgroup.leaves().map_err(failed)? {
            let maker = leaf.rsplit('-').next().unwrap_or_default();
            if !std::path::Path::new("/proc").join(maker).exists() {
                cgroup::destroy(cgroup.as_ref(), &leaf).map_err(failed)?;
            }
        }
        let name = format!("{LEAF_PREFIX}weak-{pid}");
        cgroup.create(&name).map_err(failed)?;
        let leaf = Leaf { cgroup: cgroup.clone(), name };
        cgroup.enter(&leaf.name, pid).and_then(|()| cgroup.limit(&leaf.name, limits)).map_err(failed)?;
        Ok(leaf)
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // What cannot be removed now, the next one removes.
        let _ = cgroup::destroy(self.cgroup.as_ref(), &self.name);
    }
}
