// One boot of the image, and every example built, uploaded and called in it. Part of `make test`.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Vm } from "../stand/vm.ts";
import { examples, install, invoke } from "./examples.ts";

let vm: Vm;
beforeAll(async () => {
  vm = await Vm.start();
  console.log(`booted in ${vm.bootSeconds.toFixed(1)} s (guest ${vm.ready.seconds} s, processor ${vm.cpuSeconds.toFixed(1)} s, retries ${vm.retries})`);
}, 600_000);
afterAll(async () => {
  await vm?.stop();
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
    await install(vm, example);
  }, 300_000);

  test("says what must come back", () => {
    expect(example.calls.length).toBeGreaterThan(0);
  });

  for (const [index, call] of example.calls.entries())
    test(`call ${index + 1}: ${call.tool}`, async () => {
      const answer = await invoke(vm, call, example.dir);
      if (typeof call.expect === "object" && call.expect !== null && !Array.isArray(call.expect)) expect(answer).toMatchObject(call.expect);
      else expect(answer).toEqual(call.expect);
    }, 300_000);
});

test("a CSV of ten megabytes", async () => {
  const rows = 900_000;
  const text = `name,value\n${Array.from({ length: rows }, (_, index) => `row${index % 10},${index}`).join("\n")}\n`;
  expect(text.length).toBeGreaterThan(10 ** 7);
  const dir = mkdtempSync(join(tmpdir(), "aria-csv-"));
  writeFileSync(join(dir, "large.csv"), text);
  const call = { tool: "csv-stats.describe", input: { columns: ["value"] }, files: { "data.csv": join(dir, "large.csv") }, expect: {} };
  const answer = await invoke(vm, call).finally(() => rmSync(dir, { recursive: true }));
  expect(answer).toMatchObject({ rows, columns: { value: { count: rows, skipped: 0, min: 0, max: rows - 1, mean: (rows - 1) / 2, median: (rows - 1) / 2 } } });
}, 300_000);

test("the power button ends it in order", async () => {
  await vm.powerOff();
}, 120_000);
