// Power can go at any moment: what was acknowledged is there, what was not is as if it had not happened, and the device boots by itself.
//
// The disk under the machine forgets every write after the last flush. The last test takes the flushes away and must then see loss: a
// suite that stays green without fsync tests nothing.

import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Vm } from "../stand/vm.ts";
import { random, type CutOptions } from "../stand/vm-disk.ts";
import { noise, versionBundle } from "./bundles.ts";
import { arc } from "./examples.ts";

let vm: Vm | undefined;
const dirs: string[] = [];
afterEach(async () => {
  await vm?.stop();
  vm = undefined;
  dirs.splice(0).forEach((dir) => rmSync(dir, { recursive: true, force: true }));
});

interface Listed {
  name: string;
  version: string;
  digest: string;
}

async function list(machine: Vm): Promise<Listed[]> {
  const answer = JSON.parse(await arc(machine, ["ls", "--json"])) as { data?: Listed[] } | Listed[];
  return Array.isArray(answer) ? answer : (answer.data ?? []);
}

function file(name: string, version: string, megabytes: number[]): string {
  const dir = mkdtempSync(join(tmpdir(), "aria-power-"));
  dirs.push(dir);
  const path = join(dir, `${name}-${version}.aria`);
  writeFileSync(path, versionBundle(name, version, noise(megabytes)));
  return path;
}

async function upload(machine: Vm, path: string): Promise<void> {
  await arc(machine, ["sign", path]);
  await arc(machine, ["upload", path]);
}

/** Every listed bundle must be whole: its tool runs and says what it is. */
async function checkConsistent(machine: Vm, acknowledged: string[]): Promise<void> {
  const listed = await list(machine);
  for (const name of acknowledged) expect(listed.map((bundle) => bundle.name)).toContain(name);
  for (const bundle of listed) expect(JSON.parse(await arc(machine, ["invoke", `${bundle.name}.version`]))).toBe(bundle.version);
}

/** Uploads bundles one after another until the power goes `afterMs` later; returns those that were acknowledged. */
async function uploadUntilCut(machine: Vm, files: [string, string][], afterMs: number, cut: CutOptions): Promise<string[]> {
  const acknowledged: string[] = [];
  let dark = false;
  for (const [, path] of files) await arc(machine, ["sign", path]);
  const uploads = (async () => {
    for (const [name, path] of files) {
      if (dark) return;
      const done = await machine.arc(["upload", path]);
      // An answer that arrives after the cut was given before it: acknowledged all the same.
      if (done.code === 0) acknowledged.push(name);
    }
  })();
  await Bun.sleep(afterMs);
  dark = true;
  await machine.cut(cut);
  await uploads;
  return acknowledged;
}

test("an acknowledged upload survives a cut that comes right after it", async () => {
  vm = await Vm.start({ powerLoss: true });
  await upload(vm, file("solid", "1.0.0", [2]));
  await vm.cut();
  await vm.boot();
  await checkConsistent(vm, ["solid"]);
  await vm.powerOff();
}, 600_000);

test("a cut during an upload leaves the old state, and the same upload works afterwards", async () => {
  vm = await Vm.start({ powerLoss: true });
  await upload(vm, file("before", "1.0.0", []));
  const half = file("half", "1.0.0", [60, 60]);
  await arc(vm, ["sign", half]);
  const uploading = vm.arc(["upload", half]);
  await Bun.sleep(1500);
  await vm.cut();
  expect((await uploading).code).not.toBe(0);
  await vm.boot();
  expect((await list(vm)).map((bundle) => bundle.name)).toEqual(["before"]);
  await checkConsistent(vm, ["before"]);
  await arc(vm, ["upload", half]);
  await checkConsistent(vm, ["before", "half"]);
  await vm.powerOff();
}, 600_000);

test("cuts at arbitrary moments, with some unflushed writes surviving in no order", async () => {
  const seed = Number(process.env.ARIA_SEED ?? 20);
  console.log(`seed ${seed} (ARIA_SEED)`);
  const draw = random(seed);
  vm = await Vm.start({ powerLoss: true });
  const acknowledged: string[] = [];
  for (let round = 0; round < 4; round++) {
    const files = Array.from({ length: 12 }, (_, index): [string, string] => {
      const name = `r${round}-${index}`;
      return [name, file(name, `1.${round}.${index}`, draw() < 0.3 ? [3] : [])];
    });
    const cut = { survive: [0, 0.5, 0.9, 0.2][round] ?? 0, seed: seed + round };
    acknowledged.push(...(await uploadUntilCut(vm, files, 500 + Math.floor(draw() * 4000), cut)));
    await vm.boot();
    await checkConsistent(vm, acknowledged);
  }
  expect(acknowledged.length).toBeGreaterThan(0);
  await vm.powerOff();
}, 1_800_000);

test("self-check: without flushes the same check sees the acknowledged upload lost", async () => {
  vm = await Vm.start({ powerLoss: true });
  const machine = vm;
  await upload(machine, file("solid", "1.0.0", []));
  await Bun.sleep(1000);
  machine.ignoreFlushes();
  await upload(machine, file("fragile", "1.0.0", []));
  expect(machine.diskState.unflushedBytes).toBeGreaterThan(0);
  expect(await machine.cut()).toBeGreaterThan(0);
  await machine.boot();
  await checkConsistent(machine, ["solid"]);
  await expect(checkConsistent(machine, ["solid", "fragile"])).rejects.toThrow("fragile");
}, 600_000);
