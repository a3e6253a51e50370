//! Detection from mount tables, and the files each backend writes.

use std::fs;

use super::*;

const LIMITS: Limits = Limits { memory_bytes: 64 << 20, pids: 32, cpu_millis: 500, disk_bytes: 1 << 20 };

#[test]
fn a_hybrid_machine_is_read_as_v1_with_a_unified_tree() {
    let mounts = Mounts::parse(
        "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
         cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n\
         cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
         cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
         cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n",
    );
    assert_eq!(mounts.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
    assert_eq!(mounts.memory.as_deref(), Some(Path::new("/sys/fs/cgroup/memory")));
    assert_eq!(mounts.pids.as_deref(), Some(Path::new("/sys/fs/cgroup/pids")));
    assert_eq!(mounts.cpu.as_deref(), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
}

#[test]
fn a_v2_machine_has_only_the_unified_tree() {
    let mounts = Mounts::parse("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n");
    assert_eq!(mounts, Mounts { unified: Some("/sys/fs/cgroup".into()), ..Mounts::default() });
}

#[test]
fn v2_hands_the_controllers_down_every_level_and_writes_every_limit() {
    let root = tempfile::tempdir().expect("a directory");
    let home = root.path().join("quilt/cages");
    fs::create_dir_all(home.join("cage-1")).expect("directories");
    for level in ["", "quilt", "quilt/cages"] {
        fs::write(root.path().join(level).join("cgroup.subtree_control"), "").expect("a file");
    }
    let v2 = v2::V2::open(root.path(), "quilt/cages").expect("opens");
    for level in ["", "quilt", "quilt/cages"] {
        // The kernel would keep all three; a plain file shows the last write over the earlier ones.
        let text = fs::read_to_string(root.path().join(level).join("cgroup.subtree_control")).expect("text");
        assert_eq!(text, "+cpusry");
    }
    let files = [
        "memory.high",
        "memory.max",
        "memory.oom.group",
        "memory.swap.max",
        "pids.max",
        "cpu.max",
        "cgroup.max.descendants",
    ];
    for file in files {
        fs::write(home.join("cage-1").join(file), "").expect("a file");
    }
    v2.limit("cage-1", &LIMITS).expect("limits");
    let written: Vec<_> =
        files.iter().map(|file| fs::read_to_string(home.join("cage-1").join(file)).expect("text")).collect();
    assert_eq!(written, ["62914560", "67108864", "1", "0", "34", "50000 100000", "0"]);
    assert_eq!(v2.leaves().expect("leaves"), ["cage-1"]);
}

#[test]
fn the_smallest_cpu_share_is_what_the_kernel_accepts() {
    assert_eq!(quota_us(1), 1_000);
    assert_eq!(quota_us(2_500), 250_000);
}

#[test]
fn counters_are_read_from_keyed_files() {
    assert_eq!(keyed("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), 3);
    assert_eq!(keyed("max 7\n", "max"), 7);
    assert_eq!(keyed("", "max"), 0);
}
