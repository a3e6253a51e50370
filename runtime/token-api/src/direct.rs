//! The guest door taken from the engine: frames between the program and us without a relay.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aria_core::port::ByteSource;
use aria_types::frame::{self, FRAME_BYTES_MAX, FrameReader};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// One read.
const READ_BYTES: usize = 64 << 10;
/// The engine has the door before it tells us to take it.
const TAKE_MAX: Duration = Duration::from_secs(5);
/// Once the program is gone its door is at its end or about to be.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// What a program did with its door that ends its run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Misuse {
    /// It passed descriptors; the kernel has closed them.
    Descriptors,
    /// It announced a frame of this many bytes.
    FrameTooLarge(usize),
}

/// Our end of a program's door.
#[derive(Debug)]
pub(crate) struct Direct {
    door: OwnedReadHalf,
    frames: FrameReader,
    buffer: Box<[u8]>,
}

/// Where the engine hands out doors.
fn beside(socket: &Path) -> PathBuf {
    let mut path = socket.to_owned().into_os_string();
    path.push(".door");
    path.into()
}

/// Takes the door of a started execution: what to read, and what to write to.
pub(crate) async fn take(socket: &Path, execution_id: &str) -> io::Result<(Direct, OwnedWriteHalf)> {
    let taken = async {
        let mut engine = UnixStream::connect(beside(socket)).await?;
        engine.write_all(execution_id.as_bytes()).await?;
        engine.async_io(Interest::READABLE, || receive_descriptor(&engine)).await
    };
    let door = tokio::time::timeout(TAKE_MAX, taken).await??;
    let door = std::os::unix::net::UnixStream::from(door);
    door.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(door)?.into_split();
    let buffer = vec![0; READ_BYTES].into_boxed_slice();
    Ok((Direct { door: read, frames: FrameReader::default(), buffer }, write))
}

fn receive_descriptor(engine: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(engine.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    rights.next().and_then(|mut descriptors| descriptors.next()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Writes what the source gives until either side has enough.
pub(crate) async fn feed(mut door: OwnedWriteHalf, mut source: Box<dyn ByteSource>) {
    while let Some(piece) = source.next().await {
        if piece.len() > FRAME_BYTES_MAX || door.write_all(&frame::encode(&piece)).await.is_err() {
            return;
        }
    }
}

impl Direct {
    /// The next frame; `None` at the end. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Misuse> {
        loop {
            if let Some(frame) = self.frames.pop() {
                return Ok(Some(frame));
            }
            // An error shows again at the read.
            drop(self.door.readable().await);
            let door = self.door.as_ref();
            let read = door.try_io(Interest::READABLE, || receive(door, &mut self.buffer));
            match read {
                Ok((_, true)) => return Err(Misuse::Descriptors),
                Ok((0, _)) => return Ok(None),
                Ok((bytes, _)) => {
                    let pushed = self.frames.push(self.buffer.get(..bytes).unwrap_or_default());
                    pushed.map_err(|error| Misuse::FrameTooLarge(error.bytes))?;
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => return Ok(None),
            }
        }
    }

    /// The same when the program is gone: at the end also if somebody holds its door open.
    pub(crate) async fn rest(&mut self) -> Result<Option<Vec<u8>>, Misuse> {
        tokio::time::timeout(DRAIN_MAX, self.next()).await.unwrap_or(Ok(None))
    }
}

/// Reads what is there, and whether descriptors came with it. There is no room for them, so the kernel closes them unseen.
fn receive(door: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut nothing = RecvAncillaryBuffer::default();
    let message = recvmsg(door.as_fd(), &mut [IoSliceMut::new(buffer)], &mut nothing, RecvFlags::CMSG_CLOEXEC)?;
    Ok((message.bytes, message.flags.contains(ReturnFlags::CTRUNC)))
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    fn pair() -> (Direct, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (door, _write) = UnixStream::from_std(ours).unwrap().into_split();
        (Direct { door, frames: FrameReader::default(), buffer: vec![0; READ_BYTES].into() }, theirs)
    }

    #[tokio::test]
    async fn frames_come_in_order_and_then_the_end() {
        let (mut direct, mut program) = pair();
        let bytes = [frame::encode(b"one"), frame::encode(b""), frame::encode(&vec![7; 200_000])].concat();
        let writer = std::thread::spawn(move || io::Write::write_all(&mut program, &bytes));
        assert_eq!(direct.next().await, Ok(Some(b"one".to_vec())));
        assert_eq!(direct.next().await, Ok(Some(Vec::new())));
        assert_eq!(direct.next().await.unwrap().unwrap().len(), 200_000);
        writer.join().unwrap().unwrap();
        assert_eq!(direct.next().await, Ok(None));
    }

    #[tokio::test]
    async fn a_frame_above_the_limit_is_refused_at_its_header() {
        let (mut direct, mut program) = pair();
        io::Write::write_all(&mut program, &u32::MAX.to_le_bytes()).unwrap();
        assert_eq!(direct.next().await, Err(Misuse::FrameTooLarge(u32::MAX as usize)));
    }

    #[tokio::test]
    async fn descriptors_are_noticed_and_not_kept() {
        let (mut direct, program) = pair();
        let (read, mut write) = io::pipe().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let rights = [read.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&rights)));
        sendmsg(&program, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
        drop(read);
        assert_eq!(direct.next().await, Err(Misuse::Descriptors));
        assert_eq!(io::Write::write(&mut write, b"y").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
