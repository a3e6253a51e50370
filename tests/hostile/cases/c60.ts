// case: C60
// attack: answers no JSON reader should meet: deep, huge, broken, twice, as the program's own output
// accepts: line
// profiles: tool, tool-noexec, tool-nojit
// cost: light
// control: seeded: about what the caller is told, driven by drivers/results.ts
// limits: --timeout 30s

import { Case, writeAll } from "./_case.ts";

// The tool half of this case (results through the guest door) is in drivers/results.ts. Here the same bytes go where arc reads.
const c = new Case("C60");
const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\n`);
writeAll(1, text("[".repeat(200_000)));
writeAll(1, text(`${"[".repeat(100_000)}${"]".repeat(100_000)}`));
writeAll(1, text('{"a":1,"a":2}'));
writeAll(1, text('"\\ud800"'));
writeAll(1, text("1e999999"));
writeAll(1, text(`${"9".repeat(100_000)}`));
writeAll(1, text("NaN"));
writeAll(1, text(`"${"x".repeat(8 << 20)}"`));
writeAll(1, text('{"__proto__":{"escaped":true},"constructor":{"prototype":{}}}'));
c.held("wrote what it wanted", true);
c.done();
