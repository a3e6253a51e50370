//! The engine keeps launchers ready and turns one into a cage per call.

use crate::{CollectError, Config, DestroyError, Exit, Io, Layer, OpenError, OutFile, OutLimits, Spec, SpawnError, Usage};

/// Builds cages. One per daemon; share it behind an `Arc`.
#[derive(Debug)]
pub struct Engine {
    layers: Vec<Layer>,
}

impl Engine {
    /// Probes the machine's layers and removes everything a previous life left below `cgroup_name`. Blocks.
    pub fn open(_config: Config) -> Result<Engine, OpenError> {
        Err(OpenError::Config { what: "no backend yet".into() })
    }

    /// Starts one program in a cage of its own. Blocks for about a millisecond when a launcher is ready, until the
    /// program has been executed or a step failed; a failure leaves nothing.
    pub fn spawn(&self, _spec: Spec) -> Result<(Sandbox, Io), SpawnError> {
        Err(SpawnError::Closing)
    }

    /// What this machine gives every cage.
    pub fn layers(&self) -> Vec<Layer> {
        self.layers.clone()
    }
}

/// One cage. Dropping it destroys it (and blocks for that).
#[derive(Debug)]
pub struct Sandbox {
    id: String,
}

impl Sandbox {
    /// Unique among all cages of this machine, also across restarts.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How the program ended. Does not block once `Io.exit` is readable; before that it waits. The answer never changes.
    pub fn exit(&mut self) -> Exit {
        Exit::Killed
    }

    /// Ends every process in the cage; harmless after the end. Does not wait.
    pub fn kill(&self) {}

    /// What the cage used so far.
    pub fn usage(&self) -> Usage {
        Usage::default()
    }

    /// The files in `/out`. Ends every process of the cage first if one is still there after the program's own end.
    pub fn collect_out(&mut self, _limits: OutLimits) -> Result<Vec<OutFile>, CollectError> {
        Err(CollectError::NoOut)
    }

    /// Kills, reaps, removes the cgroups and releases the uid. Blocks, normally for a few milliseconds.
    pub fn destroy(self) -> Result<Usage, DestroyError> {
        Ok(Usage::default())
    }
}
