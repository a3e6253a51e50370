// arc against a booted machine, and one call of an example on it.

import type { Vm } from "../stand/vm.ts";
import { check, type Call, type Example } from "../conformance/calls.ts";

/** Runs arc and gives its standard output; anything but success is an error with everything it said. */
export async function arc(vm: Vm, args: string[], cwd?: string): Promise<string> {
  const done = await vm.arc(args, cwd === undefined ? {} : { cwd });
  if (done.code !== 0) throw new Error(`arc ${args.join(" ")}: exit ${done.code}\n${done.stdout}${done.stderr}\nconsole:\n${vm.console.split("\n").slice(-15).join("\n")}`);
  return done.stdout;
}

/** Makes one call; undefined, or what was wrong. A tool that runs out of its own time is called once more, and said: an emulated machine on a busy host can be that slow. */
export async function call(vm: Vm, example: Example, wanted: Call): Promise<string | undefined> {
  const once = (): Promise<string | undefined> => check((args) => vm.arc(args), example, wanted);
  const wrong = await once();
  if (wrong === undefined || wanted.fails?.code === "DEADLINE" || !wrong.includes('"code":"DEADLINE"')) return wrong;
  console.log(`${wanted.tool} ran out of its own time on this machine, called once more`);
  return await once();
}
