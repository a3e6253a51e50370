// case: C58
// attack: 512 MiB without a line end
// accepts: OUTPUT_TOO_LARGE
// profiles: tool, tool-noexec, tool-nojit
// cost: heavy
// control: seeded: the engine ends it, not a layer of the cage; the typed outcome is the proof
// limits: --timeout 60s

import { writeAll } from "./_case.ts";

const block = new Uint8Array(65_536).fill(0x41);
for (let sent = 0; sent < 512 * 2 ** 20; sent += block.length) writeAll(1, block);
