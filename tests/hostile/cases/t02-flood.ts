// case: T02-flood
// attack: more requests in flight than allowed, ids used twice, watches without end, answers never read
// accepts: line, OUTPUT_TOO_LARGE, RESULT_INVALID
// profiles: tool, tool-noexec
// cost: light
// control: seeded: the host bounds what it keeps for a guest; no layer of the cage is in the way
// limits: --token kv:hostile-flood:rw --timeout 60s

import { Case } from "./_case.ts";
import { ask, frame, next, send, shown } from "./_door.ts";

const c = new Case("T02-flood");
const REQUESTS_MAX = 64;
const table = "hostile-flood";
const put = ask("kvPut", { table, key: "a", valueJson: JSON.stringify("x".repeat(1000)) });
c.able("write the table its token covers", put.kind === "ok");
if (put.kind !== "ok") c.done(shown(put));

// A watch stays in flight; more of them than there are places must not all be taken.
const watches = 3 * REQUESTS_MAX;
for (let i = 0; i < watches; i++) send(frame({ request: { id: 10_000 + i, kvWatch: { table, prefix: "" } } }));
const refused = new Map<string, number>();
for (let got = next(1_500); got.kind === "frame"; got = next(1_500)) {
  const response = got.value.response as { id?: number; error?: { reason?: string } } | undefined;
  if (response?.error !== undefined) refused.set(response.error.reason ?? "", (refused.get(response.error.reason ?? "") ?? 0) + 1);
}
const over = [...refused.values()].reduce((sum, one) => sum + one, 0);
c.held("watches beyond the limit are refused", over >= watches - REQUESTS_MAX, `${over} refused: ${[...refused.keys()].join(" ")}`);

// The same id again and again, and answers nobody reads: the host stops taking, it does not store.
let taken = 0;
const flood = frame({ request: { id: 7, kvGet: { table, key: "a" } } });
for (; taken < 200_000; taken++) if (!send(flood, 2_000)) break;
c.held("answers nobody reads are not kept without end", taken < 200_000 || next(100).kind === "frame", `${taken} requests`);
c.done(`${taken} requests without reading`);
