// case: C50-strings
// attack: grow strings, maps and closures until killed
// accepts: OOM_KILLED
// profiles: tool, tool-noexec, tool-nojit
// cost: heavy
// control: memory
// limits: --memory 128M --timeout 60s

import { Case } from "./_case.ts";

const c = new Case("C50-strings");
const LIMIT = 128 << 20;
const kept = new Map<string, string[]>();
let bytes = 0;
for (let i = 0; bytes < 6 * LIMIT; i++) {
  const list: string[] = [];
  for (let k = 0; k < 64; k++) list.push(Buffer.alloc(16_384, String.fromCharCode(33 + ((i + k) % 90))).toString("latin1") + String(i * k));
  kept.set(`key-${i}`, list);
  bytes += 64 * 16_384;
}
c.held("memory beyond the limit", false, `${bytes} bytes in ${kept.size} lists`);
c.done();
