// `make bench`: measures us and the peers in one run, prints one table, writes out/bench.json. Rules: docs/goals.md.
//
// ONLY=G1,G5 runs the sections that measure these goals; QUICK=1 takes a tenth of the rounds to see that everything works, and judges nothing; VM=1
// adds the rows measured inside the booted image.

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { bun, root, startHost } from "../stand/host.ts";
import { needRoot } from "../stand/root.ts";
import { arcBuild, arcDev, arcHelp } from "./arc.ts";
import { kills, neighbours } from "./bombs.ts";
import { bootToFirstAnswer } from "./boot.ts";
import { Clock, must } from "./client.ts";
import { door } from "./door.ts";
import { cold, coldRows, idle, idleRows, leaks, rate, warm, warmRows } from "./engine.ts";
import { invokeTimes } from "./invoke.ts";
import { quantile, say, Table } from "./table.ts";
import { measureInVm } from "./vm.ts";

const only = process.env.ONLY?.split(",").filter((goal) => goal !== "");
const few = process.env.QUICK !== undefined && process.env.QUICK !== "";
const rounds = (count: number): number => (few ? Math.max(5, Math.ceil(count / 10)) : count);
const wanted = (...goals: string[]): boolean => only === undefined || goals.some((goal) => only.includes(goal));

/** A bundle with one tool, built by arc. */
async function weather(work: string): Promise<string> {
  const bundle = join(work, "weather.aria");
  await must([join(root, "out/bin/arc"), "new", join(work, "weather"), "--template", "tool"]);
  await must([join(root, "out/bin/arc"), "build", "--out", bundle], join(work, "weather"));
  return bundle;
}

async function clientToAnswer(table: Table, bundle: string): Promise<void> {
  say("G2c: client to answer, Tools.Invoke on an open connection");
  const cold = (reference: string): number => table.rows.find((row) => row.goal === "G2" && row.reference.startsWith(reference))?.reference_value ?? Number.NaN;
  const host = await startHost();
  try {
    const signed = await host.arc(["sign", bundle]);
    if (signed.code !== 0) throw new Error(`arc sign: exit ${signed.code}\n${signed.stderr}`);
    const uploaded = await host.arc(["upload", bundle]);
    if (uploaded.code !== 0) throw new Error(`arc upload: exit ${uploaded.code}\n${uploaded.stderr}`);
    const samples = await invokeTimes(host, "weather.forecast", { city: "Oslo" }, rounds(40));
    for (const reference of ["bare Bun", "bubblewrap+Bun"])
      table.row(undefined, "G2c", "client to answer, open connection", "ms", quantile(samples, 0.5), `${reference}, cold`, cold(reference));
    const whole: number[] = [];
    for (let round = 0; round < rounds(10); round++) {
      const start = performance.now();
      const result = await host.arc(["invoke", "weather.forecast", "--input", '{"city":"Oslo"}']);
      if (result.code !== 0) throw new Error(`arc invoke: exit ${result.code}\n${result.stderr}`);
      whole.push(performance.now() - start);
    }
    table.row(undefined, "G2c", "arc invoke, whole process", "ms", quantile(whole, 0.5), "bare Bun, cold", cold("bare Bun"));
  } finally {
    await host.stop();
  }
}

async function imageSize(table: Table, work: string): Promise<void> {
  say("G14b: image size (compressing Bun alone for the reference)");
  const name = readdirSync(join(root, "out/image")).find((file) => file.endsWith(".img.zst"));
  if (name === undefined) throw new Error("out/image has no .img.zst: run 'make image'");
  const reference = join(work, "bun.zst");
  await must(["zstd", "-19", "-T0", "--quiet", "--force", "-o", reference, bun]);
  const mib = (path: string): number => statSync(path).size / 2 ** 20;
  table.row(undefined, "G14b", "compressed disk image", "MiB", mib(join(root, "out/image", name)), "Bun alone, zstd -19", mib(reference), { max: 2 });
}

async function boot(table: Table, bundle: string, work: string): Promise<void> {
  say("G14a: boot to first answer in QEMU");
  const times = await bootToFirstAnswer(bundle, "weather.forecast", { city: "Oslo" }, work);
  table.row(undefined, "G14a", "boot to ready, guest clock", "s", times.ready, "kernel and first stage, guest clock", times.rootMounted);
  table.row(undefined, "G14a", "boot to first answer, upload included", "s", times.firstAnswer, "boot to ready", times.readyWall);
}

/** The engine's rows where controllers are cgroup v2. Its results are of the shapes the clock gives here. */
async function inVm(table: Table, work: string): Promise<void> {
  say("VM: G1 G2 G3 G5 inside the booted image (software emulation: minutes)");
  const modes = { cold: 10, warm: 10, idle: 32 };
  const results = await measureInVm(work, Object.entries(modes).map(([mode, rounds]) => ({ mode, rounds })));
  const vm = new Table({ judges: !few, where: "vm" });
  coldRows(vm, results.get("cold") as Parameters<typeof coldRows>[1]);
  warmRows(vm, results.get("warm") as Parameters<typeof warmRows>[1]);
  idleRows(vm, results.get("idle") as Parameters<typeof idleRows>[1]);
  table.add(vm);
}

await needRoot(import.meta.path);
const table = new Table({ judges: !few });
const clock = await Clock.open();
try {
  if (wanted("G1", "G2", "G2c")) await cold(clock, table, rounds(100));
  if (wanted("G3a", "G3b")) await warm(clock, table, rounds(200));
  if (wanted("G4")) await rate(clock, table, rounds(10));
  if (wanted("G5")) await idle(clock, table, 64);
  if (wanted("G10")) await door(clock, table, rounds(1000));
  if (wanted("G16")) await leaks(clock, table, rounds(1000));
  if (wanted("S7")) await kills(clock, table, rounds(30));
  if (wanted("S7")) await neighbours(clock, table);
  if (wanted("B1")) await arcBuild(table, clock.work, 5);
  if (wanted("B2")) await arcHelp(table, clock.work, rounds(20));
  if (wanted("B3")) await arcDev(table, clock.work, rounds(20));
  if (wanted("G14b")) await imageSize(table, clock.work);
  if (wanted("G2c", "G14a")) {
    const bundle = await weather(clock.work);
    if (wanted("G2c")) await clientToAnswer(table, bundle);
    if (wanted("G14a")) await boot(table, bundle, clock.work);
  }
  if (process.env.VM !== undefined && process.env.VM !== "") await inVm(table, clock.work);
} finally {
  clock.close();
}
table.write(join(root, "out/bench.json"));
table.print();
process.exit(table.held ? 0 : 1);
