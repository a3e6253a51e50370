// C68, C69, S8: cages started and ended by the thousand, in every way and at every moment, beside processes that have nothing to do
// with it. Nothing may be left, nobody else may be touched, and each call has one end.

import { EngineClient, newId, type Request, type Told } from "../engine.ts";
import { until } from "../../stand/host.ts";
import { type Driver, Findings } from "./driver.ts";
import { footprint, resident, residue, text } from "./machine.ts";

const CYCLES = { light: 200, usual: 10_000, full: 100_000 };
const AT_ONCE = 4;
const VICTIMS = 32;
/** A new victim this often, so that pids of victims and cages lie between each other. */
const VICTIM_EVERY = 25;
const GROWTH = 1.05;
const GROWTH_BYTES = 2 << 20;
/** An allocator keeps what a burst needed; after this many cycles growth is a leak. */
const WARM_UP = 100;
/** What the engine makes ready for the next calls is there again after this. */
const REFILL_MS = 1_000;

const js = (code: string): string[] => ["/bin/bun", "-e", code];
const SLEEP = js("setTimeout(() => {}, 1e6)");

/** What one cycle does. `cancel`: after how many milliseconds the stream is dropped; `again`: dropped twice, and after the end. */
interface Cycle {
  name: string;
  weight: number;
  request: Request;
  cancelWithinMs?: number;
  again?: boolean;
  /** Ends it may have when nobody cancelled; empty: an error of the call. */
  ends: readonly string[];
}

const CYCLE: readonly Cycle[] = [
  { name: "exits", weight: 30, request: { argv: ["/bin/bun", "--revision"] }, ends: ["EXITED"] },
  { name: "no such program", weight: 15, request: { argv: ["/bin/nothing"] }, ends: [] },
  { name: "cancelled while it starts", weight: 30, request: { argv: SLEEP }, cancelWithinMs: 12, ends: [] },
  { name: "cancelled while it runs", weight: 10, request: { argv: SLEEP }, cancelWithinMs: 120, ends: [] },
  { name: "cancelled near its end", weight: 20, request: { argv: ["/bin/bun", "--revision"] }, cancelWithinMs: 60, again: true, ends: ["EXITED"] },
  { name: "deadline", weight: 5, request: { argv: SLEEP, limits: { wall_ms: 20 } }, ends: ["DEADLINE"] },
  { name: "kills itself", weight: 4, request: { argv: js("process.kill(process.pid, 'SIGKILL')") }, ends: ["SIGNALLED"] },
  { name: "stops itself", weight: 2, request: { argv: js("process.kill(process.pid, 'SIGSTOP')"), limits: { wall_ms: 200 } }, ends: ["DEADLINE"] },
  { name: "leaves orphans", weight: 3, request: { argv: js("for (let i = 0; i < 5; i++) Bun.spawn(['/bin/bun', '-e', 'setTimeout(() => {}, 1e6)'], { detached: true }).unref(); process.exit(0)") }, ends: ["EXITED"] },
  { name: "leaves files and sockets", weight: 4, request: { argv: js("await Bun.write('/tmp/a/b/c', 'x'); await Bun.write('/out/x', 'y'); Bun.listen({ unix: '/tmp/s', socket: { data() {} } }); Bun.listen({ unix: '\\0s', socket: { data() {} } }); process.exit(3)"), out: true }, ends: ["EXITED"] },
  { name: "talks at the door", weight: 4, request: { argv: js("require('node:fs').writeSync(3, new Uint8Array([4, 0, 0, 0, 110, 117, 108, 108])); process.exit(0)"), door: [new Uint8Array([123, 125])] }, ends: ["EXITED"] },
  { name: "floods", weight: 1, request: { argv: js("for (;;) require('node:fs').writeSync(1, new Uint8Array(65536))"), limits: { output_bytes: 1 << 20 } }, ends: ["OUTPUT_TOO_LARGE"] },
];

/** Numbers that look random and are the same in every run. */
function sequence(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function choose(random: () => number): Cycle {
  let at = random() * CYCLE.reduce((sum, one) => sum + one.weight, 0);
  return CYCLE.find((one) => (at -= one.weight) < 0) ?? CYCLE[0]!;
}

/** What is wrong with how a cycle ended; undefined when nothing is. */
export function fault(cycle: Cycle, told: Told, cancelled: boolean): string | undefined {
  const seen = `${cycle.name}: ${told.events.join(" ")}, ${told.ends.map((end) => end.reason).join(" ")}, status ${told.status.code} ${told.status.details}`;
  if (told.ends.length > 1) return `two ends: ${seen}`;
  if (told.events.includes("ended") && told.events.at(-1) !== "ended") return `something after the end: ${seen}`;
  if (cancelled) return told.status.code === 0 || told.status.code === 1 ? undefined : `cancelled, told otherwise: ${seen}`;
  if (cycle.ends.length === 0) return told.status.code === 13 && told.ends.length === 0 ? undefined : seen;
  return told.status.code === 0 && cycle.ends.includes((told.ends[0]?.reason ?? "").replace("END_REASON_", "")) ? undefined : seen;
}

async function run(engine: EngineClient, cycle: Cycle, random: () => number): Promise<string | undefined> {
  const running = engine.execute(cycle.request, newId());
  let cancelled = false;
  if (cycle.cancelWithinMs !== undefined) {
    const after = Math.floor(random() * cycle.cancelWithinMs);
    const over = await Promise.race([running.done.then(() => true), Bun.sleep(after).then(() => false)]);
    running.cancel();
    cancelled = !over;
    if (cycle.again) running.cancel();
  }
  const told = await running.done;
  if (cycle.again) running.cancel();
  return fault(cycle, told, cancelled);
}

type Victim = ReturnType<typeof Bun.spawn>;

/** A process a stray signal would end or stop. */
function newVictim(): Victim {
  return Bun.spawn(["sleep", "100000"], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
}

function touched(victim: Victim): boolean {
  const state = /\) (\S) /.exec(text(`/proc/${victim.pid}/stat`))?.[1] ?? "gone";
  return victim.exitCode !== null || victim.signalCode !== null || !["S", "R", "D"].includes(state);
}

export const cycles: Driver = {
  name: "C68 C69 cycles",
  attack: "start and end cages without pause, cancel at every moment: hit a pid that was reused, leave something behind, end twice",
  holds: "cgroup.kill and process descriptors, never a pid (engine)",
  where: "host",
  heavy: false,
  async run(device, { full, light }) {
    const host = device.host!;
    const findings = new Findings();
    const total = full ? CYCLES.full : light ? CYCLES.light : CYCLES.usual;
    const engine = await EngineClient.connect(host.quiltSocket);
    const random = sequence(total);
    const victims: Victim[] = [];
    let [done, faults, lost] = [0, 0, 0];
    const kinds = new Map<string, number>();
    const worker = async (upTo: number): Promise<void> => {
      while (done < upTo) {
        done += 1;
        if (done % VICTIM_EVERY === 0) {
          victims.push(newVictim());
          const oldest = victims.length > VICTIMS ? victims.shift() : undefined;
          if (oldest !== undefined && touched(oldest)) lost += 1;
          oldest?.kill("SIGKILL");
        }
        const cycle = choose(random);
        const wrong = await run(engine, cycle, random);
        kinds.set(cycle.name, (kinds.get(cycle.name) ?? 0) + 1);
        if (wrong !== undefined) findings.check("an end", (faults += 1) === 0, wrong);
      }
    };
    const idle = async (): Promise<boolean> => (await engine.status()).leases.length === 0;
    const started = performance.now();
    // The first cycles fill the engine's own pools.
    await Promise.all(Array.from({ length: AT_ONCE }, () => worker(Math.min(WARM_UP, total / 2))));
    await until(10_000, idle);
    await Bun.sleep(REFILL_MS);
    const before = footprint(host);
    const memory = resident(host.pids().quiltd);
    await Promise.all(Array.from({ length: AT_ONCE }, () => worker(total)));
    const seconds = (performance.now() - started) / 1000;
    await until(10_000, async () => (await idle()) && residue(before, footprint(host)).length === 0);
    for (const more of residue(before, footprint(host))) findings.check("nothing is left", false, more);
    const after = resident(host.pids().quiltd);
    findings.check("quiltd does not grow", after <= memory * GROWTH + GROWTH_BYTES, `${memory} to ${after} bytes`);
    const status = await engine.status();
    findings.check("no lease is left", status.leases.length === 0, status.leases.length);
    findings.check("no victim was touched", lost === 0 && !victims.some(touched), lost + victims.filter(touched).length);
    const last = await engine.execute({ argv: ["/bin/bun", "--revision"] }).done;
    findings.check("serves as before", last.ends[0]?.reason === "END_REASON_EXITED", last.status.details);
    for (const victim of victims) victim.kill("SIGKILL");
    engine.close();
    return findings.verdict(`${done} cycles in ${seconds.toFixed(0)} s: ${[...kinds].map(([name, count]) => `${count} ${name}`).join(", ")}; ${victims.length} victims; quiltd ${(memory / 2 ** 20).toFixed(1)} to ${(after / 2 ** 20).toFixed(1)} MiB`);
  },
};
