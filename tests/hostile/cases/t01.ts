// case: T01
// attack: use what its tokens do not cover: write with a read token, other tables, look-alike names, other servers, claims in the request
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seeded: the server on the host refuses each operation; no layer of the cage is in the way
// limits: --token kv:hostile:ro --timeout 30s

import { Case } from "./_case.ts";
import { type Answer, ask, shown } from "./_door.ts";

const c = new Case("T01");
const refused = (what: string, answer: Answer): void => c.held(what, answer.kind === "error" && answer.reason !== "INTERNAL", shown(answer));
const list = (table: unknown): Answer => ask("kvList", { table, prefix: "" });

const allowed = list("hostile");
c.able("read the table its token covers", allowed.kind === "ok");
if (allowed.kind !== "ok") c.done(shown(allowed));

// A read token for a write.
refused("put", ask("kvPut", { table: "hostile", key: "a", valueJson: "1" }));
refused("append", ask("kvAppend", { table: "hostile", valueJson: "1" }));
refused("delete", ask("kvDelete", { table: "hostile", key: "a" }));
refused("cas that makes", ask("kvCas", { table: "hostile", key: "a", expected: 0, valueJson: "1" }));
refused("cas that removes", ask("kvCas", { table: "hostile", key: "a", expected: 1, valueJson: null }));

// Tables beside its own: longer, shorter, other case, other spellings of the same letters, paths, modes and separators in the name.
const names = [
  "hostile2", "hostil", "hostile-", "Hostile", "HOSTILE", "hostile ", " hostile", "hostile\0", "hostile\n", "hostile:", ":hostile", "hostile::a", "hostile/../orders", "hostile%2forders",
  "hostile%3arw", "ｈｏｓｔｉｌｅ", "hostіle", "hostile\u200b", "hostile\u0301", "kv:hostile", "kv:hostile:ro", "hostile:rw", "hostile:exclusive", "hostile:append", "hostile:ro", "*", "hostile*", "", ".", "..", "orders",
  "orders:hostile", "x".repeat(300), null, 7, ["hostile"], { toString: "hostile" },
];
for (const name of names) refused(`table ${JSON.stringify(name)?.slice(0, 40)}`, list(name));

// Other servers, and operations that do not exist.
const others: [string, unknown][] = [
  ["vectorSearch", { collection: "hostile", vector: [1, 2], k: 1 }], ["vectorUpsert", { collection: "hostile", items: [{ id: "a", vector: [1, 2] }] }], ["vectorDelete", { collection: "hostile", ids: ["a"] }],
  ["toolCall", { tool: "misfits.fail", inputJson: "{}" }], ["netOpen", { url: "http://127.0.0.1:7600/", method: "GET", headers: [] }], ["secretGet", { name: "stripe" }], ["acquire", { tokens: ["kv:hostile:rw"] }],
  ["renew", {}], ["grant", { tokens: ["kv:hostile:rw"] }], ["kvget", { table: "hostile", key: "a" }], ["kvGet ", { table: "hostile", key: "a" }], ["__proto__", {}], ["constructor", {}],
];
for (const [op, body] of others) refused(op, ask(op, body));

// Who asks is the descriptor; whatever a request says about it makes it no request.
for (const claim of [{ lease: "lease-1" }, { leaseId: "lease-1" }, { owner: "admin" }, { token: "kv:hostile:rw" }, { tokens: ["kv:hostile:rw"] }, { fence: 1e9 }, { executionId: "0".repeat(32) }, { invocationId: "0".repeat(32) }]) {
  refused(`claim ${JSON.stringify(claim)} in the envelope`, ask("kvPut", { table: "hostile", key: "a", valueJson: "1" }, claim));
  refused(`claim ${JSON.stringify(claim)} in the body`, ask("kvPut", { table: "hostile", key: "a", valueJson: "1", ...claim }));
}
const after = list("hostile");
c.held("nothing was written", JSON.stringify(after) === JSON.stringify(allowed), shown(after));
c.done();
