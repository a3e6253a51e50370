//! Every field of the profile, read from the host's side and from inside.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::needs_cages;
use crate::support::*;
use quilt_sandbox::{Exit, LayerState, Profile};

const WAIT: &str = "console.log('ready'); for await (const _ of Bun.stdin.stream()) {}";

fn with_stdin(spec: &mut quilt_sandbox::Spec) {
    spec.stdin = true;
    spec.out = true;
    spec.door = true;
}

fn keyed(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(":\t")).collect()
}

#[test]
fn no_rights_are_left() {
    needs_cages!();
    let engine = engine();
    for profile in [Profile::Tool, Profile::ToolNoexec] {
        let (sandbox, _io, _app) = started(&engine, WAIT, |spec| {
            with_stdin(spec);
            spec.profile = profile;
        });
        let pid = program_pid(sandbox.id());
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let status = keyed(&status);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{set}");
        }
        assert_eq!((status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"]), ("1", "2", "1"));
        let uid = sandbox.uid().to_string();
        assert_eq!(status["Uid"], [uid.as_str(); 4].join("\t"));
        assert_eq!(status["Gid"], [uid.as_str(); 4].join("\t"));
        assert_eq!(status["Groups"].trim(), "");
        // Bun itself ignores SIGPIPE and SIGXFSZ; nothing else was inherited.
        assert_eq!((status["SigIgn"], status["SigBlk"]), ("0000000001001000", "0000000000000000"), "{profile:?}");
        let map: Vec<_> = ["uid_map", "gid_map"]
            .iter()
            .map(|file| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("map"))
            .map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        assert_eq!(map, [vec!["1000".to_owned(), uid.clone(), "1".into()], vec!["1000".into(), uid, "1".into()]]);
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/setgroups")).expect("setgroups"), "deny\n");
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("score"), "1000\n");
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/environ")).expect("environ").matches('\0').count(), 4);
    }
}

#[test]
fn live_cages_never_share_a_uid() {
    needs_cages!();
    let engine = engine();
    let cages: Vec<_> = (0..4).map(|_| started(&engine, WAIT, with_stdin)).collect();
    let mut uids: Vec<_> = cages.iter().map(|(sandbox, ..)| sandbox.uid()).collect();
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), 4);
    assert!(uids.iter().all(|uid| *uid >= 65_536));
}

#[test]
fn every_namespace_is_its_own() {
    needs_cages!();
    let engine = engine();
    let (one, _io1, _app1) = started(&engine, WAIT, with_stdin);
    let (two, _io2, _app2) = started(&engine, WAIT, with_stdin);
    let inode = |pid: &str, ns: &str| fs::metadata(format!("/proc/{pid}/ns/{ns}")).expect("namespace").ino();
    let (one, two) = (program_pid(one.id()).to_string(), program_pid(two.id()).to_string());
    for ns in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        let seen = [inode("self", ns), inode(&one, ns), inode(&two, ns)];
        assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2], "{ns}: {seen:?}");
    }
}

#[test]
fn limits_are_hard() {
    needs_cages!();
    let (sandbox, _io, _app) = started(&engine(), WAIT, with_stdin);
    let text = fs::read_to_string(format!("/proc/{}/limits", program_pid(sandbox.id()))).expect("limits");
    let limit = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).expect("the limit");
        let mut words = line[name.len()..].split_whitespace();
        (words.next().expect("soft").to_owned(), words.next().expect("hard").to_owned())
    };
    let same = |value: &str| (value.to_owned(), value.to_owned());
    assert_eq!(limit("Max open files"), same("1024"));
    assert_eq!(limit("Max core file size"), same("0"));
    assert_eq!(limit("Max locked memory"), same("65536"));
    assert_eq!(limit("Max pending signals"), same("1024"));
    assert_eq!(limit("Max msgqueue size"), same("0"));
    assert_eq!(limit("Max realtime priority"), same("0"));
    assert_eq!(limit("Max nice priority"), same("0"));
    assert_eq!(limit("Max stack size"), same("8388608"));
    assert_eq!(limit("Max file size"), same(&(LIMITS.disk_bytes + LIMITS.memory_bytes).to_string()));
}

#[test]
fn the_mounts_are_exactly_these() {
    needs_cages!();
    let engine = engine();
    let given = tempfile::NamedTempFile::new().expect("a file");
    let (sandbox, _io, _app) = started(&engine, WAIT, |spec| {
        with_stdin(spec);
        spec.files = vec![("data.csv".into(), fs::File::open(given.path()).expect("opens").into())];
    });
    let text = fs::read_to_string(format!("/proc/{}/mountinfo", program_pid(sandbox.id()))).expect("mountinfo");
    let mut mounts: Vec<_> = text
        .lines()
        .map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            let mut flags: Vec<_> =
                fields[5].split(',').filter(|flag| *flag != "relatime" && *flag != "noatime").collect();
            flags.sort_unstable();
            // No shared, master or propagate_from field: nothing that happens on the host reaches in.
            assert_eq!(fields[6], "-", "{line}");
            (fields[4].to_owned(), flags.join(","))
        })
        .collect();
    mounts.sort();
    let expected = [
        ("/", "nodev,nosuid,ro"),
        ("/app", "nodev,noexec,nosuid,ro"),
        ("/dev", "noexec,nosuid,ro"),
        ("/in", "nodev,noexec,nosuid,ro"),
        ("/in/data.csv", "nodev,noexec,nosuid,ro"),
        ("/out", "nodev,noexec,nosuid,rw"),
        ("/proc", "nodev,noexec,nosuid,rw"),
        ("/tmp", "nodev,noexec,nosuid,rw"),
    ];
    assert_eq!(mounts, expected.map(|(path, flags)| (path.to_owned(), flags.to_owned())));
    assert!(text.contains("hidepid=invisible") || text.contains("hidepid=2"), "{text}");
    assert!(text.contains("subset=pid"), "{text}");
    assert!(
        text.lines()
            .any(|line| line.contains(" /tmp ") && line.contains("size=16384k") && line.contains("nr_inodes=16384")),
        "{text}"
    );
}

#[test]
fn the_shim_holds_nothing_and_has_no_rights() {
    needs_cages!();
    let (sandbox, _io, _app) = started(&engine(), WAIT, with_stdin);
    let shim = shim_pid(sandbox.id());
    let status = fs::read_to_string(format!("/proc/{shim}/status")).expect("status");
    let status = keyed(&status);
    assert_eq!(
        (status["CapEff"], status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]),
        ("0000000000000000", "0000000000000000", "1", "2")
    );
    assert_eq!(fs::read(format!("/proc/{shim}/environ")).expect("environ"), b"");
    let open: Vec<_> = fs::read_dir(format!("/proc/{shim}/fd")).expect("fd").flatten().collect();
    assert_eq!(open.len(), 1, "{open:?}");
    // Undumpable: its files in /proc belong to root, whatever uid it runs under.
    assert_eq!(fs::metadata(format!("/proc/{shim}/environ")).expect("environ").uid(), 0);
}

#[test]
fn the_program_has_its_descriptors_and_no_others() {
    needs_cages!();
    let script = r#"
        import { readdirSync, readlinkSync } from "node:fs";
        const fds: Record<string, string> = {};
        for (const fd of readdirSync("/proc/self/fd")) {
          try { fds[fd] = readlinkSync("/proc/self/fd/" + fd).replace(/\d+/g, "N"); } catch {}
        }
        delete process.env.BUN_FEATURE_FLAG_NO_ORPHANS; // Bun's own, from --no-orphans.
        console.log(JSON.stringify({ fds, cwd: process.cwd(), env: process.env, argv: process.argv.slice(2) }));
    "#;
    let run = run_on(&engine(), script, |spec| {
        spec.door = true;
        spec.argv.push("an argument".into());
    });
    let seen = run.json();
    let fds = seen["fds"].as_object().expect("fds");
    assert_eq!(
        (&fds["0"], &fds["1"], &fds["2"], &fds["3"]),
        (&"/dev/null".into(), &"pipe:[N]".into(), &"pipe:[N]".into(), &"socket:[N]".into())
    );
    for (fd, target) in fds.iter().filter(|(fd, _)| fd.as_str() > "3") {
        let target = target.as_str().expect("text");
        assert!(
            target.starts_with("anon_inode:") || target.starts_with("/proc/N/fd") || target.starts_with("/app"),
            "{fd} → {target}"
        );
    }
    assert_eq!(seen["cwd"], "/tmp");
    assert_eq!(seen["argv"], serde_json::json!(["an argument"]));
    assert_eq!(
        seen["env"],
        serde_json::json!({"BUN_RUNTIME_TRANSPILER_CACHE_PATH": "0", "HOME": "/tmp", "PATH": "/bin", "TMPDIR": "/tmp"})
    );
}

#[test]
fn the_engine_tells_its_layers() {
    needs_cages!();
    let layers = engine().layers();
    for name in ["cgroup", "user-namespace", "seccomp", "pid-namespace", "network-namespace", "read-only-root"] {
        let layer = layers.iter().find(|layer| layer.name == name).expect("the layer");
        assert!(layer.required && matches!(layer.state, LayerState::Active(_)), "{layer:?}");
    }
    assert!(layers.iter().any(|layer| layer.name == "landlock" && !layer.required));
}

#[test]
fn a_door_carries_bytes_both_ways() {
    needs_cages!();
    let script = r#"
        import { readSync, writeSync } from "node:fs";
        const buffer = new Uint8Array(5);
        readSync(3, buffer);
        writeSync(3, new TextDecoder().decode(buffer).toUpperCase());
    "#;
    let app = App::new(script);
    let mut spec = app.spec();
    spec.door = true;
    let (mut sandbox, io) = engine().spawn(spec).expect("starts");
    let door = io.door.as_ref().expect("a door");
    nix::unistd::write(door, b"hello").expect("writes");
    wait_readable(door, PATIENCE);
    let mut bytes = [0; 5];
    nix::unistd::read(door, &mut bytes).expect("reads");
    assert_eq!(&bytes, b"HELLO");
    assert_eq!(sandbox.exit(), Exit::Code(0));
}
