// The clock (`tests/benches/client`) and the stand it measures on: one root for cages and peers, built from the tool root.

import { copyFileSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root, run } from "../stand/host.ts";
import type { Samples } from "./table.ts";

export const clock = join(root, "target/x86_64-unknown-linux-gnu/release/aria-bench");

export async function must(argv: string[], cwd = root): Promise<string> {
  const result = await run(argv, { cwd });
  if (result.code !== 0) throw new Error(`${argv.slice(0, 3).join(" ")}: exit ${result.code}\n${result.stderr.slice(-2000)}`);
  return result.stdout;
}

export async function buildClock(): Promise<void> {
  await must(["cargo", "build", "--locked", "--release", "--quiet", "-p", "aria-bench"]);
}

export class Clock {
  /** Its programs and state; gone with `close()`. */
  readonly work = mkdtempSync(join(tmpdir(), "aria-bench-"));
  readonly #benchRoot = join(root, "out/bench-root");

  /** The tool root with Debian's `true` in it: hard links, so every row runs the same Bun file on the same file system. */
  static async open(): Promise<Clock> {
    await buildClock();
    const clock = new Clock();
    rmSync(clock.#benchRoot, { recursive: true, force: true });
    await must(["cp", "--archive", "--link", join(root, "out/tool-root"), clock.#benchRoot]);
    copyFileSync(realpathSync("/bin/true"), join(clock.#benchRoot, "bin/true"));
    mkdirSync(join(clock.work, "bombs"));
    return clock;
  }

  /** Runs one mode of the clock; `rounds` is what the mode counts. */
  async measure<T>(mode: string, rounds: number): Promise<T> {
    const stand = { root: this.#benchRoot, init: join(root, "out/bin/quilt-init"), quiltd: join(root, "out/bin/quiltd"), work: this.work, rounds };
    return JSON.parse(await must([clock, mode, JSON.stringify(stand)])) as T;
  }

  /** What says whether the machine is quiet where a section has no floor of its own: a round trip of two threads, a start of a process. */
  async floors(): Promise<{ "socket round trip of two threads": number[]; "vfork+exec+wait": number[] }> {
    const echo = await this.measure<Samples>("echo", 2000);
    const start = await this.measure<Record<string, Samples>>("floor", 50);
    return { "socket round trip of two threads": echo.wall_us, "vfork+exec+wait": start["true/bare"]?.wall_us ?? [] };
  }

  close(): void {
    for (const path of [this.work, this.#benchRoot]) if (existsSync(path)) rmSync(path, { recursive: true, force: true });
  }
}
