// case: T06
// attack: stop itself until its lease is over, be woken by a child, and write
// accepts: line, CANCELLED
// profiles: tool
// cost: heavy
// control: seeded: the engine ends a lease it cannot renew, and the server checks the lease at every operation
// limits: --token kv:hostile-stopped:rw --timeout 60s

import { fork } from "./_asm.ts";
import { Case } from "./_case.ts";
import { ask, shown } from "./_door.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("T06");
/** Longer than the configured lease (10 s) and what the engine needs to see it. */
const STOPPED_MS = 16_000;
const [SIGSTOP, SIGCONT] = [19, 18];
const first = ask("kvPut", { table: "hostile-stopped", key: "a", valueJson: "1" });
c.able("write while its lease lives", first.kind === "ok");
const me = process.pid;
const child = fork((asm) => void asm.sys(NR.poll, 0, 0, STOPPED_MS).sys(NR.kill, me, SIGCONT));
c.able("leave a child to wake it", child > 0);
const before = Date.now();
sys(NR.kill, me, SIGSTOP);
c.able("be stopped", Date.now() - before > STOPPED_MS / 2);
const late = ask("kvPut", { table: "hostile-stopped", key: "a", valueJson: "2" });
c.held("a write after the lease is refused", late.kind !== "ok", shown(late));
c.done(shown(late));
