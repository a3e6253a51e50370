// Flips links, files and directories named like every mount point, in every place it can write, until its time is over.

import { mkdirSync, renameSync, rmSync, symlinkSync } from "node:fs";

const until = Date.now() + Number(process.argv[2] ?? 1000);
const names = ["proc", "dev", "app", "in", "out", "tmp", "lib", "bin", "etc", ".old", "newroot"];
const places = ["/tmp", "/out"];
const quietly = (act: () => void): void => {
  try {
    act();
  } catch {
    // The other half of the flip was faster.
  }
};
while (Date.now() < until) {
  for (const place of places) {
    for (const name of names) {
      const path = `${place}/${name}`;
      quietly(() => symlinkSync("/proc/self/root/..", path));
      quietly(() => renameSync(path, `${path}.x`));
      quietly(() => mkdirSync(path));
      quietly(() => renameSync(path, `${path}.y`));
      quietly(() => rmSync(`${path}.x`, { force: true }));
      quietly(() => rmSync(`${path}.y`, { recursive: true, force: true }));
    }
  }
}
