// case: T02-bomb
// attack: announce a frame of four gigabytes at the door
// accepts: OUTPUT_TOO_LARGE, RESULT_INVALID
// profiles: tool, tool-noexec
// cost: light
// control: seeded: the host bounds a frame before it reads it; no layer of the cage is in the way
// limits: --token kv:hostile:ro --timeout 20s

import { Case } from "./_case.ts";
import { ask, frame, send } from "./_door.ts";

const c = new Case("T02-bomb");
c.able("use its door", ask("kvList", { table: "hostile", prefix: "" }).kind === "ok");
send(frame(new Uint8Array(0), 0xffffffff));
const block = new Uint8Array(1 << 20).fill(0x20);
let sent = 0;
for (; sent < 64; sent++) if (!send(block, 2_000)) break;
await Bun.sleep(3_000);
c.held("the host takes no such frame", sent < 8, `${sent} MiB`);
c.done();
