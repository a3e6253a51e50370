// C61: however a program ends, the caller is told exactly that: its own code, or the signal, never a hang and never a guess.

import { join } from "node:path";
import { root } from "../../stand/host.ts";
import { type ExecResult, exec } from "../device.ts";
import { describe } from "../verdict.ts";
import { type Driver, Findings } from "./driver.ts";

const PROGRAM = join(root, "tests/hostile/cases/_exit.ts");
const LIGHT_CODES = [0, 1, 2, 7, 9, 42, 124, 125, 126, 127, 128, 130, 137, 139, 159, 254, 255];
const SIGNALS = [1, 2, 3, 6, 9, 13, 14, 15];
const FAULTS: [string, number][] = [["illegal instruction", 4], ["null dereference", 11], ["division by zero", 8], ["breakpoint", 5]];

export const exits: Driver = {
  name: "C61 exits",
  attack: "end in every way there is, and see what the caller is told",
  holds: "the shim's report (engine)",
  where: "any",
  heavy: false,
  async run(device, { full }) {
    const findings = new Findings();
    const guard = device.kind === "vm" ? 300_000 : 60_000;
    const ends = (...args: string[]): Promise<ExecResult> => exec(device, PROGRAM, ["--timeout", device.kind === "vm" ? "120s" : "20s"], guard, args);
    const code = async (want: number, ...args: string[]): Promise<void> => {
      const got = await ends(...args);
      const told = got.ended.kind === "succeeded" ? 0 : got.ended.kind === "failed" && got.ended.reason === "EXITED" ? got.ended.exitCode : undefined;
      findings.check(`${args.join(" ")} is code ${want}`, told === want && got.arcExit === want, `${describe(got.ended)}, arc ${got.arcExit}`);
    };
    const signal = async (want: number, ...args: string[]): Promise<void> => {
      const got = await ends(...args);
      const told = got.ended.kind === "failed" && got.ended.reason === "SIGNALLED" ? got.ended.signal : undefined;
      findings.check(`${args.join(" ")} is signal ${want}`, told === want && got.arcExit === 128 + want, `${describe(got.ended)}, arc ${got.arcExit}`);
    };
    for (const value of full ? Array.from({ length: 256 }, (_, i) => i) : LIGHT_CODES) await code(value, "exit", String(value));
    for (const value of [0, 3, 255]) {
      await code(value, "raw-exit", String(value));
      await code(value, "close-stdio", String(value));
    }
    await code(5, "code", "5");
    await code(1, "throw");
    await code(1, "reject");
    for (const value of SIGNALS) await signal(value, "signal", String(value));
    for (const [index, [, value]] of FAULTS.entries()) await signal(value, "fault", String(index));
    return findings.verdict();
  },
};
