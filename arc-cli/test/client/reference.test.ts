//! diff, schema, gen client, runs and run: on files, on a project, and against the fake device.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { arc, cleanUp, newDir } from "../cli/drive.ts";
import { FakeDevice, failed, finished, succeeded } from "./fake.ts";

setDefaultTimeout(120_000);

const device = new FakeDevice();
const dir = newDir();
const env = { ARC_CONFIG_DIR: join(dir, "arc") };
const project = join(dir, "weather");
const old = join(dir, "old.aria");
const next = join(dir, "next.aria");
const root = join(import.meta.dir, "../../..");

const SOURCE = `import { tool } from "@aria/sdk";
export interface Place { lat: number; lon?: number }
/** A tree */
export interface Tree { value: string; children: Tree[] }
export class Weather {
  /** The forecast of one city. */
  @tool({ timeout: "5s" })
  forecast(input: { city: string; days?: number; place?: Place; mode?: "fast" | "slow"; tags?: string[] }): { city: string; at: Date; pair: [number, string?]; tree?: Tree; extra: Record<string, number> } {
    return { city: input.city, at: new Date(0), pair: [1], extra: {} };
  }
  /** Nothing in, nothing out. */
  @tool({})
  ping(): void {}
}
`;

beforeAll(async () => {
  await device.listenTls();
  const socket = join(newDir(), "s");
  await device.listenSocket(socket);
  expect((await arc(["device", "init", "--socket", socket, "--name", "dev"], { env })).code).toBe(0);
  expect((await arc(["new", project], { env })).code).toBe(0);
  writeFileSync(join(project, "src/weather.ts"), SOURCE);
  expect((await arc(["build", project, "--out", old], { env })).code).toBe(0);
  expect((await arc(["upload", old], { env })).code).toBe(0);
  device.tools["weather.forecast"] = async (input, run) => run.say(finished(input.includes("Atlantis") ? failed(1, "no such city") : succeeded(JSON.stringify({ city: JSON.parse(input).city, at: "1970-01-01T00:00:00.000Z", pair: [1], extra: {} }))));
  writeFileSync(join(project, "src/weather.ts"), SOURCE.replace("days?: number", "days?: number; country: string").replace("@tool({})", '@tool({ tokens: ["kv:orders:rw"], egress: ["api.example.com"] })'));
  expect((await arc(["build", project, "--out", next], { env })).code).toBe(0);
});
afterAll(() => {
  device.stop();
  cleanUp();
});

describe("arc diff", () => {
  test("names what changes for callers, for the owner, and in the files", async () => {
    const { data } = (await arc(["diff", old, next, "--json"], { env })).json();
    expect(data).toMatchObject({ same: false, widened: true, filesCompared: true, facts: [] });
    expect(data.interface).toEqual([{ tool: "forecast", change: "changed", details: expect.arrayContaining([expect.objectContaining({ path: "/input/properties/country" }), { path: "/input/required", a: ["city"], b: ["city", "country"] }]) }]);
    expect(data.authority).toEqual([{ tool: "ping", added: ["egress api.example.com", "kv:orders:rw"], removed: [] }]);
    expect(data.files.map(({ path }: { path: string }) => path)).toContain("src/weather.ts");
    const { stdout } = await arc(["diff", old, next], { env });
    expect(stdout).toContain("authority WIDENED");
    expect(stdout).toContain("+ kv:orders:rw");
  });
  test("what is taken away does not widen", async () => {
    expect((await arc(["diff", next, old, "--json"], { env })).json().data).toMatchObject({ widened: false, authority: [{ removed: ["egress api.example.com", "kv:orders:rw"] }] });
  });
  test("a file, the installed bundle and the project can be compared with each other", async () => {
    expect((await arc(["diff", old, "weather"], { env })).stdout).toContain("the same bundle");
    expect((await arc(["diff", old, "dev:weather@0.1.0", "--exit-code"], { env })).code).toBe(0);
    const changed = await arc(["diff", "weather", project, "--exit-code"], { env });
    expect([changed.code, changed.stdout]).toEqual([6, expect.stringContaining("not compared")]);
  });
  test.each([
    [["none.aria", "weather"], 5, "ARC1103"],
    [["weather@9.9.9", "weather"], 5, "BUNDLE_UNKNOWN"],
    [["other:weather", "weather"], 5, "ARC2032"],
    [["We ird", "weather"], 2, "ARC2043"],
  ])("%p is refused", async (words, code, reason) => {
    const ran = await arc(["diff", ...words, "--json"], { env });
    expect([ran.code, ran.json().error.code]).toEqual([code, reason]);
  });
});

describe("arc schema", () => {
  test("of a device's tool, of a file's, of a project's", async () => {
    const installed = JSON.parse((await arc(["schema", "weather.forecast"], { env })).stdout);
    expect(Object.keys(installed)).toEqual(["input", "output"]);
    expect(installed.input.required).toEqual(["city"]);
    expect(JSON.parse((await arc(["schema", "forecast", "--from", old, "--part", "input"], { env })).stdout)).toEqual(installed.input);
    expect((await arc(["schema", "forecast", "--from", project, "--json"], { env })).json().data.input.required).toEqual(["city", "country"]);
  });
  test("a tool that is not there", async () => {
    const { code, stderr } = await arc(["schema", "forcast", "--from", old], { env });
    expect([code, stderr]).toEqual([5, expect.stringContaining("did you mean `forecast`?")]);
  });
});

describe("arc gen client", () => {
  const out = join(dir, "client/weather.ts");
  const use = join(dir, "client/use.ts");
  const wrong = join(dir, "client/wrong.ts");
  const bun = (cwd: string, ...argv: string[]) => Bun.spawn([process.execPath, ...argv], { cwd, stdout: "pipe", stderr: "pipe", env: { ...process.env, ...env, PATH: `${join(root, "out/bin")}:${process.env["PATH"]}` } });
  const ran = async (child: ReturnType<typeof bun>) => ({ out: await new Response(child.stdout as ReadableStream).text(), code: await child.exited });

  test("it compiles in the strictest mode, and a wrong input does not", async () => {
    mkdirSync(join(dir, "client"));
    expect((await arc(["gen", "client", "weather", "--lang", "ts", "--out", out], { env })).code).toBe(0);
    writeFileSync(use, `import { Weather, InterfaceChanged, ToolError } from "./weather.ts";
const weather = new Weather();
try {
  const { city, at, pair, tree } = await weather.forecast({ city: process.argv[2] ?? "", place: { lat: 59.9 }, mode: "fast", tags: ["a"] });
  const text: string = at;
  const first: number = pair[0];
  console.log(city, text, first, tree?.children[0]?.value ?? "no tree");
} catch (error) {
  if (error instanceof InterfaceChanged) console.log("changed", error.expected === error.found);
  else if (error instanceof ToolError) console.log("failed", error.code);
  else throw error;
}
`);
    writeFileSync(wrong, `import { Weather } from "./weather.ts";\nawait new Weather().forecast({ city: 7 });\nawait new Weather().forecast({ city: "Oslo", cty: "" });\nawait new Weather().forecast();\n`);
    const tsc = (file: string) => ran(bun(join(root, "arc-cli"), join(root, "arc-cli/node_modules/typescript/lib/tsc.js"), "--ignoreConfig", "--noEmit", "--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--noUnusedLocals", "--module", "esnext", "--moduleResolution", "bundler", "--target", "esnext", "--allowImportingTsExtensions", "--skipLibCheck", "--types", "bun-types", file));
    expect(await tsc(use)).toEqual({ out: "", code: 0 });
    const refused = await tsc(wrong);
    expect([refused.code !== 0, refused.out.match(/error TS/g)?.length]).toEqual([true, 3]);
  });
  test("it calls, and a tool's failure has its code", async () => {
    expect(await ran(bun(dir, use, "Oslo"))).toEqual({ out: "Oslo 1970-01-01T00:00:00.000Z 1 no tree\n", code: 0 });
    expect((await ran(bun(dir, use, "Atlantis"))).out).toBe("failed THREW\n");
  });
  test("it is current until the interface changes; then it says so, and the device is not called", async () => {
    expect((await arc(["gen", "client", "weather", "--check", out], { env })).code).toBe(0);
    expect((await arc(["gen", "client", next, "--check", out, "--json"], { env })).json().error).toMatchObject({ code: "ARC2048" });
    const installed = device.installed.splice(0);
    expect((await arc(["upload", next], { env })).code).toBe(0);
    const calls = device.invocations.length;
    expect((await ran(bun(dir, use, "Oslo"))).out).toBe("changed false\n");
    expect(device.invocations.length).toBe(calls);
    device.installed.splice(0, 1, ...installed);
  });
  test("it is written for a project too, beside it", async () => {
    const copy = join(dir, "copy");
    cpSync(project, copy, { recursive: true });
    expect((await arc(["gen", "client", copy, "--out", join(copy, "client.ts")], { env })).code).toBe(0);
    expect(readFileSync(join(copy, "client.ts"), "utf8")).toContain("country");
    expect(existsSync(join(copy, "weather-client.ts"))).toBe(false);
  });
});

describe("arc runs and arc run", () => {
  const usage = { wallMs: 1234n, cpuMs: 20n, memoryPeakBytes: 1048576n };
  const row = (number: number, more: object = {}) => ({ invocationId: `run-${number}`, tool: "weather.forecast", bundleDigest: `sha256:${"a".repeat(64)}`, owner: "ann", startedAt: "2026-11-20T10:00:00.000Z", endedAt: "2026-11-20T10:00:01.234Z", outcome: "succeeded", message: "", usage, input: { sha256: "b".repeat(64), sizeBytes: 15n }, output: { sha256: "c".repeat(64), sizeBytes: 2n }, logDroppedBytes: 0n, ...more });
  beforeAll(() => {
    device.kept = [row(5, { outcome: "running", endedAt: "" }), row(4, { outcome: "THREW", message: "no such city", output: undefined }), row(3, { owner: "bob" }), row(2), row(1, { tool: "exec:probe" })];
    device.logs = [{ time: "2026-11-20T10:00:00.100Z", invocationId: "run-4", tool: "weather.forecast", source: "stderr", level: "", text: "looking\u001b[2J" }];
  });
  test("the list, filtered and in pages", async () => {
    expect((await arc(["runs"], { env })).stdout).toContain("run-4  weather.forecast  THREW      1.2 s");
    const ids = async (...words: string[]) => (await arc(["runs", "--json", ...words], { env })).json().data.runs.map((run: { invocationId: string }) => run.invocationId);
    expect(await ids("weather")).toEqual(["run-5", "run-4", "run-3", "run-2"]);
    expect(await ids("--outcome", "failed")).toEqual(["run-4"]);
    expect(await ids("--owner", "bob")).toEqual(["run-3"]);
    const page = (await arc(["runs", "--json", "--limit", "2"], { env })).json().data;
    expect([page.runs.length, await ids("--after", page.next)]).toEqual([2, ["run-3", "run-2", "run-1"]]);
    expect((await ids("--all")).length).toBe(5);
    expect((await arc(["runs", "../x", "--json"], { env })).json().error.code).toBe("ARC2044");
  });
  test("one run, with its digests and its last lines; nothing in it moves the cursor", async () => {
    const { data } = (await arc(["run", "run-4", "--json"], { env })).json();
    expect(data).toMatchObject({ run: { outcome: "THREW", message: "no such city", usage: { wallMs: 1234 }, input: { sha256: "b".repeat(64), sizeBytes: 15 }, output: null }, log: [{ source: "stderr" }] });
    const { stdout } = await arc(["run", "run-4"], { env });
    expect(stdout).toContain(`input    sha256:${"b".repeat(64)}, 15 B`);
    expect(stdout).not.toContain("\u001b");
    expect((await arc(["run", "run-9", "--json"], { env })).json().error.code).toBe("RUN_UNKNOWN");
  });
});

describe("options of a tool", () => {
  test("help lists them with their types", async () => {
    const { code, stdout } = await arc(["invoke", "weather.forecast", "--help"], { env });
    expect(code).toBe(0);
    for (const part of ["input of weather.forecast", "--city TEXT", "(required)", "--place.lat NUMBER", "--mode fast|slow", "--tags TEXT…"]) expect(stdout).toContain(part);
  });
  test("help without the device still helps", async () => {
    const { code, stdout } = await arc(["invoke", "weather.nothing", "--help"], { env });
    expect([code, stdout]).toEqual([0, expect.stringContaining("not known: ")]);
  });
  test.each([
    [["--city", "Oslo", "--place.lat", "59.9", "--place.lon=10"], { city: "Oslo", place: { lat: 59.9, lon: 10 } }],
    [["--place", '{"lat":1}', "--city", "x"], { place: { lat: 1 }, city: "x" }],
  ])("%p nests", async (words, expected) => {
    await arc(["invoke", "weather.forecast", ...words], { env });
    expect(JSON.parse(device.invocations.at(-1)?.inputJson ?? "")).toEqual(expected);
  });
  test.each([
    [["--place", '{"lat":1}', "--place.lon", "2"], "given twice"],
    [["--place.lat", "1", "--place", "{}"], "given twice"],
    [["--place.lta", "1"], "did you mean `--place.lat`?"],
    [["--city.name", "x"], "unknown option"],
    [["--place.__proto__.x", "1"], "unknown option"],
  ])("%p is refused: %s", async (words, why) => {
    const { code, stderr } = await arc(["invoke", "weather.forecast", ...words], { env });
    expect([code, stderr]).toEqual([2, expect.stringContaining(why)]);
  });
});
