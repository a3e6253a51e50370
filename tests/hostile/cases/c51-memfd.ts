// case: C51-memfd
// attack: hide memory in anonymous files
// accepts: OOM_KILLED
// profiles: tool, tool-noexec
// cost: heavy
// control: memory
// limits: --memory 128M --timeout 60s

import { Case } from "./_case.ts";
import { show, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C51-memfd");
const LIMIT = 128 << 20;
const block = new Uint8Array(1 << 20).fill(0xa5);
let bytes = 0;
let last = 0;
for (let i = 0; i < 64 && bytes < 4 * LIMIT; i++) {
  const fd = sys(NR.memfd_create, `hidden-${i}`, 0);
  last = fd;
  if (fd < 0) break;
  for (let k = 0; k < 16; k++) {
    last = sys(NR.write, fd, block, block.length);
    if (last < 0) break;
    bytes += last;
  }
}
c.able("make an anonymous file", bytes > 0);
c.held("anonymous files beyond the limit", bytes <= LIMIT, `${bytes} bytes, last ${show(last)}`);
c.done();
