// What the machine shows of the cages of one host: processes by their uid range, cgroups by name, mounts, sockets, IPC objects.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import type { Host } from "../../stand/host.ts";

const UID_BLOCK = 512;

export interface CageProcess {
  pid: number;
  /** Real, effective, saved and file system uid. */
  uids: number[];
  /** pid as each namespace sees it, outermost first. */
  pids: number[];
  uidMap: string;
}

export function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

export function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Live processes that run as one of the host's cage uids. A zombie waits for this machine's first process, which is not ours. */
export function cageProcesses(host: Host): CageProcess[] {
  const found: CageProcess[] = [];
  for (const name of entries("/proc").filter((entry) => /^\d+$/.test(entry))) {
    const status = text(`/proc/${name}/status`);
    if (/^State:\s+[ZX]/m.test(status)) continue;
    const uids = (/^Uid:\s+(.*)$/m.exec(status)?.[1] ?? "").split(/\s+/).map(Number);
    if (!uids.some((uid) => uid >= host.uidBase && uid < host.uidBase + UID_BLOCK)) continue;
    found.push({ pid: Number(name), uids, pids: (/^NSpid:\s+(.*)$/m.exec(status)?.[1] ?? "").split(/\s+/).map(Number), uidMap: text(`/proc/${name}/uid_map`).trim() });
  }
  return found;
}

export function namespaces(pid: number): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of ["mnt", "net", "pid", "user", "uts", "ipc", "cgroup"]) {
    try {
      found[name] = readlinkSync(`/proc/${pid}/ns/${name}`);
    } catch {
      found[name] = "";
    }
  }
  return found;
}

/** Directories below any cgroup hierarchy that belong to this host, with depth. */
export function cgroups(host: Host): string[] {
  const found: string[] = [];
  const walk = (path: string, depth: number, inside: boolean): void => {
    if (depth > 8) return;
    for (const entry of readdirSafe(path)) {
      const child = join(path, entry);
      const ours = inside || entry === host.cgroupName;
      if (ours) found.push(child);
      walk(child, depth + 1, ours);
    }
  };
  walk("/sys/fs/cgroup", 0, false);
  return found;
}

function readdirSafe(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch {
    return [];
  }
}

/** Counts that must be the same before and after any number of cages. */
export interface Footprint {
  processes: number;
  /** Everything below quiltd: parked launchers, shims, programs, and zombies of any of them. */
  descendants: number;
  zombies: number;
  /** Namespaces that are not this machine's own, held by a descendant, a descriptor or a mount of quiltd; nothing else keeps one. */
  namespaces: number;
  /** Leaves of cages below the host's cgroup directory. */
  leaves: string[];
  mounts: number;
  ipc: number;
  /** Directories that cages leave in the daemons' state. */
  state: string[];
  /** Everything below the host's directory. */
  files: number;
  descriptors: { ariad: number; quiltd: number };
}

/** Live and dead processes below `pid`, from one look at /proc. */
function below(pid: number): { pid: number; zombie: boolean }[] {
  const children = new Map<number, { pid: number; zombie: boolean }[]>();
  for (const name of entries("/proc").filter((entry) => /^\d+$/.test(entry))) {
    const [, state, parent] = /\) (\S) (\d+)/.exec(text(`/proc/${name}/stat`)) ?? [];
    if (parent !== undefined) children.set(Number(parent), [...(children.get(Number(parent)) ?? []), { pid: Number(name), zombie: state === "Z" }]);
  }
  const found = [...(children.get(pid) ?? [])];
  for (let at = 0; at < found.length; at++) found.push(...(children.get(found[at]!.pid) ?? []));
  return found;
}

function held(quiltd: number, descendants: readonly number[]): number {
  const own = new Set(Object.values(namespaces(process.pid)));
  const found = new Set<string>();
  for (const pid of descendants) for (const id of Object.values(namespaces(pid))) found.add(id);
  for (const fd of entries(`/proc/${quiltd}/fd`)) {
    try {
      found.add(readlinkSync(`/proc/${quiltd}/fd/${fd}`));
    } catch {
      // Closed since it was listed.
    }
  }
  for (const line of text(`/proc/${quiltd}/mountinfo`).split("\n").filter((one) => one.includes(" - nsfs "))) found.add(line.split(" ")[3] ?? "");
  return [...found].filter((id) => /^(mnt|net|pid|user|uts|ipc|cgroup):\[/.test(id) && !own.has(id)).length;
}

function filesBelow(path: string): number {
  try {
    return readdirSync(path, { recursive: true }).length;
  } catch {
    return 0;
  }
}

export function footprint(host: Host): Footprint {
  const ipc = ["shm", "sem", "msg"].reduce((sum, kind) => sum + text(`/proc/sysvipc/${kind}`).trim().split("\n").length - 1, 0);
  const { ariad, quiltd } = host.pids();
  const descendants = below(quiltd);
  return {
    processes: cageProcesses(host).length,
    descendants: descendants.length,
    zombies: descendants.filter((one) => one.zombie).length,
    namespaces: held(quiltd, descendants.map((one) => one.pid)),
    leaves: cgroups(host),
    mounts: text("/proc/self/mountinfo").split("\n").length,
    ipc,
    state: entries(join(host.dir, "quilt")).sort(),
    files: filesBelow(host.dir),
    descriptors: { ariad: entries(`/proc/${ariad}/fd`).length, quiltd: entries(`/proc/${quiltd}/fd`).length },
  };
}

/** Resident memory of a process in bytes. */
export function resident(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(text(`/proc/${pid}/status`))?.[1] ?? 0) * 1024;
}

/** What `now` has more of than `before`, each with the name of what was counted; a few descriptors and files come and go with connections and logs. */
export function residue(before: Footprint, now: Footprint): string[] {
  const SLACK = 8;
  const more = (what: string, from: number, to: number, slack = 0): string[] => (to > from + slack ? [`${what} ${from} to ${to}${named(what, before, now)}`] : []);
  return [
    ...more("processes", before.processes, now.processes), ...more("descendants", before.descendants, now.descendants), ...more("zombies", before.zombies, now.zombies),
    ...more("namespaces", before.namespaces, now.namespaces), ...more("cgroups", before.leaves.length, now.leaves.length), ...more("mounts", before.mounts, now.mounts),
    ...more("IPC objects", before.ipc, now.ipc), ...more("state", before.state.length, now.state.length), ...more("files", before.files, now.files, SLACK),
    ...more("descriptors of ariad", before.descriptors.ariad, now.descriptors.ariad, SLACK), ...more("descriptors of quiltd", before.descriptors.quiltd, now.descriptors.quiltd, SLACK),
  ];
}

const NAMED_MAX = 4;

/** The new ones, where they have names. */
function named(what: string, before: Footprint, now: Footprint): string {
  const lists: Record<string, [string[], string[]]> = { cgroups: [before.leaves, now.leaves], state: [before.state, now.state] };
  const [old, all] = lists[what] ?? [[], []];
  const fresh = all.filter((name) => !old.includes(name)).slice(0, NAMED_MAX);
  return fresh.length === 0 ? "" : ` (${fresh.join(" ")})`;
}
