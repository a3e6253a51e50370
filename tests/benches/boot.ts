// From QEMU's start to the first answer of a tool in the booted image. Software emulation: only the ratios mean anything.

import { join } from "node:path";
import { Vm } from "../stand/vm.ts";

export interface Boot {
  /** Seconds of guest time until the root file system was mounted: the kernel and the first stage, which no service can beat. */
  rootMounted: number;
  /** Seconds of guest time until the API accepted calls. */
  ready: number;
  /** Seconds of wall time from QEMU's start to ready. */
  readyWall: number;
  /** Seconds of wall time from QEMU's start to the first answer. */
  firstAnswer: number;
}

/** Boots, uploads the bundle, calls the tool once. */
export async function bootToFirstAnswer(bundle: string, tool: string, input: unknown, work: string): Promise<Boot> {
  const vm = await Vm.start({ configDir: join(work, "boot-arc") });
  try {
    const rootMounted = Number(/mounted read-only after ([0-9.]+) s/.exec(vm.console)?.[1] ?? Number.NaN);
    const start = performance.now();
    for (const args of [["sign", bundle], ["upload", bundle], ["invoke", tool, "--input", JSON.stringify(input)]]) {
      const done = await vm.arc(args);
      if (done.code !== 0) throw new Error(`arc ${args[0]} in the machine: exit ${done.code}\n${done.stderr}`);
    }
    const firstAnswer = vm.bootSeconds + (performance.now() - start) / 1000;
    const boot = { rootMounted, ready: vm.ready.seconds, readyWall: vm.bootSeconds, firstAnswer };
    await vm.powerOff();
    return boot;
  } finally {
    await vm.stop();
  }
}
