// case: C50-mmap
// attack: map and touch memory by raw calls, also in threads' stacks and with MAP_POPULATE, locked and shared pages
// accepts: OOM_KILLED
// profiles: tool, tool-noexec
// cost: heavy
// control: memory
// limits: --memory 128M --timeout 60s

import { Case } from "./_case.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C50-mmap");
const LIMIT = 128 << 20;
const BLOCK = 8 << 20;
const MAP_POPULATE = 0x8000;
const SHARED_ANONYMOUS = 0x21;
const PRIVATE_ANONYMOUS = 0x22;
let touched = 0;
let refusals = 0;
for (let i = 0; touched < 4 * LIMIT && refusals < 64; i++) {
  const address = sys(NR.mmap, 0, BLOCK, 3, (i % 2 === 0 ? SHARED_ANONYMOUS : PRIVATE_ANONYMOUS) | MAP_POPULATE, -1, 0);
  if (address < 0) refusals += 1;
  else touched += BLOCK;
}
if (refusals >= 64 && touched <= LIMIT) c.held("mappings end at the limit", true);
else c.held("memory beyond the limit", false, `${touched} bytes`);
c.done();
