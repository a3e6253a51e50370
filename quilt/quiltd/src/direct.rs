//! Guest doors that the caller takes itself, so that what a program asks reaches it without a relay.
//!
//! A second socket beside the engine's, for the same peers: whoever writes an execution id gets one byte with the
//! descriptor of that execution's door, once. From then on the engine has no part in the door.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aria_types::frame;
use nix::sys::socket::{ControlMessage, MsgFlags, recvmsg, sendmsg};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Socket;
use crate::shared::Shared;
use crate::socket::{self, InstanceLock, SocketError};

const ID_BYTES: usize = 32;
/// A caller knows what it wants before it connects, and the first frames of a program that reads are gone at once.
const ANSWER_MAX: Duration = Duration::from_secs(5);

type Waiting = Arc<Mutex<HashMap<String, Door>>>;

/// A door nobody has taken yet.
#[derive(Debug)]
struct Door {
    ready: oneshot::Receiver<OwnedFd>,
    /// Dropped when the door is taken.
    _untaken: oneshot::Sender<Infallible>,
}

/// Doors by execution id.
#[derive(Debug, Default)]
pub(crate) struct Doors(Waiting);

/// A door that can be taken as long as this lives.
#[derive(Debug)]
pub(crate) struct Offer {
    waiting: Waiting,
    execution_id: String,
    taken: oneshot::Receiver<Infallible>,
    _writer: AbortOnDropHandle<()>,
}

fn lock(waiting: &Waiting) -> MutexGuard<'_, HashMap<String, Door>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Doors {
    /// Offers a door; `frames` are written before it is handed over.
    pub(crate) fn offer(&self, execution_id: String, door: OwnedFd, frames: Vec<Vec<u8>>) -> io::Result<Offer> {
        let door = std::os::unix::net::UnixStream::from(door);
        door.set_nonblocking(true)?;
        let mut door = UnixStream::from_std(door)?;
        let (ready, waits) = oneshot::channel();
        let (untaken, taken) = oneshot::channel();
        let writer = tokio::spawn(async move {
            for each in frames {
                if door.write_all(&frame::encode(&each)).await.is_err() {
                    break;
                }
            }
            // Nobody may want it any more.
            let _ = door.into_std().map(|door| ready.send(door.into()));
        });
        lock(&self.0).insert(execution_id.clone(), Door { ready: waits, _untaken: untaken });
        Ok(Offer { waiting: Arc::clone(&self.0), execution_id, taken, _writer: AbortOnDropHandle::new(writer) })
    }

    async fn take(&self, execution_id: &str) -> Option<OwnedFd> {
        let door = lock(&self.0).remove(execution_id)?;
        door.ready.await.ok()
    }
}

impl Offer {
    /// Waits until the door is taken, a bounded time: a program that was quick may be gone before its caller has come for the
    /// door, and what it wrote there is still to be read.
    pub(crate) async fn taken(mut self) {
        drop(tokio::time::timeout(ANSWER_MAX, &mut self.taken).await);
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        lock(&self.waiting).remove(&self.execution_id);
    }
}

/// Where doors are taken: the engine's own path with `.door` behind it.
fn beside(socket: &Path) -> PathBuf {
    let mut path = socket.to_owned().into_os_string();
    path.push(".door");
    path.into()
}

/// Listens beside the engine's socket, for the same peers.
pub(crate) fn listen(socket: &Socket, lock: &InstanceLock) -> Result<(UnixListener, Socket), SocketError> {
    let beside = Socket { path: beside(&socket.path), gid: socket.gid, uid: socket.uid };
    Ok((socket::listen(&beside, lock)?, beside))
}

/// Hands out doors until the engine stops.
pub(crate) async fn serve((listener, socket): (UnixListener, Socket), shared: Arc<Shared>) {
    let (accepted, mut peers) = socket::queue();
    let path = socket.path.clone();
    let accepting = tokio::spawn(socket::accept(listener, socket, shared.stop.clone(), accepted));
    while let Some(Ok(peer)) = peers.recv().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move { drop(tokio::time::timeout(ANSWER_MAX, hand_over(&shared.doors, peer)).await) });
    }
    drop(accepting.await);
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(%error, "remove the door socket");
    }
}

/// A peer that is not answered sees its connection end.
async fn hand_over(doors: &Doors, mut peer: UnixStream) -> io::Result<()> {
    let mut id = [0; ID_BYTES];
    peer.read_exact(&mut id).await?;
    let Some(door) = std::str::from_utf8(&id).ok().map(|id| doors.take(id)) else { return Ok(()) };
    let Some(door) = door.await else { return Ok(()) };
    let send = || {
        let rights = [door.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&rights)];
        Ok(sendmsg::<()>(peer.as_raw_fd(), &[IoSlice::new(&[1])], &control, MsgFlags::MSG_NOSIGNAL, None)?)
    };
    peer.async_io(Interest::WRITABLE, send).await?;
    Ok(())
}

/// Reads what is there, and whether descriptors came with it. There is no room for them, so the kernel closes them unseen.
pub(crate) fn receive(door: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(door.as_raw_fd(), &mut parts, None, MsgFlags::MSG_CMSG_CLOEXEC)?;
    Ok((message.bytes, message.flags.contains(MsgFlags::MSG_CTRUNC)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_door_is_taken_once_and_only_while_it_is_offered() {
        let doors = Doors::default();
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let offer = doors.offer("id".into(), theirs.into(), vec![b"first".to_vec()]).unwrap();
        assert!(doors.take("other").await.is_none());
        assert!(doors.take("id").await.is_some());
        assert!(doors.take("id").await.is_none());
        let mut first = [0; 9];
        std::io::Read::read_exact(&mut ours, &mut first).unwrap();
        assert_eq!(&first[4..], b"first");
        drop(offer);
        let (_, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(doors.offer("id".into(), theirs.into(), Vec::new()).unwrap());
        assert!(doors.take("id").await.is_none());
    }

    #[tokio::test]
    async fn descriptors_are_noticed_and_not_kept() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = UnixStream::from_std(ours).unwrap();
        let (read, mut write) = io::pipe().unwrap();
        let rights = [read.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&rights)];
        sendmsg::<()>(theirs.as_raw_fd(), &[IoSlice::new(b"x")], &control, MsgFlags::empty(), None).unwrap();
        drop(read);
        assert_eq!(receive(&ours, &mut [0; 16]).unwrap(), (1, true));
        assert_eq!(write.write(b"y").unwrap_err().kind(), io::ErrorKind::BrokenPipe, "nobody holds the other end");
        (&theirs).write_all(b"z").unwrap();
        assert_eq!(receive(&ours, &mut [0; 16]).unwrap(), (1, false));
    }

    #[tokio::test]
    async fn an_offer_knows_when_it_was_taken() {
        let doors = Doors::default();
        let offered =
            |id: &str| doors.offer(id.into(), std::os::unix::net::UnixStream::pair().unwrap().1.into(), Vec::new());
        let (first, second) = (offered("first").unwrap(), offered("second").unwrap());
        assert!(doors.take("first").await.is_some());
        first.taken().await;
        let waits = tokio::time::timeout(Duration::from_millis(20), second.taken()).await;
        assert!(waits.is_err(), "nobody has come for it");
    }
}
