// case: C51-tmpfs
// attack: hide memory in files: fill /tmp and /out, unlink them while open, and fill the rest on the heap
// accepts: OOM_KILLED
// profiles: tool, tool-noexec
// cost: heavy
// control: memory
// limits: --memory 96M --timeout 60s

import { openSync, unlinkSync, writeSync } from "node:fs";
import { Case } from "./_case.ts";
import { pages } from "./_ffi.ts";

const c = new Case("C51-tmpfs");
const LIMIT = 96 << 20;
const block = new Uint8Array(1 << 20).fill(0xa5);
let bytes = 0;
for (const path of ["/tmp/hidden", "/out/hidden"]) {
  try {
    const fd = openSync(path, "w");
    unlinkSync(path);
    for (let i = 0; i < 60; i++) bytes += writeSync(fd, block);
  } catch {
    // Full, or there is no such place; what was written counts.
  }
}
c.able("hide bytes in a file without a name", bytes >= 32 << 20);
for (let i = 0; i < 96; i++) {
  pages(1 << 20).view.fill(0xa5);
  bytes += 1 << 20;
}
c.held("files and memory together within the limit", bytes <= LIMIT, `${bytes} bytes`);
c.done();
