// The README, word for word: every shell block a reader types at the second terminal runs here in order, in one shell, and prints
// what `readme.transcript` holds. What differs from run to run is written as its kind. UPDATE=1 writes the transcript anew.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { type Host, root, run, startHost } from "../stand/host.ts";

const golden = join(import.meta.dir, "readme.transcript");
let host: Host;

beforeAll(async () => {
  host = await startHost();
}, 60_000);
afterAll(async () => {
  await host?.stop();
}, 60_000);

/** Commands of the README's shell blocks, except those that are make targets. */
function commands(): string[] {
  const blocks = [...readFileSync(join(root, "README.md"), "utf8").matchAll(/^```sh\n([\s\S]*?)^```/gm)].map((match) => match[1] ?? "");
  return blocks.filter((block) => !/^make /m.test(block)).flatMap((block) => block.split("\n")).map((line) => line.trim()).filter((line) => line !== "");
}

const BEGIN = "\u001e";
const END = "\u001f";

/** What must not depend on the day, the machine or the run. */
function stable(text: string): string {
  return text
    .replaceAll(host.dir, "DIR")
    .replace(/\/tmp\/[A-Za-z0-9._-]+/g, "/tmp/DIR")
    .replace(new RegExp(`\\b[\\w.-]+@${RegExp.escape(hostname())}`, "g"), "USER@HOST")
    .replace(/\b[0-9a-f]{64}\b/g, "HEX")
    .replace(/\b(wallMs|cpuMs|lease|fence) [a-z0-9-]+/g, "$1 N")

    .replace(/\b\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME")
    .replace(/\b[0-9a-f]{12}(?:[0-9a-f]{20})?\b/g, "ID")
    .replace(/\b[\d.]+ (?:B|KiB|MiB|GiB)\b/g, "SIZE")
    .replace(/\b\d+(?:\.\d+)? (?:ms|s|min|h)\b/g, "TIME")
    .replace(/\b(?:just now|TIME ago)\b/g, "AGO")
    .replace(/"(updatedAt|at|time)":"[^"]*"/g, '"$1":"TIME"')
    .replace(/127\.0\.0\.1:\d+/g, "ADDRESS")
    .replace(/[ \t]+/g, " ")
    // How much there is of each is the machine's.
    .replace(/^(slot|child-slot|cpu|mem|gpu) (?:[\d.]+|SIZE) (?:[\d.]+|SIZE)$/gm, "$1 N")
    .trimEnd();
}

test("the tour prints what it printed", async () => {
  const lines = commands();
  expect(lines.length).toBeGreaterThan(15);
  const script = lines.map((line) => `printf '${BEGIN}'\n${line}\nprintf '${END}%s' $?`).join("\n");
  const done = await run(["bash", "--norc", "-c", `exec 2>&1\n${script}`], { env: { ARC_CONFIG_DIR: host.configDir, NO_COLOR: "1" } });
  const said = done.stdout.split(BEGIN).slice(1).map((part) => part.split(END));
  expect(said.length).toBe(lines.length);
  const transcript = said.map(([text = "", code = ""], index) => {
    const command = lines[index] ?? "";
    // Who wrote which line of a log first is the machine's business; that it is there is ours.
    const ordered = /^arc (logs|audit)\b/.test(command) ? [...new Set(stable(text).split("\n"))].sort().join("\n") : stable(text);
    return `$ ${command}\n${ordered === "" ? "" : `${ordered}\n`}${code === "0" ? "" : `[exit ${code}]\n`}`;
  }).join("");
  if ((process.env.UPDATE ?? "") !== "") writeFileSync(golden, transcript);
  expect(transcript).toBe(readFileSync(golden, "utf8"));
  for (const dir of done.stdout.match(/\/tmp\/tmp\.[A-Za-z0-9]+/g) ?? []) rmSync(dir, { recursive: true, force: true });
}, 300_000);
