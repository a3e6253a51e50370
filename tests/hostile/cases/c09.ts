// case: C09
// attack: look for paths of the host: kernel trees, daemons' sockets and state, other sessions, other users, kernel facts in /proc
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: proc-options

import { statSync } from "node:fs";
import { Case, list, readText } from "./_case.ts";
import { AT_FDCWD, E, O, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C09");
c.able("stat a path of the cage", statSync("/bin/bun").size > 1_000_000);
c.able("see a missing path as missing", sys(NR.stat, "/definitely/not/here", new Uint8Array(256)) === -E.NOENT);

const HOST = [
  "/sys", "/sys/kernel", "/sys/fs/cgroup", "/sys/class", "/sys/firmware", "/boot", "/root", "/home", "/var", "/var/lib", "/var/lib/aria", "/var/lib/quilt", "/var/log",
  "/var/run", "/run", "/run/aria", "/run/aria/api.sock", "/run/quilt", "/run/quilt/api.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/crio",
  "/run/podman", "/run/dbus/system_bus_socket", "/run/systemd", "/run/user", "/run/udev", "/data", "/data/aria", "/mnt", "/media", "/opt", "/srv", "/sbin", "/oldroot",
  "/.oldroot", "/old_root", "/newroot", "/put_old", "/host", "/rootfs", "/.dockerenv", "/.flatpak-info", "/init", "/lost+found", "/etc/aria", "/etc/quilt", "/etc/shadow",
  "/etc/ssh", "/etc/ssl/private", "/etc/machine-id", "/etc/hostname", "/etc/fstab", "/etc/modprobe.d", "/etc/sudoers", "/usr/bin", "/usr/sbin", "/usr/local", "/lib/modules",
  "/lib/firmware", "/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/loop0", "/dev/loop-control", "/dev/mapper", "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/pts",
  "/dev/ptmx", "/dev/shm", "/dev/mqueue", "/dev/hugepages", "/dev/vsock", "/dev/vhost-vsock", "/dev/vhost-net", "/dev/console", "/dev/tty", "/dev/tty0", "/dev/input",
  "/dev/dri", "/dev/rtc0", "/dev/hwrng", "/dev/hpet", "/dev/cpu", "/dev/port", "/dev/watchdog", "/dev/userfaultfd", "/dev/bus", "/dev/fd/../../sys",
];
const stat = new Uint8Array(256);
for (const path of HOST) {
  for (const alias of [path, `/proc/self/root${path}`, `/proc/self/cwd/..${path}`]) {
    for (const [how, answer] of [
      ["stat", sys(NR.stat, alias, stat)], ["access", sys(NR.access, alias, 0)], ["open", sys(NR.open, alias, O.PATH | O.CLOEXEC, 0)],
      ["statx", sys(NR.statx, AT_FDCWD, alias, 0, 0xfff, stat)],
    ] as const) {
      c.refused(`${how} ${alias}`, answer, [E.NOENT, E.NOTDIR, E.ACCES, E.PERM]);
      if (how === "open" && answer >= 0) sys(NR.close, answer);
    }
  }
}

// /proc shows processes only.
const KERNEL = ["sys", "kcore", "kallsyms", "kmsg", "keys", "key-users", "cmdline", "cpuinfo", "meminfo", "version", "modules", "timer_list", "sched_debug", "interrupts", "iomem",
  "ioports", "bus", "fs", "irq", "acpi", "scsi", "asound", "pressure", "vmstat", "slabinfo", "sysvipc", "config.gz", "loadavg", "uptime", "stat", "partitions", "diskstats",
  "filesystems", "sysrq-trigger", "kpagecount", "kpageflags", "kpagecgroup", "swaps", "zoneinfo", "buddyinfo", "pagetypeinfo", "schedstat", "softirqs", "tty", "driver",
  "dma", "devices", "crypto", "consoles", "cgroups", "execdomains", "fb", "latency_stats", "locks", "mdstat", "misc", "mtrr", "vmallocinfo", "vmcore", "dynamic_debug"];
for (const name of KERNEL) {
  for (const alias of [`/proc/${name}`, `/proc/self/../${name}`, `/proc/self/root/proc/${name}`]) {
    c.refused(`stat ${alias}`, sys(NR.stat, alias, stat), [E.NOENT, E.ACCES]);
  }
}
const other = list("/proc").filter((name) => !/^\d+$/.test(name) && !["self", "thread-self", "mounts", "net"].includes(name));
c.held("/proc lists processes only", other.length === 0, other.join(" ").slice(0, 200));

// What is mounted, and that nothing of the host is named in /etc.
const mounts = (readText("/proc/self/mountinfo") ?? "").split("\n").filter((line) => line !== "");
for (const line of mounts) {
  const type = / - (\S+)/.exec(line)?.[1] ?? "";
  c.held(`mount of type ${type}`, !["sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "devtmpfs", "devpts", "mqueue", "bpf", "configfs", "fusectl", "efivarfs",
    "pstore", "hugetlbfs", "nsfs", "binfmt_misc"].includes(type));
}
for (const file of ["/etc/passwd", "/etc/group"]) {
  const lines = (readText(file) ?? "").trim().split("\n").filter((line) => line !== "");
  c.held(`${file} names only the cage's own`, lines.length <= 3, `${lines.length} lines`);
}
// sysinfo and uname are facts of the machine the filter lets through; the node name is not.
const uts = new Uint8Array(390);
c.able("uname", sys(NR.uname, uts) === 0);
const node = new TextDecoder().decode(uts.slice(65, 130)).replace(/\0.*$/s, "");
c.held("host name is the cage's own", node === "" || /^(aria|cage|sandbox|tool|localhost|quilt|\(none\))/.test(node), node);
c.done(`${mounts.length} mounts, node ${node}`);
