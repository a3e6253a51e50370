//! What a program that returned leaves behind: its files in `/out` and its changes in `/workspace`, taken from the dead cage and
//! sent to the caller.

use std::io::Read;

use aria_protocol::quilt::v1 as pb;
use pb::execute_response::Event;
use quilt_sandbox::{Access, ChangeStream, CollectError, OutFile, OutLimits, Sandbox};

use crate::events::Events;
use crate::plan::Plan;

/// Files handed back from `/out`.
const OUT_FILES_MAX: usize = 1000;
/// Bytes of a file in one message.
const CHUNK_BYTES: usize = 64 * 1024;

/// What the caller wants of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    out: bool,
    changes: Option<Changes>,
    /// Of `/out` and of the changes, each.
    bytes_max: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Changes {
    Counted,
    Sent,
}

/// What there is of it. Dropping it lets go of the files.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    files: Vec<OutFile>,
    changes: Option<(pb::WorkspaceChanges, Option<ChangeStream>)>,
}

impl Wanted {
    pub(crate) fn of(plan: &Plan) -> Self {
        let writable = plan.workspace.as_ref().filter(|workspace| workspace.access == Access::ReadWrite);
        let changes = writable.map(|workspace| if workspace.collect { Changes::Sent } else { Changes::Counted });
        Self { out: plan.out, changes, bytes_max: plan.limits.disk_bytes }
    }

    /// Takes it. Blocks for as long as reading the workspace once takes.
    pub(crate) fn take(self, sandbox: &mut Sandbox) -> Result<Leftovers, CollectError> {
        let limits = OutLimits { count_max: OUT_FILES_MAX, bytes_max: self.bytes_max };
        let files = if self.out { sandbox.collect_out(limits)? } else { Vec::new() };
        let Some(wanted) = self.changes else { return Ok(Leftovers { files, changes: None }) };
        let found = match sandbox.changes() {
            Ok(found) => found,
            // Nobody asked for more than a number, so the program's result stands without it.
            Err(error) if wanted == Changes::Counted && is_limit(&error) => {
                return Ok(Leftovers { files, changes: None });
            }
            Err(error) => return Err(error),
        };
        let (added, changed, deleted) = (found.added, found.changed, found.deleted);
        let any = added + changed + deleted > 0;
        let stream = if wanted == Changes::Sent && any { Some(found.stream(self.bytes_max)?) } else { None };
        let size_bytes = stream.as_ref().map_or(0, |stream| stream.size_bytes);
        let counts = pb::WorkspaceChanges { added, changed, deleted, size_bytes };
        Ok(Leftovers { files, changes: Some((counts, stream)) })
    }
}

/// Whether the program left what may not be left. Then its run is incomplete, like with any other lost output.
pub(crate) fn is_limit(error: &CollectError) -> bool {
    matches!(error, CollectError::TooMany { .. } | CollectError::TooLarge { .. } | CollectError::Entry { .. })
}

impl Leftovers {
    /// Sends it; why that was not possible. All of it is in memory (a tmpfs nobody else can reach any more), so reading does
    /// not block.
    pub(crate) async fn send(self, events: &Events) -> Result<(), String> {
        for OutFile { name, size_bytes, file } in self.files {
            let event = Event::OutFile(pb::OutFile { name: name.clone(), size_bytes });
            send_bytes(event, file, size_bytes, events).await.map_err(|what| format!("/out/{name}: {what}"))?;
        }
        match self.changes {
            None => Ok(()),
            Some((counts, None)) => announce(Event::WorkspaceChanges(counts), events).await,
            Some((counts, Some(stream))) => {
                let sent = send_bytes(Event::WorkspaceChanges(counts), stream, counts.size_bytes, events).await;
                sent.map_err(|what| format!("/workspace: {what}"))
            }
        }
    }
}

async fn announce(event: Event, events: &Events) -> Result<(), String> {
    if events.send(event).await { Ok(()) } else { Err("the caller is gone".to_owned()) }
}

async fn send_bytes(event: Event, mut source: impl Read, size_bytes: u64, events: &Events) -> Result<(), String> {
    announce(event, events).await?;
    let mut left = size_bytes;
    while left > 0 {
        let mut chunk = Vec::new();
        let piece = left.min(CHUNK_BYTES as u64);
        let read = source.by_ref().take(piece).read_to_end(&mut chunk).map_err(|error| error.to_string())?;
        if read == 0 {
            return Err("is shorter than it was".to_owned());
        }
        left -= read as u64;
        announce(Event::OutChunk(chunk), events).await?;
    }
    Ok(())
}
