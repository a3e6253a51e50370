//! What the fuzz targets need to reach: the reader of a request.
//!
//! The product never calls this module.

use std::path::PathBuf;

use aria_protocol::quilt::v1 as pb;
use prost::Message;
use tonic::Status;

use crate::limits::{LimitRange, Limits};

/// A request that can be acted on, as far as a stranger chose it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Planned {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Host directory for `/app`.
    pub code_dir: Option<PathBuf>,
    /// Names in `/in`, with host paths.
    pub files: Vec<(String, PathBuf)>,
    /// Lengths of the frames for the door.
    pub frames: Vec<usize>,
    /// Bytes of memory it may use.
    pub memory_bytes: u64,
    /// Milliseconds it may run.
    pub wall_ms: u64,
}

/// The most a planned request may use here.
pub const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// The longest a planned request may run here.
pub const WALL_MS_MAX: u64 = 3_600_000;

/// Reads a request from the wire as the engine does; a refusal is what its caller is told. `None`: it is no such message.
pub fn plan(bytes: &[u8]) -> Option<Result<Planned, Box<Status>>> {
    pb::ExecuteRequest::decode(bytes).ok().map(planned)
}

fn planned(request: pb::ExecuteRequest) -> Result<Planned, Box<Status>> {
    let max = Limits {
        memory_bytes: MEMORY_BYTES_MAX,
        pids: 256,
        cpu_millis: 4000,
        disk_bytes: 1 << 30,
        output_bytes: 1 << 30,
        wall_ms: WALL_MS_MAX,
    };
    let default = Limits { memory_bytes: 1 << 20, pids: 8, cpu_millis: 100, wall_ms: 1000, ..max };
    let plan = crate::plan::plan(&LimitRange { default, max }, request).map_err(|fault| Box::new(fault.into()))?;
    Ok(Planned {
        argv: plan.argv,
        env: plan.env.into_iter().collect(),
        code_dir: plan.code_dir,
        files: plan.files,
        frames: plan.door.unwrap_or_default().iter().map(Vec::len).collect(),
        memory_bytes: plan.limits.memory_bytes,
        wall_ms: plan.limits.wall_ms,
    })
}
