//! What a program writes: stdout, stderr and the guest door, read in a fair order, one piece at a time.
//!
//! Nothing is read ahead: a piece is taken only when somebody has room for it, so a fast program fills its pipe and waits.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::unix::pipe;

use aria_types::frame::FrameReader;

use crate::direct;

/// One read, so also the most one piece holds.
const READ_BYTES: usize = 64 * 1024;

/// The next thing the program wrote.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Piece {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Frame(Vec<u8>),
    /// The program announced a frame of this many bytes, or wrote something that is no frame at all.
    FrameTooLarge(usize),
    /// Descriptors came through the door; the kernel has closed them.
    Descriptors,
    /// Everything is at its end.
    End,
}

/// The three descriptors; `None` once one is at its end.
#[derive(Debug)]
pub(crate) struct Sources {
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    door: Option<OwnedReadHalf>,
    frames: FrameReader,
    buffer: Box<[u8]>,
}

impl Sources {
    pub(crate) fn new(stdout: OwnedFd, stderr: OwnedFd, door: Option<OwnedReadHalf>) -> io::Result<Self> {
        Ok(Self {
            stdout: Some(pipe::Receiver::from_owned_fd(stdout)?),
            stderr: Some(pipe::Receiver::from_owned_fd(stderr)?),
            door,
            frames: FrameReader::default(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        })
    }

    /// Reads no more of stdout and stderr. A program that goes on writing gets a broken pipe.
    pub(crate) fn close_output(&mut self) {
        self.stdout = None;
        self.stderr = None;
    }

    /// Bytes of a frame that was begun and not finished.
    pub(crate) fn unfinished_frame_bytes(&self) -> usize {
        self.frames.unfinished_bytes()
    }

    /// The next piece. Dropping the future loses nothing: bytes are taken in the same poll that returns them.
    ///
    /// Among several that are ready one is picked at random, so that none can starve another.
    pub(crate) async fn next(&mut self) -> Piece {
        loop {
            if self.stdout.is_none() && self.stderr.is_none() && self.door.is_none() && !self.frames.has_frame() {
                return Piece::End;
            }
            let frame_waits = self.frames.has_frame();
            let piece = tokio::select! {
                () = std::future::ready(()), if frame_waits => self.frames.pop().map(Piece::Frame),
                () = readable(&self.door), if !frame_waits && self.door.is_some() => self.read_door(),
                () = pipe_readable(&self.stdout), if self.stdout.is_some() => {
                    read_pipe(&mut self.stdout, &mut self.buffer).map(Piece::Stdout)
                }
                () = pipe_readable(&self.stderr), if self.stderr.is_some() => {
                    read_pipe(&mut self.stderr, &mut self.buffer).map(Piece::Stderr)
                }
            };
            if let Some(piece) = piece {
                return piece;
            }
        }
    }

    fn read_door(&mut self) -> Option<Piece> {
        let door = self.door.as_ref()?.as_ref();
        let read = door.try_io(Interest::READABLE, || direct::receive(door, &mut self.buffer));
        if matches!(read, Ok((_, true))) {
            self.door = None;
            return Some(Piece::Descriptors);
        }
        let bytes = taken(read.map(|(bytes, _)| bytes), &mut self.door)?;
        match self.frames.push(&self.buffer[..bytes]) {
            Ok(()) => self.frames.pop().map(Piece::Frame),
            Err(too_large) => {
                self.door = None;
                Some(Piece::FrameTooLarge(too_large.bytes))
            }
        }
    }
}

async fn readable(door: &Option<OwnedReadHalf>) {
    match door {
        // An error shows again, and is handled, at the read that follows.
        Some(door) => drop(door.readable().await),
        None => std::future::pending().await,
    }
}

async fn pipe_readable(pipe: &Option<pipe::Receiver>) {
    match pipe {
        Some(pipe) => drop(pipe.readable().await),
        None => std::future::pending().await,
    }
}

fn read_pipe(pipe: &mut Option<pipe::Receiver>, buffer: &mut [u8]) -> Option<Vec<u8>> {
    let read = pipe.as_ref()?.try_read(buffer);
    taken(read, pipe).map(|bytes| buffer[..bytes].to_vec())
}

/// How many bytes came; at the end, or on an error, the source is closed.
fn taken<T>(read: io::Result<usize>, source: &mut Option<T>) -> Option<usize> {
    match read {
        Ok(bytes) if bytes > 0 => Some(bytes),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
        _ => {
            *source = None;
            None
        }
    }
}
