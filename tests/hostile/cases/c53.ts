// case: C53
// attack: take more processor time than granted: sixteen busy threads for ten seconds
// accepts: line
// profiles: tool, tool-noexec
// cost: heavy
// control: cpu
// limits: --timeout 60s

import { thread } from "./_asm.ts";
import { Case } from "./_case.ts";
import { pages, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C53");
const SECONDS = 10;
const STACK = 16_384;
// The default is one core. A machine with one core cannot show more, so there it proves nothing beyond itself.
const CORES = 1.0;
const stop = pages(4096);
let started = 0;
for (let i = 0; i < 16; i++) {
  const tid = thread(pages(STACK).address + STACK - 64, (asm) => void asm.label("spin").jumpWhileZero(stop.address, "spin"));
  if (tid > 0) started += 1;
}
c.able("start sixteen threads", started === 16);
const usage = (): number => {
  const bytes = new BigInt64Array(18);
  sys(NR.getrusage, 0, bytes);
  return Number(bytes[0]! + bytes[2]!) + Number(bytes[1]! + bytes[3]!) / 1e6;
};
const [wallBefore, cpuBefore] = [performance.now(), usage()];
await Bun.sleep(SECONDS * 1000);
const wall = (performance.now() - wallBefore) / 1000;
const share = (usage() - cpuBefore) / wall;
stop.view[0] = 1;
c.held("at most its share", share <= CORES * 1.05, share.toFixed(3));
c.able("get some of its share", share > 0.05);
c.done(`${share.toFixed(3)} cores over ${wall.toFixed(1)} s`);
