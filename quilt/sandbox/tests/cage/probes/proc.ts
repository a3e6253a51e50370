// What /proc shows: the shim, other processes, the kernel's settings under several names.
import * as fs from "node:fs";
import { attempt } from "./prelude.ts";

const shim: Record<string, string> = {};
for (const file of ["environ", "maps", "mem", "fd", "root", "cwd", "exe", "status", "stat", "cmdline", "auxv", "task", "ns/mnt", "mountinfo", "limits", "syscall", "stack", "map_files", "fdinfo", "io", "oom_score_adj", "root/etc"]) {
  shim[file] = attempt(() => (fs.statSync(`/proc/1/${file}`).isDirectory() ? fs.readdirSync(`/proc/1/${file}`) : fs.readFileSync(`/proc/1/${file}`)));
}
const settings: Record<string, string> = {};
for (const alias of ["/proc", "/proc/self/root/proc", "/proc/thread-self/root/proc", "/tmp/../proc", "/proc/self/cwd/../proc", `/proc/${process.pid}/root/proc`]) {
  for (const file of ["sys/kernel/core_pattern", "sys/kernel/modprobe", "sysrq-trigger", "sys/fs/binfmt_misc/register", "sys/net/ipv4/ip_forward", "sys/kernel/hostname", "kcore", "kmsg", "kallsyms", "config.gz", "mem", "meminfo", "cmdline", "version", "net/tcp", "modules", "keys", "1/mem", "timer_list", "sched_debug", "mounts2", "bus", "scsi", "irq", "acpi", "fs"]) {
    for (const flags of ["r", "w"]) settings[`${alias}/${file} ${flags}`] = attempt(() => fs.openSync(`${alias}/${file}`, flags));
  }
}
const pids = fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name));
const cgroup = fs.readFileSync("/proc/self/cgroup", "utf8").trim().split("\n");
// Only hierarchies we made a leaf in show it, as the root.
const cgroup_is_root = cgroup.every((line) => !line.includes("quilt") && !line.includes("cage-"));
console.log(JSON.stringify({ self: String(process.pid), pids, shim, settings, cgroup_is_root }));
