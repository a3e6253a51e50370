// Ends the way its arguments say; driven by drivers/exits.ts, which knows what the caller must be told.

import { closeSync } from "node:fs";
import { Asm } from "./_asm.ts";
import { sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const [how, value] = [process.argv[2], Number(process.argv[3] ?? 0)];
const defaultAction = (signal: number): number => sys(NR.rt_sigaction, signal, words(0, 0, 0, 0), 0, 8);
if (how === "exit") process.exit(value);
if (how === "raw-exit") sys(NR.exit_group, value);
if (how === "code") process.exitCode = value;
if (how === "throw") throw new Error("thrown on purpose");
if (how === "reject") void Promise.reject(new Error("rejected on purpose"));
if (how === "close-stdio") {
  for (const fd of [0, 1, 2]) closeSync(fd);
  process.exit(value);
}
if (how === "signal") {
  defaultAction(value);
  sys(NR.kill, process.pid, value);
  sys(NR.tgkill, process.pid, sys(NR.gettid), value);
  await Bun.sleep(2_000);
}
if (how === "fault") {
  for (const signal of [4, 5, 6, 7, 8, 11]) defaultAction(signal);
  const faults: number[][] = [[0x0f, 0x0b], [0x31, 0xc0, 0x8b, 0x00], [0x31, 0xc9, 0x31, 0xc0, 0x31, 0xd2, 0xf7, 0xf1], [0xcc], [0x48, 0x31, 0xe4, 0x50]];
  new Asm().raw(...faults[value]!).place()();
}
