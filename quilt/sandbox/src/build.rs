//! The steps that give a cage its root, its mounts, its limits and its program.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev};

use crate::sys::exec::{Exec, c_string};
use crate::sys::mount::{self, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY};
use crate::wire::{Descriptors, Order};
use crate::{Access, seccomp as filter, sys};

/// What the launcher's steps work on.
#[derive(Debug)]
pub struct Template {
    pub(crate) rootfs: PathBuf,
    pub(crate) parent: u32,
}

/// What the shim's steps work on.
#[derive(Debug)]
pub struct Cage {
    pub(crate) order: Order,
    pub(crate) descriptors: Descriptors<OwnedFd>,
}

/// What the program's steps work on.
#[derive(Debug)]
pub struct Program {
    pub(crate) cage: Cage,
    /// Laid out by `arguments`, used by `seccomp` and `execve`.
    pub(crate) exec: Option<Exec>,
}

/// Devices every program may open; name and minor number below major 1.
const DEVICES: [(&str, u64); 5] = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)];
const HOST_NAME: &str = "cage";
/// Inodes of `/in`: its files and the directory.
const IN_OPTIONS: &[(&CStr, &CStr)] = &[(c"size", c"64k"), (c"nr_inodes", c"256"), (c"mode", c"0755")];
const DOOR: i32 = 3;
/// Descriptors of ours stay above the ones the program gets.
const OURS_FIRST: i32 = 16;

pub(crate) fn launcher_death_signal(template: &mut Template) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the line above; then we belong to somebody else by now.
    let parent = nix::unistd::getppid().as_raw();
    if parent as u32 == template.parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

/// Giving up root clears it, so it is set once more then. The launcher may be dead already; the check comes with the last death signal.
pub(crate) fn shim_death_signal(_: &mut Template) -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

pub(crate) fn launcher_undumpable(_: &mut Template) -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(false)?)
}

fn unshare(flag: CloneFlags) -> io::Result<()> {
    Ok(nix::sched::unshare(flag)?)
}

pub(crate) fn mount_namespace(_: &mut Template) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)
}

/// Empty, with its loopback down: every connect fails at once.
pub(crate) fn network_namespace(_: &mut Template) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)
}

pub(crate) fn ipc_namespace(_: &mut Template) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWIPC)
}

pub(crate) fn uts_namespace(_: &mut Template) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWUTS)
}

/// We are in our leaf, so the leaf is the root the cage sees.
pub(crate) fn cgroup_namespace(_: &mut Template) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWCGROUP)
}

/// Takes effect for the next child: the shim will be pid 1.
pub(crate) fn pid_namespace(_: &mut Template) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWPID)
}

fn mount_plain(source: &Path, target: &Path, kind: Option<&str>, flags: MsFlags, data: Option<&str>) -> io::Result<()> {
    Ok(nix::mount::mount(Some(source), target, kind, flags, data)?)
}

pub(crate) fn private_mounts(_: &mut Template) -> io::Result<()> {
    mount_plain(Path::new("none"), Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)
}

pub(crate) fn root_bind(template: &mut Template) -> io::Result<()> {
    mount_plain(&template.rootfs, &template.rootfs, None, MsFlags::MS_BIND, None)?;
    Ok(nix::unistd::chdir(&template.rootfs)?)
}

/// A tiny tmpfs with five devices, then read-only. It must not be `nodev`, and nothing else is on it.
pub(crate) fn dev(_: &mut Template) -> io::Result<()> {
    let dev = Path::new("dev");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_plain(Path::new("dev"), dev, Some("tmpfs"), flags, Some("size=64k,nr_inodes=16,mode=0755"))?;
    let everyone = Mode::from_bits_truncate(0o666);
    for (name, minor) in DEVICES {
        let path = dev.join(name);
        nix::sys::stat::mknod(&path, SFlag::S_IFCHR, everyone, makedev(1, minor))?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    }
    mount_plain(Path::new("none"), dev, None, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | flags, None)
}

pub(crate) fn root_read_only(_: &mut Template) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_plain(Path::new("none"), Path::new("."), None, flags, None)
}

/// The working directory becomes the root and the host's mounts go.
pub(crate) fn pivot(_: &mut Template) -> io::Result<()> {
    nix::unistd::pivot_root(".", ".")?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH)?;
    Ok(nix::unistd::chdir("/")?)
}

pub(crate) fn hostname(_: &mut Template) -> io::Result<()> {
    Ok(nix::unistd::sethostname(HOST_NAME)?)
}

/// The directory a mount goes onto: part of our own root, never a link.
fn mount_point(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?)
}

/// Only processes, and of those only one's own: no kernel settings, and nothing to see of the shim.
pub(crate) fn proc(_: &mut Template) -> io::Result<()> {
    let options = &[(c"subset", c"pid"), (c"hidepid", c"invisible")];
    let proc = mount::detached(c"proc", options, NO_SUID | NO_DEV | NO_EXEC)?;
    mount::attach(proc.as_fd(), mount_point("/proc")?.as_fd())
}

pub(crate) fn tmp(cage: &mut Cage) -> io::Result<()> {
    mount::attach(cage.descriptors.tmp.as_fd(), mount_point("/tmp")?.as_fd())
}

/// What the program sees is always read-only. A file system that is filled later lies writable below its read-only view,
/// where only the engine's descriptor reaches it.
pub(crate) fn app(cage: &mut Cage) -> io::Result<()> {
    let Some(app) = &cage.descriptors.app else { return Ok(()) };
    mount::attach(app.as_fd(), mount_point("/app")?.as_fd())?;
    if cage.order.app_later {
        let view = mount::detached_bind(app.as_fd(), READ_ONLY | NO_SUID | NO_DEV | NO_EXEC)?;
        mount::attach(view.as_fd(), mount_point("/app")?.as_fd())?;
    }
    Ok(())
}

pub(crate) fn out(cage: &mut Cage) -> io::Result<()> {
    match &cage.descriptors.out {
        Some(out) => mount::attach(out.as_fd(), mount_point("/out")?.as_fd()),
        None => Ok(()),
    }
}

/// The program's copy of a tree, still empty. A read-only one is written to below a read-only view of itself.
pub(crate) fn workspace(cage: &mut Cage) -> io::Result<()> {
    let Some(workspace) = &cage.descriptors.workspace else { return Ok(()) };
    mount::attach(workspace.as_fd(), mount_point("/workspace")?.as_fd())?;
    if cage.order.workspace == Some(Access::ReadOnly) {
        let view = mount::detached_bind(workspace.as_fd(), READ_ONLY)?;
        mount::attach(view.as_fd(), mount_point("/workspace")?.as_fd())?;
    }
    Ok(())
}

/// Every file on an empty file of its name, in a directory of its own that is then read-only.
pub(crate) fn files(cage: &mut Cage) -> io::Result<()> {
    if cage.order.files.is_empty() {
        return Ok(());
    }
    let directory = mount::detached(c"tmpfs", IN_OPTIONS, NO_SUID | NO_DEV | NO_EXEC)?;
    mount::attach(directory.as_fd(), mount_point("/in")?.as_fd())?;
    for (name, file) in cage.order.files.iter().zip(&cage.descriptors.files) {
        let name = c_string(name)?;
        let create = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let point = nix::fcntl::openat(&directory, name.as_c_str(), create, Mode::from_bits_truncate(0o444))?;
        mount::attach(file.as_fd(), point.as_fd())?;
    }
    mount::set_attributes(&directory, READ_ONLY)
}

/// Soft and hard alike; a machine whose hard limit is lower keeps that.
pub(crate) fn limits(cage: &mut Cage) -> io::Result<()> {
    let list = [
        (Resource::RLIMIT_NOFILE, 1024),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MEMLOCK, 64 << 10),
        (Resource::RLIMIT_SIGPENDING, 1024),
        (Resource::RLIMIT_MSGQUEUE, 0),
        (Resource::RLIMIT_RTPRIO, 0),
        (Resource::RLIMIT_NICE, 0),
        (Resource::RLIMIT_STACK, 8 << 20),
        (Resource::RLIMIT_FSIZE, cage.order.file_bytes_max),
    ];
    for (resource, wanted) in list {
        let (_, hard) = getrlimit(resource)?;
        let value = wanted.min(hard);
        setrlimit(resource, value, value)?;
    }
    Ok(())
}

/// No controlling terminal and no process group shared with the shim.
pub(crate) fn session(_: &mut Program) -> io::Result<()> {
    nix::unistd::setsid()?;
    Ok(())
}

pub(crate) fn stdio(program: &mut Program) -> io::Result<()> {
    let descriptors = &mut program.cage.descriptors;
    // The report pipe must survive what is placed on low numbers.
    descriptors.started = sys::duplicate_above(descriptors.started.as_fd(), OURS_FIRST)?;
    match &descriptors.stdin {
        Some(stdin) => sys::place(stdin.as_fd(), 0)?,
        None => sys::place(File::open("/dev/null")?.as_fd(), 0)?,
    }
    sys::place(descriptors.stdout.as_fd(), 1)?;
    sys::place(descriptors.stderr.as_fd(), 2)
}

pub(crate) fn door(program: &mut Program) -> io::Result<()> {
    match &program.cage.descriptors.door {
        Some(door) => sys::place(door.as_fd(), DOOR),
        None => Ok(()),
    }
}

/// Nothing but what was placed survives `execve`.
pub(crate) fn descriptors(program: &mut Program) -> io::Result<()> {
    let first = if program.cage.order.door { DOOR + 1 } else { DOOR };
    sys::close_on_exec_from(first)
}

pub(crate) fn directory(_: &mut Program) -> io::Result<()> {
    Ok(nix::unistd::chdir("/tmp")?)
}

/// First to go when the leaf runs out of memory, before the shim that reports it.
pub(crate) fn oom_score(_: &mut Program) -> io::Result<()> {
    // Undumpable, our own /proc files would belong to root. `execve` makes the program dumpable anyway.
    nix::sys::prctl::set_dumpable(true)?;
    std::fs::write("/proc/self/oom_score_adj", "1000")
}

/// The runtime ignores SIGPIPE; the program must not inherit that.
pub(crate) fn signals(_: &mut Program) -> io::Result<()> {
    sys::reset_signals()
}

/// Path, arguments and environment, at addresses only this process knows.
pub(crate) fn arguments(program: &mut Program) -> io::Result<()> {
    let order = &program.cage.order;
    let strings = |list: &[String]| list.iter().map(|text| c_string(text)).collect::<io::Result<Vec<_>>>();
    program.exec = Some(Exec::new(strings(&order.argv)?, strings(&order.env)?)?);
    Ok(())
}

/// Last but one: from here on only what a tool may do.
pub(crate) fn seccomp(program: &mut Program) -> io::Result<()> {
    sys::load_filter(&filter::program(program.cage.order.profile, exec(program)?.secrets()))
}

pub(crate) fn execve(program: &mut Program) -> io::Result<()> {
    Err(exec(program)?.run())
}

fn exec(program: &Program) -> io::Result<&Exec> {
    program.exec.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}
