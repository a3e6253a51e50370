// Every example is built, uploaded and called on a live device, the good calls and the bad ones.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startHost, type Host } from "../stand/host.ts";
import { check, csv10mb, examples } from "./calls.ts";

let host: Host;
const bundles = mkdtempSync(join(tmpdir(), "examples-"));
beforeAll(async () => {
  host = await startHost({ context: "dev" });
}, 60_000);
afterAll(async () => {
  rmSync(bundles, { recursive: true, force: true });
  await host?.stop();
});

test("there are at least seven examples, each with good and bad calls", () => {
  expect(examples().length).toBeGreaterThanOrEqual(7);
  for (const { name, calls } of examples()) {
    expect(calls.some((call) => call.expect !== undefined), name).toBe(true);
    expect(calls.some((call) => call.fails !== undefined), name).toBe(true);
  }
});

test("ten packages of different kinds and more run in the sandbox", () => {
  const packages = new Set(examples().flatMap(({ dir }) => dependencies(dir)));
  expect(packages.size).toBeGreaterThanOrEqual(10);
  // WebAssembly inside, CommonJS, dual, workers.
  for (const name of ["hash-wasm", "ajv", "simple-statistics", "fflate"]) expect([...packages]).toContain(name);
});

test("the generated file has the size it says", () => {
  expect(csv10mb().length).toBeGreaterThan(10 << 20);
});

for (const example of examples()) {
  describe(example.name, () => {
    test("builds, the same bytes twice, and uploads", async () => {
      const [first, second] = [join(bundles, `${example.name}.aria`), join(bundles, `${example.name}-again.aria`)];
      for (const file of [first, second]) {
        const built = await host.arc(["build", example.dir, "--out", file]);
        expect(built.code, built.stderr).toBe(0);
      }
      expect(Buffer.compare(await bytes(first), await bytes(second))).toBe(0);
      const uploaded = await host.arc(["upload", first]);
      expect(uploaded.code, uploaded.stderr).toBe(0);
      const again = await host.arc(["upload", first]);
      expect(again.code, again.stderr).toBe(0);
    }, 120_000);
    for (const [index, call] of example.calls.entries()) {
      test(`call ${index + 1}: ${call.tool}${call.fails === undefined ? "" : ` fails with ${call.fails.code}`}`, async () => {
        expect(await check(host.arc, example, call)).toBeUndefined();
      }, 120_000);
    }
  });
}

/** Names of the packages a project bundles. */
function dependencies(dir: string): string[] {
  const path = join(dir, "package.json");
  if (!existsSync(path)) return [];
  return Object.keys((JSON.parse(readFileSync(path, "utf8")) as { dependencies?: Record<string, string> }).dependencies ?? {});
}

async function bytes(path: string): Promise<Uint8Array> {
  return await Bun.file(path).bytes();
}
