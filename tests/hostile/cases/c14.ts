// case: C14
// attack: read and write paths the mount layer normally hides; with that layer weakened, Landlock alone must refuse them
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: ro-root, uid, user-namespace, landlock

import { writeFileSync } from "node:fs";
import { Case, list, readText } from "./_case.ts";
import { O, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C14");
writeFileSync("/tmp/able", "x");
c.able("write in /tmp", readText("/tmp/able") === "x");
c.able("read the runtime's directory", list("/bin").includes("bun"));

// The launcher of the control leaves these in place when told to leave the mount layer off.
const FORBIDDEN = ["/etc/shadow", "/etc/machine-id", "/root", "/home", "/var", "/sys", "/boot", "/usr/sbin", "/run", "/forbidden", "/forbidden/secret", "/data", "/opt", "/srv", "/mnt"];
for (const path of FORBIDDEN) {
  for (const alias of [path, `/proc/self/root${path}`, `/tmp/..${path}`]) {
    for (const flags of [O.RDONLY, O.WRONLY, O.RDONLY | O.DIRECTORY]) {
      const fd = sys(NR.open, alias, flags | O.CLOEXEC, 0);
      c.refused(`open ${alias} ${flags}`, fd);
      if (fd >= 0) sys(NR.close, fd);
    }
  }
  c.held(`list ${path}`, list(path).length === 0);
}
for (const directory of ["/", "/bin", "/lib", "/etc", "/app", "/dev", "/forbidden"]) {
  const path = `${directory}/aria-hostile`;
  const fd = sys(NR.open, path, O.WRONLY | O.CREAT | O.EXCL | O.CLOEXEC, 0o600);
  c.refused(`create ${path}`, fd);
  if (fd >= 0) sys(NR.unlink, path);
  c.refused(`mkdir in ${directory}`, sys(NR.mkdir, path, 0o700));
}
c.done();
