//! One execution from its admission to the removal of its cage. It is one task; its stream is the lease.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aria_protocol::quilt::v1 as pb;
use pb::execute_response::Event;
use quilt_sandbox::{Ask, CollectError, Exit, Io, Origin, OwnShelf, Sandbox, SpawnError, Spec, Usage, Workspace};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::ending::{Cause, Ending, ending};
use crate::events::Events;
use crate::fault::Fault;
use crate::inbox::Outbox;
use crate::leases::{Lease, News, Place, Seat, millis};
use crate::leftovers::{Leftovers, Wanted, is_limit};
use crate::limits::Limits;
use crate::plan::{Plan, Warm};
use crate::relay::{Relay, RelayLimits, Relayed};
use crate::shared::{Live, Shared};

/// Everything one execution owns before it has a cage.
pub(crate) struct Execution {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plan: Plan,
    pub(crate) live: Live,
    pub(crate) outbox: Outbox,
    pub(crate) place: Place,
}

impl Execution {
    /// Runs to the end. The stream closes when nothing is left of the cage; `Ended` comes as soon as the end is known.
    pub(crate) async fn run(self, events: Events) {
        let Self { shared, plan, live, outbox, place } = self;
        let lease = match place {
            Place::Held(lease) => lease,
            Place::Waiting(seat) => match wait(&shared, seat, &events).await {
                Some(Ok(lease)) => lease,
                Some(Err(fault)) => return events.fail(fault).await,
                None => return,
            },
        };
        let started = match start(&shared, plan, &lease, &events).await {
            Some(Ok(started)) => started,
            Some(Err(fault)) => return events.fail(fault).await,
            None => return,
        };
        finish(&shared, started, &lease, outbox, &events).await;
        // The id is free before the slot is: whoever gets the slot may use the id.
        drop(live);
        drop(lease);
    }
}

/// Waits for tokens and a slot; `None` when the caller left.
async fn wait(shared: &Shared, mut seat: Seat, events: &Events) -> Option<Result<Lease, Fault>> {
    loop {
        match seat.now() {
            News::Held(lease) => return Some(Ok(lease)),
            News::Refused(refusal) => return Some(Err(refusal.into())),
            News::Wait(why) => {
                if !events.send(Event::Queued(pb::Queued { why })).await {
                    return None;
                }
            }
        }
        tokio::select! {
            () = events.closed() => return None,
            () = shared.stop.cancelled() => return Some(Err(Fault::shutdown())),
            () = seat.changed() => {}
        }
    }
}

/// A cage with a running program in it.
struct Started {
    cage: Cage,
    io: Io,
    frames: Vec<Vec<u8>>,
    /// The execution whose caller takes the door itself.
    direct: Option<String>,
    limits: Limits,
    wanted: Wanted,
}

/// Says what is granted and spawns; `None` when the caller left.
async fn start(shared: &Arc<Shared>, mut plan: Plan, lease: &Lease, events: &Events) -> Option<Result<Started, Fault>> {
    let (limits, wanted) = (plan.limits, Wanted::of(&plan));
    let frames = plan.door.take();
    let direct = plan.direct_door.then(|| plan.lease.execution_id.clone());
    let spec = match spec(shared, &plan, frames.is_some()) {
        Ok(spec) => spec,
        Err(fault) => return Some(Err(fault)),
    };
    let Some(ttl) = lease.left() else { return Some(Err(Fault::revoked())) };
    let granted =
        pb::Granted { lease_id: lease.grant.lease.to_string(), fence: lease.grant.fence, ttl_ms: millis(ttl) };
    if !renewing(lease, events.send(Event::Granted(granted))).await {
        return None;
    }
    let builder = Arc::clone(shared);
    let build = move || build(&builder, spec, plan.warm.as_ref(), &plan.lease.owner);
    let (sandbox, io) = match renewing(lease, tokio::task::spawn_blocking(build)).await {
        Ok(Ok(spawned)) => spawned,
        Ok(Err(error)) => return Some(Err(error.into())),
        Err(_) => return Some(Err(Fault::bug("the thread that built the cage ended"))),
    };
    let cage = Cage::new(shared, sandbox);
    Some(Ok(Started { cage, io, frames: frames.unwrap_or_default(), direct, limits, wanted }))
}

/// Renews the lease while there is no program yet that could use what it holds.
async fn renewing<T>(lease: &Lease, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = sleep(lease.grant.ttl / 3) => drop(lease.renew()),
        }
    }
}

/// A cage that waits for such a call, or a new one.
fn build(shared: &Shared, spec: Spec, warm: Option<&Warm>, owner: &str) -> Result<(Sandbox, Io), SpawnError> {
    let waiting = shared.shelves.as_ref().zip(warm).and_then(|(shelves, warm)| {
        let own = warm.shelf.as_ref().map(|shelf| OwnShelf { owner, key: &shelf.key, prepare: &shelf.prepare });
        shelves.take(Ask { spec: &spec, prepare: &warm.prepare, own })
    });
    match waiting {
        Some(taken) => Ok(taken),
        None => shared.engine.spawn(spec),
    }
}

fn spec(shared: &Shared, plan: &Plan, door: bool) -> Result<Spec, Fault> {
    let app = plan.code_dir.as_deref().map(|path| shared.roots.open_dir(path)).transpose()?;
    let open =
        |(name, path): &(String, std::path::PathBuf)| shared.roots.open_file(path).map(|file| (name.clone(), file));
    let files = plan.files.iter().map(open).collect::<Result<Vec<(String, OwnedFd)>, Fault>>()?;
    let limits = plan.limits;
    let workspace = match &plan.workspace {
        Some(wanted) => Some(Workspace { tree: shared.roots.read_file(&wanted.tree)?, access: wanted.access }),
        None => None,
    };
    Ok(Spec {
        argv: plan.argv.clone(),
        env: plan.env.clone(),
        profile: plan.profile,
        app,
        files,
        out: plan.out,
        workspace,
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
async fn finish(shared: &Arc<Shared>, started: Started, lease: &Lease, outbox: Outbox, events: &Events) {
    let Started { cage, mut io, mut frames, direct, limits, wanted } = started;
    let sandbox_id = cage.sandbox.id().to_owned();
    tracing::debug!(sandbox_id, fence = lease.grant.fence, "started");
    let relay_limits = RelayLimits { output_bytes: limits.output_bytes, wall: Duration::from_millis(limits.wall_ms) };
    let offered = direct.and_then(|id| io.door.take().map(|door| (id, door)));
    let offer = match offered.map(|(id, door)| shared.doors.offer(id, door, std::mem::take(&mut frames))).transpose() {
        Ok(offer) => offer,
        Err(error) => {
            cage.destroy().await;
            return events.fail(Fault::relay(&error)).await;
        }
    };
    let relay = match Relay::new(io, outbox, frames, relay_limits, events) {
        Ok(relay) => relay,
        Err(error) => {
            cage.destroy().await;
            return events.fail(Fault::relay(&error)).await;
        }
    };
    // Without a caller there is no room for this event, and the relay sees that at once.
    let origin = match cage.sandbox.origin() {
        Origin::New => pb::SandboxOrigin::New,
        Origin::Generic => pb::SandboxOrigin::Generic,
        Origin::Own => pb::SandboxOrigin::Shelf,
    };
    let started = pb::Started { sandbox_id: sandbox_id.clone(), direct_door: offer.is_some(), origin: origin.into() };
    events.send(Event::Started(started)).await;
    let revoked = CancellationToken::new();
    let mut seen = tokio::select! {
        biased;
        seen = relay.run(&shared.stop, &revoked, || cage.sandbox.kill()) => seen,
        never = keep(lease, &cage.sandbox, &revoked, events) => match never {},
    };
    if seen.cause == Some(Cause::Revoked) && seen.detail.is_empty() {
        seen.detail = format!("the lease ended: {}", lease.revoked().await);
    }
    if seen.cause == Some(Cause::CallerGone) {
        return cage.destroy().await;
    }
    let (cage, found) = cage.read(seen.ended, wanted).await;
    // The lease ends before the caller hears of the end, so that its next request finds the tokens free.
    lease.release();
    report(found, seen, events).await;
    cage.destroy().await;
    if let Some(offer) = offer {
        tokio::select! {
            () = offer.taken() => {}
            () = events.closed() => {}
        }
    }
}

/// Renews the lease while the program can act, tells the caller, and says through `revoked` when the lease is over.
async fn keep(lease: &Lease, sandbox: &Sandbox, revoked: &CancellationToken, events: &Events) -> Infallible {
    // Three attempts in each life of a lease.
    let pause = lease.grant.ttl / 3;
    let mut untold = None;
    loop {
        tokio::select! {
            why = lease.revoked() => {
                revoked.cancel();
                events.send(Event::Revoked(pb::Revoked { reason: why })).await;
                return std::future::pending().await;
            }
            () = sleep(pause) => {
                // What holds nothing has nothing that could be used too late.
                if lease.is_empty() || sandbox.can_act() {
                    untold = lease.renew().map(|ttl| Instant::now() + ttl);
                }
            }
            // A caller that is slow to take output does not hold up the renewal, and hears what is left when it takes it.
            Some(room) = events.room(), if untold.is_some() => {
                let ttl = untold.take().map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
                room.send(Event::Renewed(pb::Renewed { ttl_ms: millis(ttl) }));
            }
        }
    }
}

/// Sends the files and the end.
async fn report(found: Found, mut seen: Relayed, events: &Events) {
    let Found { exit, usage, leftovers } = found;
    let sent = match leftovers {
        Ok(leftovers) => leftovers.send(events).await,
        Err(error) if is_limit(&error) => {
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

/// What is known of a program after its end.
struct Found {
    exit: Exit,
    usage: Usage,
    leftovers: Result<Leftovers, CollectError>,
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
    async fn read(mut self, ended: bool, wanted: Wanted) -> (Self, Found) {
        let read = move || {
            // A program that survived the kill is reported as killed; `destroy` goes on trying.
            let exit = if ended { self.sandbox.exit() } else { Exit::Killed };
            let usage = self.sandbox.usage();
            // What a program left that did not end by itself is nobody's result.
            let leftovers = match exit {
                Exit::Code(_) => wanted.take(&mut self.sandbox),
                _ => Ok(Leftovers::default()),
            };
            (self, Found { exit, usage, leftovers })
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
