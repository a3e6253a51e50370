// `make demo`: the whole road once. Boot the image, make a tool from the template, build, upload, call, print the answer, power off.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arcProgram, run } from "./host.ts";
import { Vm } from "./vm.ts";

const started = performance.now();
function say(text: string): void {
  console.log(`demo: ${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s  ${text}`);
}

const work = mkdtempSync(join(tmpdir(), "aria-demo-"));
let vm: Vm | undefined;

/** One arc command, shown as a person would type it; anything but success ends the demo. */
async function arc(args: string[], cwd: string): Promise<string> {
  say(`arc ${args.join(" ")}`);
  const done = vm ? await vm.arc(args, { cwd }) : await run([arcProgram, ...args], { cwd });
  if (done.code !== 0) throw new Error(`arc ${args[0]}: exit ${done.code}\n${done.stdout}${done.stderr}`);
  return done.stdout;
}

try {
  say("booting the image in QEMU");
  vm = await Vm.start();
  say(`ready: guest ${vm.ready.seconds} s, wall ${vm.bootSeconds.toFixed(1)} s, processor ${vm.cpuSeconds.toFixed(1)} s`);
  await arc(["new", "weather", "--template", "tool"], work);
  const project = join(work, "weather");
  await arc(["check"], project);
  await arc(["build"], project);
  await arc(["upload", "weather-0.1.0.aria"], project);
  const text = await arc(["invoke", "weather.forecast", "--input", '{"city":"Oslo"}'], project);
  const answer = JSON.parse(text) as { city?: unknown };
  console.log(text.trim());
  if (answer.city !== "Oslo") throw new Error("the answer is not about Oslo");
  say("powering off");
  await vm.powerOff();
  say("done");
} catch (error) {
  console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
  if (vm) console.error(`console:\n${vm.console.split("\n").slice(-30).join("\n")}`);
  process.exitCode = 1;
} finally {
  await vm?.stop();
  rmSync(work, { recursive: true, force: true });
}
process.exit();
