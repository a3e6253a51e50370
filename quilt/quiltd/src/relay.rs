//! From the program's descriptors to the caller's stream, with back-pressure, until the program is no more.
//!
//! A piece is read only when the caller has room for it. Whatever the caller does, the program ends at its deadline, when
//! the caller is gone, and when the engine stops.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use aria_protocol::quilt::v1 as pb;
use aria_types::frame::FRAME_BYTES_MAX;
use pb::execute_response::Event;
use quilt_sandbox::Io;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::ending::Cause;
use crate::events::{Events, Room};
use crate::inbox::{Outbox, Writers};
use crate::sources::{Piece, Sources};

/// After a kill the program must be gone within this time, else the machine is ill and we stop waiting.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// After the program's end every process of the cage is dead, so its pipes are at their end or about to be.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Bounds the relay itself keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RelayLimits {
    /// stdout and stderr together.
    pub(crate) output_bytes: u64,
    /// From now.
    pub(crate) wall: Duration,
}

/// What the relay saw.
#[derive(Debug, Default)]
pub(crate) struct Relayed {
    /// Why we ended the program, if we did.
    pub(crate) cause: Option<Cause>,
    /// Whether the program is known to have ended.
    pub(crate) ended: bool,
    pub(crate) stdout_bytes: u64,
    pub(crate) stderr_bytes: u64,
    pub(crate) wall: Duration,
    /// For people; empty when there is nothing to say.
    pub(crate) detail: String,
}

/// One program's traffic.
pub(crate) struct Relay<'a> {
    sources: Sources,
    exit: AsyncFd<OwnedFd>,
    _writers: Writers,
    events: &'a Events,
    limits: RelayLimits,
    seen: Relayed,
}

impl<'a> Relay<'a> {
    /// Takes the descriptors and starts feeding `frames` and what comes through `outbox`.
    pub(crate) fn new(
        io: Io,
        outbox: Outbox,
        frames: Vec<Vec<u8>>,
        limits: RelayLimits,
        events: &'a Events,
    ) -> io::Result<Self> {
        let (door_in, door_out) = match io.door {
            Some(door) => {
                let door = std::os::unix::net::UnixStream::from(door);
                door.set_nonblocking(true)?;
                let (read, write) = UnixStream::from_std(door)?.into_split();
                (Some(read), Some(write))
            }
            None => (None, None),
        };
        Ok(Self {
            sources: Sources::new(io.stdout, io.stderr, door_in)?,
            exit: watch(io.exit)?,
            _writers: outbox.start(io.stdin, door_out, frames)?,
            events,
            limits,
            seen: Relayed::default(),
        })
    }

    /// Runs to the program's end. `kill` ends every process of the cage and does not wait; it is also called at the program's
    /// own end, for those it left behind.
    /// `revoked` ends it as `stop` does.
    pub(crate) async fn run(
        mut self,
        stop: &CancellationToken,
        revoked: &CancellationToken,
        kill: impl Fn(),
    ) -> Relayed {
        let started = Instant::now();
        let mut patience = started + self.limits.wall;
        let mut open = true;
        loop {
            let running = self.seen.cause.is_none();
            tokio::select! {
                biased;
                exit = self.exit.readable() => {
                    // Nobody reads from it: a descriptor that reports an end goes on reporting it.
                    drop(exit);
                    self.seen.ended = true;
                    break;
                }
                () = self.events.closed(), if running => patience = self.end(Cause::CallerGone, &kill),
                () = stop.cancelled(), if running => patience = self.end(Cause::Shutdown, &kill),
                () = revoked.cancelled(), if running => patience = self.end(Cause::Revoked, &kill),
                () = sleep_until(patience) => {
                    if !running {
                        break;
                    }
                    patience = self.end(Cause::Deadline, &kill);
                }
                (room, piece) = next(self.events, &mut self.sources), if open => match self.deliver(room, piece) {
                    Delivered::Fine => {}
                    Delivered::TooLarge if running => patience = self.end(Cause::OutputTooLarge, &kill),
                    Delivered::Misused if running => patience = self.end(Cause::DoorMisused, &kill),
                    Delivered::TooLarge | Delivered::Misused => {}
                    Delivered::End => open = false,
                }
            }
        }
        self.seen.wall = started.elapsed();
        kill();
        self.drain().await;
        self.seen
    }

    fn end(&mut self, cause: Cause, kill: &impl Fn()) -> Instant {
        kill();
        self.seen.cause = Some(cause);
        Instant::now() + KILL_GRACE
    }

    /// Delivers what the program had already written.
    async fn drain(&mut self) {
        while self.seen.cause != Some(Cause::CallerGone) {
            let Some(room) = self.events.room_soon().await else {
                self.seen.cause = Some(Cause::CallerGone);
                return;
            };
            let Ok(piece) = tokio::time::timeout(DRAIN_MAX, self.sources.next()).await else { break };
            match self.deliver(room, piece) {
                Delivered::Fine => {}
                Delivered::TooLarge => self.seen.cause = self.seen.cause.or(Some(Cause::OutputTooLarge)),
                Delivered::Misused => self.seen.cause = self.seen.cause.or(Some(Cause::DoorMisused)),
                Delivered::End => break,
            }
        }
        let cut = self.sources.unfinished_frame_bytes();
        if cut > 0 && self.seen.detail.is_empty() {
            self.seen.detail = format!("the guest door was closed {cut} bytes into a frame");
        }
    }

    fn deliver(&mut self, room: Room<'_>, piece: Piece) -> Delivered {
        let seen = &mut self.seen;
        let (stream, mut data) = match piece {
            Piece::End => return Delivered::End,
            Piece::Frame(frame) => {
                room.send(Event::GuestFrame(frame));
                return Delivered::Fine;
            }
            Piece::FrameTooLarge(bytes) => {
                seen.detail = format!("a guest frame of {bytes} bytes is longer than {FRAME_BYTES_MAX}");
                return Delivered::TooLarge;
            }
            Piece::Descriptors => {
                seen.detail = "descriptors came through the guest door".to_owned();
                return Delivered::Misused;
            }
            Piece::Stdout(data) => (pb::OutputStream::Stdout, data),
            Piece::Stderr(data) => (pb::OutputStream::Stderr, data),
        };
        let left = self.limits.output_bytes.saturating_sub(seen.stdout_bytes + seen.stderr_bytes);
        let too_large = data.len() as u64 > left;
        if too_large {
            data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            seen.detail = format!("more than {} bytes of output", self.limits.output_bytes);
            self.sources.close_output();
        }
        match stream {
            pb::OutputStream::Stdout => seen.stdout_bytes += data.len() as u64,
            _ => seen.stderr_bytes += data.len() as u64,
        }
        if !data.is_empty() {
            room.send(Event::Output(pb::Output { stream: stream.into(), data }));
        }
        if too_large { Delivered::TooLarge } else { Delivered::Fine }
    }
}

#[allow(deprecated, reason = "sound for an OwnedFd; the successor is unsafe, which this crate does without")]
fn watch(exit: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(exit, tokio::io::Interest::READABLE)
}

enum Delivered {
    Fine,
    TooLarge,
    Misused,
    End,
}

/// Room first, then a piece: what nobody has room for stays in the program's pipe. Waits for ever once the caller is gone.
async fn next<'a>(events: &'a Events, sources: &mut Sources) -> (Room<'a>, Piece) {
    match events.room().await {
        Some(room) => (room, sources.next().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Write, pipe};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;
    use crate::events::Message;
    use crate::inbox;

    /// A program made of pipes: it ends when it is told to or killed.
    struct Fake {
        stdout: PipeWriter,
        stderr: PipeWriter,
        alive: Mutex<Option<PipeWriter>>,
        kills: AtomicUsize,
        revoked: CancellationToken,
        stop: CancellationToken,
        events: Option<Events>,
        received: Option<mpsc::Receiver<Message>>,
        io: Option<Io>,
    }

    fn fake() -> Fake {
        let ((out, stdout), (err, stderr), (exit, alive)) = (pipe().unwrap(), pipe().unwrap(), pipe().unwrap());
        let (stdout_end, stderr_end) = (OwnedFd::from(out), OwnedFd::from(err));
        let io = Io { stdin: None, stdout: stdout_end, stderr: stderr_end, door: None, exit: exit.into() };
        let stop = CancellationToken::new();
        let (events, received) = Events::channel(stop.clone());
        let (events, received) = (Some(events), Some(received));
        let (alive, kills) = (Mutex::new(Some(alive)), AtomicUsize::new(0));
        Fake { stdout, stderr, alive, kills, revoked: CancellationToken::new(), stop, events, received, io: Some(io) }
    }

    impl Fake {
        fn end(&self) {
            self.alive.lock().unwrap().take();
        }

        async fn relay(&mut self, output_bytes: u64, wall_ms: u64) -> Relayed {
            let (_inbox, outbox) = inbox::pair(false, false, CancellationToken::new());
            let limits = RelayLimits { output_bytes, wall: Duration::from_millis(wall_ms) };
            let (io, events) = (self.io.take().unwrap(), self.events.take().unwrap());
            let relay = Relay::new(io, outbox, Vec::new(), limits, &events).unwrap();
            let kill = || {
                self.kills.fetch_add(1, Ordering::Relaxed);
                self.end();
            };
            relay.run(&self.stop, &self.revoked, kill).await
        }

        /// All output that was delivered.
        async fn delivered(&mut self) -> Vec<u8> {
            let (mut all, mut received) = (Vec::new(), self.received.take().unwrap());
            while let Some(message) = received.recv().await {
                match message.unwrap().event {
                    Some(Event::Output(output)) => all.extend(output.data),
                    other => panic!("{other:?}"),
                }
            }
            all
        }
    }

    #[tokio::test]
    async fn what_was_written_before_the_end_is_delivered() {
        let mut fake = fake();
        fake.stdout.write_all(b"abc").unwrap();
        fake.stderr.write_all(b"de").unwrap();
        fake.end();
        let seen = fake.relay(100, 60_000).await;
        assert_eq!((seen.cause, seen.ended, seen.stdout_bytes, seen.stderr_bytes), (None, true, 3, 2));
        assert_eq!(fake.kills.load(Ordering::Relaxed), 1, "what the program left behind is killed");
        let mut bytes = fake.delivered().await;
        bytes.sort_unstable();
        assert_eq!(bytes, b"abcde");
    }

    #[tokio::test]
    async fn whoever_holds_the_output_open_cannot_hold_the_end() {
        let mut fake = fake();
        fake.end();
        let begun = Instant::now();
        assert!(fake.relay(100, 60_000).await.ended);
        assert!(begun.elapsed() < Duration::from_secs(3));
    }

    #[tokio::test]
    async fn a_silent_program_ends_at_its_deadline() {
        let mut fake = fake();
        let seen = fake.relay(100, 30).await;
        assert_eq!((seen.cause, seen.ended), (Some(Cause::Deadline), true));
        assert!(seen.wall >= Duration::from_millis(30));
    }

    #[tokio::test]
    async fn a_stop_ends_the_program() {
        let mut fake = fake();
        fake.stop.cancel();
        let seen = fake.relay(100, 60_000).await;
        assert_eq!((seen.cause, seen.ended), (Some(Cause::Shutdown), true));
    }

    #[tokio::test]
    async fn a_revoked_lease_ends_the_program() {
        let mut fake = fake();
        fake.revoked.cancel();
        let seen = fake.relay(100, 60_000).await;
        assert_eq!((seen.cause, seen.ended), (Some(Cause::Revoked), true));
    }

    #[tokio::test]
    async fn exactly_the_limit_is_delivered() {
        let mut fake = fake();
        fake.stdout.write_all(&[b'x'; 101]).unwrap();
        let seen = fake.relay(100, 60_000).await;
        assert_eq!((seen.cause, seen.stdout_bytes), (Some(Cause::OutputTooLarge), 100));
        assert_eq!(fake.delivered().await.len(), 100);
    }

    #[tokio::test]
    async fn a_caller_that_left_is_noticed_without_any_output() {
        let mut fake = fake();
        fake.received = None;
        assert_eq!(fake.relay(100, 60_000).await.cause, Some(Cause::CallerGone));
    }
}
