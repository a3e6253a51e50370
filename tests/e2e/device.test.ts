// What a device does with its disks: it keeps, it grows, and without a usable data disk it still answers.

import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, openSync, closeSync, ftruncateSync, readdirSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root, run } from "../stand/host.ts";
import { Vm, type VmOptions } from "../stand/vm.ts";
import { versionBundle } from "./bundles.ts";
import { arc } from "./examples.ts";

let vm: Vm | undefined;
const dirs: string[] = [];
afterEach(async () => {
  await vm?.stop();
  vm = undefined;
  dirs.splice(0).forEach((dir) => rmSync(dir, { recursive: true, force: true }));
});

async function start(options: VmOptions = {}): Promise<Vm> {
  vm = await Vm.start(options);
  return vm;
}

function work(): string {
  const dir = mkdtempSync(join(tmpdir(), "aria-e2e-"));
  dirs.push(dir);
  return dir;
}

async function upload(machine: Vm, name: string, version: string): Promise<void> {
  const file = join(work(), `${name}-${version}.aria`);
  writeFileSync(file, versionBundle(name, version));
  await arc(machine, ["sign", file]);
  await arc(machine, ["upload", file]);
}

async function version(machine: Vm, name: string): Promise<unknown> {
  return JSON.parse(await arc(machine, ["invoke", `${name}.version`]));
}

test("a reboot keeps the registry, the identity and the operator", async () => {
  const machine = await start();
  await upload(machine, "kept", "1.0.0");
  const before = { ready: machine.ready, list: await arc(machine, ["ls", "--json"]) };
  await machine.reboot();
  expect(machine.ready.fingerprint).toBe(before.ready.fingerprint);
  expect(machine.ready.node).toBe(before.ready.node);
  expect(await arc(machine, ["ls", "--json"])).toBe(before.list);
  expect(await version(machine, "kept")).toBe("1.0.0");
  await machine.powerOff();
}, 600_000);

test("the disk image boots by itself, grows to its disk and keeps", async () => {
  const dir = work();
  const packed = readdirSync(join(root, "out/image")).find((name) => name.endsWith(".img.zst"));
  const wholeDisk = join(dir, "disk.img");
  expect((await run(["zstd", "-q", "-d", join(root, "out/image", packed ?? "missing"), "-o", wholeDisk])).code).toBe(0);
  const fd = openSync(wholeDisk, "r+");
  ftruncateSync(fd, 3 * 2 ** 30);
  closeSync(fd);
  const machine = await start({ wholeDisk });
  expect(machine.console).toMatch(/^aria: data partition grown to 25\d\d MiB$/m);
  await upload(machine, "kept", "2.0.0");
  await machine.reboot();
  expect(machine.console).not.toContain("grown");
  expect(await version(machine, "kept")).toBe("2.0.0");
  await machine.powerOff();
}, 600_000);

test("without a data disk it answers and says what it cannot do", async () => {
  const machine = await start({ noData: true });
  expect(machine.console).toContain("DATA DISK UNUSABLE: running on memory");
  expect(machine.console).toMatch(/^aria: ready after .* \(nothing is kept: no data disk\)$/m);
  await upload(machine, "fleeting", "1.0.0");
  expect(await version(machine, "fleeting")).toBe("1.0.0");
  await machine.powerOff();
}, 600_000);

test("a destroyed data disk is not fatal", async () => {
  const machine = await start();
  await machine.powerOff();
  const fd = openSync(machine.dataDisk, "r+");
  writeSync(fd, new Uint8Array(64 * 1024).fill(0xa5), 0, 64 * 1024, 0);
  closeSync(fd);
  await machine.boot();
  expect(machine.console).toContain("DATA DISK UNUSABLE: mount ext4");
  expect(machine.ready.node).not.toBe("");
  await machine.powerOff();
}, 600_000);

test("a data disk that fills up is an error for the upload, not for the device", async () => {
  const machine = await start({ dataMb: 64, kernelWords: [] });
  await upload(machine, "first", "1.0.0");
  const file = join(work(), "big-1.0.0.aria");
  writeFileSync(file, versionBundle("big", "1.0.0", [{ path: "src/noise.bin", bytes: crypto.getRandomValues(new Uint8Array(2 ** 16)) }, ...Array.from({ length: 60 }, (_, index) => ({ path: `src/n${index}.bin`, bytes: new Uint8Array(2 ** 20).fill(index) }))]));
  await arc(machine, ["sign", file]);
  const refused = await machine.arc(["upload", file, "--json"]);
  expect(refused.code).not.toBe(0);
  expect(refused.stdout + refused.stderr).toMatch(/STORAGE|SPACE|QUOTA|FULL|EXHAUSTED/i);
  expect(await version(machine, "first")).toBe("1.0.0");
  await machine.powerOff();
}, 600_000);
