//! An engine's directory in the cgroup tree: taken for one process alone, marked as an engine's, removed in the end, and swept by
//! any later engine when its own was killed and never came back.
//!
//! Who lives holds a lock on the directory, which the kernel lets go of with the process; so a marked directory whose lock is free
//! is a dead engine's, whatever became of its processes and its name.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::cgroup::{self, Cgroup};
use crate::{OpenError, sys};

/// What makes a directory an engine's. Only a privileged process can write or even see it.
const MARK: &CStr = c"trusted.quilt.engine";
/// Another engine that starts holds what it sweeps for a moment; a name that is held for longer is in use.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Dead trees removed in one start; the next goes on.
const SWEEP_MAX: usize = 256;

/// Our cgroup directory, locked against a second engine and removed in the end.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) cgroup: Arc<dyn Cgroup>,
    _lock: Flock<File>,
}

impl Home {
    /// Makes it, or takes over what is there under this name.
    pub(crate) fn take(name: &str) -> Result<Home, OpenError> {
        let deadline = Instant::now() + LOCK_WAIT_MAX;
        loop {
            let cgroup: Arc<dyn Cgroup> = Arc::from(cgroup::detect(name)?);
            let path = cgroup.home().to_path_buf();
            let failed = |source| OpenError::Cgroup { path: path.clone(), source };
            match lock(&path) {
                Ok(Some(lock)) => {
                    // A kernel without such attributes has nothing that is swept.
                    let _ = sys::set_attribute(lock.as_fd(), MARK, b"1");
                    return Ok(Home { cgroup, _lock: lock });
                }
                // Swept since it was made.
                Ok(None) => {}
                Err(Errno::EWOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
                Err(Errno::EWOULDBLOCK) => return Err(OpenError::InUse { path }),
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    /// Ends and removes every leaf there is: they can only be from before.
    pub(crate) fn recover(&self) -> Result<(), OpenError> {
        let failed = |source| OpenError::Recover { path: self.cgroup.home().into(), source };
        clear(self.cgroup.as_ref()).map_err(failed)
    }

    /// Removes the trees of dead engines beside ours. What cannot be removed is left for the next start.
    pub(crate) fn sweep(&self) {
        let ours = self.cgroup.home();
        let Some(entries) = ours.parent().and_then(|parent| std::fs::read_dir(parent).ok()) else { return };
        let others = entries.flatten().map(|entry| entry.path()).filter(|path| path != ours && path.is_dir());
        for path in others.filter(|path| is_marked(path)).take(SWEEP_MAX) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            // Held until the tree is gone, so that nobody moves in meanwhile.
            let Ok(Some(_lock)) = lock(&path) else { continue };
            let dead = self.cgroup.beside(name);
            if clear(dead.as_ref()).is_ok() {
                dead.close();
            }
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.cgroup.close();
    }
}

fn clear(cgroup: &dyn Cgroup) -> io::Result<()> {
    cgroup.leaves()?.iter().try_for_each(|leaf| cgroup::destroy(cgroup, leaf))
}

fn is_marked(path: &Path) -> bool {
    File::open(path).is_ok_and(|directory| sys::has_attribute(directory.as_fd(), MARK))
}

/// The lock on a directory; `None` when it is not there, or was replaced before we had the lock.
fn lock(path: &Path) -> Result<Option<Flock<File>>, Errno> {
    let Ok(directory) = File::open(path) else { return Ok(None) };
    let lock = Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
    let same = |there: std::fs::Metadata| lock.metadata().is_ok_and(|ours| ours.ino() == there.ino());
    if std::fs::metadata(path).is_ok_and(same) { Ok(Some(lock)) } else { Ok(None) }
}
