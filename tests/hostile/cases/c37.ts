// case: C37
// attack: pass descriptors to the host through its door, singly, in hundreds, in the middle of a frame
// accepts: line, OUTPUT_TOO_LARGE, RESULT_INVALID, CANCELLED
// profiles: tool, tool-noexec
// cost: light
// control: seeded: the host reads the door without taking descriptors; drivers/door.ts counts what it holds
// limits: --token kv:hostile:ro --timeout 30s

import { Case } from "./_case.ts";
import { ask, DOOR, frame, send, sendDescriptors, shown } from "./_door.ts";
import { O, show, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C37");
const first = ask("kvList", { table: "hostile", prefix: "" });
c.able("use its door", first.kind === "ok");
const own = sys(NR.open, "/bin/bun", O.RDONLY, 0);
const pair = new Int32Array(2);
sys(NR.socketpair, 1, 1, 0, pair);
c.able("open something to pass", own > 2 && pair[0]! > 2);

// The kernel takes a message with descriptors; what must not happen is that the host keeps one.
const request = frame({ request: { id: 77, kvList: { table: "hostile", prefix: "" } } });
let passed = 0;
for (const list of [[own], [pair[0]!, pair[1]!], [DOOR], Array.from({ length: 200 }, () => own)]) {
  const sent = sendDescriptors(request, list);
  if (sent === 1) passed += list.length;
  else c.held("refused by the kernel, or taken", sent < 0, show(sent));
}
for (let i = 0; i < 200; i++) {
  if (sendDescriptors(request.subarray(0, 4), [own, pair[0]!]) !== 1) break;
  passed += 2;
  if (!send(request.subarray(4))) break;
}
// A descriptor the host keeps keeps its other end open: when ours is closed the peer must see the end.
sys(NR.close, pair[0]!);
Bun.sleepSync(300);
const seen = sys(NR.recvfrom, pair[1]!, new Uint8Array(1), 1, 0x40, 0, 0);
c.held("the host keeps no descriptor", seen === 0, show(seen));
const last = ask("kvList", { table: "hostile", prefix: "" });
c.held("descriptors are no requests", last.kind === "closed" || last.kind === "ok" || last.kind === "silent" || last.kind === "error", shown(last));
c.done(`${passed} descriptors passed, then: ${shown(last)}`);
