//! Cages that were started ahead of their call: what they know, what they are given, what is left of them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::needs_cages;
use crate::support::*;
use quilt_sandbox::{
    Ask, Config, Engine, Exit, Io, Origin, OwnShelf, Profile, Sandbox, ShelfBounds, ShelfConfig, Shelves, Spec,
};

const HARNESS: &str = "/lib/aria/harness.js";
const GENERIC: &[u8] = br#"{"prepare":{}}"#;
const OWN: &[u8] = br#"{"prepare":{"module":"/app/tool.js"}}"#;
const INVOKE: &[u8] = br#"{"invoke":{"module":"/app/tool.js","inputJson":"{}"}}"#;

fn bounds(max: usize) -> ShelfBounds {
    ShelfBounds { max, idle: Duration::from_secs(60) }
}

fn shelf_config(generic: usize, own: usize) -> ShelfConfig {
    ShelfConfig {
        generic: bounds(generic),
        own: bounds(own),
        total_max: 8,
        memory_bytes_max: 1 << 30,
        host_bytes_min: 0,
    }
}

struct Stand {
    engine: Arc<Engine>,
    shelves: Shelves,
}

fn stand(generic: usize, own: usize) -> Stand {
    let engine = Arc::new(Engine::open(Config { pool: 2, ..config() }).expect("opens"));
    let shelves = Shelves::open(engine.clone(), shelf_config(generic, own)).expect("threads");
    Stand { engine, shelves }
}

/// A directory with one tool whose function has this body.
fn tool(body: &str) -> tempfile::TempDir {
    tool_with("", body)
}

fn tool_with(top: &str, body: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    let text = format!(
        "{top}\nexport const tool = {{ name: 't', input: null, output: null, async run(input) {{ {body} }} }};"
    );
    fs::write(dir.path().join("tool.js"), text).expect("written");
    dir
}

fn spec(dir: &tempfile::TempDir) -> Spec {
    let mut spec = App::new("").spec();
    spec.argv.pop();
    spec.argv.push(HARNESS.into());
    spec.app = Some(File::open(dir.path()).expect("opens").into());
    spec.profile = Profile::ToolNoexec;
    spec.out = true;
    spec.door = true;
    spec
}

impl Stand {
    fn take(&self, spec: &Spec, own: Option<(&str, &str)>) -> Option<(Sandbox, Io)> {
        let own = own.map(|(owner, key)| OwnShelf { owner, key, prepare: OWN });
        self.shelves.take(Ask { spec, prepare: GENERIC, own })
    }

    /// Asks, finds nothing, and waits until something is there.
    #[track_caller]
    fn learn(&self, spec: &Spec, own: Option<(&str, &str)>, ready: (usize, usize)) {
        if let Some((sandbox, _io)) = self.take(spec, own) {
            sandbox.destroy().map(|_| ()).expect("is destroyed");
        }
        self.await_ready(ready);
    }

    #[track_caller]
    fn await_ready(&self, ready: (usize, usize)) {
        let begin = Instant::now();
        while self.shelves.ready() != ready {
            assert!(begin.elapsed() < PATIENCE, "{:?} instead of {ready:?}", self.shelves.ready());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// One call of a taken cage: its answer.
#[track_caller]
fn call(taken: (Sandbox, Io)) -> serde_json::Value {
    let (mut sandbox, io) = taken;
    let door = io.door.as_ref().expect("a door");
    let bytes = [(INVOKE.len() as u32).to_le_bytes().as_slice(), INVOKE].concat();
    assert_eq!(nix::unistd::write(door, &bytes).expect("writes"), bytes.len());
    let frame = read_frame(door);
    let exit = sandbox.exit();
    sandbox.destroy().map(|_| ()).expect("is destroyed");
    let frame: serde_json::Value = serde_json::from_slice(&frame).expect("JSON");
    assert_eq!(exit, Exit::Code(0), "{frame}");
    let answer = frame["result"]["outputJson"].as_str().unwrap_or_else(|| panic!("{frame}"));
    serde_json::from_str(answer).expect("JSON")
}

fn read_frame(door: &OwnedFd) -> Vec<u8> {
    let exactly = |count: usize| {
        let mut bytes = vec![0; count];
        let mut have = 0;
        while have < count {
            wait_readable(door, PATIENCE);
            have += match nix::unistd::read(door, &mut bytes[have..]) {
                Ok(0) => panic!("the door was closed"),
                Ok(got) => got,
                Err(nix::errno::Errno::EAGAIN) => 0,
                Err(error) => panic!("{error}"),
            };
        }
        bytes
    };
    let length = exactly(4);
    exactly(u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize)
}

#[test]
fn a_generic_cage_gets_its_code_when_it_is_taken() {
    needs_cages!();
    let stand = stand(1, 0);
    let dir = tool(
        r#"const fs = require("node:fs"); const refused = (f) => { try { f(); return "done"; } catch (e) { return e.code; } };
        return { list: fs.readdirSync("/app").sort(), deep: fs.readFileSync("/app/data/a.txt", "utf8"),
          write: refused(() => fs.writeFileSync("/app/x", "")), change: refused(() => fs.appendFileSync("/app/tool.js", "x")),
          chmod: refused(() => fs.chmodSync("/app/tool.js", 0o777)), remove: refused(() => fs.unlinkSync("/app/tool.js")) };"#,
    );
    fs::create_dir(dir.path().join("data")).expect("made");
    fs::write(dir.path().join("data/a.txt"), "deep").expect("written");
    let spec = spec(&dir);
    assert!(stand.take(&spec, None).is_none(), "nothing is known before the first call");
    stand.await_ready((1, 0));
    let seen = call(stand.take(&spec, None).expect("one is ready"));
    assert_eq!((&seen["list"], &seen["deep"]), (&serde_json::json!(["data", "tool.js"]), &serde_json::json!("deep")));
    for what in ["write", "change", "chmod", "remove"] {
        let answer = seen[what].as_str().unwrap_or_default();
        assert!(["EROFS", "EACCES", "EPERM"].contains(&answer), "{what}: {seen}");
    }
}

#[test]
fn a_generic_cage_serves_any_directory_and_no_two_calls() {
    needs_cages!();
    let stand = stand(2, 0);
    let (one, two) =
        (tool("globalThis.n = (globalThis.n ?? 0) + 1; return ['one', globalThis.n];"), tool("return 'two';"));
    stand.learn(&spec(&one), None, (1, 0));
    assert_eq!(call(stand.take(&spec(&one), None).expect("ready")), serde_json::json!(["one", 1]));
    stand.await_ready((1, 0));
    assert_eq!(call(stand.take(&spec(&two), None).expect("ready")), "two");
    stand.await_ready((1, 0));
    assert_eq!(call(stand.take(&spec(&one), None).expect("ready")), serde_json::json!(["one", 1]));
}

#[test]
fn an_own_cage_has_its_module_loaded_and_is_one_owners_one_keys_one_directorys() {
    needs_cages!();
    let stand = stand(0, 1);
    let dir =
        tool_with("globalThis.loadedAt = performance.now();", "return performance.now() - globalThis.loadedAt > 300;");
    let other = tool("return 'other';");
    stand.learn(&spec(&dir), Some(("ann", "k")), (0, 1));
    std::thread::sleep(Duration::from_millis(400));
    assert!(stand.take(&spec(&dir), Some(("bob", "k"))).is_none(), "another owner");
    assert!(stand.take(&spec(&dir), Some(("ann", "l"))).is_none(), "another key");
    assert!(stand.take(&spec(&other), Some(("ann", "k"))).is_none(), "another directory");
    assert!(stand.take(&spec(&dir), None).is_none(), "no key");
    assert_eq!(call(stand.take(&spec(&dir), Some(("ann", "k"))).expect("ready")), true);
}

#[test]
fn requests_a_waiting_cage_cannot_serve_are_left_alone() {
    needs_cages!();
    let stand = stand(1, 0);
    let dir = tool("return 1;");
    stand.learn(&spec(&dir), None, (1, 0));
    let changes: [&dyn Fn(&mut Spec); 8] = [
        &|spec| spec.stdin = true,
        &|spec| spec.door = false,
        &|spec| spec.app = None,
        &|spec| spec.out = false,
        &|spec| spec.files = vec![("a".into(), File::open("/etc/hostname").expect("opens").into())],
        &|spec| drop(spec.env.insert("SECRET".into(), "x".into())),
        &|spec| spec.profile = Profile::Tool,
        &|spec| spec.limits.disk_bytes += 4096,
    ];
    for change in changes {
        let mut asked = spec(&dir);
        change(&mut asked);
        assert!(stand.take(&asked, None).is_none(), "{asked:?}");
    }
    assert_eq!(call(stand.take(&spec(&dir), None).expect("still there")), 1);
}

#[test]
fn the_limits_of_the_call_hold_from_its_first_instruction() {
    needs_cages!();
    let stand = stand(1, 0);
    let dir = tool("const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1));");
    stand.learn(&spec(&dir), None, (1, 0));
    let mut small = spec(&dir);
    small.limits.memory_bytes = 96 << 20;
    let (mut sandbox, io) = stand.take(&small, None).expect("ready");
    let bytes = [(INVOKE.len() as u32).to_le_bytes().as_slice(), INVOKE].concat();
    nix::unistd::write(io.door.as_ref().expect("a door"), &bytes).expect("writes");
    assert_eq!(sandbox.exit(), Exit::OomKilled);
    assert!(sandbox.usage().memory_peak_bytes <= 96 << 20);
    stand.await_ready((1, 0));
    // The largest file of a waiting cage was fixed from its memory, so one that wants more is made anew.
    let mut large = spec(&dir);
    large.limits.memory_bytes = LIMITS.memory_bytes * 2;
    assert!(stand.take(&large, None).is_none());
}

#[test]
fn code_that_waits_gets_no_processor_and_no_word() {
    needs_cages!();
    let stand = stand(0, 1);
    // The thread that waits for the call is stopped there; others of the program are not.
    let elsewhere = |code: &str| format!("new Worker(URL.createObjectURL(new Blob([{code:?}])));");
    let spins = tool_with(&elsewhere("for (;;);"), "return 1;");
    stand.learn(&spec(&spins), Some(("ann", "spins")), (0, 1));
    std::thread::sleep(Duration::from_millis(1500));
    let (sandbox, _io) = stand.take(&spec(&spins), Some(("ann", "spins"))).expect("ready");
    assert!(sandbox.usage().cpu < Duration::from_millis(200), "{:?}", sandbox.usage());
    sandbox.destroy().map(|_| ()).expect("is destroyed");

    let talk = "require('node:fs').writeSync(3, new Uint8Array(4));";
    let talks = tool_with(&elsewhere(talk), "return 1;");
    assert!(stand.take(&spec(&talks), Some(("ann", "talks"))).is_none());
    std::thread::sleep(Duration::from_millis(700));
    assert!(stand.take(&spec(&talks), Some(("ann", "talks"))).is_none(), "a cage that spoke before its call is none");
}

#[test]
fn a_program_that_never_gets_ready_is_nobodys() {
    needs_cages!();
    let stand = stand(0, 1);
    for (key, top) in [
        ("throws", "throw new Error('no')"),
        ("ends", "process.exit(0)"),
        ("speaks", "globalThis[Symbol.for('aria.door')].log('info', 'x', '{}')"),
    ] {
        let dir = tool_with(top, "return 1;");
        assert!(stand.take(&spec(&dir), Some(("ann", key))).is_none());
        std::thread::sleep(Duration::from_millis(300));
        assert!(stand.take(&spec(&dir), Some(("ann", key))).is_none(), "{key}");
    }
    assert_eq!(stand.shelves.ready(), (0, 0));
}

#[test]
fn a_directory_that_cannot_be_copied_gets_a_cage_of_its_own() {
    needs_cages!();
    let stand = stand(1, 0);
    let dir = tool("return 1;");
    stand.learn(&spec(&dir), None, (1, 0));
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).expect("links");
    assert!(stand.take(&spec(&dir), None).is_none());
}

#[test]
fn no_two_cages_of_a_tool_share_a_uid() {
    needs_cages!();
    let stand = stand(0, 2);
    let dir = tool("return process.pid;");
    let mut seen = BTreeSet::new();
    for _ in 0..6 {
        stand.learn_one(&spec(&dir));
        let (sandbox, io) = stand.take(&spec(&dir), Some(("ann", "k"))).expect("ready");
        let status = fs::read_to_string(format!("/proc/{}/status", program_pid(sandbox.id()))).expect("a status");
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("uids");
        assert!(uids.split_whitespace().all(|uid| uid == sandbox.uid().to_string()), "{uids}");
        // While this one lives another one is ready, which has a uid of its own.
        stand.learn_one(&spec(&dir));
        let beside = stand.take(&spec(&dir), Some(("ann", "k"))).expect("ready");
        for uid in [sandbox.uid(), beside.0.uid()] {
            assert!(seen.insert(uid), "uid {uid} came twice");
        }
        assert_eq!([call((sandbox, io)), call(beside)], [2, 2], "each is the one program of its cage");
    }
}

#[test]
fn no_cage_of_a_tool_finds_what_another_wrote() {
    needs_cages!();
    for (generic, own) in [(1, 0), (0, 1)] {
        let stand = stand(generic, own);
        let dir = tool(
            "const fs = require('node:fs'); const places = ['/tmp', '/out'];
            const found = places.flatMap((place) => fs.readdirSync(place, { recursive: true }));
            for (const place of places) { fs.mkdirSync(place + '/deep'); fs.writeFileSync(place + '/deep/mark', 'x'); fs.writeFileSync(place + '/.mark', 'x'); }
            globalThis.mark = (globalThis.mark ?? 0) + 1; process.env.MARK = (process.env.MARK ?? '') + 'x';
            return { found, mark: globalThis.mark, env: process.env.MARK, free: fs.statfsSync('/tmp').ffree };",
        );
        let key = (own > 0).then_some(("ann", "k"));
        let mut answers = BTreeSet::new();
        stand.learn(&spec(&dir), key, (generic, own));
        for _ in 0..4 {
            let seen = call(stand.take(&spec(&dir), key).expect("ready"));
            assert_eq!((&seen["found"], &seen["mark"], &seen["env"]), (&serde_json::json!([]), &1.into(), &"x".into()));
            answers.insert(seen.to_string());
            stand.await_ready((generic, own));
        }
        assert_eq!(answers.len(), 1, "every one begins alike: {answers:?}");
    }
}

#[test]
fn where_a_cage_comes_from_is_said() {
    needs_cages!();
    let stand = stand(1, 1);
    let dir = tool("return 1;");
    let fresh = stand.engine.spawn(spec(&dir)).expect("starts").0;
    stand.learn(&spec(&dir), Some(("ann", "k")), (1, 1));
    let own = stand.take(&spec(&dir), Some(("ann", "k"))).expect("ready").0;
    let generic = stand.take(&spec(&dir), None).expect("ready").0;
    assert_eq!([fresh.origin(), own.origin(), generic.origin()], [Origin::New, Origin::Own, Origin::Generic]);
}

#[test]
fn every_waiting_cage_has_randomness_of_its_own() {
    needs_cages!();
    let count: usize = std::env::var("QUILT_STARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let stand = stand(0, 2);
    let dir = tool_with(
        "const early = [Math.random(), crypto.randomUUID()];",
        "return [...early, Math.random(), crypto.randomUUID(), crypto.getRandomValues(new Uint32Array(2)).join()];",
    );
    let mut seen = BTreeSet::new();
    for _ in 0..count {
        stand.learn_one(&spec(&dir));
        let taken = stand.take(&spec(&dir), Some(("ann", "k"))).expect("ready");
        for value in call(taken).as_array().expect("a list") {
            assert!(seen.insert(value.to_string()), "{value} came twice");
        }
    }
    assert_eq!(seen.len(), 5 * count);
}

impl Stand {
    #[track_caller]
    fn learn_one(&self, spec: &Spec) {
        let begin = Instant::now();
        if self.shelves.ready().1 == 0
            && let Some((sandbox, _io)) = self.take(spec, Some(("ann", "k")))
        {
            drop(sandbox);
        }
        while self.shelves.ready().1 == 0 {
            assert!(begin.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn waiting_cages_go_when_the_shelves_do() {
    needs_cages!();
    let Stand { engine, shelves } = stand(2, 2);
    let stand = Stand { engine, shelves };
    let dir = tool("return 1;");
    stand.learn(&spec(&dir), Some(("ann", "k")), (1, 1));
    stand.shelves.clear();
    let Stand { engine, shelves } = stand;
    drop(shelves);
    let engine = Arc::into_inner(engine).expect("nobody else holds the engine");
    let cage = run_on(&engine, "process.exit(3)", |_| {});
    assert_eq!(cage.exit, Exit::Code(3));
}

#[test]
fn a_host_short_of_memory_keeps_none() {
    needs_cages!();
    let engine = Arc::new(engine());
    let config = ShelfConfig { host_bytes_min: u64::MAX, ..shelf_config(2, 2) };
    let shelves = Shelves::open(engine.clone(), config).expect("threads");
    let stand = Stand { engine, shelves };
    let dir = tool("return 1;");
    assert!(stand.take(&spec(&dir), None).is_none());
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(stand.shelves.ready(), (0, 0));
}
