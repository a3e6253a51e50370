// Running something we brought: from every writable place, directly, by loader, by mapping, by link.
import * as fs from "node:fs";
import { attempt, sys } from "./prelude.ts";

const run = (...command: string[]): string => {
  try {
    return String(Bun.spawnSync(command, { stdio: ["ignore", "ignore", "ignore"] }).exitCode);
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
};
// The smallest program there is: exits with 42.
const elf = Buffer.from(
  "7f454c4602010100000000000000000002003e000100000078004000000000004000000000000000000000000000000000000000400038000100000000000000" +
    "0100000005000000000000000000000000004000000000000000400000000000840000000000000084000000000000000010000000000000" + "6a2a5f6a3c580f05", "hex",
);
const refused: Record<string, string> = {};
const memory: Record<string, number> = {};
for (const place of ["/tmp", "/out"]) {
  const path = `${place}/program`;
  fs.writeFileSync(path, elf, { mode: 0o755 });
  fs.chmodSync(path, 0o755);
  refused[`run ${path}`] = run(path);
  refused[`run ${path} by the loader`] = run("/lib64/ld-linux-x86-64.so.2", path);
  refused[`run /proc/self/root${path}`] = run(`/proc/self/root${path}`);
  fs.symlinkSync(path, `${place}/link`);
  refused[`run ${place}/link`] = run(`${place}/link`);
  fs.writeFileSync(`${place}/script`, "#!/bin/bun\nprocess.exit(42)", { mode: 0o755 });
  refused[`run ${place}/script`] = run(`${place}/script`);
  fs.copyFileSync("/bin/bun", `/dev/null`);
  const fd = fs.openSync(path, "r");
  refused[`run ${path} by descriptor`] = run(`/proc/self/fd/${fd}`);
  memory[`map ${path} executable`] = sys(9, 0, 4096, 5, 2, fd, 0);
  const mapped = sys(9, 0, 4096, 1, 2, fd, 0);
  memory[`make ${path} executable`] = mapped > 0 ? sys(10, mapped, 4096, 5) : -999;
}
refused["run a file of the bundle"] = run("/app/main.ts");
refused["load a library we wrote"] = attempt(() => {
  fs.writeFileSync("/tmp/library.so", fs.readFileSync("/lib/x86_64-linux-gnu/libdl.so.2"), { mode: 0o755 });
  try {
    require("bun:ffi").dlopen("/tmp/library.so", {});
  } catch {
    throw Object.assign(new Error(), { code: "EPERM" });
  }
});
console.log(JSON.stringify({ control: run("/bin/bun", "--version"), refused, memory }));
