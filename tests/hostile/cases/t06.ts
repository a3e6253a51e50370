// case: T06
// attack: stop itself, whole, so that its lease runs out, and write when somebody wakes it
// accepts: CANCELLED
// profiles: tool, tool-noexec
// cost: heavy
// control: seeded: the engine renews a lease only while the program itself can act, and ends it otherwise
// limits: --token kv:hostile-stopped:rw --timeout 60s
// within: 40s

import { Case } from "./_case.ts";
import { ask, shown } from "./_door.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("T06");
const SIGSTOP = 19;
const first = ask("kvPut", { table: "hostile-stopped", key: "a", valueJson: "1" });
c.able("write while its lease lives", first.kind === "ok");
if (first.kind !== "ok") c.done(shown(first));
sys(NR.kill, process.pid, SIGSTOP);
// Nobody in the cage can wake it, so this is reached only when it did not stop, or when somebody outside woke what had no lease.
const late = ask("kvPut", { table: "hostile-stopped", key: "a", valueJson: "2" });
c.held("a write after the lease is refused", late.kind !== "ok", shown(late));
c.done(shown(late));
