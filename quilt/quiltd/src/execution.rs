//! One execution from its admission to the removal of its cage. It is one task; its stream is the lease.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aria_protocol::quilt::v1 as pb;
use pb::execute_response::Event;
use quilt_sandbox::{CollectError, Exit, Io, OutFile, OutLimits, Sandbox, Spec, Usage};
use tokio::sync::OwnedSemaphorePermit;

use crate::ending::{Cause, Ending, ending};
use crate::events::Events;
use crate::fault::Fault;
use crate::inbox::Outbox;
use crate::limits::Limits;
use crate::plan::Plan;
use crate::relay::{Relay, RelayLimits, Relayed};
use crate::shared::{Admission, Lease, Live, Place, Shared};

/// Files handed back from `/out`.
const OUT_FILES_MAX: usize = 1000;
/// Bytes of a file in one message.
const OUT_CHUNK_BYTES: usize = 64 * 1024;

/// Everything one execution owns before it has a cage.
pub(crate) struct Execution {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plan: Plan,
    pub(crate) live: Live,
    pub(crate) outbox: Outbox,
    pub(crate) admission: Admission,
}

impl Execution {
    /// Runs to the end. The stream closes when nothing is left of the cage; `Ended` comes as soon as the end is known.
    pub(crate) async fn run(self, events: Events) {
        let Self { shared, plan, live, outbox, admission } = self;
        let slot = match admission {
            Admission::Slot(slot) => slot,
            Admission::Wait(place) => match wait(&shared, place, &events).await {
                Some(Ok(slot)) => slot,
                Some(Err(fault)) => return events.fail(fault).await,
                None => return,
            },
        };
        let started = match start(&shared, plan, &events).await {
            Some(Ok(started)) => started,
            Some(Err(fault)) => return events.fail(fault).await,
            None => return,
        };
        finish(&shared, started, outbox, &events).await;
        drop((live, slot));
    }
}

/// Waits for a slot; `None` when the caller left.
async fn wait(shared: &Shared, place: Place, events: &Events) -> Option<Result<OwnedSemaphorePermit, Fault>> {
    if !events.send(Event::Queued(pb::Queued { why: "every slot is taken".to_owned() })).await {
        return None;
    }
    tokio::select! {
        () = events.closed() => None,
        () = shared.stop.cancelled() => Some(Err(Fault::shutdown())),
        slot = place.slot() => Some(slot),
    }
}

/// A cage with a running program in it.
struct Started {
    cage: Cage,
    io: Io,
    lease: Lease,
    frames: Vec<Vec<u8>>,
    limits: Limits,
    out: bool,
}

/// Grants and spawns; `None` when the caller left.
async fn start(shared: &Arc<Shared>, mut plan: Plan, events: &Events) -> Option<Result<Started, Fault>> {
    let (limits, out) = (plan.limits, plan.out);
    let frames = plan.door.take();
    let spec = match spec(shared, &plan, frames.is_some()) {
        Ok(spec) => spec,
        Err(fault) => return Some(Err(fault)),
    };
    let lease = match Lease::take(shared, &plan.lease) {
        Ok(lease) => lease,
        Err(refusal) => return Some(Err(refusal.into())),
    };
    // The lease lives as long as the stream, so its time is that of the longest possible run.
    let granted = pb::Granted {
        lease_id: lease.grant.lease.to_string(),
        fence: lease.grant.fence,
        ttl_ms: limits.wall_ms.saturating_add(START_AND_CLEAN_MS),
    };
    if !events.send(Event::Granted(granted)).await {
        return None;
    }
    let engine = Arc::clone(&shared.engine);
    let (sandbox, io) = match tokio::task::spawn_blocking(move || engine.spawn(spec)).await {
        Ok(Ok(spawned)) => spawned,
        Ok(Err(error)) => return Some(Err(error.into())),
        Err(_) => return Some(Err(Fault::bug("the thread that built the cage ended"))),
    };
    let cage = Cage::new(shared, sandbox);
    Some(Ok(Started { cage, io, lease, frames: frames.unwrap_or_default(), limits, out }))
}

/// What a lease may outlive the wall time by: the longest wait for a launcher, then the time to kill and to clean.
const START_AND_CLEAN_MS: u64 = 45_000;

fn spec(shared: &Shared, plan: &Plan, door: bool) -> Result<Spec, Fault> {
    let app = plan.code_dir.as_deref().map(|path| shared.roots.open_dir(path)).transpose()?;
    let open =
        |(name, path): &(String, std::path::PathBuf)| shared.roots.open_file(path).map(|file| (name.clone(), file));
    let files = plan.files.iter().map(open).collect::<Result<Vec<(String, OwnedFd)>, Fault>>()?;
    let limits = plan.limits;
    Ok(Spec {
        argv: plan.argv.clone(),
        env: plan.env.clone(),
        profile: plan.profile,
        app,
        files,
        out: plan.out,
        door,
        stdin: plan.stdin,
        limits: quilt_sandbox::Limits {
            memory_bytes: limits.memory_bytes,
            pids: limits.pids,
            cpu_millis: limits.cpu_millis,
            disk_bytes: limits.disk_bytes,
        },
    })
}

/// Relays, reports and cleans.
async fn finish(shared: &Arc<Shared>, started: Started, outbox: Outbox, events: &Events) {
    let Started { cage, io, lease, frames, limits, out } = started;
    let sandbox_id = cage.sandbox.id().to_owned();
    tracing::debug!(sandbox_id, fence = lease.grant.fence, "started");
    let relay_limits = RelayLimits { output_bytes: limits.output_bytes, wall: Duration::from_millis(limits.wall_ms) };
    let relay = match Relay::new(io, outbox, frames, relay_limits, events) {
        Ok(relay) => relay,
        Err(error) => {
            cage.destroy().await;
            return events.fail(Fault::relay(&error)).await;
        }
    };
    // Without a caller there is no room for this event, and the relay sees that at once.
    events.send(Event::Started(pb::Started { sandbox_id: sandbox_id.clone() })).await;
    let seen = relay.run(&shared.stop, || cage.sandbox.kill()).await;
    if seen.cause == Some(Cause::CallerGone) {
        return cage.destroy().await;
    }
    let (cage, found) = cage.read(seen.ended, out.then_some(limits.disk_bytes)).await;
    // The lease ends before the caller hears of the end, so that its next request finds the tokens free.
    drop(lease);
    report(found, seen, events).await;
    cage.destroy().await;
}

/// Sends the files and the end.
async fn report(found: Found, mut seen: Relayed, events: &Events) {
    let Found { exit, usage, files } = found;
    let sent = match files {
        Ok(files) => send_files(files, events).await,
        // Files that are lost make the run incomplete like any other lost output, also those with a name nobody could show.
        Err(error @ (CollectError::TooMany { .. } | CollectError::TooLarge { .. } | CollectError::Entry { .. })) => {
            seen.cause = Some(Cause::OutputTooLarge);
            Err(error.to_string())
        }
        Err(error) => return events.fail(Fault::collect(&error)).await,
    };
    let ending = ending(seen.cause, exit, &usage);
    let detail = sent.err().unwrap_or(seen.detail);
    let Ending { reason, exit_code, signal } = ending;
    // Not `info`: the caller keeps the record of what ran, and a slow console must not slow every execution.
    tracing::debug!(reason = reason.as_str_name(), exit_code, signal, duration_ms = millis(seen.wall), "ended");
    let usage = pb::Usage {
        wall_ms: millis(seen.wall),
        cpu_ms: millis(usage.cpu),
        memory_peak_bytes: usage.memory_peak_bytes,
        stdout_bytes: seen.stdout_bytes,
        stderr_bytes: seen.stderr_bytes,
    };
    let ended = pb::Ended { reason: reason.into(), exit_code, signal, detail, usage: Some(usage) };
    events.send(Event::Ended(ended)).await;
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The files are in memory (a tmpfs nobody else can reach any more), so reading them does not block.
async fn send_files(files: Vec<OutFile>, events: &Events) -> Result<(), String> {
    for OutFile { name, size_bytes, mut file } in files {
        let problem = |what: &str| format!("/out/{name}: {what}");
        if !events.send(Event::OutFile(pb::OutFile { name: name.clone(), size_bytes })).await {
            return Err(problem("the caller is gone"));
        }
        let mut left = size_bytes;
        while left > 0 {
            let mut chunk = Vec::new();
            let piece = left.min(OUT_CHUNK_BYTES as u64);
            let read =
                file.by_ref().take(piece).read_to_end(&mut chunk).map_err(|error| problem(&error.to_string()))?;
            if read == 0 {
                return Err(problem("is shorter than it was"));
            }
            left -= read as u64;
            if !events.send(Event::OutChunk(chunk)).await {
                return Err(problem("the caller is gone"));
            }
        }
    }
    Ok(())
}

/// What is known of a program after its end.
struct Found {
    exit: Exit,
    usage: Usage,
    files: Result<Vec<OutFile>, CollectError>,
}

/// A sandbox that is counted while it exists, and destroyed off the async threads.
struct Cage {
    shared: Arc<Shared>,
    sandbox: Sandbox,
}

impl Cage {
    fn new(shared: &Arc<Shared>, sandbox: Sandbox) -> Self {
        shared.cages.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared), sandbox }
    }

    /// Reads what the cage knows of a program that is no more. Off the async threads: it reads the kernel's counters and may
    /// have to wait for processes the program left behind.
    async fn read(mut self, ended: bool, out_bytes_max: Option<u64>) -> (Self, Found) {
        let read = move || {
            // A program that survived the kill is reported as killed; `destroy` goes on trying.
            let exit = if ended { self.sandbox.exit() } else { Exit::Killed };
            let usage = self.sandbox.usage();
            // What a program left that did not end by itself is nobody's result.
            let files = match (out_bytes_max, exit) {
                (Some(bytes_max), Exit::Code(_)) => {
                    self.sandbox.collect_out(OutLimits { count_max: OUT_FILES_MAX, bytes_max })
                }
                _ => Ok(Vec::new()),
            };
            (self, Found { exit, usage, files })
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(read) => read,
            // Only a panic gets here, and it has already torn the cage down.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn destroy(self) {
        let Self { shared, sandbox } = self;
        let sandbox_id = sandbox.id().to_owned();
        match tokio::task::spawn_blocking(move || sandbox.destroy()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(sandbox_id, error = %crate::chain(&error), "a cage was not removed"),
            Err(error) => tracing::error!(sandbox_id, %error, "a cage was not removed"),
        }
        shared.cages.fetch_sub(1, Ordering::Relaxed);
    }
}
