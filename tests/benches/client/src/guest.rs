//! The clock inside the booted image: it stands where the engine stands, as a service of PID 1, with the engine elsewhere.
//!
//! What to measure is in a file of the image; what came out goes to the second serial port, one line of JSON per mode.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::json;

use crate::stand::Stand;

const TASKS: &str = "/etc/bench.json";
const REPORT: &str = "/dev/ttyS1";
/// The other services have started by then.
const QUIET_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    mode: String,
    stand: Stand,
}

/// Measures everything on the list and waits for the machine to be switched off.
pub(crate) fn serve() -> anyhow::Result<()> {
    let mut report = File::options().write(true).open(REPORT).with_context(|| format!("open {REPORT}"))?;
    std::thread::sleep(QUIET_AFTER);
    let tasks = fs::read(TASKS).with_context(|| format!("read {TASKS}"))?;
    let tasks: Vec<Task> = serde_json::from_slice(&tasks).with_context(|| format!("parse {TASKS}"))?;
    for Task { mode, stand } in tasks {
        fs::create_dir_all(&stand.work).with_context(|| format!("create {}", stand.work.display()))?;
        let line = match crate::measure(&mode, &stand) {
            Ok(result) => json!({ "mode": mode, "result": result }),
            Err(error) => json!({ "mode": mode, "error": format!("{error:#}") }),
        };
        writeln!(report, "{line}").context("report")?;
    }
    writeln!(report, "{}", json!({ "mode": "done" })).context("report")?;
    loop {
        std::thread::park();
    }
}
