// case: C05
// attack: fill every writable place, by write, fallocate, sparse map and many files, beyond its stated size
// accepts: line
// profiles: tool, tool-noexec
// cost: heavy
// control: disk
// limits: --memory 256M --timeout 60s

import { readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { Case, list, readText } from "./_case.ts";
import { AT_FDCWD, E, O, show, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C05");
const MIB = 1024 * 1024;
const LIMIT = 64 * MIB;
const SLACK = LIMIT / 100;

// Every mount point, and every directory near the root, where a file can be made.
const mounts = (readText("/proc/self/mountinfo") ?? "").split("\n").map((line) => line.split(" ")[4] ?? "").filter((path) => path !== "");
const candidates = new Set([...mounts, "/tmp", "/out", "/dev/shm", "/var/tmp", "/run", "/run/shm", ...list("/").map((name) => `/${name}`)]);
const writable = [...candidates].filter((directory) => {
  const path = `${directory}/probe`;
  const fd = sys(NR.open, path, O.WRONLY | O.CREAT | O.EXCL, 0o600);
  if (fd < 0) return false;
  sys(NR.close, fd);
  sys(NR.unlink, path);
  return true;
});
writeFileSync("/tmp/able", "x");
c.able("write in /tmp", readFileSync("/tmp/able", "utf8") === "x" && writable.includes("/tmp"));
unlinkSync("/tmp/able");

const chunk = new Uint8Array(MIB).fill(0x5a);
for (const directory of writable) {
  const path = `${directory}/fill`;
  let fd = sys(NR.open, path, O.RDWR | O.CREAT, 0o600);
  let total = 0;
  let last = 0;
  while (total <= 2 * LIMIT) {
    last = sys(NR.write, fd, chunk, chunk.length);
    if (last <= 0) break;
    total += last;
  }
  c.held(`${directory} ends by ENOSPC`, last === -E.NOSPC || last === -E.DQUOT || last === -E.FBIG, `${show(last)} after ${total} bytes`);
  c.held(`${directory} at its limit`, total <= LIMIT + SLACK, `${total} bytes`);
  if (directory === "/tmp") c.held("/tmp gives what it promises", total >= LIMIT - SLACK, `${total} bytes`);

  // Full means full for another file, and for other ways of asking.
  const other = sys(NR.openat, AT_FDCWD, `${directory}/other`, O.RDWR | O.CREAT, 0o600);
  if (other >= 0) {
    const more = sys(NR.pwrite64, other, chunk, 4 * 65_536, 0);
    c.held(`${directory} has no room for a second file`, more <= SLACK, show(more));
    sys(NR.close, other);
    sys(NR.unlink, `${directory}/other`);
  }
  sys(NR.ftruncate, fd, 0);
  c.refused(`fallocate twice the limit in ${directory}`, sys(NR.fallocate, fd, 0, 0, 2 * LIMIT), [E.NOSPC, E.FBIG, E.DQUOT, E.NOMEM, E.OPNOTSUPP]);
  sys(NR.close, fd);
  sys(NR.unlink, path);

  // Deleted but open files still count.
  const open: number[] = [];
  total = 0;
  for (let i = 0; i < 40 && total <= 2 * LIMIT; i++) {
    fd = sys(NR.open, path, O.RDWR | O.CREAT, 0o600);
    if (fd < 0) break;
    sys(NR.unlink, path);
    open.push(fd);
    for (let k = 0; k < 8; k++) {
      const wrote = sys(NR.write, fd, chunk, chunk.length);
      if (wrote > 0) total += wrote;
    }
  }
  c.held(`unlinked open files in ${directory} stay within the limit`, total <= LIMIT + SLACK, `${total} bytes`);
  for (const one of open) sys(NR.close, one);
}
c.done(`writable: ${writable.join(" ")}`);
