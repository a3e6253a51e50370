// case: C51-files
// attack: hide memory in kernel objects: epoll items, timers, watches, locks, mappings and page tables
// accepts: OOM_KILLED, line
// profiles: tool, tool-noexec
// cost: heavy
// control: memory
// limits: --memory 128M --timeout 60s

import { Case } from "./_case.ts";
import { E, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C51-files");
const MOST = 200_000;
const until = (make: (n: number) => number): { made: number; last: number } => {
  let made = 0;
  let last = 0;
  while (made < MOST) {
    last = make(made);
    if (last < 0) break;
    made += 1;
  }
  return { made, last };
};
const timers = until(() => sys(NR.timer_create, 1, 0, new Int32Array(1)));
c.able("make a timer", timers.made > 0);
c.held("timers end", timers.made < MOST, `${timers.made}`);
const watches = sys(NR.inotify_init1, 0);
const watched = watches < 0 ? { made: 0, last: watches } : until((n) => (sys(NR.mkdir, `/tmp/w${n}`, 0o700), sys(NR.inotify_add_watch, watches, `/tmp/w${n}`, 2)));
c.held("watches end", watched.made < MOST, `${watched.made}`);
// Page tables: one page in every 2 MiB of a large reservation.
const reserve = sys(NR.mmap, 0, 1n << 40n, 3, 0x4022, -1, 0);
let tables = 0;
if (reserve > 0) for (; tables < 65_536; tables++) if (sys(NR.madvise, BigInt(reserve) + BigInt(tables) * 2_097_152n, 4096, 23) < 0) break;
c.held("page tables stay below 256 MiB", tables < 65_536, `${tables}`);
// One mapping each, by alternating protection: the kernel's own count must end it.
const maps = until((n) => {
  const at = sys(NR.mmap, 0, 8192, n % 2 === 0 ? 1 : 3, 0x22, -1, 0);
  return at > 0 ? sys(NR.mprotect, at, 4096, 0) : at;
});
c.held("mappings end", maps.made < MOST && (maps.last === -E.NOMEM || maps.last < 0), `${maps.made}`);
c.done(`${timers.made} timers, ${watched.made} watches, ${maps.made} mappings, ${tables} tables`);
