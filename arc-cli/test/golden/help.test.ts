//! The help of arc and of every command, frozen. `UPDATE=1 bun test test/golden` rewrites it: a reviewed change of behaviour.

import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { entries, isGroup } from "../../src/commands.ts";
import { arc } from "../cli/drive.ts";

const dir = join(import.meta.dir, "help");

async function pages(): Promise<string[][]> {
  const found: string[][] = [[]];
  for (const entry of entries) {
    const loaded = await entry.load();
    found.push([entry.name]);
    if (isGroup(loaded)) for (const inner of loaded.commands) found.push([entry.name, inner.name]);
  }
  return found;
}

const all = await pages();

test.each(all.map((words) => [words.join(" ") || "arc", words] as const))("help of %s", async (name, words) => {
  const ran = await arc([...words, "--help"]);
  expect([ran.code, ran.stderr]).toEqual([0, ""]);
  const path = join(dir, `${name.replaceAll(" ", "-")}.txt`);
  if (process.env["UPDATE"] === "1") writeFileSync(path, ran.stdout);
  expect(existsSync(path) ? readFileSync(path, "utf8") : "").toBe(ran.stdout);
});

test("no page is left of a command that is gone", () => {
  expect(readdirSync(dir).sort()).toEqual(all.map((words) => `${words.join("-") || "arc"}.txt`).sort());
});

test("the table's summaries are the commands' own, and names agree", async () => {
  for (const entry of entries) {
    const loaded = await entry.load();
    expect([loaded.name, loaded.summary]).toEqual([entry.name, entry.summary]);
  }
});

test("help works before, after and as a command, and in colour only when asked", async () => {
  const page = (await arc(["device", "add", "--help"])).stdout;
  for (const words of [["help", "device", "add"], ["device", "add", "-h"], ["device", "--help", "add"], ["--help", "device", "add"]]) expect((await arc(words)).stdout).toBe(page);
  expect((await arc(["help"])).stdout).toBe((await arc(["--help"])).stdout);
  expect((await arc(["--help"], { tty: true })).stdout).toContain("\u001b[1m");
  expect((await arc(["--help", "--json"])).json().data.help).toBe((await arc(["--help"])).stdout.trimEnd());
});
