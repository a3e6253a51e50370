// The runner's own judgement: what passes, what fails, and that a broken probe or a silent case never counts as safe.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type CaseFile, parseCase, readCases } from "../hostile/case-file.ts";
import { LineReader } from "../hostile/device.ts";
import { fault } from "../hostile/drivers/cycles.ts";
import { drivers } from "../hostile/drivers/index.ts";
import { type Footprint, residue } from "../hostile/drivers/machine.ts";
import type { Told } from "../hostile/engine.ts";
import { compare } from "../hostile/oracles.ts";
import { about, report, REQUIRED, type Row, stoppedBy } from "../hostile/report.ts";
import { settings } from "../hostile/run.ts";
import { FLAVOURS, LIGHT, limits, suits, toEnded } from "../hostile/warm.ts";
import { type Ended, judge, type Line, parseLine, type RunRecord } from "../hostile/verdict.ts";

const line = (escaped: boolean | null, detail = ""): Line => ({ case: "X", escaped, detail });
const failed = (reason: string): Ended => ({ kind: "failed", reason });
const record = (ended: Ended, ...lines: Line[]): RunRecord => ({ lines, ended, elapsedMs: 100 });
const ok: Ended = { kind: "succeeded" };

describe("a foreign case", () => {
  const check = (run: RunRecord, pass: boolean): void => expect(judge(run, undefined).pass).toBe(pass);
  test("that says it did not escape passes", () => check(record(ok, line(false)), true));
  test("that says it escaped fails", () => check(record(ok, line(true)), false));
  test("that escaped once and denies it later fails", () => check(record(ok, line(true), line(false)), false));
  test("that was inconclusive fails", () => check(record(ok, line(null)), false));
  test("that is silent and ended well fails", () => check(record(ok), false));
  test("that is silent and chose an exit code fails", () => check(record({ kind: "failed", reason: "EXITED", exitCode: 1 }), false));
  test("that never ran fails, whatever it printed", () => check(record({ kind: "never_ran", error: "x" }, line(false)), false));
  test("whose arc gave no outcome fails", () => check(record({ kind: "silent", error: "x" }, line(false)), false));
  for (const reason of ["SECCOMP", "DEADLINE", "OOM_KILLED", "PIDS_LIMIT", "DISK_LIMIT", "OUTPUT_TOO_LARGE", "SIGNALLED"]) test(`that ended by ${reason} passes`, () => check(record(failed(reason)), true));
  test("that was refused passes", () => check(record({ kind: "refused", reason: "TOKEN_NOT_ALLOWED" }), true));
  test("that printed a planted secret fails", () => check({ ...record(ok, line(false)), canary: "x" }, false));
});

describe("a case with a header", () => {
  const header = { id: "X", attack: "", accepts: ["DEADLINE"], control: [], withinMs: 1000 };
  const check = (run: RunRecord, pass: boolean): void => expect(judge(run, header).pass).toBe(pass);
  test("passes with an outcome it names", () => check(record(failed("DEADLINE")), true));
  test("fails with another outcome", () => check(record(failed("OOM_KILLED")), false));
  test("fails with a line it does not name", () => check(record(ok, line(false)), false));
  test("fails when it took too long", () => check({ ...record(failed("DEADLINE")), elapsedMs: 2000 }, false));
  test("that names its line fails when the end after it is bad", () => {
    expect(judge(record(failed("SIGNALLED"), line(false)), { ...header, accepts: ["line"] }).pass).toBe(false);
  });
});

test("only the documented shape is a line", () => {
  expect(parseLine('{"case":"C10","escaped":false,"detail":"x"}')).toEqual({ case: "C10", escaped: false, detail: "x" });
  for (const text of ["", "{", '{"escaped":false}', '{"case":"C10","escaped":"false"}', '["escaped"]', ' {"case":"C1","escaped":false}']) expect(parseLine(text)).toBeUndefined();
});

test("a flood cannot hide or forge a line", () => {
  const reader = new LineReader();
  reader.take("x".repeat(1 << 20));
  reader.take('{"case":"C1","escaped":false}\n');
  reader.take('{"case":"C1","esca');
  reader.take('ped":true,"detail":"split"}\n');
  for (let i = 0; i < 500; i++) reader.take('{"case":"C1","escaped":false}\n');
  reader.end();
  expect(reader.lines.some((one) => one.escaped === true)).toBe(true);
  expect(reader.lines.length).toBeLessThanOrEqual(64);
});

test("an escape after many lines still counts", () => {
  const reader = new LineReader();
  for (let i = 0; i < 500; i++) reader.take('{"case":"C1","escaped":false}\n');
  reader.take('{"case":"C1","escaped":true}\n');
  for (let i = 0; i < 500; i++) reader.take('{"case":"C1","escaped":false}\n');
  expect(reader.lines.some((one) => one.escaped === true)).toBe(true);
});

test("every case of ours has a whole header, and every required case is there, as a case or as a driver", () => {
  const cases = readCases(join(import.meta.dir, "../hostile/cases"));
  for (const file of cases) expect(file.header, file.name).toBeDefined();
  for (const file of cases) expect(file.header!.control.length, file.name).toBeGreaterThan(0);
  for (const file of cases.filter((one) => /^c\d/.test(one.name))) expect(file.header!.id.toLowerCase(), file.name).toBe(file.name);
  const ids = new Set([...cases, ...drivers].flatMap(({ name }) => about(name)));
  expect(REQUIRED.filter((id) => !ids.has(id))).toEqual([]);
  expect(REQUIRED.length).toBe(55);
  for (const driver of drivers) expect(driver.holds.length, driver.name).toBeGreaterThan(0);
});

test("a foreign file gets the defaults", () => {
  const file = parseCase("/x/probe.ts", "console.log(1);\n");
  expect(file).toMatchObject({ name: "probe", profiles: ["tool"], limits: ["--timeout", "20s"] });
  expect(file.header).toBeUndefined();
});

test("settings say what is wrong with them", () => {
  expect(() => settings({ CASES: "/nowhere/at/all" }, "/")).toThrow("no such directory");
  expect(() => settings({ PROFILE: "root" }, "/")).toThrow("known are");
  expect(settings({}, "/")).toMatchObject({ light: true, own: true, vm: false });
  expect(settings({ CASES: "", VM: "1", FULL: "" }, "/")).toMatchObject({ light: false, own: true, vm: true, full: false, cold: true, warm: false });
  expect(settings({}, "/")).toMatchObject({ cold: true, warm: true });
  expect(settings({ WARM: "1" }, "/")).toMatchObject({ cold: false, warm: true });
  expect(settings({ WARM: "0" }, "/")).toMatchObject({ cold: true, warm: false });
  expect(settings({ CASES: import.meta.dir }, "/")).toMatchObject({ own: false, cold: true, warm: false });
  expect(settings({ CASES: import.meta.dir, WARM: "1" }, "/")).toMatchObject({ own: false, cold: false, warm: true });
  expect(() => settings({ WARM: "1", VM: "1" }, "/")).toThrow("WARM=1");
});

const row = (more: Partial<Row>): Row => ({ name: "c10", profile: "tool", pass: true, detail: "9 probes held", ms: 1, attack: "x", control: ["seccomp"], ...more });

test("the report names what stopped a case", () => {
  expect(stoppedBy(row({}))).toBe("seccomp");
  expect(stoppedBy(row({ reason: "OOM_KILLED", control: ["memory"] }))).toBe("memory limit");
  expect(stoppedBy(row({ reason: "DEADLINE", control: ["seeded: the engine ends it"] }))).toBe("deadline (engine)");
  expect(stoppedBy(row({ control: ["seeded: nothing to leave out"] }))).toBe("nothing to leave out");
  expect(stoppedBy(row({ control: [] }))).toBe("watched from outside");
});

test("the report counts what failed, joins repeats and says which controls fired", () => {
  const text = report([{ machine: "host", kernel: "Linux 6.1", full: false, rows: [row({ name: "c10 1/2" }), row({ name: "c10 2/2", pass: false, detail: "escaped | twice" })], fired: { c10: true } }], "make x");
  expect(text).toContain("1 cases and drivers, 2 runs: 1 held, 1 did not");
  expect(text).toContain("1 of 1 fire");
  expect(text).toContain("**FAILED**");
  expect(text).toContain("escaped \\| twice");
  expect(text).toContain("Not tried natively: C01 C02");
});

test("the report says that everything was tried only when it was", () => {
  const rows = REQUIRED.map((id) => row({ name: id.toLowerCase() }));
  const half = { machine: "vm", kernel: "x", full: true, fired: {} } as const;
  expect(report([{ ...half, rows }], "x")).toContain("Every one of C01 to C70 was tried in the virtual machine.");
  expect(report([{ ...half, rows: rows.slice(1) }], "x")).toContain("Not tried in the virtual machine: C01.");
  expect(about("C33-C36 egress")).toEqual(["C33", "C34", "C35", "C36"]);
  expect(about("c21-x32-high 2/5")).toEqual(["C21"]);
});

test("a case in a sandbox that was ready before it gets the limits it would get from arc, and is told its end in the same words", () => {
  const file = parseCase("/x/c.ts", "// case: C99\n// accepts: line\n// profiles: tool\n// limits: --memory 128M --timeout 5s --cpu 0.25 --token kv:a:ro\n");
  expect(limits(file)).toEqual({ wall_ms: 5000, memory_bytes: 128 << 20, cpu_millis: 250 });
  const told = (reason: string, exit_code = 0): Ended => toEnded({ events: [], ends: [{ reason: `END_REASON_${reason}`, exit_code, signal: 0, detail: "" }], head: "", frames: [], lease: { id: "", fence: 1 }, sandbox: { id: "s", origin: "GENERIC" }, status: { code: 0, details: "" } });
  expect(told("EXITED")).toEqual({ kind: "succeeded" });
  expect(told("EXITED", 3)).toMatchObject({ kind: "failed", reason: "EXITED", exitCode: 3 });
  expect(told("SECCOMP")).toMatchObject({ kind: "failed", reason: "SECCOMP" });
  expect(told("DOOR_MISUSED")).toMatchObject({ kind: "failed", reason: "RESULT_INVALID" });
  expect(told("REVOKED").kind).toBe("cancelled");
});

test("what may run in which sandbox that was ready before it", () => {
  const file = (id: string, cost = "light"): CaseFile => parseCase("/x/c.ts", `// case: ${id}\n// accepts: line\n// profiles: tool\n// cost: ${cost}\n`);
  expect(suits(file("C01"), "tool-nojit", "generic")).toBe(true);
  expect(suits(file("C01"), "tool-nojit", "shelf")).toBe(false);
  expect(suits(file("C05", "heavy"), "tool", "shelf")).toBe(false);
  expect(suits(file("T01"), "tool", "generic")).toBe(false);
  const names = new Set(readCases(join(import.meta.dir, "../hostile/cases")).map((one) => one.name));
  for (const flavour of FLAVOURS) expect([...LIGHT[flavour]].filter((name) => !names.has(name))).toEqual([]);
});

test("a cycle has one end, the one it was to have, unless it was cancelled", () => {
  const told = (more: Partial<Told>): Told => ({ events: ["granted", "started", "ended"], ends: [{ reason: "END_REASON_EXITED", exit_code: 0, signal: 0, detail: "" }], head: "", frames: [], lease: { id: "", fence: 1 }, sandbox: { id: "s", origin: "NEW" }, status: { code: 0, details: "" }, ...more });
  const cycle = { name: "x", weight: 1, request: { argv: [] }, ends: ["EXITED"] };
  expect(fault(cycle, told({}), false)).toBeUndefined();
  expect(fault(cycle, told({ ends: [] }), false)).toBeDefined();
  expect(fault(cycle, told({ ends: [...told({}).ends, ...told({}).ends] }), true)).toContain("two ends");
  expect(fault(cycle, told({ events: ["ended", "output"] }), false)).toContain("after the end");
  expect(fault(cycle, told({ ends: [], events: ["granted"], status: { code: 1, details: "" } }), true)).toBeUndefined();
  expect(fault(cycle, told({ ends: [], status: { code: 13, details: "" } }), true)).toBeDefined();
});

test("anything more than before is residue", () => {
  const before: Footprint = { processes: 0, descendants: 4, zombies: 0, namespaces: 9, leaves: ["a"], mounts: 30, ipc: 0, state: [], files: 40, descriptors: { ariad: 20, quiltd: 20 } };
  expect(residue(before, before)).toEqual([]);
  expect(residue(before, { ...before, descriptors: { ariad: 24, quiltd: 20 } })).toEqual([]);
  const more: Partial<Footprint>[] = [{ processes: 1 }, { descendants: 5 }, { zombies: 1 }, { namespaces: 10 }, { leaves: ["a", "b"] }, { mounts: 31 }, { ipc: 1 }, { state: ["x"] }, { files: 60 }, { descriptors: { ariad: 40, quiltd: 20 } }];
  for (const change of more) expect(residue(before, { ...before, ...change }).length, JSON.stringify(change)).toBe(1);
  expect(residue(before, { ...before, leaves: ["a", "/sys/fs/cgroup/x/cage-1"] })).toEqual(["cgroups 1 to 2 (/sys/fs/cgroup/x/cage-1)"]);

  const look = { footprint: before, memory: { ariad: 50 << 20, quiltd: 10 << 20 }, planted: "secrets" };
  expect(compare(look, look)).toEqual([]);
  expect(compare(look, { ...look, memory: { ariad: 60 << 20, quiltd: 5 << 20 } })).toEqual([]);
  expect(compare(look, { ...look, footprint: { ...before, ipc: 2 } })).toEqual(["IPC objects 0 to 2"]);
  expect(compare(look, { ...look, memory: { ariad: 50 << 20, quiltd: 90 << 20 } })[0]).toStartWith("memory of quiltd");
  expect(compare(look, { ...look, planted: "ENOENT" })).toEqual(["canaries were changed or removed"]);
});
