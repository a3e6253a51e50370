// Does to its session what no honest program does, by its first argument; driven by drivers/workspace.ts.

import { chmodSync, closeSync, ftruncateSync, linkSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync, writeSync } from "node:fs";
import { Case, readText } from "./_case.ts";
import { E, show, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C56");
const [how, limit] = [process.argv[2], Number(process.argv[3] ?? 0)];
const at = "/workspace";
const code = (act: () => unknown): string => {
  try {
    act();
    return "done";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
};
const FULL = ["ENOSPC", "EDQUOT", "EFBIG"];
c.able("read its session", readText(`${at}/base.txt`) === "base\n");

if (how === "fill") {
  const block = new Uint8Array(1 << 20).fill(0xa5);
  let [bytes, last] = [0, ""];
  const fd = openSync(`${at}/big`, "w");
  for (let i = 0; i < 4096 && last === ""; i++) {
    const answer = code(() => (bytes += writeSync(fd, block)));
    if (answer !== "done") last = answer;
  }
  c.held("bytes end at the quota", FULL.includes(last) && bytes <= limit * 1.01, `${last} after ${bytes} bytes`);
  c.held("a sparse file is no way around it", FULL.includes(code(() => ftruncateSync(fd, limit * 64))) || statSync(`${at}/big`).blocks * 512 <= limit * 1.01, "grew");
  closeSync(fd);
  rmSync(`${at}/big`);
  let [files, end] = [0, ""];
  for (; files < 400_000 && end === ""; files++) {
    const answer = code(() => (files % 3 === 0 ? mkdirSync(`${at}/d${files}`) : files % 3 === 1 ? writeFileSync(`${at}/f${files}`, "") : symlinkSync("x", `${at}/l${files}`)));
    if (answer !== "done") end = answer;
  }
  c.held("entries end at the quota", FULL.includes(end), `${end} after ${files}`);
  for (const name of readdirSync(at)) if (/^[dfl]\d+$/.test(name)) rmSync(`${at}/${name}`, { recursive: true });
  c.held("it can be used again", code(() => writeFileSync(`${at}/again`, "x")) === "done");
} else if (how === "leave") {
  code(() => symlinkSync("/etc/passwd", `${at}/absolute-link`));
  code(() => symlinkSync("../outside-file", `${at}/relative-link`));
  code(() => symlinkSync("../outside", `${at}/link-dir`));
  code(() => writeFileSync(`${at}/link-dir/through`, "written through a link"));
  // A directory that was there becomes a link, a file that was there becomes a directory.
  code(() => renameSync(`${at}/dir`, `${at}/moved`));
  code(() => symlinkSync("../outside", `${at}/dir`));
  code(() => rmSync(`${at}/base.txt`));
  code(() => mkdirSync(`${at}/base.txt`));
  code(() => writeFileSync(`${at}/set-id`, "#!/bin/sh\n"));
  code(() => chmodSync(`${at}/set-id`, 0o6777));
  code(() => linkSync("/app/main.js", `${at}/hard-link`));
  for (const name of ["\u001b[2Jred", "line\nend", "a\\..\\b", "\u202etxt.exe", "-rf", "~", "$(touch x)"]) code(() => writeFileSync(`${at}/${name}`, "odd"));
  c.refused("a device in the session", sys(NR.mknod, `${at}/device`, 0o020666, 0x103));
  c.refused("a fifo in the session", sys(NR.mknod, `${at}/fifo`, 0o010666, 0));
  for (const path of [`${at}/..`, `${at}/../etc/shadow`, `${at}/link-dir/../../root`]) {
    const answer = sys(NR.open, `${path}/marker`, 0o101, 0o600);
    c.held(`leave the session by ${path}`, answer < 0, show(answer));
  }
} else if (how === "execute") {
  writeFileSync(`${at}/program`, "#!/bin/bun\n");
  chmodSync(`${at}/program`, 0o755);
  c.refused("execute from the session", sys(NR.execve, `${at}/program`, 0, 0), [E.PERM, E.ACCES]);
  c.refused("remount it", sys(NR.mount, "", at, "", 0x20, 0));
} else if (how === "read-only") {
  for (const [what, act] of Object.entries({ write: () => writeFileSync(`${at}/base.txt`, "x"), make: () => writeFileSync(`${at}/new`, "x"), directory: () => mkdirSync(`${at}/newdir`), remove: () => rmSync(`${at}/base.txt`), rename: () => renameSync(`${at}/base.txt`, `${at}/b`), link: () => symlinkSync("x", `${at}/l`), mode: () => chmodSync(`${at}/base.txt`, 0o777) }))
    c.held(what, ["EROFS", "EACCES", "EPERM"].includes(code(act)), code(act));
}
c.done();
