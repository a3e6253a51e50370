// case: C11
// attack: overwrite the runtime, its loader and libraries: /proc/self/exe and its descriptor aliases, rename, memory maps
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: ro-root, uid, user-namespace, landlock

import { openSync, readSync, statSync } from "node:fs";
import { Case, list, readText } from "./_case.ts";
import { AT_FDCWD, E, O, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C11");
const before = fingerprint();
c.able("read its own executable", before !== "");

function fingerprint(): string {
  const head = new Uint8Array(1 << 16);
  const got = readSync(openSync("/proc/self/exe", "r"), head, 0, head.length, 4096);
  const stat = statSync("/proc/self/exe");
  return got === head.length ? `${Bun.hash(head)}:${stat.size}:${stat.mtimeMs}:${stat.mode}:${stat.nlink}` : "";
}

const mapped = [...new Set([...(readText("/proc/self/maps") ?? "").matchAll(/(\/\S+)$/gm)].map((match) => match[1]!))].filter((path) => !path.startsWith("/memfd"));
c.able("list mapped files", mapped.some((path) => path.endsWith("bun")));
const targets = ["/proc/self/exe", `/proc/${process.pid}/exe`, "/proc/thread-self/exe", `/proc/self/task/${process.pid}/exe`, "/proc/1/exe", `/proc/${process.ppid}/exe`,
  "/proc/self/root/bin/bun", ...mapped, ...list("/proc/self/map_files").map((name) => `/proc/self/map_files/${name}`)];

for (const target of new Set(targets)) {
  for (const flags of [O.WRONLY, O.RDWR, O.WRONLY | O.TRUNC, O.WRONLY | O.APPEND]) {
    // O_TRUNC on the runtime would destroy it where the cage does not hold, so it is asked last and only while it does.
    if ((flags & O.TRUNC) !== 0 && c.escapes > 0) continue;
    c.refused(`open ${target} ${flags}`, sys(NR.open, target, flags | O.CLOEXEC, 0));
  }
  for (const how of [O.PATH, O.RDONLY]) {
    const fd = sys(NR.open, target, how | O.CLOEXEC, 0);
    if (fd < 0) continue;
    for (const alias of [`/proc/self/fd/${fd}`, `/proc/thread-self/fd/${fd}`, `/proc/${process.pid}/fd/${fd}`, `/dev/fd/${fd}`]) {
      for (const flags of [O.WRONLY, O.RDWR]) c.refused(`open ${target} through ${alias}`, sys(NR.open, alias, flags | O.CLOEXEC, 0));
    }
    c.refused(`openat ${target} empty path`, sys(NR.openat, fd, "", O.WRONLY, 0));
    c.refused(`fchmod ${target}`, sys(NR.fchmod, fd, 0o755));
    c.refused(`fchown ${target}`, sys(NR.fchown, fd, process.getuid!(), -1));
    c.refused(`linkat ${target}`, sys(NR.linkat, fd, "", AT_FDCWD, "/tmp/linked", 0x1000));
    c.refused(`shared writable map of ${target}`, sys(NR.mmap, 0, 4096, 3, 1, fd, 0));
    c.refused(`write by splice into ${target}`, sys(NR.splice, fd, null, fd, null, 1, 0));
    sys(NR.close, fd);
  }
  c.refused(`chmod ${target}`, sys(NR.chmod, target, 0o755));
  if (c.escapes === 0 && target.startsWith("/proc/self/root")) {
    c.refused(`rename ${target}`, sys(NR.rename, target, "/tmp/taken"));
    c.refused(`unlink ${target}`, sys(NR.unlink, target));
    c.refused(`rename over ${target}`, sys(NR.rename, "/tmp/evil", target));
  }
}

// Writing one's own memory is allowed and must stay private: /proc/self/mem forces a copy of the page, never the file.
const base = BigInt("0x" + (/^([0-9a-f]+)-[0-9a-f]+ r--p 00000000 .*bun$/m.exec(readText("/proc/self/maps") ?? "")?.[1] ?? "0"));
const mem = sys(NR.open, "/proc/self/mem", O.RDWR | O.CLOEXEC, 0);
if (mem >= 0 && base > 0n) {
  const wrote = sys(NR.pwrite64, mem, new Uint8Array([0x5a]), 1, base + 9n);
  const head = new Uint8Array(16);
  readSync(openSync("/proc/self/exe", "r"), head, 0, 16, 0);
  c.held("a forced write to its own mapping stays private", wrote < 0 || head[9] !== 0x5a);
}

// Dirty pipe: a spliced page of a read-only file must not become writable through the pipe.
const exe = sys(NR.open, "/bin/bun", O.RDONLY | O.CLOEXEC, 0);
const pipe = new Int32Array(2);
if (exe >= 0 && sys(NR.pipe2, pipe, 0) === 0) {
  const moved = sys(NR.splice, exe, new BigInt64Array([4095n]), pipe[1]!, null, 1, 0);
  c.held("splice from the runtime", moved < 0 || moved === 1, String(moved));
  if (moved === 1) sys(NR.write, pipe[1]!, "Z", 1);
}
c.held("the runtime is what it was", fingerprint() === before);
c.refused("swap the executable behind the process", sys(NR.prctl, 35, 13, exe, 0, 0), [E.PERM, E.NOSYS, E.INVAL, E.BUSY, E.ACCES]);
c.done(`${mapped.length} mapped files`);
