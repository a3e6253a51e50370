// What must hold of the files of this repository as such.

import { expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dir, "../..");
const files = Bun.spawnSync(["git", "ls-files", "--cached", "--others", "--exclude-standard"], { cwd: root }).stdout.toString().trim().split("\n");
const texts = files
  .filter((path) => !/\.(lock|png|wasm|gz|zst|bin)$/.test(path) && statSync(join(root, path), { throwIfNoEntry: false })?.isFile())
  .map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));

test("top-level directories are the fixed ones", () => {
  const known = new Set([".cargo", ".ci", "alpine", "arc-cli", "buildroot", "crates", "docs", "examples", "image", "quilt", "runtime", "tests", "wit"]);
  const found = new Set(files.filter((path) => path.includes("/")).map((path) => path.split("/")[0] ?? ""));
  expect([...found].filter((dir) => !known.has(dir))).toEqual([]);
});

test("lock files name no registry host", () => {
  for (const path of files.filter((path) => path.endsWith("bun.lock"))) expect([path, /https?:\/\//.test(readFileSync(join(root, path), "utf8"))]).toEqual([path, false]);
});

test("no test is switched off", () => {
  const off = /#\[ignore|\b(?:it|test|describe)\.(?:skip|todo|only)\(/;
  expect(texts.filter(({ path, text }) => path !== "tests/tidy/repository.test.ts" && off.test(text)).map(({ path }) => path)).toEqual([]);
});

test("nothing unfinished is left in the sources", () => {
  const unfinished = /\btodo!\(|\bunimplemented!\(|\bFIXME\b|\bXXX\b/;
  expect(texts.filter(({ path, text }) => /\.(rs|ts|sh)$/.test(path) && path !== "tests/tidy/repository.test.ts" && unfinished.test(text)).map(({ path }) => path)).toEqual([]);
});

test("make help explains every target, and each is in the README or explained there by make help", () => {
  const make = readFileSync(join(root, "Makefile"), "utf8");
  const phony = (/^\.PHONY: (.*)$/m.exec(make)?.[1] ?? "").split(" ").filter((name) => name !== "binaries");
  const documented = [...make.matchAll(/^([a-z0-9-]+):.*## /gm)].map((match) => match[1] ?? "");
  expect(phony.filter((name) => !documented.includes(name))).toEqual([]);
});

test("no shipped program can leave out a layer of the cage", () => {
  const usage = "usage: weak-launcher";
  expect(texts.filter(({ path, text }) => path.endsWith(".rs") && text.includes(usage)).map(({ path }) => path)).toEqual(["tests/weak-launcher/src/main.rs"]);
  const users = texts.filter(({ path, text }) => /^(quilt|runtime|crates|image)\/.*\.rs$/.test(path) && text.includes("for_weak_launcher")).map(({ path }) => path);
  expect(users).toEqual(["quilt/sandbox/src/lib.rs"]);
  for (const name of ["ariad", "quiltd", "quilt-init", "aria-init", "aria-image"]) {
    const program = join(root, "out/bin", name);
    if (!statSync(program, { throwIfNoEntry: false })) continue;
    expect([name, readFileSync(program).includes("weak-launcher")]).toEqual([name, false]);
  }
});
