// C62: what the kernel counts by user, a cage cannot take from another: each has a user of its own.

import { join } from "node:path";
import { root } from "../../stand/host.ts";
import { exec } from "../device.ts";
import { type Driver, Findings } from "./driver.ts";

const HOARD = join(root, "tests/hostile/cases/_hoard.ts");
const HELD_MS = 8_000;

type Counts = Record<string, number>;

export const hoard: Driver = {
  name: "C62 hoard",
  attack: "take every inotify instance, timer, queued signal and socket a user may have",
  holds: "uid: one for each cage",
  where: "any",
  heavy: false,
  async run(device) {
    const findings = new Findings();
    const slow = device.kind === "vm" ? 6 : 1;
    const hoarder = (ms: number): Promise<Counts> =>
      exec(device, HOARD, ["--timeout", `${60 * slow}s`], 120_000 * slow, [String(ms)]).then((result) => {
        const said = /\{"hoard":(\{[^}]*\})\}/.exec(result.head)?.[1];
        findings.check("a hoarder says what it got", said !== undefined, `${result.head.slice(0, 200)} ${JSON.stringify(result.ended)}`);
        return JSON.parse(said ?? "{}") as Counts;
      });
    const alone = await hoarder(0);
    // Three at once, each started while the others hold what they took.
    const together = await Promise.all([hoarder(HELD_MS * slow), hoarder(HELD_MS * slow), Bun.sleep(HELD_MS * slow / 2).then(() => hoarder(0))]);
    for (const name of ["timers", "watchers", "pairs"]) {
      findings.check(`${name} are limited`, (alone[name] ?? 0) > 8 && (alone[name] ?? 0) < 2_000, alone[name] ?? 0);
      for (const counts of together) findings.check(`${name} beside hoarders`, (counts[name] ?? 0) >= (alone[name] ?? 0), `${counts[name]}, alone ${alone[name]}`);
    }
    return findings.verdict(JSON.stringify(alone));
  },
};
