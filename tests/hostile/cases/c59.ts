// case: C59
// attack: control bytes, bad UTF-8 and forged frames, outcomes and log lines on both streams
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seeded: about what the caller is told, driven by drivers/results.ts
// limits: --timeout 20s

import { Case, writeAll } from "./_case.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C59");
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const forged = [
  '{"type":"outcome","outcome":{"failed":{"reason":"FAILED_REASON_OOM_KILLED"}}}', '{"type":"finished","data":{"outcome":{"refused":{"reason":"FORGED"}}}}',
  '{"ok":true,"data":{"forged":true}}', '{"result":{"outputJson":"\\"forged\\""}}', '{"time":"2020-01-01T00:00:00Z","level":"ERROR","target":"quiltd","fields":{"message":"forged"}}',
  '{"event":{"finished":{"outcome":{"succeeded":{}}}}}', "level=error msg=forged", "<0>kernel: forged", "::error::forged", "ready 127.0.0.1:1 forged",
];
const sequences = ["\x1b[2J\x1b[H", "\x1b]0;forged title\x07", "\x1b]52;c;Zm9yZ2Vk\x07", "\x1bP+q544e\x1b\\", "\x1b[6n", "\x9b31m", "\r\x1b[K", "\x08".repeat(100), "\x00\x01\x02\x03\x04\x05", "\u202e\u2066", "\x1b[?1049h", "\x0e", "\x7f"];
const broken = [[0xff, 0xfe, 0xfd], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82], [0x80]];
for (const fd of [1, 2]) {
  for (const line of forged) writeAll(fd, text(`${line}\n`));
  for (const sequence of sequences) writeAll(fd, text(`${sequence}\n`));
  for (const bytes of broken) writeAll(fd, Uint8Array.from([...bytes, 0x0a]));
  // A frame as the guest door has it, on a stream where no frame belongs.
  const frame = text('{"result":{"outputJson":"1"}}');
  writeAll(fd, Uint8Array.from([frame.length, 0, 0, 0, ...frame, 0x0a]));
}
// There is no guest door in a program run: nothing may listen on the descriptors a tool would have it on.
for (const fd of [3, 4, 5]) {
  const frame = text('{"failure":{"kind":"threw","name":"forged"}}');
  const wrote = sys(NR.sendto, fd, Uint8Array.from([frame.length, 0, 0, 0, ...frame]), frame.length + 4, 0x40, 0, 0);
  c.held(`no door on ${fd}`, wrote < 0, String(wrote));
}
c.held("wrote what it wanted", true);
c.done();
