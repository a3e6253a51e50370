// case: C04
// attack: write the image: create, change, rename, remove, remount, map, by path, by directory descriptor and through /proc aliases
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: ro-root, uid, user-namespace, landlock

import { readFileSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { Case, list } from "./_case.ts";
import { AT_FDCWD, O, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C04");
writeFileSync("/tmp/able", "x");
c.able("write a file in /tmp", readFileSync("/tmp/able", "utf8") === "x");

const WRITABLE = new Set(["/tmp", "/out", "/proc"]);
const roots = ["/", ...list("/").map((name) => `/${name}`)].filter((path) => !WRITABLE.has(path) && isDirectory(path));
const directories = [...roots, ...roots.flatMap((path) => list(path).slice(0, 40).map((name) => `${path === "/" ? "" : path}/${name}`)).filter(isDirectory)]
  .filter((path) => ![...WRITABLE].some((free) => path === free || path.startsWith(`${free}/`)));
c.able("find directories of the image", directories.includes("/bin") && directories.includes("/etc"));

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

const NAME = "aria-hostile";
const tidy = (result: number, path: string): void => {
  if (result < 0) return;
  try {
    unlinkSync(path);
  } catch {
    // Only reached where the cage did not hold; the verdict says so.
  }
};

const aliases = (path: string): string[] => [
  path, `/proc/self/root${path}`, `/proc/self/cwd/..${path}`, `/proc/thread-self/root${path}`, `/proc/${process.pid}/root${path}`,
  `/proc/self/task/${process.pid}/root${path}`, `/tmp/..${path}`, `//${path}`,
];

for (const directory of new Set(directories)) {
  for (const base of aliases(directory)) {
    const path = `${base}/${NAME}`;
    const created = sys(NR.open, path, O.WRONLY | O.CREAT | O.EXCL, 0o600);
    c.refused(`create ${path}`, created);
    tidy(created, path);
  }
  const path = `${directory}/${NAME}`;
  for (const [name, result] of [
    ["mkdir", sys(NR.mkdir, path, 0o700)], ["symlink", sys(NR.symlink, "/tmp", path)], ["link", sys(NR.link, "/tmp/able", path)],
    ["rename into", sys(NR.rename, "/tmp/able", path)], ["mknod", sys(NR.mknod, path, 0o10600, 0)],
    ["O_TMPFILE", sys(NR.open, directory, O.TMPFILE | O.RDWR, 0o600)],
    ["chmod to what it is", sys(NR.chmod, directory, statSync(directory).mode & 0o7777)],
    ["chown", sys(NR.chown, directory, process.getuid!(), -1)], ["utimensat", sys(NR.utimensat, AT_FDCWD, directory, null, 0)],
    ["setxattr", sys(NR.setxattr, directory, "user.a", "b", 1, 0)],
  ] as const) c.refused(`${name} ${directory}`, result);
  // These would do damage, so they are tried only while everything gentler was refused.
  if (c.escapes === 0) {
    c.refused(`rename away ${directory}`, sys(NR.rename, directory, "/tmp/taken"));
    c.refused(`rename exchange ${directory}`, sys(NR.renameat2, AT_FDCWD, directory, AT_FDCWD, "/tmp/able", 2));
    c.refused(`rmdir ${directory}`, sys(NR.rmdir, directory));
  }

  // A descriptor opened without rights must not become one with rights.
  for (const flags of [O.PATH, O.RDONLY | O.DIRECTORY]) {
    const fd = sys(NR.open, directory, flags | O.CLOEXEC, 0);
    if (fd < 0) continue;
    c.refused(`openat below ${directory}`, sys(NR.openat, fd, NAME, O.WRONLY | O.CREAT | O.EXCL, 0o600));
    c.refused(`openat2 below ${directory}`, sys(NR.openat2, fd, NAME, words(O.WRONLY | O.CREAT | O.EXCL, 0o600, 0), 24));
    c.refused(`mkdirat below ${directory}`, sys(NR.mkdirat, fd, NAME, 0o700));
    c.refused(`fchmod ${directory}`, sys(NR.fchmod, fd, statSync(directory).mode & 0o7777));
    c.refused(`through /proc/self/fd ${directory}`, sys(NR.open, `/proc/self/fd/${fd}/${NAME}`, O.WRONLY | O.CREAT | O.EXCL, 0o600));
    sys(NR.close, fd);
  }
}

const files = [process.execPath, "/bin/bun", "/lib/aria/harness.js", "/etc/passwd", "/etc/hosts", "/lib/x86_64-linux-gnu/libc.so.6",
  "/lib64/ld-linux-x86-64.so.2", Bun.main].filter((path) => Bun.file(path).size > 0);
c.able("find files of the image", files.length >= 3);
for (const file of new Set(files)) {
  const before = statSync(file);
  for (const path of aliases(file)) {
    for (const flags of [O.WRONLY, O.RDWR, O.WRONLY | O.APPEND, O.WRONLY | O.CREAT]) c.refused(`open ${path} flags ${flags}`, sys(NR.open, path, flags, 0));
  }
  // The harmless argument: the length it already has.
  c.refused(`truncate ${file}`, sys(NR.truncate, file, before.size));
  c.refused(`chmod ${file}`, sys(NR.chmod, file, before.mode & 0o7777));
  c.refused(`link ${file}`, sys(NR.link, file, "/tmp/linked"));
  c.refused(`setxattr ${file}`, sys(NR.setxattr, file, "user.a", "b", 1, 0));
  const fd = sys(NR.open, file, O.RDONLY | O.CLOEXEC, 0);
  if (fd < 0) continue;
  c.refused(`write to a read descriptor of ${file}`, sys(NR.pwrite64, fd, "", 0, before.size));
  c.refused(`reopen ${file}`, sys(NR.open, `/proc/self/fd/${fd}`, O.WRONLY, 0));
  c.refused(`reopen ${file} by openat`, sys(NR.openat, AT_FDCWD, `/proc/thread-self/fd/${fd}`, O.RDWR, 0));
  c.refused(`ftruncate ${file}`, sys(NR.ftruncate, fd, before.size));
  c.refused(`fallocate ${file}`, sys(NR.fallocate, fd, 1, 0, 1));
  c.refused(`copy_file_range into ${file}`, sys(NR.copy_file_range, fd, null, fd, null, 1, 0));
  c.refused(`shared writable map of ${file}`, sys(NR.mmap, 0, 4096, 3, 1, fd, 0));
  const map = sys(NR.mmap, 0, 4096, 1, 1, fd, 0);
  if (map > 0) c.refused(`turn a shared map of ${file} writable`, sys(NR.mprotect, map, 4096, 3));
  c.refused(`FS_IOC_SETFLAGS ${file}`, sys(NR.ioctl, fd, 0x40086602, words(0)));
  c.refused(`FICLONE onto ${file}`, sys(NR.ioctl, fd, 0x40049409, fd));
  c.refused(`FIDEDUPERANGE on ${file}`, sys(NR.ioctl, fd, 0xc0189436, new Uint8Array(64)));
  sys(NR.close, fd);
  const after = statSync(file);
  c.held(`${file} unchanged`, after.size === before.size && after.mtimeMs === before.mtimeMs && after.mode === before.mode);
}
for (const target of c.escapes === 0 ? ["/", "/bin", "/lib", "/etc", "/app"] : []) {
  // MS_REMOUNT|MS_BIND without read-only; mount_setattr clearing RDONLY.
  c.refused(`remount ${target}`, sys(NR.mount, 0, target, 0, 0x1020, 0));
  c.refused(`mount_setattr ${target}`, sys(NR.mount_setattr, AT_FDCWD, target, 0, words(0, 1, 0, 0), 32));
  c.refused(`umount2 ${target}`, sys(NR.umount2, target, 2));
}
c.done(`${directories.length} directories, ${files.length} files`);
