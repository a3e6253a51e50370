// case: C13
// attack: use a descriptor or a working directory the launcher left open
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: descriptors

import { readlinkSync } from "node:fs";
import { Case, list } from "./_case.ts";
import { O, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C13");
// Code of a tool shares its process with the harness, whose door is descriptor 3 and whatever names the same socket.
const DOOR = 3;
const served = process.argv[1] === "/lib/aria/harness.js";
const before = new Set(list("/proc/self/fd").map(Number));
c.able("list its own descriptors", before.has(0) && before.has(1) && before.has(2));

// Every number up to the limit and beyond it is asked too: a listing can be incomplete, F_GETFD cannot.
const F_GETFD = 1;
const F_GETFL = 3;
const found: number[] = [];
for (let fd = 0; fd < 65_536; fd++) if (sys(NR.fcntl, fd, F_GETFD, 0) >= 0) found.push(fd);
c.able("see 0, 1 and 2", found.includes(0) && found.includes(1) && found.includes(2));

const link = (fd: number): string => {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return "gone";
  }
};
const isDoor = (fd: number): boolean => served && link(fd).startsWith("socket:") && link(fd) === link(DOOR);
const statBuffer = new Uint8Array(144);
for (const fd of found) {
  const target = link(fd);
  if (target === "gone") continue;
  const seen = `${fd} -> ${target}`;
  if (isDoor(fd)) continue;
  if (fd <= 2) {
    const standard = fd === 0 ? /^(pipe:|socket:|\/dev\/null$)/ : /^(pipe:|socket:)/;
    c.held("standard stream is a pipe or /dev/null", standard.test(target), seen);
    const flags = sys(NR.fcntl, fd, F_GETFL, 0) & 3;
    if (target.startsWith("pipe:")) c.held("standard stream is one-way", flags === (fd === 0 ? O.RDONLY : O.WRONLY), `${seen} flags ${flags}`);
    // A pipe opened again through /proc gives its other end; it may only ever be this stream's own pipe.
    continue;
  }
  // Bun's own: event descriptors, its own executable or bundle read-only, and directories it is listing right now.
  const own = /^anon_inode:|^\/proc\/(self|\d+)\/(fd|task|maps|statm|stat|cgroup)|^\/app\/|^\/bin\/bun$|^\/dev\/(null|urandom|zero)$|^\/memfd:|^\/tmp(\/|$)/.test(target);
  c.held("descriptor is of its own making", own, seen);
  const up = sys(NR.openat, fd, "..", O.PATH | O.DIRECTORY | O.CLOEXEC, 0);
  if (up >= 0) {
    c.held("descriptor does not lead out", !list(`/proc/self/fd/${up}`).some((name) => ["boot", "var", "home", "sys", "root"].includes(name)), seen);
    sys(NR.close, up);
  }
  if (sys(NR.fstat, fd, statBuffer) === 0 && target.startsWith("/app")) c.held("bundle descriptor is read-only", (sys(NR.fcntl, fd, F_GETFL, 0) & 3) === O.RDONLY, seen);
}

c.held("working directory is the cage's", process.cwd() === "/tmp", process.cwd());
const cwd = readlink("/proc/self/cwd");
const root = readlink("/proc/self/root");
c.held("cwd link", cwd === "/tmp", cwd);
c.held("root link", root === "/", root);
function readlink(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    return String((error as { code?: string }).code);
  }
}
for (const fd of found.filter((one) => one > 2 && !isDoor(one))) {
  // Sockets would be a way to talk to whoever holds the other end.
  c.held("no socket inherited", !link(fd).startsWith("socket:"), `${fd} -> ${link(fd)}`);
}
c.done(found.map((fd) => `${fd}:${link(fd)}`).join(" ").slice(0, 600));
