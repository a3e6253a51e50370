// case: T03-close
// attack: close the door, half of it, or put another file in its place, and keep running
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seeded: whatever a program does to its own descriptor is its own loss; the host must neither hang nor believe it
// limits: --token kv:hostile:ro --timeout 20s
// within: 15s

import { Case } from "./_case.ts";
import { ask, DOOR, shown } from "./_door.ts";
import { O, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("T03-close");
const SHUT_WR = 1;
const first = ask("kvList", { table: "hostile", prefix: "" });
c.able("use its door", first.kind === "ok");
sys(NR.shutdown, DOOR, SHUT_WR);
const half = ask("kvList", { table: "hostile", prefix: "" }, {}, 1_000);
c.held("nothing is asked through a shut door", half.kind !== "ok", shown(half));
const file = sys(NR.open, "/tmp/door", O.RDWR | O.CREAT, 0o600);
c.able("put a file in its place", sys(NR.dup2, file, DOOR) === DOOR);
sys(NR.write, DOOR, new Uint8Array(64), 64);
sys(NR.close, DOOR);
await Bun.sleep(1_500);
c.held("runs on without a door", true);
c.done();
