// Runs and uploads at the edges of the machine: a cancelled tool is gone, and a bundle larger than ariad's memory goes in.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arcProgram, root, until } from "../stand/host.ts";
import { Vm } from "../stand/vm.ts";
import { makeBundle, noise, versionBundle } from "./bundles.ts";
import { arc } from "./examples.ts";

const ariadMemoryMb = 96;
let vm: Vm;
let dir: string;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "aria-runs-"));
  vm = await Vm.start({ kernelWords: [`aria.ariad-memory=${ariadMemoryMb}M`] });
  const slow = makeBundle("slow", "1.0.0", [
    { name: "tick", body: `for (let n = 0; n < 3000; n++) { console.log("tick " + n); await new Promise((r) => setTimeout(r, 100)); } return "done";`, timeoutMs: 600_000 },
    { name: "quick", body: `return "quick";` },
  ]);
  writeFileSync(join(dir, "slow.aria"), slow);
  await arc(vm, ["sign", join(dir, "slow.aria")]);
  await arc(vm, ["upload", join(dir, "slow.aria")]);
}, 600_000);
afterAll(async () => {
  await vm?.stop();
  rmSync(dir, { recursive: true, force: true });
});

test("a cancelled tool stops running on the device", async () => {
  const child = Bun.spawn([arcProgram, "invoke", "slow.tick"], { cwd: root, env: { ...process.env, ARC_CONFIG_DIR: vm.configDir, NO_COLOR: "1" }, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  let seen = "";
  const reading = (async () => {
    for await (const chunk of child.stderr) seen += new TextDecoder().decode(chunk);
  })();
  expect(await until(60_000, () => seen.includes("tick 5"))).toBe(true);
  child.kill("SIGINT");
  const code = await child.exited;
  await reading;
  expect(code).toBe(130);
  const ticks = async (): Promise<number> => (await arc(vm, ["logs", "slow.tick"])).split("\n").filter((line) => line.includes("tick ")).length;
  await Bun.sleep(1500);
  const after = await ticks();
  await Bun.sleep(1500);
  expect(await ticks()).toBe(after);
  expect(after).toBeLessThan(200);
  expect(JSON.parse(await arc(vm, ["invoke", "slow.quick"]))).toBe("quick");
}, 300_000);

test("a caller that is killed leaves nothing running either", async () => {
  const child = Bun.spawn([arcProgram, "invoke", "slow.tick"], { cwd: root, env: { ...process.env, ARC_CONFIG_DIR: vm.configDir }, stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  const reader = child.stderr.getReader();
  await reader.read();
  child.kill("SIGKILL");
  await child.exited;
  await Bun.sleep(2000);
  const lines = async (): Promise<string> => arc(vm, ["logs", "slow.tick"]);
  const after = await lines();
  await Bun.sleep(1500);
  expect(await lines()).toBe(after);
}, 300_000);

test("a bundle larger than ariad's memory limit is uploaded and its tool answers", async () => {
  const path = join(dir, "large.aria");
  writeFileSync(path, versionBundle("large", "1.0.0", noise([100, 100])));
  expect(statSync(path).size).toBeGreaterThan(2 * ariadMemoryMb * 2 ** 20);
  await arc(vm, ["sign", path]);
  await arc(vm, ["upload", path]);
  expect(JSON.parse(await arc(vm, ["invoke", "large.version"]))).toBe("1.0.0");
  expect(vm.console).not.toMatch(/ariad (was ended|exited)|Out of memory|oom-kill/);
}, 900_000);

test("the machine goes down in order after all that", async () => {
  await vm.powerOff();
}, 120_000);
