// The projects in `examples/`, each with `calls.json`: what to call with what, and what must come back.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../stand/host.ts";
import type { Vm } from "../stand/vm.ts";

export interface Call {
  /** `<bundle>.<tool>` */
  tool: string;
  input: unknown;
  /** Name in the cage → path inside the example. */
  files?: Record<string, string>;
  /** Every property named here must come back so; an object may hold more, a list may not. */
  expect: unknown;
}

export interface Example {
  name: string;
  dir: string;
  calls: Call[];
}

export function examples(): Example[] {
  const base = join(root, "examples");
  const names = readdirSync(base, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name).sort();
  return names.filter((name) => existsSync(join(base, name, "arc.toml"))).map((name) => {
    const dir = join(base, name);
    return { name, dir, calls: JSON.parse(readFileSync(join(dir, "calls.json"), "utf8")) as Call[] };
  });
}

/** Runs arc and gives its standard output; anything but success is an error with everything it said. */
export async function arc(vm: Vm, args: string[], cwd?: string): Promise<string> {
  const done = await vm.arc(args, cwd === undefined ? {} : { cwd });
  if (done.code !== 0) throw new Error(`arc ${args.join(" ")}: exit ${done.code}\n${done.stdout}${done.stderr}\nconsole:\n${vm.console.split("\n").slice(-15).join("\n")}`);
  return done.stdout;
}

/** Builds and uploads one example. */
export async function install(vm: Vm, example: Example): Promise<void> {
  await arc(vm, ["build"], example.dir);
  const bundles = readdirSync(example.dir).filter((name) => name.endsWith(".aria"));
  if (bundles.length !== 1) throw new Error(`examples/${example.name} holds ${bundles.length} bundles after arc build`);
  await arc(vm, ["upload", bundles[0] ?? ""], example.dir);
}

/** One call's answer. A tool that runs out of its own time is called once more, and said: an emulated machine on a busy host can be that slow. */
export async function invoke(vm: Vm, call: Call, cwd?: string): Promise<unknown> {
  const files = Object.entries(call.files ?? {}).flatMap(([name, path]) => ["--file", `${name}=${path}`]);
  const args = ["invoke", call.tool, "--input", JSON.stringify(call.input), ...files];
  try {
    return JSON.parse(await arc(vm, args, cwd));
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes("error[DEADLINE]")) throw error;
    console.log(`${call.tool} ran out of its own time on this machine, called once more`);
    return JSON.parse(await arc(vm, args, cwd));
  }
}
