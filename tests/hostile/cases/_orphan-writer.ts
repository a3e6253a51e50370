// Leaves a child that writes through the inherited door long after this process, and so the run, has ended; driven by drivers/door.ts.

import { fork } from "./_asm.ts";
import { ask, DOOR, frame } from "./_door.ts";
import { addressOf } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const late = frame({ request: { id: 99, kvPut: { table: "hostile-orphan", key: "late", valueJson: "1" } } });
const at = addressOf(late);
fork((asm) => void asm.sys(NR.poll, 0, 0, 400).label("again").sys(NR.sendto, DOOR, at, late.length, 0x4000, 0, 0).sys(NR.poll, 0, 0, 50).jump("again"));
const early = ask("kvPut", { table: "hostile-orphan", key: "early", valueJson: "1" });
console.log(`EARLY ${early.kind}`);
process.exit(0);
