// case: C17
// attack: reach the cgroup tree: open its files, mount it, move itself, set release_agent
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: cgroup-namespace

import { Case, list, readText } from "./_case.ts";
import { O, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C17");
const own = readText("/proc/self/cgroup");
c.able("read its own status", (readText("/proc/self/status") ?? "").includes("Pid:"));

// With a cgroup namespace its own place is the root; the host's hierarchy is not named.
for (const line of (own ?? "").trim().split("\n").filter((one) => one !== "")) {
  const path = line.split(":").slice(2).join(":");
  c.held("own cgroup is shown as the root", path === "/" , line);
}
const BASES = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/cgroup", "/dev/cgroup", "/proc/self/root/sys/fs/cgroup", "/proc/1/root/sys/fs/cgroup", "/tmp/../sys/fs/cgroup", "/mnt/cgroup"];
const FILES = ["cgroup.procs", "tasks", "release_agent", "notify_on_release", "cgroup.kill", "cgroup.freeze", "memory.max", "memory.limit_in_bytes", "pids.max", "cpu.max",
  "devices.allow", "cgroup.subtree_control", "memory/memory.limit_in_bytes", "pids/pids.max", "devices/devices.allow", "freezer/freezer.state", "memory/release_agent"];
for (const base of BASES) {
  c.held(`list ${base}`, list(base).length === 0, list(base).join(" ").slice(0, 80));
  for (const file of FILES) {
    for (const flags of [O.RDONLY, O.WRONLY, O.RDWR]) {
      const fd = sys(NR.open, `${base}/${file}`, flags | O.CLOEXEC, 0);
      c.refused(`open ${base}/${file}`, fd);
      if (fd >= 0) sys(NR.close, fd);
    }
  }
  c.refused(`mkdir in ${base}`, sys(NR.mkdir, `${base}/aria-hostile`, 0o700));
}
sys(NR.mkdir, "/tmp/cg", 0o700);
for (const [type, options] of [["cgroup2", ""], ["cgroup", "memory"], ["cgroup", "pids"], ["cgroup", "rdma"], ["cgroup", "misc"], ["cgroup", "none,name=evil"], ["cgroup", "all"], ["cpuset", ""]] as const) {
  const mounted = sys(NR.mount, type, "/tmp/cg", type, 0, options === "" ? null : options);
  c.filtered(`mount ${type} ${options}`, mounted);
  c.filtered(`fsopen ${type}`, sys(NR.fsopen, type, 0));
}
c.filtered("bind /sys", sys(NR.mount, "/sys", "/tmp/cg", 0, 0x1000, 0));
c.filtered("open_tree clone of /sys", sys(NR.open_tree, -100, "/sys", 1));
c.filtered("unshare cgroup namespace", sys(NR.unshare, 0x02000000));
c.held("no cgroup mount", !/ - cgroup2? /.test(readText("/proc/self/mountinfo") ?? ""));
c.done(own?.trim().replaceAll("\n", " ").slice(0, 200) ?? "");
