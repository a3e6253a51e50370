// case: C53
// attack: take more processor time than granted: sixteen busy threads for ten seconds
// accepts: line
// profiles: tool, tool-noexec
// cost: heavy
// control: cpu
// limits: --cpu 0.25 --timeout 60s

import { thread } from "./_asm.ts";
import { Case } from "./_case.ts";
import { pages, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C53");
const SECONDS = 10;
const STACK = 16_384;
// A quarter of a core: so little that sixteen threads get all of it, and would get more, on any machine however busy it is.
const CORES = 0.25;
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
c.able("get most of its share", share > CORES / 2);
c.done(`${share.toFixed(3)} cores over ${wall.toFixed(1)} s`);
