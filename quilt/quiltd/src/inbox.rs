//! What goes into a running program: stdin and frames for the guest door, each with its own bounded queue and task.
//!
//! A program that does not read holds up whoever feeds it, and nobody else. One that closed its end loses what comes later,
//! as with any pipe.

use std::io;
use std::os::fd::OwnedFd;

use aria_types::frame;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// One message waits while the one before is written; each is at most [`STDIN_PIECE_BYTES_MAX`] or one frame.
const WAITING_MAX: usize = 1;
/// Longest piece of stdin in one message.
pub(crate) const STDIN_PIECE_BYTES_MAX: usize = 1 << 20;

/// Something for stdin.
#[derive(Debug)]
pub(crate) enum Stdin {
    Bytes(Vec<u8>),
    Close,
}

/// The feeding side of one execution. Clones feed the same program.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    /// `None`: the program has no stdin.
    pub(crate) stdin: Option<mpsc::Sender<Stdin>>,
    /// `None`: the program has no guest door.
    pub(crate) door: Option<mpsc::Sender<Vec<u8>>>,
    /// Cancelled when the execution is over.
    pub(crate) over: CancellationToken,
}

/// The program's side, until it is started.
#[derive(Debug)]
pub(crate) struct Outbox {
    stdin: Option<mpsc::Receiver<Stdin>>,
    door: Option<mpsc::Receiver<Vec<u8>>>,
}

/// Two ends of the queues of one execution.
pub(crate) fn pair(stdin: bool, door: bool, over: CancellationToken) -> (Inbox, Outbox) {
    let (stdin_in, stdin_out) = queue(stdin);
    let (door_in, door_out) = queue(door);
    (Inbox { stdin: stdin_in, door: door_in, over }, Outbox { stdin: stdin_out, door: door_out })
}

fn queue<T>(wanted: bool) -> (Option<mpsc::Sender<T>>, Option<mpsc::Receiver<T>>) {
    if !wanted {
        return (None, None);
    }
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Some(sender), Some(receiver))
}

/// The tasks that write into one program; they end with it.
#[derive(Debug)]
pub(crate) struct Writers {
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Outbox {
    /// Starts writing: first `frames`, then what the queues bring.
    pub(crate) fn start(
        self,
        stdin: Option<OwnedFd>,
        door: Option<OwnedWriteHalf>,
        frames: Vec<Vec<u8>>,
    ) -> io::Result<Writers> {
        let mut tasks = Vec::with_capacity(2);
        if let (Some(queue), Some(fd)) = (self.stdin, stdin) {
            let pipe = pipe::Sender::from_owned_fd(fd)?;
            tasks.push(AbortOnDropHandle::new(tokio::spawn(write_stdin(queue, pipe))));
        }
        if let (Some(queue), Some(door)) = (self.door, door) {
            tasks.push(AbortOnDropHandle::new(tokio::spawn(write_door(queue, door, frames))));
        }
        Ok(Writers { _tasks: tasks })
    }
}

async fn write_stdin(mut queue: mpsc::Receiver<Stdin>, mut pipe: pipe::Sender) {
    while let Some(Stdin::Bytes(bytes)) = queue.recv().await {
        if pipe.write_all(&bytes).await.is_err() {
            break;
        }
    }
    // From here on the pipe is closed, and senders learn it from the closed queue.
}

async fn write_door(mut queue: mpsc::Receiver<Vec<u8>>, mut door: OwnedWriteHalf, frames: Vec<Vec<u8>>) {
    for each in frames {
        if door.write_all(&frame::encode(&each)).await.is_err() {
            return;
        }
    }
    while let Some(each) = queue.recv().await {
        if door.write_all(&frame::encode(&each)).await.is_err() {
            return;
        }
    }
}
