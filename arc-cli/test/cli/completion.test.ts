//! The completion scripts, driven by a real bash; the other shells' scripts carry the same words.

import { afterAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { arc, cleanUp, newDir } from "./drive.ts";

afterAll(cleanUp);

const script = (await arc(["completion", "bash"])).stdout;
const path = join(newDir(), "arc.bash");
writeFileSync(path, script);

function complete(words: readonly string[]): string[] {
  const list = words.map((word) => `'${word}'`).join(" ");
  const ran = Bun.spawnSync(["bash", "--norc", "-c", `source ${path}; COMP_WORDS=(arc ${list}); COMP_CWORD=${words.length}; _arc; printf '%s\\n' "\${COMPREPLY[@]}"`]);
  expect(ran.stderr.toString()).toBe("");
  return ran.stdout.toString().trim().split("\n").filter((word) => word !== "");
}

const cases: [string[], string[]][] = [
  [["upl"], ["upload"]],
  [["device", "a"], ["add"]],
  [["device", "add", "--fing"], ["--fingerprint"]],
  [["--json", "inv"], ["invoke"]],
  [["exec", "--prof"], ["--profile"]],
  [["exec", "--sess"], ["--session"]],
  [["completion", "f"], ["fish"]],
  [["help", "logs"], ["logs"]],
  [["version", "--verb"], ["--verbose"]],
];
test.each(cases)("%j completes to %j", (words, wanted) => expect(complete(words)).toEqual(wanted));

test("zsh and fish know the same commands and options", async () => {
  for (const shell of ["zsh", "fish"]) {
    const text = (await arc(["completion", shell])).stdout;
    for (const word of ["upload", "device", "fingerprint", "profile"]) expect(text).toContain(word);
    expect(text).toContain("session");
  }
});

test("another shell is a usage error", async () => expect((await arc(["completion", "csh"])).code).toBe(2));
