// case: C07
// attack: make set-id programs and device nodes, by every call that sets a mode or makes a node
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { statSync, writeFileSync } from "node:fs";
import { Case, readText } from "./_case.ts";
import { AT_FDCWD, E, O, show, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C07");
writeFileSync("/tmp/program", "#!/bin/bun\n");
c.able("make a file", statSync("/tmp/program").size > 0);
c.able("chmod it plainly", sys(NR.chmod, "/tmp/program", 0o700) === 0 && (statSync("/tmp/program").mode & 0o777) === 0o700);

// Whether a set-id bit sticks matters only where it could be used: the mount must be nosuid.
const mountOptions = (path: string): string => {
  const lines = (readText("/proc/self/mountinfo") ?? "").split("\n").map((line) => line.split(" "));
  return lines.filter((parts) => parts[4] === path).at(-1)?.[5] ?? "";
};
const STICKY_SET_ID = 0o6777;
for (const directory of ["/tmp", "/out"]) {
  if (mountOptions(directory) === "") continue;
  for (const option of ["nosuid", "nodev"]) c.held(`${directory} is ${option}`, mountOptions(directory).split(",").includes(option), mountOptions(directory));
  const path = `${directory}/setid`;
  const fd = sys(NR.open, path, O.WRONLY | O.CREAT, STICKY_SET_ID);
  const ways: Record<string, number> = {
    chmod: sys(NR.chmod, path, STICKY_SET_ID), fchmod: sys(NR.fchmod, fd, STICKY_SET_ID),
    fchmodat: sys(NR.fchmodat, AT_FDCWD, path, STICKY_SET_ID), fchmodat2: sys(NR.fchmodat2, AT_FDCWD, path, STICKY_SET_ID, 0),
    "through /proc/self/fd": sys(NR.chmod, `/proc/self/fd/${fd}`, STICKY_SET_ID),
  };
  const owner = fd >= 0 ? statSync(path).uid : -1;
  const own = process.getuid!();
  for (const way of Object.keys(ways)) c.held(`${way} set-id in ${directory} gives nobody else's rights`, ways[way]! < 0 || owner === own);
  c.held("owner is itself, not root", owner === own && owner !== 0, String(owner));
  for (const [who, uid, gid] of [["root", 0, 0], ["nobody", 65_534, 65_534], ["next uid", own + 1, -1]] as const) {
    c.refused(`chown to ${who}`, sys(NR.chown, path, uid, gid));
    c.refused(`fchown to ${who}`, sys(NR.fchown, fd, uid, gid));
    c.refused(`lchown to ${who}`, sys(NR.lchown, path, uid, gid));
    c.refused(`fchownat to ${who}`, sys(NR.fchownat, AT_FDCWD, path, uid, gid, 0));
  }
  c.refused("file capability", sys(NR.setxattr, path, "security.capability", new Uint8Array([1, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]), 20, 0));
  c.refused("file capability by descriptor", sys(NR.fsetxattr, fd, "security.capability", new Uint8Array(20).fill(2), 20, 0));
  sys(NR.close, fd);
}

const S_IFCHR = 0o020000, S_IFBLK = 0o060000, S_IFIFO = 0o010000;
const dev = (major: number, minor: number): number => (major << 8) | minor;
const devices = { mem: dev(1, 1), kmem: dev(1, 2), port: dev(1, 4), kmsg: dev(1, 11), tty: dev(5, 0), console: dev(5, 1), fuse: dev(10, 229), kvm: dev(10, 232),
  "net/tun": dev(10, 200), sda: dev(8, 0), vda: dev(254, 0), loop0: dev(7, 0), ram0: dev(1, 0), null: dev(1, 3) };
for (const [name, device] of Object.entries(devices)) {
  for (const [kind, type] of [["char", S_IFCHR], ["block", S_IFBLK]] as const) {
    c.refused(`mknod ${kind} ${name}`, sys(NR.mknod, `/tmp/${kind}-${name.replace("/", "-")}`, type | 0o666, device), [E.PERM, E.NOSYS]);
    c.refused(`mknodat ${kind} ${name}`, sys(NR.mknodat, AT_FDCWD, `/tmp/at-${kind}-${name.replace("/", "-")}`, type | 0o666, device), [E.PERM, E.NOSYS]);
  }
}
c.refused("mknod fifo", sys(NR.mknod, "/tmp/fifo", S_IFIFO | 0o600, 0), [E.PERM, E.NOSYS]);
c.refused("mknod fifo by mknodat", sys(NR.mknodat, AT_FDCWD, "/tmp/fifo2", S_IFIFO | 0o600, 0), [E.PERM, E.NOSYS]);
// Whiteout nodes (0:0) are made without privilege where the filter lets mknod through.
c.refused("mknod whiteout", sys(NR.mknod, "/tmp/whiteout", S_IFCHR, 0), [E.PERM, E.NOSYS]);

// A program with the bits set must not run with other rights; in this cage /tmp runs nothing at all.
const ran = sys(NR.execve, "/tmp/setid", 0, 0);
c.held("run it", ran < 0, show(ran));
c.done();
