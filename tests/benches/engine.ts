// G1 to G5 and G16: what the clock measures of the engine and of its peers.

import type { Clock } from "./client.ts";
import { Noise, quantile, say, type Samples, type Table } from "./table.ts";

type Rows = Record<string, Samples>;

const ms = (samples: Samples | undefined, q = 0.5): number => quantile(samples?.wall_us ?? [], q) / 1000;
const cpuMs = (samples: Samples | undefined): number => quantile(samples?.cpu_us ?? [], 0.5) / 1000;

/** G1 and G2: a sandbox from nothing, with `/bin/true` and with a TypeScript program. Before t0 runs: the engine and its parked launchers. */
export async function cold(clock: Clock, table: Table, rounds: number): Promise<void> {
  say(`G1 G2: cold sandbox with /bin/true and with a TypeScript program, beside bubblewrap and crun (${rounds} interleaved rounds)`);
  coldRows(table, await clock.measure<Rows>("cold", rounds));
}

export function coldRows(table: Table, rows: Rows): void {
  const floors = { true: new Noise({ "vfork+exec+wait": rows["true/bare"]?.wall_us }), hello: new Noise({ "bare Bun": rows["hello/bare"]?.wall_us }) };
  const of = (name: string): Samples | undefined => rows[name];
  const t = (name: string, value: number, reference: string, referenceValue: number, max?: number): void =>
    table.row(floors.true, "G1", name, "ms", value, reference, referenceValue, max === undefined ? undefined : { max });
  const sandbox = "sandbox made, /bin/true, reaped; engine and parked launchers running";
  t(sandbox, ms(of("true/cage")), "bubblewrap, in a limited leaf", ms(of("true/bubblewrap")), 0.35);
  t(sandbox, ms(of("true/cage")), "crun, same limits", ms(of("true/crun")), 0.15);
  t(sandbox, ms(of("true/cage")), "vfork+exec+wait", ms(of("true/bare")));
  for (const [q, at] of [["p90", 0.9], ["p99", 0.99]] as const) {
    t(`same, ${q}`, ms(of("true/cage"), at), `bubblewrap, ${q}`, ms(of("true/bubblewrap"), at));
    t(`same, ${q}`, ms(of("true/cage"), at), `crun, ${q}`, ms(of("true/crun"), at));
  }
  t("same, processor time", cpuMs(of("true/cage")), "bubblewrap, processor time", cpuMs(of("true/bubblewrap")));
  t("same, processor time", cpuMs(of("true/cage")), "crun, processor time", cpuMs(of("true/crun")));
  t("same through the engine's socket", ms(of("true/socket")), "bubblewrap, in a limited leaf", ms(of("true/bubblewrap")));
  t("same through the engine's socket", ms(of("true/socket")), "crun, same limits", ms(of("true/crun")));

  const b = (name: string, value: number, reference: string, referenceValue: number, max?: number): void =>
    table.row(floors.hello, "G2", name, "ms", value, reference, referenceValue, max === undefined ? undefined : { max });
  const program = "cold TypeScript program; only engine and parked launchers running, shelves off";
  b(program, ms(of("hello/cage")), "bare Bun", ms(of("hello/bare")), 1.2);
  b(program, ms(of("hello/cage")), "bubblewrap+Bun, in a limited leaf", ms(of("hello/bubblewrap")), 0.7);
  b(program, ms(of("hello/cage")), "crun+Bun, same limits", ms(of("hello/crun")));
  b("same, p99", ms(of("hello/cage"), 0.99), "bare Bun, p99", ms(of("hello/bare"), 0.99));
  b("same, processor time", cpuMs(of("hello/cage")), "bare Bun, processor time", cpuMs(of("hello/bare")));
  b("same, processor time", cpuMs(of("hello/cage")), "bubblewrap+Bun, processor time", cpuMs(of("hello/bubblewrap")));
  b("same through the engine's socket", ms(of("hello/socket")), "bare Bun", ms(of("hello/bare")));
  b("same through the engine's socket", ms(of("hello/socket")), "bubblewrap+Bun, in a limited leaf", ms(of("hello/bubblewrap")));
}

/** G3: one call to something that waits for it, good for one call. */
export async function warm(clock: Clock, table: Table, rounds: number): Promise<void> {
  say(`G3: calls served from a shelf, each by a sandbox of its own (${rounds} interleaved rounds)`);
  warmRows(table, await clock.measure<Rows>("warm", rounds));
}

export function warmRows(table: Table, rows: Rows): void {
  const noise = new Noise({ "socket round trip of two threads": rows["echo"]?.wall_us, "waiting worker without a sandbox": rows["imported/bare"]?.wall_us });
  const us = (name: string, q = 0.5): number => ms(rows[name], q) * 1000;
  const r = (goal: string, name: string, value: number, reference: string, referenceValue: number, max?: number): void =>
    table.row(noise, goal, name, "us", value, reference, referenceValue, max === undefined ? undefined : { max });
  const imported = "call from a shelf, tool imported, sandbox used once";
  r("G3a", imported, us("imported/engine"), "cold bubblewrap+Bun", us("hello/bubblewrap"), 1 / 40);
  r("G3a", `${imported}, p99`, us("imported/engine", 0.99), "its p50", us("imported/engine"), 12);
  r("G3a", imported, us("imported/engine"), "socket round trip of two threads", us("echo"));
  r("G3a", imported, us("imported/engine"), "waiting worker without a sandbox", us("imported/bare"));
  r("G3a", "same through the engine's socket", us("imported/socket"), "cold bubblewrap+Bun", us("hello/bubblewrap"));
  r("G3a", "same through the engine's socket", us("imported/socket"), "socket round trip of two threads", us("echo"));
  const generic = "call from a generic shelf, tool imported at the call";
  r("G3b", generic, us("generic/engine"), "waiting worker without a sandbox", us("generic/bare"), 1.5);
  r("G3b", "same through the engine's socket", us("generic/socket"), "waiting worker without a sandbox", us("generic/bare"));
}

interface Loop {
  at_us: number[];
  wall_us: number[];
  warm_share: number;
}

interface Turn {
  bare: Loop;
  engine: Loop;
  socket: Loop;
}

/** Calls in each half second of a loop. */
function perSlice(loop: Loop, seconds: number): number[] {
  const slices = new Array<number>(Math.floor(seconds * 2)).fill(0);
  for (const at of loop.at_us) {
    const slice = Math.floor(at / 500_000);
    if (slice < slices.length) slices[slice] = (slices[slice] ?? 0) + 1;
  }
  return slices;
}

/** G4: what stood ready at the start is used up in the warm-up of each turn. */
export async function rate(clock: Clock, table: Table, seconds: number): Promise<void> {
  say(`G4: closed loops of single-use calls, refill included, ${seconds} s each in two turns, 3 s of warm-up before each`);
  const { clients, turn_seconds, turns } = await clock.measure<{ clients: number; turn_seconds: number; turns: Turn[] }>("rate", seconds);
  const noise = new Noise({ "time per call of the loop without sandboxes": turns.flatMap(({ bare }) => perSlice(bare, turn_seconds)).map((calls) => 1 / calls) });
  const perSecond = (kind: keyof Turn): number => turns.reduce((sum, turn) => sum + turn[kind].wall_us.length, 0) / (turn_seconds * turns.length);
  const p99 = (kind: keyof Turn): number => quantile(turns.flatMap((turn) => turn[kind].wall_us), 0.99) / 1000;
  const warm = turns.reduce((sum, turn) => sum + turn.engine.warm_share, 0) / turns.length;
  const loop = `single-use calls, ${clients} clients`;
  table.row(noise, "G4", `${loop}; ${Math.round(warm * 100)} % found one ready`, "per s", perSecond("engine"), "same loop without sandboxes", perSecond("bare"), { min: 0.65 });
  table.row(noise, "G4", `${loop}, through the engine's socket`, "per s", perSecond("socket"), "same loop without sandboxes", perSecond("bare"));
  table.row(noise, "G4", "same, p99 of a call", "ms", p99("engine"), "without sandboxes, p99", p99("bare"));
}

interface Charge {
  all_bytes: number;
  kernel_bytes: number;
}

interface Idle {
  count: number;
  cage: Charge;
  bare: Charge;
}

/** G5: nothing here depends on the clock, so noise does not matter. */
export async function idle(clock: Clock, table: Table, count: number): Promise<void> {
  say(`G5: memory of ${count} idle ready sandboxes beside ${count} bare Bun workers`);
  idleRows(table, await clock.measure<Idle>("idle", count));
}

export function idleRows(table: Table, { count, cage, bare }: Idle): void {
  const mib = (bytes: number): number => bytes / 2 ** 20;
  const counted = `charge of their cgroup / ${count}, launcher, shim and kernel memory included`;
  table.row(undefined, "G5", `idle ready sandbox: ${counted}`, "MiB", mib(cage.all_bytes), "bare Bun worker, counted alike", mib(bare.all_bytes), { max: 1.12 });
  table.row(undefined, "G5", "same, kernel memory alone", "MiB", mib(cage.kernel_bytes), "bare Bun worker", mib(bare.kernel_bytes));
  table.row(undefined, "G5", "idle ready sandboxes that fit", "per GiB", 2 ** 30 / cage.all_bytes, "bare Bun workers", 2 ** 30 / bare.all_bytes);
}

interface Leaks {
  count: number;
  first: Samples;
  last: Samples;
  descriptors: number;
  children: number;
  leaves: number;
  mounts: number;
  rss_before_bytes: number;
  rss_after_bytes: number;
}

/** G16: residue is a count that must be 0, so it stands as a row of 0 in 1 allowed. */
export async function leaks(clock: Clock, table: Table, count: number): Promise<void> {
  say(`G16: ${count} sandboxes in a row through the engine's socket`);
  const found = await clock.measure<Leaks>("leaks", count);
  const noise = new Noise({ "first tenth": found.first.wall_us });
  for (const kind of ["descriptors", "children", "leaves", "mounts"] as const)
    table.row(undefined, "G16", `${kind} left of ${count} sandboxes`, kind, Math.max(0, found[kind]), "sandboxes", count, { max: 0 });
  table.row(undefined, "G16", `engine's memory after ${count} sandboxes`, "MiB", found.rss_after_bytes / 2 ** 20, "before, 100 sandboxes old", found.rss_before_bytes / 2 ** 20);
  table.row(noise, "G16", "last tenth of the sandboxes", "ms", ms(found.last), "first tenth", ms(found.first), { max: 1.1 });
}
