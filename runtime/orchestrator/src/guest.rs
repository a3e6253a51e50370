//! What a guest asks of its host while it runs.
//!
//! A request that has to wait is a task. A guest has at most [`REQUESTS_MAX`] of them, their bytes and those of their answers are bounded, and
//! an answer waits until the guest takes it: whoever asks without reading is held up, and nobody else. All end with the run.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use aria_core::InvocationId;
use aria_core::guest::FRAME_BYTES_MAX;
use aria_core::port::{BoxFuture, ByteSource};
use aria_core::request::{self, BadRequest, Fields, GuestError, REQUESTS_MAX, Request, object};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use crate::Inner;
use crate::egress::Session;

pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod net;
pub(crate) mod tool;
pub(crate) mod vector;

use lease::LiveLease;

/// Bytes of requests one guest may have in work, and of answers it has not taken yet, each.
const ROOM_BYTES: usize = 4 << 20;
/// Ids and metadata of the hits of one search, which must fit a frame with what is around them.
pub(crate) const SEARCH_ANSWER_BYTES_MAX: usize = 400 << 10;
/// Permits stand for this many bytes.
const UNIT_BYTES: usize = 1 << 10;
/// Threads of the shared pool one guest may keep busy.
const TURNS_MAX: usize = 4;
/// The request that ends another one.
const CANCEL: &str = "cancel";
/// Room for the answer of a request that does not read much.
const SMALL_BYTES: usize = 4 << 10;
/// A frame above this is taken apart off the async threads.
pub(crate) const PARSE_HERE_BYTES_MAX: usize = 32 << 10;

/// Who asks: the run, not what it says of itself.
pub(crate) struct Caller {
    /// The run.
    pub(crate) invocation: InvocationId,
    /// Whose data it sees.
    pub(crate) owner: String,
    /// What it may do.
    pub(crate) lease: Arc<LiveLease>,
    /// How many runs are above it.
    pub(crate) depth: u32,
    /// Its requests to the network.
    pub(crate) net: Session,
    /// For work off the async threads.
    turns: Semaphore,
    way: Way,
}

/// The host's side of one guest's door.
pub(crate) struct Door {
    inner: Arc<Inner>,
    caller: Arc<Caller>,
    /// Ends with the run: dropping it aborts what still works.
    tasks: JoinSet<()>,
    requests: Arc<Semaphore>,
}

/// Frames on their way to the guest.
struct Way {
    frames: mpsc::Sender<Outgoing>,
    room: Arc<Semaphore>,
    /// Requests that are not answered. Who takes one out answers it.
    open: Mutex<HashMap<u64, Option<AbortHandle>>>,
}

struct Outgoing {
    frame: Vec<u8>,
    room: OwnedSemaphorePermit,
}

/// The other end of the way, read by whoever feeds the guest.
pub(crate) struct Frames {
    frames: mpsc::Receiver<Outgoing>,
    /// Of the frame that is being written; it takes room until the next one is asked for.
    _last: Option<OwnedSemaphorePermit>,
}

impl ByteSource for Frames {
    fn next<'a>(&'a mut self) -> BoxFuture<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let next = self.frames.recv().await?;
            self._last = Some(next.room);
            Some(next.frame)
        })
    }
}

/// A door for one run and the frames that come out of it.
pub(crate) fn door(
    inner: &Arc<Inner>,
    invocation: &InvocationId,
    owner: &str,
    lease: Arc<LiveLease>,
    depth: u32,
) -> (Door, Box<dyn ByteSource>) {
    let (sender, frames) = mpsc::channel(REQUESTS_MAX);
    let room = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT_BYTES));
    let way = Way { frames: sender, room: room(ROOM_BYTES), open: Mutex::default() };
    let net = Session::new(Arc::clone(&inner.network.egress));
    let caller = Caller {
        invocation: invocation.clone(),
        owner: owner.to_owned(),
        lease,
        depth,
        net,
        turns: Semaphore::new(TURNS_MAX),
        way,
    };
    let requests = room(ROOM_BYTES);
    let door = Door { inner: Arc::clone(inner), caller: Arc::new(caller), tasks: JoinSet::new(), requests };
    (door, Box::new(Frames { frames, _last: None }))
}

impl Door {
    /// Takes a request on. Waits while the guest has more in work than it may, or does not take its answers.
    pub(crate) async fn request(&mut self, request: Request, frame_bytes: usize) {
        while self.tasks.try_join_next().is_some() {}
        let id = request.id;
        if request.op == CANCEL {
            let cancelled = self.cancel(request).await;
            return self.caller.way.answer(id, cancelled, None).await;
        }
        if let Err(error) = self.caller.way.open(id) {
            return self.caller.way.answer(id, Err(error), None).await;
        }
        let Some(permit) = acquire(&self.requests, frame_bytes).await else { return };
        let (inner, caller) = (Arc::clone(&self.inner), Arc::clone(&self.caller));
        let mut work: BoxFuture<'static, ()> = Box::pin(async move {
            let room = caller.way.room(answer_bytes(&request.op)).await;
            let op = request.op.clone();
            let done = dispatch(&inner, &caller, request).await;
            if let Err(error) = &done {
                inner.audit.denied_guest(&caller.invocation, &caller.owner, op, error).await;
            }
            drop(permit);
            if caller.way.close(id).is_some() {
                caller.way.answer(id, done, room).await;
            }
        });
        // Most are done at once; only one that has to wait becomes a task.
        if poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await.is_pending() {
            let task = self.tasks.spawn(work);
            self.caller.way.working(id, task);
        }
    }

    /// Ends a request that goes on, for example a watch.
    async fn cancel(&self, request: Request) -> Result<Value, GuestError> {
        let mut fields = Fields::new(request.body);
        let id = fields.integer("request")?;
        fields.end()?;
        let found = self.caller.way.close(id);
        if let Some(task) = &found {
            if let Some(task) = task {
                task.abort();
            }
            self.caller.way.answer(id, Err(GuestError::new("CANCELLED", "cancelled by the guest")), None).await;
        }
        Ok(object([("cancelled", found.is_some().into())]))
    }

    /// Tells the guest what is wrong with a request, if it can be told.
    pub(crate) async fn refuse(&mut self, bad: BadRequest) {
        if let Some(id) = bad.id {
            self.caller.way.answer(id, Err(bad.error), None).await;
        }
    }
}

/// Room kept for the answer before the work begins. What answers late or in pieces gets its room when there is something to say.
fn answer_bytes(op: &str) -> usize {
    match op {
        "kvGet" | "kvList" | "vectorSearch" => FRAME_BYTES_MAX,
        _ => SMALL_BYTES,
    }
}

/// Does what is asked, if the run may.
async fn dispatch(inner: &Arc<Inner>, caller: &Arc<Caller>, request: Request) -> Result<Value, GuestError> {
    let Request { id, op, body } = request;
    if op.starts_with("kv") {
        return kv::serve(inner, caller, id, op, body).await;
    }
    if op.starts_with("vector") {
        return vector::serve(inner, caller, op, body).await;
    }
    if op.starts_with("tool") {
        return tool::serve(inner, caller, &op, body).await;
    }
    if op.starts_with("net") {
        return net::serve(inner, caller, &op, body).await;
    }
    Err(GuestError::unsupported(&op))
}

impl Caller {
    /// A turn for work off the async threads, which all runs share.
    pub(crate) async fn turn(&self) -> Result<SemaphorePermit<'_>, GuestError> {
        self.turns.acquire().await.map_err(|_closed| kv::bug())
    }

    /// Sends one event of a request that goes on. Waits until there is room; false when the guest is gone.
    pub(crate) async fn event(&self, id: u64, event: Value) -> Result<bool, GuestError> {
        let too_large = || GuestError::new("TOO_LARGE", "an event does not fit a frame");
        let frame = request::event(id, event).ok_or_else(too_large)?;
        let Some(room) = self.way.room(frame.len()).await else { return Ok(false) };
        Ok(self.way.frames.send(Outgoing { frame, room }).await.is_ok())
    }
}

impl Way {
    fn open(&self, id: u64) -> Result<(), GuestError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.contains_key(&id) {
            return Err(GuestError::invalid(format!("request {id} is not answered yet")));
        }
        if open.len() >= REQUESTS_MAX {
            let message = format!("{REQUESTS_MAX} requests are not answered yet");
            return Err(GuestError::new("TOO_MANY_REQUESTS", message));
        }
        open.insert(id, None);
        Ok(())
    }

    /// How to end it, unless it is over already.
    fn working(&self, id: u64, task: AbortHandle) {
        if let Some(open) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&id) {
            *open = Some(task);
        }
    }

    /// From here on the id is free again; the guest learns it from the answer.
    fn close(&self, id: u64) -> Option<Option<AbortHandle>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }

    async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        acquire(&self.room, bytes).await
    }

    async fn answer(&self, id: u64, answer: Result<Value, GuestError>, kept: Option<OwnedSemaphorePermit>) {
        let frame = request::answer(id, &answer);
        drop(answer);
        let needed = units(frame.len());
        let room = match kept {
            Some(mut room) if room.num_permits() >= needed as usize => room.split(needed as usize),
            kept => {
                drop(kept);
                self.room(frame.len()).await
            }
        };
        // A guest that is gone needs no answer.
        if let Some(room) = room {
            let _ = self.frames.send(Outgoing { frame, room }).await;
        }
    }
}

/// Permits for so many bytes, never more than there are; `None` only when the semaphore is closed, which none is.
async fn acquire(semaphore: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_many_owned(units(bytes)).await.ok()
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.clamp(1, ROOM_BYTES).div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
