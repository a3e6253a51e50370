//! Makes one cage for a shelf: started, prepared, ready.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::{Id, Ready, Shelf};
use crate::engine::Code;
use crate::launcher::{at, readable};
use crate::{Engine, Limits, SpawnError, Spec};

/// A program that is not ready by then will not be.
const READY_WAIT_MAX: Duration = Duration::from_secs(5);
/// The answer to a prepare frame: a frame of no bytes.
const READY: [u8; 4] = [0; 4];

/// What a cage of one shelf is made of.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) id: Id,
    limits: Limits,
    code: Option<Arc<OwnedFd>>,
}

impl Recipe {
    pub(super) fn of(shelf: &Shelf) -> Recipe {
        Recipe { id: shelf.id.clone(), limits: shelf.limits, code: shelf.code.clone() }
    }

    fn spec(&self) -> io::Result<Spec> {
        let Id { argv, env, profile, out, disk_bytes, .. } = self.id.clone();
        Ok(Spec {
            argv,
            env,
            profile,
            app: self.code.as_ref().map(|code| code.try_clone()).transpose()?,
            files: Vec::new(),
            out,
            workspace: None,
            door: true,
            stdin: false,
            limits: Limits { disk_bytes, ..self.limits },
        })
    }

    /// Blocks until the program is ready. A failure leaves nothing.
    pub(super) fn make(&self, engine: &Engine) -> Result<Ready, SpawnError> {
        let spec = self.spec().map_err(at("shelf-directory"))?;
        let limits = spec.limits;
        let code = if self.code.is_some() { Code::Given } else { Code::Later };
        let (mut sandbox, io) = engine.spawn_ahead(spec, code)?;
        let door = io.door.as_ref().ok_or_else(|| at("prepare")(io::ErrorKind::NotConnected.into()))?;
        prepare(door, &self.id.prepare).map_err(at("prepare"))?;
        sandbox.begin();
        let memory_bytes = sandbox.memory_bytes();
        Ok(Ready { sandbox, io, limits, memory_bytes, settled: None })
    }
}

/// Writes the frame and waits for the empty one; anything else is no answer.
fn prepare(door: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let bytes = [length.to_le_bytes().as_slice(), frame].concat();
    // A socket that nobody has written to takes a frame this small whole; one that does not is no door to wait at.
    if nix::unistd::write(door, &bytes)? != bytes.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let deadline = Instant::now() + READY_WAIT_MAX;
    let mut answer = Vec::with_capacity(READY.len());
    while answer.len() < READY.len() {
        if !readable(door.as_fd(), deadline.saturating_duration_since(Instant::now()))? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut piece = [0; READY.len()];
        let room = READY.len() - answer.len();
        match nix::unistd::read(door, piece.get_mut(..room).unwrap_or_default()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(got) => answer.extend_from_slice(piece.get(..got).unwrap_or_default()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if answer == READY { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
