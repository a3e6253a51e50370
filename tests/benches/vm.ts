// The clock inside the booted image, where controllers are cgroup v2 and nothing else runs.
//
// The image is the one `make image` built, with three things changed in its root: the clock stands where PID 1 expects the engine,
// the engine lies beside it, and bubblewrap, crun and what they are linked to are there too. Software emulation: only ratios mean
// anything, and few rounds must do.

import { chmodSync, closeSync, copyFileSync, cpSync, existsSync, mkdirSync, openSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { root, until } from "../stand/host.ts";
import { qemuArgs } from "../stand/vm-args.ts";
import { tail } from "../stand/vm-console.ts";
import { clock, must } from "./client.ts";

export interface Task {
  mode: string;
  rounds: number;
}

interface Line {
  mode: string;
  result?: unknown;
  error?: string;
}

const PATIENCE_S = 1200;
const toolRoot = "usr/lib/aria/tool-root";
const stand = { root: `/${toolRoot}`, init: "/usr/libexec/quilt-init", quiltd: "/usr/libexec/quiltd", work: "/tmp/bench" };

function install(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  // Never through a hard link into the image's own tree.
  rmSync(to, { force: true });
  copyFileSync(realpathSync(from), to);
  chmodSync(to, 0o755);
}

/** Files a dynamic program needs to start: its libraries and its loader, by their own paths. */
async function needs(program: string): Promise<string[]> {
  return [...(await must(["ldd", program])).matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] ?? "");
}

async function tree(dir: string, tasks: readonly Task[]): Promise<void> {
  const image = join(root, "out/image");
  if (!existsSync(join(image, "rootfs"))) throw new Error("out/image/rootfs is missing: run 'make image'");
  const place = join(dir, "rootfs");
  await must(["cp", "--archive", "--link", join(image, "rootfs"), place]);
  install(join(place, "usr/bin/quiltd"), join(place, "usr/libexec/quiltd"));
  install(clock, join(place, "usr/bin/quiltd"));
  install("/bin/true", join(place, toolRoot, "bin/true"));
  const libraries = new Set<string>();
  for (const program of ["/usr/bin/bwrap", "/usr/bin/crun", "/bin/true", join(root, "out/bin/bun")]) {
    if (program.startsWith("/usr/bin/")) install(program, join(place, program));
    for (const path of await needs(program)) libraries.add(path);
  }
  for (const path of libraries) {
    // Debian keeps one set of libraries under both names; the loader looks below /lib first.
    const directory = path.startsWith("/lib64/") ? "lib64" : "lib/x86_64-linux-gnu";
    install(path, join(place, directory, basename(path)));
  }
  writeFileSync(join(place, "etc/bench.json"), JSON.stringify(tasks.map(({ mode, rounds }) => ({ mode, stand: { ...stand, rounds } }))));
  await must(["mkfs.erofs", "--quiet", "-T0", "--all-root", "-x-1", join(dir, "root.erofs"), place]);
  for (const name of ["vmlinuz", "initrd.zst"]) symlinkSync(join(image, name), join(dir, name));
}

/** Boots the changed image, waits for all modes, gives their results by mode. */
export async function measureInVm(work: string, tasks: readonly Task[]): Promise<Map<string, unknown>> {
  const dir = join(work, "vm");
  mkdirSync(dir);
  await tree(dir, tasks);
  const [serial, report] = [join(dir, "serial.log"), join(dir, "report.log")];
  for (const path of [serial, report]) writeFileSync(path, "");
  const args = qemuArgs({ memoryMb: 2048, cpus: 2, image: dir, forwards: [], fwCfg: {}, kernelWords: [], serial, qmp: join(dir, "qmp.sock") });
  const log = openSync(join(dir, "qemu.log"), "a");
  const qemu = Bun.spawn(["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", ...args, "-serial", `file:${report}`], { cwd: dir, stdin: "ignore", stdout: log, stderr: log });
  closeSync(log);
  try {
    const results = new Map<string, unknown>();
    const read = (): Line[] => readFileSync(report, "utf8").split("\n").slice(0, -1).map((line) => JSON.parse(line) as Line);
    await until(PATIENCE_S * 1000, () => read().some(({ mode }) => mode === "done") || qemu.exitCode !== null);
    for (const { mode, result, error } of read()) {
      if (error !== undefined) throw new Error(`the clock in the machine, ${mode}: ${error}`);
      results.set(mode, result);
    }
    if (!results.has("done")) throw new Error(`the clock in the machine did not finish; the console ends with:\n${tail(readFileSync(serial, "utf8"), 30)}`);
    return results;
  } finally {
    qemu.kill("SIGKILL");
    await qemu.exited;
    cpSync(serial, join(root, "out/bench-vm.log"));
  }
}
