//! The wire contracts and what is generated from them are in step. Both runs take a few hundred milliseconds and no network.

import { afterAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";
import { cleanUp, newDir } from "../cli/drive.ts";

const root = join(import.meta.dir, "../..");
const protocol = join(root, "../crates/protocol");
const buf = (args: string[]) => Bun.spawnSync([process.execPath, join(root, "node_modules/@bufbuild/buf/bin/buf"), ...args], { cwd: protocol });

afterAll(cleanUp);

test("the contracts are lint-clean", () => {
  const ran = buf(["lint"]);
  expect([ran.exitCode, ran.stdout.toString()]).toEqual([0, ""]);
}, 60_000);

test("the committed client is what the contracts generate", () => {
  const into = newDir();
  const template = JSON.stringify({
    version: "v2",
    plugins: [{ local: [process.execPath, join(root, "node_modules/@bufbuild/protoc-gen-es/bin/protoc-gen-es")], out: into, opt: ["target=ts", "import_extension=ts"] }],
    inputs: [{ directory: "proto", paths: ["proto/aria"] }],
  });
  const ran = buf(["generate", "--template", template]);
  expect([ran.exitCode, ran.stderr.toString()]).toEqual([0, ""]);
  const read = (dir: string) => Object.fromEntries([...new Glob("**/*.ts").scanSync(dir)].sort().map((path) => [path, readFileSync(join(dir, path), "utf8")]));
  const fresh = read(into);
  expect(Object.keys(fresh).length).toBeGreaterThan(5);
  expect(read(join(root, "src/gen"))).toEqual(fresh);
}, 60_000);

test("the lock file names no registry, the manifest only exact versions", () => {
  expect(readFileSync(join(root, "bun.lock"), "utf8")).not.toMatch(/https?:/);
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const version of Object.values({ ...dependencies, ...devDependencies })) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
});
