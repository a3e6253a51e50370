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
  /** Leaves of cages below the host's cgroup directory. */
  leaves: string[];
  mounts: number;
  ipc: number;
  /** Directories that cages leave in the daemons' state. */
  state: string[];
  descriptors: { ariad: number; quiltd: number };
}

export function footprint(host: Host): Footprint {
  const ipc = ["shm", "sem", "msg"].reduce((sum, kind) => sum + text(`/proc/sysvipc/${kind}`).trim().split("\n").length - 1, 0);
  const { ariad, quiltd } = host.pids();
  return {
    processes: cageProcesses(host).length,
    leaves: cgroups(host),
    mounts: text("/proc/self/mountinfo").split("\n").length,
    ipc,
    state: entries(join(host.dir, "quilt")).sort(),
    descriptors: { ariad: entries(`/proc/${ariad}/fd`).length, quiltd: entries(`/proc/${quiltd}/fd`).length },
  };
}

/** Resident memory of a process in bytes. */
export function resident(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(text(`/proc/${pid}/status`))?.[1] ?? 0) * 1024;
}
