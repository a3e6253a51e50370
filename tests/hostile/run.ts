// Attacks the cage: every case of a directory through `arc exec`, one at a time, begun and ended by a control case that does real
// work, then the drivers that need a host's eye, then the cases again in sandboxes that were made ready before them. On this machine
// the oracles of the host look before and after each case. Ends with `N passed, N failed`; writes out/hostile.json.
//
// CASES=<dir> (default: ours), VM=1 (the booted image), PROFILE=tool|tool-noexec|tool-nojit (default: what each case says),
// WARM=1 (only in sandboxes made ready before) or WARM=0 (only in new ones), FULL=1 (all repeats), REPORT=1 (out/hostile-report.md and .json, from the last run natively and the last one in the machine). With CASES not in the environment at all, as in `make test`, heavy cases are left out.

import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { join, resolve } from "node:path";
import { arcProgram, root, run } from "../stand/host.ts";
import { needRoot } from "../stand/root.ts";
import { type CaseFile, milliseconds, parseCase, PROFILES, type Profile, readCases } from "./case-file.ts";
import { type Device, exec, newCanary, startDevice } from "./device.ts";
import { fired } from "./drivers/controls.ts";
import { drivers } from "./drivers/index.ts";
import { Oracles } from "./oracles.ts";
import { type Half, type Machine, report, type Row } from "./report.ts";
import { judge, type RunRecord } from "./verdict.ts";
import { FLAVOURS, LIGHT, SHELVES, suits, WarmRunner } from "./warm.ts";

const OWN = join(root, "tests/hostile/cases");
/** Emulation is slow: what is not about a deadline gets this much longer in the virtual machine. */
const VM_PATIENCE = 6;
const TIMEOUT_MS_MAX = 300_000;
/** arc builds, uploads and cleans up around the run itself. */
const AROUND_MS = 60_000;
const FULL_REPEATS = 5;

interface Settings {
  cases: string;
  own: boolean;
  vm: boolean;
  profile: Profile | undefined;
  full: boolean;
  light: boolean;
  report: boolean;
  /** In new sandboxes, in ones that were made ready before, or in both. */
  cold: boolean;
  warm: boolean;
}

export function settings(env: Record<string, string | undefined>, cwd: string): Settings {
  const on = (name: string): boolean => !["", "0", undefined].includes(env[name]);
  const profile = env.PROFILE === undefined || env.PROFILE === "" ? undefined : PROFILES.find((one) => one === env.PROFILE);
  if (profile === undefined && env.PROFILE !== undefined && env.PROFILE !== "") throw new Error(`PROFILE=${env.PROFILE}: known are ${PROFILES.join(", ")}`);
  const given = env.CASES === undefined || env.CASES === "" ? OWN : resolve(cwd, env.CASES);
  if (!existsSync(given) || !statSync(given).isDirectory()) throw new Error(`CASES=${env.CASES}: no such directory`);
  const [own, vm, asked] = [resolve(given) === OWN, on("VM"), env.WARM !== undefined && env.WARM !== ""];
  if (vm && on("WARM")) throw new Error("WARM=1 talks to the engine itself, which is not in reach of this machine with VM=1");
  return { cases: given, own, vm, profile, full: on("FULL"), light: env.CASES === undefined, report: on("REPORT"), cold: !on("WARM"), warm: asked ? on("WARM") : own && !vm };
}

const rows: Row[] = [];

/** A control that holds is no case that passed; one that does not is a failure. */
function count(pass: boolean): number {
  return rows.filter((row) => row.pass === pass && !(pass && row.name.startsWith("control ("))).length;
}

function record(row: Row): void {
  rows.push(row);
  console.log(`${row.pass ? "ok    " : "FAILED"} ${row.name.padEnd(18)} ${row.profile.padEnd(11)} ${(row.ms / 1000).toFixed(1).padStart(6)} s  ${row.detail.slice(0, 400)}`);
}

/** Judges a run and what the host's oracles found after it. */
function judged(ran: RunRecord, file: CaseFile, label: string, profile: string, left: readonly string[], slow = 1): void {
  const header = file.header?.withinMs === undefined ? file.header : { ...file.header, withinMs: file.header.withinMs * slow };
  const verdict = judge(ran, header);
  const reason = ran.ended.kind === "failed" || ran.ended.kind === "refused" ? { reason: ran.ended.reason } : {};
  const detail = left.length === 0 ? verdict.detail : `left on the host: ${left.join(", ")}. ${verdict.detail}`;
  record({ name: label, profile, pass: verdict.pass && left.length === 0, detail, ms: ran.elapsedMs, attack: file.header?.attack ?? "", control: file.header?.control ?? [], ...reason });
}

async function runCase(device: Device, oracles: Oracles | undefined, file: CaseFile, profile: Profile, label = file.name): Promise<void> {
  const vm = device.kind === "vm";
  const deadline = file.header?.accepts.includes("DEADLINE") ?? false;
  const limits = [...file.limits];
  const at = limits.indexOf("--timeout");
  let timeoutMs = at < 0 ? 30_000 : milliseconds(limits[at + 1] ?? "", file.name);
  if (vm && !deadline) timeoutMs = Math.min(TIMEOUT_MS_MAX, timeoutMs * VM_PATIENCE);
  if (at >= 0) limits[at + 1] = `${timeoutMs}ms`;
  const ran = await exec(device, file.path, ["--profile", profile, ...limits], timeoutMs + AROUND_MS * (vm ? VM_PATIENCE : 1));
  judged(ran, file, label, profile, (await oracles?.left()) ?? [], vm ? VM_PATIENCE : 1);
}

async function control(device: Device, when: string, oracles?: Oracles): Promise<void> {
  const path = join(OWN, "control.ts");
  await runCase(device, oracles, parseCase(path, await Bun.file(path).text()), "tool", `control (${when})`);
}

/** What our cases hold tokens of; what they must not reach is beside it, not forbidden as such. */
async function allow(device: Device): Promise<void> {
  const done = await run([arcProgram, "policy", "add", "--kind", "kv", "--kind", "fs", "--name", "hostile-cases"], { env: { ARC_CONFIG_DIR: device.configDir, NO_COLOR: "1" } });
  if (done.code !== 0) throw new Error(`the device takes no rule: ${done.stderr}`);
}

/** Each case in each of its profiles, as often as it is wanted. */
function* runs(wanted: Settings): Generator<[CaseFile, Profile, string]> {
  const cases = readCases(wanted.cases).filter((file) => !(wanted.light && file.heavy));
  if (cases.length === 0) throw new Error(`${wanted.cases} holds no case`);
  for (const file of cases) {
    const own = file.header === undefined && wanted.profile !== undefined ? [wanted.profile] : file.profiles;
    for (const profile of own.filter((one) => wanted.profile === undefined || one === wanted.profile)) {
      const repeats = Math.max(file.repeats, wanted.full && !file.heavy ? FULL_REPEATS : 1);
      for (let n = 1; n <= repeats; n++) yield [file, profile, repeats === 1 ? file.name : `${file.name} ${n}/${repeats}`];
    }
  }
}

async function runCold(device: Device, wanted: Settings): Promise<void> {
  await allow(device);
  // The first run fills what the daemons keep for the next.
  await control(device, "first");
  const oracles = device.host === undefined ? undefined : await Oracles.start(device.host);
  for (const [file, profile, label] of runs(wanted)) await runCase(device, oracles, file, profile, label);
  if (wanted.own && wanted.profile === undefined) await runDrivers(device, wanted);
  await control(device, "last");
}

/** A case that no sandbox of its kind served fails: nothing here counts that was not proven to be warm. */
async function runWarm(device: Device, wanted: Settings): Promise<void> {
  const warm = await WarmRunner.start(device);
  try {
    await control(device, "before warm");
    const oracles = await Oracles.start(device.host!);
    for (const flavour of FLAVOURS) {
      for (const [file, profile, label] of runs(wanted)) {
        if (!suits(file, profile, flavour) || (wanted.light && !LIGHT[flavour].has(file.name))) continue;
        const ran = await warm.run(file, profile, flavour);
        judged(ran, file, label, `${profile} ${flavour}`, await oracles.leftOf(ran.sandbox));
      }
    }
    await warm.idle();
    await control(device, "after warm", oracles);
  } finally {
    warm.stop();
  }
}

async function runDrivers(device: Device, wanted: Settings): Promise<void> {
  for (const driver of drivers) {
    if (wanted.light && driver.heavy) continue;
    if (driver.where === "host" && device.kind !== "host") continue;
    const started = performance.now();
    try {
      const verdict = await driver.run(device, { full: wanted.full, light: wanted.light });
      record({ name: driver.name, profile: "driver", pass: verdict.pass, detail: verdict.detail, ms: performance.now() - started, attack: driver.attack, control: [driver.holds] });
    } catch (error) {
      record({ name: driver.name, profile: "driver", pass: false, detail: `the driver broke: ${error instanceof Error ? error.stack : String(error)}`, ms: performance.now() - started, attack: driver.attack, control: [driver.holds] });
    }
  }
}

/** This run's half goes beside the other machine's last one; the page is made of what is there. */
function writeReport(wanted: Settings, machine: Machine): void {
  const path = (of: Machine): string => join(root, `out/hostile-report-${of}.json`);
  const half: Half = { machine, kernel: machine === "host" ? `Linux ${release().split(".").slice(0, 2).join(".")}` : "the image's kernel", full: wanted.full, rows, fired: Object.fromEntries(fired) };
  writeFileSync(path(machine), JSON.stringify(half, null, 2) + "\n");
  const halves = (["host", "vm"] as const).filter((of) => existsSync(path(of))).map((of) => JSON.parse(readFileSync(path(of), "utf8")) as Half);
  writeFileSync(join(root, "out/hostile-report.json"), JSON.stringify(halves, null, 2) + "\n");
  const commands = halves.map((one) => `make hostile${one.machine === "vm" ? " VM=1" : ""}${one.full ? " FULL=1" : ""} REPORT=1`);
  writeFileSync(join(root, "out/hostile-report.md"), report(halves, commands.join(" && ")));
}

async function main(): Promise<number> {
  const wanted = settings(process.env, process.env.PWD ?? process.cwd());
  // In the environment of both daemons and of arc, where no cage may see it.
  process.env.ARIA_HOSTILE_SECRET = newCanary();
  let device: Device | undefined;
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void (device?.stop() ?? Promise.resolve()).finally(() => process.exit(130)));
  const phases = [...(wanted.cold ? [{ run: runCold, engine: "" }] : []), ...(wanted.warm ? [{ run: runWarm, engine: SHELVES }] : [])];
  for (const phase of phases) {
    device = await startDevice(wanted.vm, undefined, phase.engine);
    try {
      await phase.run(device, wanted);
    } finally {
      await device.stop();
    }
  }
  const failed = rows.filter((row) => !row.pass).length;
  const passed = count(true);
  mkdirSync(join(root, "out"), { recursive: true });
  writeFileSync(join(root, "out/hostile.json"), JSON.stringify({ device: wanted.vm ? "vm" : "host", cases: wanted.cases, passed, failed, rows }, null, 2) + "\n");
  if (wanted.report) writeReport(wanted, wanted.vm ? "vm" : "host");
  if (failed > 0) console.log(`\n${rows.filter((row) => !row.pass).map((row) => `FAILED ${row.name} (${row.profile}): ${row.detail.slice(0, 1500)}`).join("\n")}`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

if (import.meta.main) {
  await needRoot(import.meta.path);
  process.exit(await main().catch((error: unknown) => {
    console.error(`hostile: ${error instanceof Error ? error.message : String(error)}`);
    console.log(`${count(true)} passed, ${count(false) + 1} failed`);
    return 1;
  }));
}
