// The runner's own judgement: what passes, what fails, and that a broken probe or a silent case never counts as safe.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { parseCase, readCases } from "../hostile/case-file.ts";
import { LineReader } from "../hostile/device.ts";
import { settings } from "../hostile/run.ts";
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

test("every case of ours has a whole header, and every required case is there", () => {
  const cases = readCases(join(import.meta.dir, "../hostile/cases"));
  for (const file of cases) expect(file.header, file.name).toBeDefined();
  const ids = new Set(cases.map((file) => file.header!.id.split("-")[0]));
  // C02, C14 with weakened mounts, C16 and the neighbour of C52 are drivers.
  const required = ["C01", ...range(3, 15), ...range(17, 23), ...range(30, 32), ...range(40, 42), "C50", ...range(51, 55), ...range(57, 61), ...range(63, 66)];
  expect(required.filter((id) => !ids.has(id))).toEqual([]);
  for (const file of cases) expect(file.header!.control.length, file.name).toBeGreaterThan(0);
});

function range(first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, i) => `C${String(first + i).padStart(2, "0")}`);
}

test("a foreign file gets the defaults", () => {
  const file = parseCase("/x/probe.ts", "console.log(1);\n");
  expect(file).toMatchObject({ name: "probe", profiles: ["tool"], limits: ["--timeout", "20s"] });
  expect(file.header).toBeUndefined();
});

test("settings say what is wrong with them", () => {
  expect(() => settings({ CASES: "/nowhere/at/all" }, "/")).toThrow("no such directory");
  expect(() => settings({ PROFILE: "root" }, "/")).toThrow("known are");
  expect(settings({}, "/")).toMatchObject({ light: true, own: true, vm: false });
  expect(settings({ CASES: "", VM: "1", FULL: "" }, "/")).toMatchObject({ light: false, own: true, vm: true, full: false });
});
