//! Memory of sandboxes that are ready and wait for a call, beside bare Bun processes that do the same.
//!
//! Counted is the whole charge of one cgroup that holds them all (kernel memory, page tables, launchers and shims included),
//! less what it was charged before the first, divided by their number. Bun's binary is shared page cache, charged to whoever
//! read it first: to neither.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::json;

use crate::cgroup::{self, Charge};
use crate::engine::{cgroup_name, directory, open_engine, spec};
use crate::stand::Stand;
use crate::worker::{self, Door, Worker};

/// How long they are left alone before the charge is read: start-up garbage has been collected by then.
const SETTLE: Duration = Duration::from_secs(3);

pub(crate) fn measure(stand: &Stand) -> anyhow::Result<serde_json::Value> {
    let app = stand.app()?;
    worker::write_tool(&app)?;
    // Somebody is charged for Bun's file pages; it must be neither side.
    drop(Worker::start(&stand.root, &worker::prepare(Some(&app)))?.ready()?);
    let bare = bare_workers(stand, &app)?;
    let caged = cages(stand, &app)?;
    Ok(json!({ "count": stand.rounds, "cage": caged, "bare": bare }))
}

fn each(before: Charge, after: Charge, count: usize) -> serde_json::Value {
    let one = |after: u64, before: u64| after.saturating_sub(before) as f64 / count as f64;
    json!({ "all_bytes": one(after.all, before.all), "kernel_bytes": one(after.kernel, before.kernel) })
}

/// The tool is imported and the harness waits at its door, as in a sandbox on a shelf.
fn cages(stand: &Stand, app: &Path) -> anyhow::Result<serde_json::Value> {
    let engine = open_engine(stand, 0)?;
    let before = cgroup::charge(&cgroup_name())?;
    let mut ready = Vec::with_capacity(stand.rounds);
    for _ in 0..stand.rounds {
        let spec = spec(worker::harness("/".as_ref()), Some(directory(app)?), true);
        let (sandbox, mut io) = engine.spawn(spec).context("spawn")?;
        let mut door = Door::new(io.door.take().context("no door")?)?;
        door.send(&worker::prepare(Some("/app".as_ref())))?;
        ensure!(door.receive()?.is_empty(), "the cage did not get ready");
        ready.push((sandbox, io, door));
    }
    std::thread::sleep(SETTLE);
    let after = cgroup::charge(&cgroup_name())?;
    Ok(each(before, after, stand.rounds))
}

/// The same processes without a cage, started by a helper from inside one cgroup.
fn bare_workers(stand: &Stand, app: &Path) -> anyhow::Result<serde_json::Value> {
    let name = format!("aria-bench-idle-{}", Stand::number());
    let group = cgroup::path("memory", &name);
    fs::create_dir(&group).with_context(|| format!("create {group:?}"))?;
    let me = std::env::current_exe().context("own path")?;
    #[allow(clippy::disallowed_methods, reason = "a bench starts its peers")]
    let output = Command::new(me)
        .args(["--idle", &name, &stand.rounds.to_string()])
        .args([&stand.root, app])
        .stderr(Stdio::inherit())
        .output()
        .context("run the helper");
    fs::remove_dir(&group).with_context(|| format!("remove {group:?}"))?;
    serde_json::from_slice(&output?.stdout).context("the helper's answer")
}

/// The helper's side.
pub(crate) fn serve(args: &[String]) -> anyhow::Result<serde_json::Value> {
    let [name, count, root, app] = args else { bail!("--idle GROUP COUNT ROOT APP") };
    let (count, root, prepare) = (count.parse()?, Path::new(root), worker::prepare(Some(Path::new(app))));
    crate::peers::join(&cgroup::path("memory", name))?;
    let before = cgroup::charge(name)?;
    let ready = |_| Worker::start(root, &prepare)?.ready();
    let workers = (0..count).map(ready).collect::<anyhow::Result<Vec<_>>>()?;
    std::thread::sleep(SETTLE);
    let after = cgroup::charge(name)?;
    drop(workers);
    Ok(each(before, after, count))
}
