//! Wire messages to the types of the port, and back. No decisions.

use std::path::Path;

use aria_core::port::{
    ChangeCounts, EndReason, Ended, EngineStatus, ExecuteError, ExecuteEvent, ExecuteRequest, Limits, Profile, Usage,
};
use aria_protocol::quilt::v1 as pb;
use aria_types::ErrorKind;
use pb::execute_response::Event;

/// What one message of the stream is.
pub(crate) enum Incoming {
    Event(ExecuteEvent),
    Ended(Ended),
    /// From a newer engine; skipped.
    Unknown,
}

pub(crate) fn request(
    request: ExecuteRequest,
    stdin: bool,
    direct_door: bool,
) -> Result<pb::ExecuteRequest, ExecuteError> {
    let code_dir = request.code_dir.as_deref().map(|dir| path("code_dir", dir)).transpose()?.unwrap_or_default();
    let mut files = Vec::with_capacity(request.files.len());
    for (name, file) in request.files {
        files.push(pb::InputFile { name, path: path("files", &file)? });
    }
    let profile = match request.profile {
        Profile::Tool => pb::Profile::Tool,
        Profile::ToolNoexec => pb::Profile::ToolNoexec,
        Profile::ToolNojit => pb::Profile::ToolNojit,
    };
    let workspace = request.workspace.map(|workspace| {
        let tree = path("workspace", &workspace.tree)?;
        Ok(pb::Workspace { tree, writable: workspace.writable, collect: workspace.collect })
    });
    let (prepare, shelf) = request.warm.map(|warm| (warm.prepare, warm.shelf)).unwrap_or_default();
    let (shelf, prepare_shelf) = shelf.map(|shelf| (shelf.key, shelf.prepare)).unwrap_or_default();
    let program = pb::Program {
        argv: request.argv,
        env: request.env.into_iter().collect(),
        profile: profile.into(),
        code_dir,
        files,
        guest_door: request.door_frames.is_some(),
        door_frames: request.door_frames.unwrap_or_default(),
        stdin,
        collect_out: request.collect_out,
        workspace: workspace.transpose()?,
        warm: !prepare.is_empty(),
        prepare,
        shelf,
        prepare_shelf,
        direct_door,
    };
    Ok(pb::ExecuteRequest {
        execution_id: request.execution_id,
        owner: request.owner,
        tokens: request.tokens,
        program: Some(program),
        limits: Some(limits(request.limits)),
        parent_execution_id: request.parent_execution_id.unwrap_or_default(),
        priority: request.priority,
        wait_ms: request.wait_ms,
        subject: request.subject,
        // A tool that is called has tokens of its own.
        lent: false,
    })
}

fn path(field: &str, path: &Path) -> Result<String, ExecuteError> {
    path.to_str().map(str::to_owned).ok_or_else(|| ExecuteError {
        kind: ErrorKind::Invalid,
        reason: "SPEC_INVALID".to_owned(),
        message: format!("{field}: {path:?} is not UTF-8"),
        metadata: std::collections::BTreeMap::new(),
    })
}

fn limits(limits: Limits) -> pb::Limits {
    pb::Limits {
        memory_bytes: limits.memory_bytes,
        pids: limits.pids,
        cpu_millis: limits.cpu_millis,
        disk_bytes: limits.disk_bytes,
        wall_ms: limits.wall_ms,
        output_bytes: limits.output_bytes,
    }
}

/// Whether this message says that the guest door waits to be taken.
pub(crate) fn direct_door(message: &pb::ExecuteResponse) -> bool {
    matches!(&message.event, Some(Event::Started(started)) if started.direct_door)
}

pub(crate) fn incoming(message: pb::ExecuteResponse) -> Incoming {
    let event = match message.event {
        None => return Incoming::Unknown,
        Some(Event::Ended(end)) => return Incoming::Ended(ended(end)),
        Some(Event::Queued(queued)) => ExecuteEvent::Queued { why: queued.why },
        Some(Event::Granted(pb::Granted { lease_id, fence, ttl_ms, .. })) => {
            ExecuteEvent::Granted { lease_id, fence, ttl_ms }
        }
        Some(Event::Renewed(renewed)) => ExecuteEvent::Renewed { ttl_ms: renewed.ttl_ms },
        Some(Event::Revoked(revoked)) => ExecuteEvent::Revoked { reason: revoked.reason },
        Some(Event::Started(started)) => ExecuteEvent::Started { sandbox_id: started.sandbox_id },
        Some(Event::Output(output)) => match output.stream() {
            pb::OutputStream::Stdout => ExecuteEvent::Stdout(output.data),
            pb::OutputStream::Stderr => ExecuteEvent::Stderr(output.data),
            pb::OutputStream::Unspecified => return Incoming::Unknown,
        },
        Some(Event::GuestFrame(frame)) => ExecuteEvent::Frame(frame),
        Some(Event::OutFile(file)) => ExecuteEvent::OutFile { name: file.name, size_bytes: file.size_bytes },
        Some(Event::WorkspaceChanges(pb::WorkspaceChanges { added, changed, deleted, size_bytes })) => {
            ExecuteEvent::WorkspaceChanges { changes: ChangeCounts { added, changed, deleted }, size_bytes }
        }
        Some(Event::OutChunk(chunk)) => ExecuteEvent::OutChunk(chunk),
    };
    Incoming::Event(event)
}

fn ended(end: pb::Ended) -> Ended {
    let reason = match end.reason() {
        pb::EndReason::Exited => EndReason::Exited(end.exit_code),
        pb::EndReason::Signalled | pb::EndReason::Unspecified => EndReason::Signalled(end.signal),
        pb::EndReason::Revoked => EndReason::Revoked,
        pb::EndReason::DoorMisused => EndReason::DoorMisused,
        pb::EndReason::Seccomp => EndReason::Seccomp,
        pb::EndReason::Deadline => EndReason::Deadline,
        pb::EndReason::OomKilled => EndReason::OomKilled,
        pb::EndReason::PidsLimit => EndReason::PidsLimit,
        pb::EndReason::DiskLimit => EndReason::DiskLimit,
        pb::EndReason::OutputTooLarge => EndReason::OutputTooLarge,
        pb::EndReason::Shutdown => EndReason::Shutdown,
    };
    Ended { reason, detail: end.detail, usage: usage(end.usage.unwrap_or_default()) }
}

fn usage(usage: pb::Usage) -> Usage {
    Usage {
        wall_ms: usage.wall_ms,
        cpu_ms: usage.cpu_ms,
        memory_peak_bytes: usage.memory_peak_bytes,
        stdout_bytes: usage.stdout_bytes,
        stderr_bytes: usage.stderr_bytes,
    }
}

pub(crate) fn status(status: pb::StatusResponse) -> EngineStatus {
    let layers = status.layers.into_iter().map(|layer| format!("{}: {}", layer.name, layer.state)).collect();
    EngineStatus { layers, sandboxes: status.sandboxes }
}

#[cfg(test)]
mod tests {
    use aria_core::port::{Shelf, Warm, Workspace};

    use super::*;

    #[test]
    fn every_end_reason_has_its_own_meaning() {
        let reasons = [
            (pb::EndReason::Exited, EndReason::Exited(7)),
            (pb::EndReason::Signalled, EndReason::Signalled(11)),
            (pb::EndReason::Seccomp, EndReason::Seccomp),
            (pb::EndReason::Deadline, EndReason::Deadline),
            (pb::EndReason::OomKilled, EndReason::OomKilled),
            (pb::EndReason::PidsLimit, EndReason::PidsLimit),
            (pb::EndReason::DiskLimit, EndReason::DiskLimit),
            (pb::EndReason::OutputTooLarge, EndReason::OutputTooLarge),
            (pb::EndReason::Shutdown, EndReason::Shutdown),
            (pb::EndReason::Revoked, EndReason::Revoked),
            (pb::EndReason::DoorMisused, EndReason::DoorMisused),
        ];
        for (wire, expected) in reasons {
            let end = pb::Ended { reason: wire.into(), exit_code: 7, signal: 11, ..pb::Ended::default() };
            assert_eq!(ended(end).reason, expected);
        }
    }

    #[test]
    fn a_request_says_whether_it_wants_stdin_and_a_door() {
        let asked = ExecuteRequest {
            execution_id: "id".into(),
            owner: "ann".into(),
            tokens: vec!["kv:a:ro".into()],
            argv: vec!["/bin/true".into()],
            env: std::collections::BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            profile: Profile::ToolNoexec,
            code_dir: Some("/srv/code".into()),
            files: vec![("a".into(), "/srv/a".into())],
            door_frames: Some(vec![b"one".to_vec()]),
            collect_out: true,
            limits: Limits { memory_bytes: 1, pids: 2, cpu_millis: 3, disk_bytes: 4, wall_ms: 5, output_bytes: 6 },
            parent_execution_id: Some("parent".into()),
            priority: 7,
            wait_ms: 8,
            subject: "tool:a.b".into(),
            warm: Some(Warm {
                prepare: b"any".to_vec(),
                shelf: Some(Shelf { key: "shelf".into(), prepare: b"own".to_vec() }),
            }),
            workspace: Some(Workspace { tree: "/srv/tree".into(), writable: true, collect: true }),
        };
        let wire = request(asked.clone(), true, false).unwrap();
        assert_eq!((wire.parent_execution_id.as_str(), wire.subject.as_str()), ("parent", "tool:a.b"));
        assert_eq!((wire.priority, wire.wait_ms), (7, 8));
        let program = wire.program.unwrap();
        assert!(program.stdin && program.guest_door && program.collect_out);
        assert_eq!((program.code_dir.as_str(), program.files[0].path.as_str()), ("/srv/code", "/srv/a"));
        assert_eq!(program.profile(), pb::Profile::ToolNoexec);
        assert_eq!((program.shelf.as_str(), program.warm), ("shelf", true));
        assert_eq!((program.prepare.as_slice(), program.prepare_shelf.as_slice()), (&b"any"[..], &b"own"[..]));
        let workspace = pb::Workspace { tree: "/srv/tree".into(), writable: true, collect: true };
        assert_eq!(program.workspace, Some(workspace));
        let limits = wire.limits.unwrap();
        assert_eq!((limits.memory_bytes, limits.pids, limits.cpu_millis), (1, 2, 3));
        assert_eq!((limits.disk_bytes, limits.wall_ms, limits.output_bytes), (4, 5, 6));
        let without = ExecuteRequest { door_frames: None, ..asked };
        assert!(!request(without, false, false).unwrap().program.unwrap().guest_door);
    }

    #[test]
    fn an_unknown_event_is_skipped() {
        assert!(matches!(incoming(pb::ExecuteResponse { event: None }), Incoming::Unknown));
    }
}
