//! Shelves: cages whose program was started ahead of its call and waits at the guest door.
//!
//! A cage on a shelf is made like any other: fresh launcher, uid, namespaces, tmpfs, limits, and a process of its own, so its
//! randomness is its own too. It has got one frame, *prepare*, and has answered it with an empty frame: ready. It holds no
//! token. A call takes it for good; whatever happens then, it is destroyed.
//!
//! Two kinds. A *generic* shelf serves every call of the same shape (arguments, environment, profile, limits of the disk): its
//! cages have run nothing of any call, and get a copy of the call's directory into `/app` when they are taken. An *own* shelf
//! belongs to one owner, one directory and one key: its cages have that directory mounted and may have run code from
//! it. Soon after it is ready such code gets next to no processor time, and a cage that says anything at its door is thrown away.
//!
//! How many a shelf keeps is decided in `quilt_core::shelf`. When the host runs short of memory all shelves are emptied.

mod keeper;
mod make;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::stat::fstat;
use quilt_core::{Demand, ShelfBounds};

use crate::launcher::readable;
use crate::{Engine, Io, Limits, Profile, Sandbox, Spec};

/// Shelves that are known at once; the one that was asked for longest ago makes way.
const SHELVES_MAX: usize = 64;
/// Processor share of an own cage that waits, thousandths of a core.
const WAITING_CPU_MILLIS: u32 = 10;
/// Replacing one leaves the processor to the call that took it for so long.
const REST: Duration = Duration::from_millis(5);
/// How long after it is ready it keeps its share: a runtime has things to finish after a start, and would do it during the call.
const SETTLE: Duration = Duration::from_millis(50);

/// Bounds of all shelves of an engine.
#[derive(Clone, Copy, Debug)]
pub struct ShelfConfig {
    /// Cages of one generic shelf.
    pub generic: ShelfBounds,
    /// Cages of one own shelf.
    pub own: ShelfBounds,
    /// Cages of all shelves together.
    pub total_max: usize,
    /// What all of them together may be charged for, bytes.
    pub memory_bytes_max: u64,
    /// With less memory than this available on the host nothing is kept, bytes.
    pub host_bytes_min: u64,
}

/// A call that could be served from a shelf.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What a cage made for the call would be. Only one with `/app` and a door, and without stdin, files and workspace, is served.
    pub spec: &'a Spec,
    /// Frame that readies a cage for any call of this shape.
    pub prepare: &'a [u8],
    /// The call's own shelf, if it has one.
    pub own: Option<OwnShelf<'a>>,
}

/// What a cage that may have run code of a call is bound to, besides its directory.
#[derive(Clone, Copy, Debug)]
pub struct OwnShelf<'a> {
    /// For whom.
    pub owner: &'a str,
    /// Chosen by the caller.
    pub key: &'a str,
    /// Frame that readies a cage for this key.
    pub prepare: &'a [u8],
}

/// Everything two calls must have in common to be served by the same cage.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Id {
    argv: Vec<String>,
    env: std::collections::BTreeMap<String, String>,
    profile: Profile,
    out: bool,
    disk_bytes: u64,
    prepare: Vec<u8>,
    own: Option<Own>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Own {
    owner: String,
    key: String,
    /// Device and inode of the directory. A waiting cage has it mounted, so while there is one no other directory gets the number.
    directory: (u64, u64),
}

/// A cage that waits.
#[derive(Debug)]
struct Ready {
    sandbox: Sandbox,
    io: Io,
    limits: Limits,
    memory_bytes: u64,
    /// When to slow it down; `None`: it is slow, or need not be.
    settled: Option<Duration>,
}

impl Ready {
    /// From now on it gets next to no processor time.
    fn slow_down(&mut self) -> io::Result<()> {
        self.settled = None;
        self.sandbox.limit(&Limits { cpu_millis: WAITING_CPU_MILLIS, ..self.limits })
    }

    /// Still there, and nothing said since it was ready.
    fn waits(&self) -> bool {
        let quiet = |fd: &OwnedFd| readable(fd.as_fd(), Duration::ZERO).is_ok_and(|ready| !ready);
        quiet(&self.io.exit) && self.io.door.as_ref().is_some_and(quiet)
    }
}

#[derive(Debug)]
struct Shelf {
    id: Id,
    limits: Limits,
    /// The directory of an own shelf.
    code: Option<Arc<OwnedFd>>,
    demand: Demand,
    ready: VecDeque<Ready>,
    making: usize,
    /// After a cage that did not get ready: nothing is made until then.
    failed_until: Option<Duration>,
    /// After the first take that nothing was made for yet: nothing is made until then.
    rest_until: Option<Duration>,
}

#[derive(Debug, Default)]
struct State {
    shelves: Vec<Shelf>,
    /// To be destroyed, off everybody's path.
    waste: Vec<Sandbox>,
    pressed: bool,
    closing: bool,
}

#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    config: ShelfConfig,
    begun: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// The shelves of one engine and the threads that keep them. Dropping it destroys every cage that waits.
#[derive(Debug)]
pub struct Shelves {
    shared: Arc<Shared>,
    keepers: Vec<JoinHandle<()>>,
}

impl Shelves {
    /// Starts with empty shelves; what is kept is learned from calls.
    pub fn open(engine: Arc<Engine>, config: ShelfConfig) -> io::Result<Shelves> {
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { engine, config, begun: Instant::now(), state, changed: Condvar::new() });
        let mut shelves = Shelves { shared, keepers: Vec::new() };
        for number in 0..keeper::KEEPERS {
            let shared = shelves.shared.clone();
            let thread = std::thread::Builder::new().name(format!("quilt-shelf-{number}"));
            shelves.keepers.push(thread.spawn(move || keeper::keep(&shared))?);
        }
        Ok(shelves)
    }

    /// Takes a waiting cage for this call, with the call's limits; `None`: there is none, make one. Either way the call
    /// counts towards what is kept for the next. Blocks for the copy of a small directory at most.
    pub fn take(&self, ask: Ask<'_>) -> Option<(Sandbox, Io)> {
        let app = ask.spec.app.as_ref().filter(|_| fits(ask.spec))?;
        let generic = id(ask.spec, ask.prepare, None);
        let own = ask.own.and_then(|own| {
            let found = fstat(app).ok()?;
            let directory = (found.st_dev, found.st_ino);
            let bound = Own { owner: own.owner.to_owned(), key: own.key.to_owned(), directory };
            Some(id(ask.spec, own.prepare, Some(bound)))
        });
        if let Some(own) = own {
            self.note(&own, ask.spec.limits, Some(app));
            while let Some(ready) = self.pop(&own) {
                if let Some(taken) = self.hand_out(ready, &ask.spec.limits) {
                    return Some(taken);
                }
            }
        }
        self.note(&generic, ask.spec.limits, None);
        while let Some(ready) = self.pop(&generic) {
            let Some((mut sandbox, io)) = self.hand_out(ready, &ask.spec.limits) else { continue };
            if sandbox.give(app.as_fd()).is_ok() {
                return Some((sandbox, io));
            }
            // The directory cannot be copied: no cage of this shelf will do.
            self.throw(sandbox);
            return None;
        }
        None
    }

    /// Cages that wait, on generic and on own shelves.
    pub fn ready(&self) -> (usize, usize) {
        let state = self.shared.lock();
        let count = |own: bool| {
            state.shelves.iter().filter(|shelf| shelf.id.own.is_some() == own).map(|shelf| shelf.ready.len()).sum()
        };
        (count(false), count(true))
    }

    /// Destroys what waits, for a machine that needs the uids or the memory elsewhere.
    pub fn clear(&self) {
        let mut state = self.shared.lock();
        let all: Vec<_> = state.shelves.iter_mut().flat_map(|shelf| shelf.ready.drain(..)).collect();
        state.waste.extend(all.into_iter().map(|ready| ready.sandbox));
        self.shared.changed.notify_all();
    }

    /// Counts a call, on a shelf that is made if need be.
    fn note(&self, id: &Id, limits: Limits, code: Option<&OwnedFd>) {
        let (mut state, now) = (self.shared.lock(), self.shared.now());
        if let Some(shelf) = state.shelves.iter_mut().find(|shelf| shelf.id == *id) {
            shelf.limits = limits;
            return shelf.demand.note(now);
        }
        let code = match code.map(OwnedFd::try_clone).transpose() {
            Ok(code) => code.map(Arc::new),
            // Without a descriptor to spare this is not the moment to keep more cages.
            Err(_) => return,
        };
        if state.shelves.len() == SHELVES_MAX {
            let oldest = (0..state.shelves.len()).min_by_key(|at| state.shelves.get(*at).and_then(|s| s.demand.last()));
            let removed = oldest.map(|at| state.shelves.swap_remove(at));
            state.waste.extend(removed.into_iter().flat_map(|shelf| shelf.ready).map(|ready| ready.sandbox));
        }
        let mut demand = Demand::default();
        demand.note(now);
        let (id, ready) = (id.clone(), VecDeque::new());
        state.shelves.push(Shelf { id, limits, code, demand, ready, making: 0, failed_until: None, rest_until: None });
        self.shared.changed.notify_all();
    }

    fn pop(&self, id: &Id) -> Option<Ready> {
        let mut state = self.shared.lock();
        let now = self.shared.now();
        let shelf = state.shelves.iter_mut().find(|shelf| shelf.id == *id)?;
        let ready = shelf.ready.pop_front();
        shelf.rest_until.get_or_insert(now + REST);
        // Waking somebody costs this call a processor; while there are others, the keepers come by soon enough.
        if shelf.ready.is_empty() {
            self.shared.changed.notify_one();
        }
        ready
    }

    /// The call's limits instead of those it waited with; a cage that cannot have them is thrown away.
    fn hand_out(&self, ready: Ready, limits: &Limits) -> Option<(Sandbox, Io)> {
        // The largest file it may write was fixed when it was started, from its memory at that time.
        let fits = limits.memory_bytes <= ready.limits.memory_bytes && ready.waits();
        let Ready { mut sandbox, io, .. } = ready;
        if fits && sandbox.limit(limits).is_ok() {
            return Some((sandbox, io));
        }
        self.throw(sandbox);
        None
    }

    fn throw(&self, sandbox: Sandbox) {
        self.shared.lock().waste.push(sandbox);
        self.shared.changed.notify_all();
    }
}

impl Drop for Shelves {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.closing = true;
            state.shelves.iter().flat_map(|shelf| &shelf.ready).for_each(|ready| ready.sandbox.kill());
            self.shared.changed.notify_all();
        }
        for keeper in self.keepers.drain(..) {
            // A keeper that panicked has nothing more to say.
            let _ = keeper.join();
        }
        let state = std::mem::take(&mut *self.shared.lock());
        drop(state);
    }
}

/// Whether a program that is already running can become this one.
fn fits(spec: &Spec) -> bool {
    spec.door && !spec.stdin && spec.files.is_empty() && spec.workspace.is_none()
}

fn id(spec: &Spec, prepare: &[u8], own: Option<Own>) -> Id {
    Id {
        argv: spec.argv.clone(),
        env: spec.env.clone(),
        profile: spec.profile,
        out: spec.out,
        disk_bytes: spec.limits.disk_bytes,
        prepare: prepare.to_owned(),
        own,
    }
}
