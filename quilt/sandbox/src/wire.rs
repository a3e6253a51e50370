//! What the engine and quilt-init say to each other, over one SEQPACKET socket and two pipes.
//!
//! Engine: `Start`, then, when a call comes, one `Order` with its descriptors. quilt-init: one record after `Start`. The
//! shim and the program write records to the start pipe, which closes by itself when the program is executed; the
//! shim writes the program's wait status to the status pipe and ends.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};

use crate::{Access, Profile, steps};

/// Bytes of a message: arguments, environment and names together.
pub(crate) const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Files at `/in`; the kernel passes 253 descriptors in one message.
pub(crate) const FILES_MAX: usize = 128;
const DESCRIPTORS_MAX: usize = FILES_MAX + 16;

/// What a new quilt-init needs to know. It gets it only when it is in its cgroup leaf.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Start {
    /// Root of every cage.
    pub(crate) rootfs: String,
    /// Process that must be its parent, or it was orphaned before it could ask to be told.
    pub(crate) parent: u32,
}

/// One program. `Descriptors` travel beside it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    pub(crate) argv: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    pub(crate) profile: Profile,
    /// Host uid and gid of the cage.
    pub(crate) uid: u32,
    pub(crate) file_bytes_max: u64,
    pub(crate) stdin: bool,
    pub(crate) door: bool,
    pub(crate) app: bool,
    /// `/app` is an empty file system that the engine fills later.
    pub(crate) app_later: bool,
    pub(crate) out: bool,
    /// A tree and a mount to unpack it into come with the order.
    pub(crate) workspace: Option<Access>,
    /// Names at `/in`.
    pub(crate) files: Vec<String>,
}

/// The descriptors of an order, in the order they are passed. Mounts are detached.
#[derive(Debug)]
pub(crate) struct Descriptors<T> {
    pub(crate) started: T,
    pub(crate) status: T,
    pub(crate) stdout: T,
    pub(crate) stderr: T,
    pub(crate) tmp: T,
    pub(crate) stdin: Option<T>,
    pub(crate) door: Option<T>,
    pub(crate) app: Option<T>,
    pub(crate) out: Option<T>,
    /// Both or neither.
    pub(crate) workspace: Option<T>,
    pub(crate) tree: Option<T>,
    pub(crate) files: Vec<T>,
}

impl<T> Descriptors<T> {
    pub(crate) fn into_list(self) -> Vec<T> {
        let mut list = vec![self.started, self.status, self.stdout, self.stderr, self.tmp];
        list.extend([self.stdin, self.door, self.app, self.out, self.workspace, self.tree].into_iter().flatten());
        list.extend(self.files);
        list
    }

    pub(crate) fn from_list(order: &Order, list: Vec<T>) -> Option<Descriptors<T>> {
        let mut list = list.into_iter();
        let descriptors = Descriptors {
            started: list.next()?,
            status: list.next()?,
            stdout: list.next()?,
            stderr: list.next()?,
            tmp: list.next()?,
            stdin: if order.stdin { Some(list.next()?) } else { None },
            door: if order.door { Some(list.next()?) } else { None },
            app: if order.app { Some(list.next()?) } else { None },
            out: if order.out { Some(list.next()?) } else { None },
            workspace: if order.workspace.is_some() { Some(list.next()?) } else { None },
            tree: if order.workspace.is_some() { Some(list.next()?) } else { None },
            files: list.collect(),
        };
        (descriptors.files.len() == order.files.len()).then_some(descriptors)
    }
}

/// How far a start has come: six bytes, so that one write is one record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Record {
    /// The template is parked, or the program's process exists.
    Done,
    /// A step failed with this errno.
    Failed { step: steps::At, errno: i32 },
}

pub(crate) const RECORD_BYTES: usize = 6;
const DONE: u8 = 0xff;

impl Record {
    pub(crate) fn failed(step: steps::At, error: &io::Error) -> Record {
        Record::Failed { step, errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }

    pub(crate) fn encode(self) -> [u8; RECORD_BYTES] {
        match self {
            Record::Done => [DONE, 0, 0, 0, 0, 0],
            Record::Failed { step, errno } => {
                let [a, b, c, d] = errno.to_le_bytes();
                [step.list, step.index, a, b, c, d]
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Record> {
        match *bytes {
            [DONE, _, _, _, _, _] => Some(Record::Done),
            [list, index, a, b, c, d] => {
                Some(Record::Failed { step: steps::At { list, index }, errno: i32::from_le_bytes([a, b, c, d]) })
            }
            _ => None,
        }
    }
}

/// Sends a message without descriptors.
pub(crate) fn send_start(socket: BorrowedFd<'_>, start: &Start) -> io::Result<()> {
    send(socket, &serde_json::to_vec(start)?, &[])
}

/// Sends an order; the caller keeps its copies of the descriptors.
pub(crate) fn send_order(
    socket: BorrowedFd<'_>,
    text: &[u8],
    descriptors: Descriptors<BorrowedFd<'_>>,
) -> io::Result<()> {
    let raw: Vec<_> = descriptors.into_list().iter().map(AsRawFd::as_raw_fd).collect();
    send(socket, text, &raw)
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[i32]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let control = if descriptors.is_empty() { &[][..] } else { &rights[..] };
    let sent = sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives the start message; `None` when the engine is gone.
pub(crate) fn receive_start(socket: BorrowedFd<'_>) -> io::Result<Option<Start>> {
    let (bytes, _) = receive(socket)?;
    if bytes.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(&bytes)?)) }
}

/// Receives an order; `None` when the engine is gone.
pub(crate) fn receive_order(socket: BorrowedFd<'_>) -> io::Result<Option<(Order, Descriptors<OwnedFd>)>> {
    let (bytes, list) = receive(socket)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let order: Order = serde_json::from_slice(&bytes)?;
    match Descriptors::from_list(&order, list) {
        Some(descriptors) => Ok(Some((order, descriptors))),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut control = nix::cmsg_space!([i32; DESCRIPTORS_MAX]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other?,
        }
    };
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(list) = part {
            descriptors.extend(list.into_iter().map(own));
        }
    }
    let (len, cut) = (message.bytes, message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC));
    if cut {
        return Err(io::ErrorKind::InvalidData.into());
    }
    bytes.truncate(len);
    Ok((bytes, descriptors))
}

#[allow(unsafe_code, reason = "a received descriptor becomes a value")]
fn own(raw: i32) -> OwnedFd {
    // SAFETY: the kernel installed `raw` for this message only, so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
