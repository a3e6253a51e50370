// Oracles of the host around each case: what the machine shows of the daemons and their cages before it, and that there is no more of
// it after. Processes, zombies and namespaces (network ones among them) below the engine, processes with a uid of its block, cgroups,
// mounts, IPC objects, state, files, descriptors and memory of both daemons, and the planted secrets, which must be as they were.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Host, until } from "../stand/host.ts";
import { cgroups, type Footprint, footprint, resident, residue } from "./drivers/machine.ts";

/** A cage that has ended is gone within this; a busy machine gets the rest. */
const SETTLE_MS = 10_000;
/** What the engine makes ready is the same for so long, then it has made all of it. */
const STABLE_MS = 600;
/** An allocator keeps what a flood needed; what a case makes a daemon keep beyond this is a leak. */
const GROWTH_BYTES_MAX = 32 << 20;
export const PLANTED = ["etc", "aria", "run", "quilt"].map((place) => join(place, "planted"));

interface Look {
  footprint: Footprint;
  memory: Record<"ariad" | "quiltd", number>;
  planted: string;
}

/** What is wrong with `now`, each beginning with the name of its oracle. */
export function compare(before: Look, now: Look): string[] {
  return [
    ...residue(before.footprint, now.footprint),
    ...(["ariad", "quiltd"] as const).filter((name) => now.memory[name] > before.memory[name] + GROWTH_BYTES_MAX).map((name) => `memory of ${name} ${before.memory[name]} to ${now.memory[name]} bytes`),
    ...(now.planted === before.planted ? [] : ["canaries were changed or removed"]),
  ];
}

function look(host: Host): Look {
  const pids = host.pids();
  const planted = PLANTED.map((path) => {
    try {
      return readFileSync(join(host.dir, path), "utf8");
    } catch (error) {
      return String((error as { code?: string }).code);
    }
  });
  return { footprint: footprint(host), memory: { ariad: resident(pids.ariad), quiltd: resident(pids.quiltd) }, planted: planted.join("") };
}

export class Oracles {
  readonly #host: Host;
  #before: Look;

  private constructor(host: Host, before: Look) {
    this.#host = host;
    this.#before = before;
  }

  /** Looks once the engine has made ready what it keeps ready. */
  static async start(host: Host): Promise<Oracles> {
    let now = look(host);
    for (let last = ""; last !== shape(now); await Bun.sleep(STABLE_MS), now = look(host)) last = shape(now);
    return new Oracles(host, now);
  }

  /** What there is more of than before; a finding is told once, and what follows is compared with what it left. */
  async left(): Promise<string[]> {
    let found: string[] = [];
    let now = this.#before;
    await until(SETTLE_MS, () => {
      now = look(this.#host);
      found = compare(this.#before, now);
      return found.length === 0;
    });
    // The files of one run are its record; the next has a few of its own. Everything else is held against the very first look.
    this.#before = found.length === 0 ? { ...this.#before, footprint: { ...this.#before.footprint, files: now.footprint.files } } : now;
    return found;
  }

  /** What is left of one sandbox by its name, while others wait on shelves. A group that is gone had no process left. */
  async leftOf(sandbox: string): Promise<string[]> {
    let leaves: string[] = [];
    await until(SETTLE_MS, () => (leaves = cgroups(this.#host).filter((path) => path.endsWith(`/${sandbox}`))).length === 0);
    const ipc = footprint(this.#host).ipc;
    return [...leaves.map((path) => `cgroups (${path})`), ...(ipc > this.#before.footprint.ipc ? [`IPC objects ${this.#before.footprint.ipc} to ${ipc}`] : [])];
  }
}

function shape(now: Look): string {
  const { processes, descendants, namespaces, leaves } = now.footprint;
  return [processes, descendants, namespaces, leaves.length].join(" ");
}
