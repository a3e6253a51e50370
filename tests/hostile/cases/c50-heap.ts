// case: C50-heap
// attack: allocate typed arrays until killed
// accepts: OOM_KILLED
// profiles: tool, tool-noexec, tool-nojit
// cost: heavy
// control: memory
// limits: --memory 128M --timeout 60s

import { Case } from "./_case.ts";

const c = new Case("C50-heap");
const LIMIT = 128 << 20;
const kept: Uint8Array[] = [];
let touched = 0;
while (touched < 4 * LIMIT) {
  // Different bytes on every page, so that nothing can be merged or compressed away.
  const block = new Uint8Array(4 << 20);
  for (let at = 0; at < block.length; at += 4096) block[at] = (at >> 12) + kept.length;
  kept.push(block);
  touched += block.length;
}
c.held("memory beyond the limit", false, `${touched} bytes touched, ${kept.length} blocks`);
c.done();
