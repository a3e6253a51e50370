//! What `memory.oom.group` does on cgroup v2, for v1: when a process of a leaf is killed for memory, the rest of the leaf goes too.
//!
//! The kernel tells of a leaf that ran out through an eventfd, a moment before it kills, and counts the kill. One thread of the
//! backend waits for such word and ends the leaf once the count says that somebody was killed.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::write;

/// How long a kill that was announced is looked for. The kernel kills at once, unless a process is on its way out anyway.
const KILL_WAIT_MAX: Duration = Duration::from_secs(1);
const LOOK_EVERY_MS: u16 = 2;
/// Word of so many leaves is taken at a time.
const EVENTS: usize = 32;
/// What the thread hears when it is to end.
const CLOSE: u64 = 0;

/// What the thread may do with a leaf.
pub(super) trait Leaves: Send + Sync + std::fmt::Debug {
    /// Processes of the leaf that were killed for memory.
    fn oom_kills(&self, leaf: &str) -> u64;
    /// Ends the leaf; one that is gone is fine.
    fn end(&self, leaf: &str);
}

#[derive(Debug)]
struct Watched {
    leaf: String,
    /// Closing it takes it out of the kernel's list and out of the set that is waited for.
    word: EventFd,
}

#[derive(Debug, Default)]
struct State {
    watched: HashMap<u64, Watched>,
    last: u64,
    closing: bool,
}

#[derive(Debug)]
struct Shared {
    epoll: Epoll,
    close: EventFd,
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct OomWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl OomWatch {
    pub(super) fn start(leaves: Arc<dyn Leaves>) -> io::Result<OomWatch> {
        let (epoll, close) = (Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, eventfd()?);
        epoll.add(&close, EpollEvent::new(EpollFlags::EPOLLIN, CLOSE))?;
        let shared = Arc::new(Shared { epoll, close, state: Mutex::new(State { last: CLOSE, ..State::default() }) });
        let theirs = shared.clone();
        let thread =
            std::thread::Builder::new().name("quilt-oom".into()).spawn(move || run(&theirs, leaves.as_ref()))?;
        Ok(OomWatch { shared, thread: Some(thread) })
    }

    /// Watches a new leaf whose memory directory this is. A kernel without such word (a real-time one) refuses; then the end of
    /// the program itself tells.
    pub(super) fn watch(&self, leaf: &str, memory: &Path) -> io::Result<()> {
        let (word, control) = (eventfd()?, File::open(memory.join("memory.oom_control"))?);
        let pair = format!("{} {}", word.as_fd().as_raw_fd(), control.as_raw_fd());
        write(&memory.join("cgroup.event_control"), &pair)?;
        let mut state = self.shared.lock();
        state.last += 1;
        let id = state.last;
        self.shared.epoll.add(&word, EpollEvent::new(EpollFlags::EPOLLIN, id))?;
        state.watched.insert(id, Watched { leaf: leaf.to_owned(), word });
        Ok(())
    }

    /// Forgets a leaf.
    pub(super) fn forget(&self, leaf: &str) {
        self.shared.lock().watched.retain(|_, watched| watched.leaf != leaf);
    }
}

impl Drop for OomWatch {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        // A counter that only ever grows by one takes this write.
        let _ = self.shared.close.write(1);
        if let Some(thread) = self.thread.take() {
            // One that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

fn eventfd() -> io::Result<EventFd> {
    Ok(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?)
}

fn run(shared: &Shared, leaves: &dyn Leaves) {
    let mut short: HashMap<String, Instant> = HashMap::new();
    let mut events = [EpollEvent::empty(); EVENTS];
    loop {
        let timeout = if short.is_empty() { EpollTimeout::NONE } else { EpollTimeout::from(LOOK_EVERY_MS) };
        // An interrupted wait has heard of nobody.
        let count = shared.epoll.wait(&mut events, timeout).unwrap_or(0);
        let until = Instant::now() + KILL_WAIT_MAX;
        {
            let state = shared.lock();
            if state.closing {
                return;
            }
            for watched in events.iter().take(count).filter_map(|event| state.watched.get(&event.data())) {
                // Resets it; what comes after counts anew.
                let _ = watched.word.read();
                short.insert(watched.leaf.clone(), until);
            }
        }
        let now = Instant::now();
        short.retain(|leaf, until| {
            let killed = leaves.oom_kills(leaf) > 0;
            if killed {
                leaves.end(leaf);
            }
            !killed && now < *until
        });
    }
}
