// case: C06
// attack: take every inode: empty files, directories, symlinks, hard links, sockets, fifos
// accepts: line
// profiles: tool, tool-noexec
// cost: heavy
// control: disk
// limits: --timeout 60s

import { Case } from "./_case.ts";
import { AT_FDCWD, E, O, show, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C06");
const LIMIT = 16_384;
const AT_REMOVEDIR = 0x200;
const MOST = 3 * LIMIT;

const makers: Record<string, (path: string) => number> = {
  files: (path) => {
    const fd = sys(NR.open, path, O.WRONLY | O.CREAT | O.EXCL, 0o600);
    return fd < 0 ? fd : sys(NR.close, fd);
  },
  directories: (path) => sys(NR.mkdir, path, 0o700),
  symlinks: (path) => sys(NR.symlink, "x".repeat(120), path),
  "hard links": (path) => sys(NR.link, "/tmp/origin", path),
};

c.able("make a file", makers.files!("/tmp/origin") === 0);
for (const root of ["/tmp", "/out"]) {
  for (const [what, make] of Object.entries(makers)) {
    if (root === "/out" && what === "hard links") continue;
    const base = `${root}/many`;
    if (sys(NR.mkdir, base, 0o700) < 0) continue;
    let made = 0;
    let last = 0;
    while (made < MOST) {
      last = make(`${base}/${made}`);
      if (last < 0) break;
      made += 1;
    }
    if (last === -E.PERM || last === -E.NOSYS) c.held(`${what} in ${root}: refused altogether`, made === 0, String(made));
    else {
      c.held(`${what} in ${root} end by ENOSPC`, last === -E.NOSPC || last === -E.DQUOT, show(last));
      c.held(`${what} in ${root} at the limit`, made <= LIMIT, String(made));
    }
    const remove = (path: string, directory: boolean): number => sys(NR.unlinkat, AT_FDCWD, path, directory ? AT_REMOVEDIR : 0);
    for (let i = 0; i < made; i++) remove(`${base}/${i}`, what === "directories");
    c.held(`${root} usable again`, remove(base, true) === 0);
  }
}
c.done();
