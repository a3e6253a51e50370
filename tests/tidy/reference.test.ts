// docs/reference says what the sources say. After a change: UPDATE=1 out/bin/bun test tests/tidy/reference.test.ts

import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { reference } from "../../arc-cli/reference.ts";

const directory = resolve(import.meta.dir, "../../docs/reference");
const pages = await reference();

if ((process.env.UPDATE ?? "") !== "") {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of pages) writeFileSync(join(directory, name), text);
}

test("the pages are there, and no others", () => {
  expect(readdirSync(directory).sort()).toEqual([...pages.keys()].sort());
});

for (const [name, text] of pages)
  test(`${name} is current`, () => {
    expect(readFileSync(join(directory, name), "utf8")).toBe(text);
  });

test("no page is empty where the sources say something", () => {
  const holds: Record<string, string[]> = {
    "commands.md": ["### arc dev", "### arc device init", "--reproducible"],
    "errors.md": ["## ARC1001: type error", "## VERSION_TAKEN", "| 9 | tool failed |"],
    "sdk.md": ["interface Kv", "defineTool"],
    "manifest.md": ["export interface ToolManifest", "readonly tokens: readonly string[];"],
    "config.md": ["`[api]`", "`runs_max`", "`[sandbox]`", "`uid_base`", "`bundle.entry`"],
  };
  for (const [name, parts] of Object.entries(holds)) for (const part of parts) expect([name, part, pages.get(name)?.includes(part)]).toEqual([name, part, true]);
});
