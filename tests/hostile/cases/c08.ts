// case: C08
// attack: reach the host's files by dot-dot, absolute paths, /proc links, descriptors, symlinks, chroot tricks, file handles
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { Case, list, readText } from "./_case.ts";
import { AT_FDCWD, E, O, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C08");
mkdirSync("/tmp/a/b/c", { recursive: true });
writeFileSync("/tmp/a/file", "here");
c.able("dot-dot inside the cage", readFileSync("/tmp/a/b/c/../../file", "utf8") === "here");

const IMAGE = new Set(["app", "bin", "dev", "etc", "in", "lib", "lib64", "out", "proc", "tmp", "usr", "workspace"]);
const isImage = (names: string[]): boolean => names.length > 0 && names.every((name) => IMAGE.has(name));
c.held("root holds only the image", isImage(list("/")), list("/").join(" "));
const root = statSync("/", { bigint: true });

const ups = Array.from({ length: 12 }, (_, i) => "../".repeat(i + 1));
const doors = [
  ...ups, ...ups.map((up) => `/${up}`), "/proc/self/root/..", "/proc/self/root/../..", "/proc/self/cwd/../../..", `/proc/${process.pid}/root/..`,
  "/proc/thread-self/root/..", `/proc/self/task/${process.pid}/root/..`, "/proc/1/root", "/proc/1/root/..", "/proc/1/cwd/../../..",
  "/proc/self/fd/0/..", "/proc/self/fd/1/..", "/proc/self/fd/2/..", "/dev/fd/3/..", "//", "/./..", "/app/../..", "/in/../..", "/out/../..", "/bin/../../..",
];
for (const door of doors) {
  try {
    const at = statSync(door, { bigint: true });
    c.held(`${door} is the cage's root or below`, at.dev !== root.dev || at.ino === root.ino || isInside(door), `${at.dev}:${at.ino}`);
    c.held(`${door} shows no host directory`, !list(door).some((name) => ["boot", "root", "home", "var", "sys", "data"].includes(name)), list(door).join(" ").slice(0, 120));
  } catch {
    c.held(door, true);
  }
}
function isInside(path: string): boolean {
  return list(path).every((name) => !["boot", "root", "home", "var", "sys"].includes(name));
}

const HOST_FILES = ["etc/shadow", "etc/gshadow", "etc/hostname", "etc/machine-id", "etc/os-release", "etc/fstab", "etc/sudoers", "etc/ssh/sshd_config", "root/.bashrc",
  "var/lib/dpkg/status", "usr/bin/env", "etc/aria/aria.toml", "etc/quilt/quilt.toml", "boot/vmlinuz", "proc/1/environ", "sys/kernel/notes"];
for (const file of HOST_FILES) {
  for (const prefix of ["/", ...ups, "/proc/self/root/", "/proc/1/root/", "/proc/self/cwd/../", "/proc/self/root/../../", "/tmp/../../", "/app/../"]) {
    if (file === "proc/1/environ" && process.pid === 1) continue;
    c.held(`${prefix}${file}`, (readText(prefix + file) ?? "") === "" , "readable");
  }
}

// Symlinks made by the tool, followed by path and by descriptor.
symlinkSync("../../../../../../../../..", "/tmp/up");
symlinkSync("/", "/tmp/abs");
symlinkSync("/proc/1/root", "/tmp/one");
for (const link of ["/tmp/up", "/tmp/abs", "/tmp/one"]) {
  const names = list(link);
  c.held(`symlink ${link}`, names.length === 0 || isImage(names), names.join(" ").slice(0, 120));
}

// Descriptors: climb from each open one, and with openat2 in every resolve mode.
for (const start of [AT_FDCWD, ...list("/proc/self/fd").map(Number)]) {
  for (const up of ["..", "../..", "../../../../../.."]) {
    const fd = sys(NR.openat, start, up, O.RDONLY | O.DIRECTORY | O.CLOEXEC, 0);
    if (fd < 0) continue;
    const names = list(`/proc/self/fd/${fd}`);
    c.held(`openat(${start}, ${up})`, names.length === 0 || isImage(names) || names.every((name) => !["boot", "var", "home"].includes(name)), names.join(" ").slice(0, 120));
    sys(NR.close, fd);
  }
}
for (const resolve of [0, 0x10, 0x08, 0x04]) {
  const fd = sys(NR.openat2, AT_FDCWD, "../../../../../../etc/shadow", words(O.RDONLY, 0, resolve), 24);
  c.refused(`openat2 resolve ${resolve}`, fd);
}

// The classic chroot escape and its relatives.
const rootFd = sys(NR.open, "/", O.RDONLY | O.DIRECTORY | O.CLOEXEC, 0);
c.able("open /", rootFd >= 0);
c.refused("chroot", sys(NR.chroot, "/tmp/a"), [E.PERM, E.NOSYS]);
sys(NR.fchdir, rootFd);
for (let i = 0; i < 64; i++) sys(NR.chdir, "..");
const cwd = new Uint8Array(4096);
const length = sys(NR.getcwd, cwd, 4096);
c.held("climbing ends at the cage's root", length > 0 && new TextDecoder().decode(cwd.slice(0, length - 1)) === "/", String(length));
c.held("and it holds only the image", isImage(list(".")), list(".").join(" ").slice(0, 120));
sys(NR.chdir, "/tmp");

// File handles go round every path check.
const handle = new Uint8Array(136);
new DataView(handle.buffer).setUint32(0, 128, true);
c.refused("name_to_handle_at /", sys(NR.name_to_handle_at, AT_FDCWD, "/", handle, new Int32Array(1), 0), [E.PERM, E.NOSYS]);
for (const inode of [2, 128, 256]) {
  for (const [type, bytes] of [[1, 8], [2, 12], [0x81, 12]] as const) {
    const guess = new DataView(new ArrayBuffer(24));
    guess.setUint32(0, bytes, true);
    guess.setInt32(4, type, true);
    guess.setUint32(8, inode, true);
    c.refused(`open_by_handle_at inode ${inode} type ${type}`, sys(NR.open_by_handle_at, rootFd, new Uint8Array(guess.buffer), O.RDONLY), [E.PERM, E.NOSYS]);
  }
}
c.refused("open_tree of /", sys(NR.open_tree, AT_FDCWD, "/", 1), [E.PERM, E.NOSYS]);
c.refused("fspick of /", sys(NR.fspick, AT_FDCWD, "/", 0), [E.PERM, E.NOSYS]);
c.refused("pivot_root", sys(NR.pivot_root, ".", "."), [E.PERM, E.NOSYS]);
c.done();
