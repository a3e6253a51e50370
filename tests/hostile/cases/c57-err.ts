// case: C57-err
// attack: ten gigabytes to stderr
// accepts: OUTPUT_TOO_LARGE
// profiles: tool, tool-noexec, tool-nojit
// cost: heavy
// control: seeded: the engine ends it, not a layer of the cage; the typed outcome is the proof
// limits: --timeout 60s

import { writeAll } from "./_case.ts";

// Short lines, so that a reader which counts lines is met as well as one which counts bytes.
const block = new TextEncoder().encode("aria flood line 0123456789 abcdefghijklmnopqrstuvwxyz\n".repeat(1200));
for (let sent = 0; sent < 10 * 2 ** 30; sent += block.length) writeAll(2, block);
