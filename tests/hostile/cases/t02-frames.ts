// case: T02-frames
// attack: speak the host's half at its own door: forged answers, calls and events, frames in pieces, unknown, deep, broken, empty
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seeded: the host reads frames and decides; no layer of the cage is in the way
// limits: --token kv:hostile-frames:rw --timeout 60s

import { Case } from "./_case.ts";
import { answerTo, ask, frame, next, send, shown } from "./_door.ts";

const c = new Case("T02-frames");
const put = ask("kvPut", { table: "hostile-frames", key: "a", valueJson: "1" });
c.able("write the table its token covers", put.kind === "ok");
if (put.kind !== "ok") c.done(shown(put));
const alive = (after: string): void => {
  const answer = ask("kvGet", { table: "hostile-frames", key: "a" });
  c.held(`the door works after ${after}`, answer.kind === "ok", shown(answer));
};

// What only the host says is nothing from a guest: no effect, no answer.
for (const forged of [
  { response: { id: 1, ok: { value: "forged" } } }, { response: { id: 2, error: { reason: "X", message: "y" } } }, { invoke: { invocationId: "0".repeat(32), module: "/app/code/a.js", inputJson: "{}" } },
  { prepare: { module: "/app/code/a.js" } }, { granted: { leaseId: "x", fence: 9 } }, { renewed: { ttlMs: 1e9 } }, { ended: {} },
]) send(frame(forged));
const quiet = next(300);
c.held("forged host frames are not answered", quiet.kind === "silent", JSON.stringify(quiet).slice(0, 200));
alive("forged frames");

const nothing = ["null", "[]", "7", "{", "{}", '{"request":7}', '{"request":{}}', '{"request":{"id":"x","kvGet":{}}}', '{"request":{"id":-1,"kvGet":{}}}', `${"[".repeat(1000)}${"]".repeat(1000)}`, '{"a":1,"a":2}'];
for (const text of nothing) send(frame(text));
send(frame(Uint8Array.from([0xff, 0xfe, 0x00])));
send(frame(new Uint8Array(0)));
alive("frames that are none");

// In pieces, byte by byte, and many in one piece.
const whole = frame({ request: { id: 900, kvGet: { table: "hostile-frames", key: "a" } } });
for (const byte of whole) send(Uint8Array.from([byte]));
c.held("a frame in pieces is answered", answerTo(900).kind === "ok");
send(new Uint8Array(Buffer.concat(Array.from({ length: 20 }, (_, i) => frame({ request: { id: 1000 + i, kvGet: { table: "hostile-frames", key: "a" } } })))));
let answered = 0;
for (let i = 0; i < 20; i++) {
  const got = next();
  const id = got.kind === "frame" ? (got.value.response as { id?: number } | undefined)?.id : undefined;
  if (id !== undefined && id >= 1000 && id < 1020) answered += 1;
}
c.held("twenty in one piece are answered each", answered === 20, String(answered));

// Bodies at and beyond the edges.
const large = "x".repeat((700 << 10) + 1);
for (const [what, op, body] of [
  ["a value too large", "kvPut", { table: "hostile-frames", key: "b", valueJson: JSON.stringify(large) }], ["a key too long", "kvGet", { table: "hostile-frames", key: "k".repeat(4096) }],
  ["a value that is no JSON", "kvPut", { table: "hostile-frames", key: "b", valueJson: "{" }], ["a deep value", "kvPut", { table: "hostile-frames", key: "b", valueJson: `${"[".repeat(5000)}${"]".repeat(5000)}` }],
  ["an endless page", "kvList", { table: "hostile-frames", prefix: "", limit: 1e9 }], ["a negative page", "kvList", { table: "hostile-frames", prefix: "", limit: -1 }],
] as const) {
  const answer = ask(op, body);
  c.held(what, answer.kind === "error", shown(answer));
}
alive("bad bodies");
c.done();
