//! The published schemas of `--json`: current, complete, and what every command really writes fits them (`drive.ts` checks each
//! JSON output of every test).

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { entries, hidden, isGroup } from "../../src/commands.ts";
import { outputs, schemaOf } from "../../schemas/definitions.ts";
import { fits } from "../cli/fits.ts";

// Loading every command takes a while beside other work.
setDefaultTimeout(60_000);

const directory = join(import.meta.dir, "../../schemas");
const fileOf = (name: string): string => `${name.replace(/^_+/, "").replace(" ", "-")}.json`;

test("every command has a schema, and every schema a command", async () => {
  const names: string[] = [];
  for (const entry of [...entries, ...hidden]) {
    const loaded = await entry.load();
    names.push(...(isGroup(loaded) ? loaded.commands.map((inner) => `${entry.name} ${inner.name}`) : [entry.name]));
  }
  expect(Object.keys(outputs).sort()).toEqual(names.sort());
});

test("the files are those of the table", () => {
  const files = new Map(Object.entries(outputs).map(([name, output]) => [fileOf(name), `${JSON.stringify(schemaOf(name, output), null, 2)}\n`]));
  if ((process.env["UPDATE"] ?? "") !== "") for (const [name, text] of files) writeFileSync(join(directory, name), text);
  expect(readdirSync(directory).filter((name) => name.endsWith(".json")).sort()).toEqual([...files.keys()].sort());
  for (const [name, text] of files) expect([name, existsSync(join(directory, name)) && readFileSync(join(directory, name), "utf8") === text]).toEqual([name, true]);
});

test("a member too many, one too few, and a line of another stream do not fit", () => {
  const right = { ok: true, data: { current: "dev" }, warnings: [] };
  expect(fits(["device", "use"], [right])).toBeUndefined();
  expect(fits(["device", "use"], [{ ...right, more: 1 }])).toContain("more");
  expect(fits(["device", "use"], [{ ok: true, data: {}, warnings: [] }])).toContain("current");
  expect(fits(["logs"], [{ type: "audit" }])).toBeDefined();
  expect(fits(["device", "use"], [{ ok: false, error: { code: "X" }, warnings: [] }])).toBeDefined();
});
