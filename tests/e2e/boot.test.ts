// One boot of the image, and every example built, uploaded and called in it. Part of `make test`.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Vm } from "../stand/vm.ts";
import { examples } from "../conformance/calls.ts";
import { arc, call } from "./examples.ts";

let vm: Vm;
const dir = mkdtempSync(join(tmpdir(), "aria-boot-"));
beforeAll(async () => {
  vm = await Vm.start();
  console.log(`booted in ${vm.bootSeconds.toFixed(1)} s (guest ${vm.ready.seconds} s, processor ${vm.cpuSeconds.toFixed(1)} s, retries ${vm.retries})`);
}, 600_000);
afterAll(async () => {
  await vm?.stop();
  rmSync(dir, { recursive: true, force: true });
});

test("the console names the node and its authority", () => {
  expect(vm.ready.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  expect(vm.console).toContain("enrolment is open");
  expect(vm.console).not.toMatch(/^aria: (ALARM|fatal|load module|limit |cgroup controller|sysctl )/m);
});

test("there are at least six examples", () => {
  expect(examples().length).toBeGreaterThanOrEqual(6);
});

describe.each(examples())("example $name", (example) => {
  test("builds and uploads", async () => {
    const file = join(dir, `${example.name}.aria`);
    await arc(vm, ["build", example.dir, "--out", file]);
    await arc(vm, ["upload", file]);
  }, 300_000);

  for (const [index, wanted] of example.calls.entries())
    test(`call ${index + 1}: ${wanted.tool}${wanted.fails === undefined ? "" : ` fails with ${wanted.fails.code}`}`, async () => {
      expect(await call(vm, example, wanted)).toBeUndefined();
    }, 300_000);
});

test("the power button ends it in order", async () => {
  await vm.powerOff();
}, 120_000);
