// C70: every start has randomness of its own. Cages made ready before their call are looked at in drivers/tenants.ts.

import { EngineClient } from "../engine.ts";
import { type Driver, Findings } from "./driver.ts";

const STARTS = { light: 60, usual: 1_000, full: 10_000 };
const AT_ONCE = 4;
const PRINT = `const bytes = (n) => Buffer.from(crypto.getRandomValues(new Uint8Array(n))).toString("hex");
console.log(JSON.stringify({ uuid: crypto.randomUUID(), math: Math.random(), bytes: bytes(16), node: require("node:crypto").randomBytes(16).toString("hex"),
  v7: Bun.randomUUIDv7().slice(14) }))`;

export const entropy: Driver = {
  name: "C70 entropy",
  attack: "start a thousand times and see a random value twice",
  holds: "a process of its own for every start",
  where: "host",
  heavy: false,
  async run(device, { full, light }) {
    const findings = new Findings();
    const total = full ? STARTS.full : light ? STARTS.light : STARTS.usual;
    const engine = await EngineClient.connect(device.host!.quiltSocket);
    const seen = new Map<string, Set<string>>();
    let done = 0;
    const worker = async (): Promise<void> => {
      while (done < total) {
        done += 1;
        const told = await engine.execute({ argv: ["/bin/bun", "-e", PRINT] }).done;
        let values: Record<string, unknown> = {};
        try {
          values = JSON.parse(told.head) as Record<string, unknown>;
        } catch {
          findings.check("a start prints its values", false, `${told.head.slice(0, 200)} ${JSON.stringify(told.ends)} ${told.status.details}`);
        }
        for (const [name, value] of Object.entries(values)) seen.set(name, (seen.get(name) ?? new Set()).add(String(value)));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    engine.close();
    findings.check("sources of randomness", seen.size === 5, [...seen.keys()].join(" "));
    for (const [name, values] of seen) findings.check(`${name} never repeats`, values.size === total, `${values.size} of ${total}`);
    return findings.verdict(`${total} starts, ${[...seen.keys()].join(" ")}`);
  },
};
