// case: C42
// attack: find what an earlier run left, then leave a marker in every place that can be written, for the next one to find
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seeded: what a run leaves dies with its namespaces, which no single step can be left out of
// repeats: 2

import { writeFileSync } from "node:fs";
import { Case, list, readText } from "./_case.ts";
import { pages, sys } from "./_ffi.ts";
import { unixAddress } from "./_net.ts";
import { NR } from "./_nr.ts";

const c = new Case("C42");
const MARK = "aria-residue";
// Bun makes nothing in these before the program starts.
for (const directory of ["/tmp", "/out", "/dev/shm", "/var/tmp", "/run"]) {
  c.held(`${directory} is empty at the start`, list(directory).length === 0, list(directory).join(" ").slice(0, 100));
}
for (const directory of ["/", "/app", "/in", "/etc", "/lib", "/bin", "/dev", "/proc"]) {
  c.held(`no marker in ${directory}`, !list(directory).some((name) => name.startsWith(MARK)));
}
const connects = (name: string): number => {
  const fd = sys(NR.socket, 1, 1, 0);
  const to = unixAddress(name);
  const answer = sys(NR.connect, fd, to, to.length);
  sys(NR.close, fd);
  return answer;
};
c.held("nobody listens on the marker's abstract name", connects(`\0${MARK}`) < 0);
c.held("no marker in the host name", !(readText("/proc/sys/kernel/hostname") ?? "").includes(MARK));
c.held("no key left", sys(NR.request_key, "user", MARK, 0, 0) < 0);
c.held("no queue left", sys(NR.mq_open, MARK, 0, 0, 0) < 0);
c.held("no segment left", sys(NR.shmget, 0x41524941, 4096, 0) < 0);
c.held("fresh memory is zero", pages(8 << 20).view.every((byte) => byte === 0));
c.held("no other process", list("/proc").filter((name) => /^\d+$/.test(name)).length <= 2);

let left = 0;
for (const directory of ["/tmp", "/out", "/dev/shm", "/var/tmp", "/run", "/", "/app", "/in", "/etc", "/lib", "/bin", "/dev", "/dev/mqueue"]) {
  try {
    writeFileSync(`${directory}/${MARK}`, MARK);
    left += 1;
  } catch {
    // Not writable, so nothing can stay there.
  }
}
c.able("leave a marker in /tmp", readText(`/tmp/${MARK}`) === MARK);
const server = sys(NR.socket, 1, 1, 0);
const to = unixAddress(`\0${MARK}`);
sys(NR.bind, server, to, to.length);
sys(NR.listen, server, 1);
sys(NR.shmget, 0x41524941, 4096, 0o1600);
sys(NR.mq_open, MARK, 0o102, 0o600, 0);
sys(NR.add_key, "user", MARK, "x", 1, -4);
c.done(`markers left in ${left} places`);
