// The author's loop against real daemons: dev, runs, run, logs -f, diff, schema, gen client, completion of names.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arcProgram, bun, type Host, run, startHost } from "../stand/host.ts";

const scratch = mkdtempSync(join(tmpdir(), "commands-"));
const project = join(scratch, "weather");
const source = join(project, "src/weather.ts");
let host: Host;

const SOURCE = `import { log, tool } from "@aria/sdk";
export class Weather {
  /** The forecast of one city. */
  @tool({ timeout: "20s" })
  async forecast(input: { city: string; days?: number }): Promise<{ city: string; mark: string }> {
    log.info("looking");
    if (input.city === "Atlantis") throw new Error("no such city");
    return { city: input.city, mark: "MARK" };
  }
}
`;

beforeAll(async () => {
  host = await startHost();
  expect((await host.arc(["new", project])).code).toBe(0);
  writeFileSync(source, SOURCE);
  expect((await host.arc(["build", project, "--out", join(scratch, "w.aria")])).code).toBe(0);
  expect((await host.arc(["upload", join(scratch, "w.aria")])).code).toBe(0);
}, 120_000);
afterAll(async () => {
  await host?.stop();
  rmSync(scratch, { recursive: true, force: true });
}, 60_000);

type Json = { [key: string]: any };
async function json(words: string[]): Promise<Json> {
  const done = await host.arc(["--json", ...words]);
  return JSON.parse(done.stdout) as Json;
}
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

test("a run is found by tool, outcome and page, with what went in and came out by digest", async () => {
  const input = '{"city":"Oslo"}';
  const answer = await json(["invoke", "weather.forecast", "--input", input]);
  await host.arc(["invoke", "weather.forecast", "--city", "Atlantis"]);
  const all = (await json(["runs", "weather"]))["data"].runs as Json[];
  expect(all.map((one) => one["outcome"])).toEqual(["THREW", "succeeded"]);
  const page = (await json(["runs", "--limit", "1"]))["data"];
  const rest = (await json(["runs", "--limit", "9", "--after", page.next]))["data"];
  expect([page.runs[0].invocationId, rest.runs[0].invocationId, rest.next]).toEqual([all[0]?.["invocationId"], all[1]?.["invocationId"], null]);
  expect((await json(["runs", "--outcome", "failed"]))["data"].runs).toHaveLength(1);
  const { run: kept, log } = (await json(["run", answer["data"].invocationId]))["data"];
  const output = '{"city":"Oslo","mark":"MARK"}';
  expect([kept.input, kept.output]).toEqual([{ sha256: sha256(input), sizeBytes: input.length }, { sha256: sha256(output), sizeBytes: output.length }]);
  expect(log.some((line: Json) => line["text"].includes("looking"))).toBe(true);
  const failed = (await json(["run", all[0]?.["invocationId"]]))["data"].run;
  expect([failed.message, failed.output]).toEqual(["Error: no such city", null]);
  expect((await json(["run", "0".repeat(32)]))["error"].code).toMatch(/RUN_UNKNOWN|INVOCATION_SYNTAX/);
}, 60_000);

test("logs -f shows a line when it is written, and ends with the interrupt", async () => {
  const child = Bun.spawn([arcProgram, "logs", "weather.forecast", "-f", "--json"], { env: { ...process.env, ARC_CONFIG_DIR: host.configDir }, stdin: "ignore", stdout: "pipe", stderr: "ignore" });
  await host.arc(["invoke", "weather.forecast", "--city", "Bergen"]);
  let seen = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout as ReadableStream<Uint8Array>) {
    seen += decoder.decode(chunk, { stream: true });
    if (seen.includes("looking")) child.kill("SIGINT");
  }
  expect([await child.exited, seen.includes("looking")]).toEqual([130, true]);
}, 60_000);

test("dev: save, and the next call is answered by what was saved; the end brings the release back", async () => {
  const mark = async (): Promise<string> => (await json(["invoke", "weather.forecast", "--city", "Oslo"]))["data"].output.mark;
  const child = Bun.spawn([arcProgram, "dev", project, "--json"], { env: { ...process.env, ARC_CONFIG_DIR: host.configDir }, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const events = lines(child.stdout as ReadableStream<Uint8Array>);
  const next = async (type: string): Promise<Json> => {
    for (;;) {
      const { value, done } = await events.next();
      if (done === true) throw new Error(`dev ended: ${await new Response(child.stderr as ReadableStream).text()}`);
      if (value["type"] === type) return value;
    }
  };
  expect(await next("device")).toMatchObject({ context: "dev", local: true });
  expect(await next("build")).toMatchObject({ ok: true });
  for (const saved of ["first", "second"]) {
    writeFileSync(source, SOURCE.replace("MARK", saved));
    expect(await next("build")).toMatchObject({ ok: true, interface: "unchanged", authority: "unchanged" });
    expect(await mark()).toBe(saved);
  }
  writeFileSync(source, "not TypeScript");
  expect(await next("build")).toMatchObject({ ok: false, error: { code: "ARC1002" } });
  expect(await mark()).toBe("second");
  writeFileSync(source, SOURCE);
  await next("build");
  const versions = async () => ((await json(["ls"]))["data"] as Json[]).map((bundle) => bundle["version"]);
  expect((await versions()).filter((version) => version !== "0.1.0")).toHaveLength(1);
  child.kill("SIGINT");
  expect(await child.exited).toBe(130);
  expect(await versions()).toEqual(["0.1.0"]);
}, 120_000);

test("diff, schema and completion ask the device", async () => {
  expect((await json(["diff", join(scratch, "w.aria"), "dev:weather@0.1.0"]))["data"]).toMatchObject({ same: true });
  expect(JSON.parse((await host.arc(["schema", "weather.forecast", "--part", "input"])).stdout).required).toEqual(["city"]);
  const complete = async (...words: string[]) => (await json(["__complete", "--", ...words]))["data"].map((one: Json) => one["word"]);
  expect(await complete("invoke", "wea")).toEqual(["weather.forecast"]);
  expect(await complete("invoke", "weather.forecast", "--d")).toEqual(["--days"]);
  expect(await complete("invoke", "--context", "")).toEqual(["dev"]);
  expect(await complete("rm", "weather@")).toEqual(["weather@0.1.0"]);
}, 60_000);

test("a generated client calls the device, and refuses one whose interface is another", async () => {
  const client = join(scratch, "client.ts");
  const use = join(scratch, "use.ts");
  expect((await host.arc(["gen", "client", "weather", "--lang", "ts", "--out", client])).code).toBe(0);
  writeFileSync(use, `import { arcTransport, Weather } from "./client.ts";
const weather = new Weather(arcTransport({ program: ${JSON.stringify(arcProgram)}, context: "dev" }));
try { console.log((await weather.forecast({ city: "Oslo" })).city); } catch (error) { console.log((error as Error).name); }
`);
  const called = () => run([bun, use], { cwd: scratch, env: { ARC_CONFIG_DIR: host.configDir } });
  expect((await called()).stdout).toBe("Oslo\n");
  writeFileSync(source, SOURCE.replace("days?: number", "days: number"));
  writeFileSync(join(project, "arc.toml"), readFileSync(join(project, "arc.toml"), "utf8").replace('version = "0.1.0"', 'version = "0.2.0"'));
  expect((await host.arc(["build", project, "--out", join(scratch, "w2.aria")])).code).toBe(0);
  expect((await host.arc(["upload", join(scratch, "w2.aria")])).code).toBe(0);
  expect((await called()).stdout).toBe("InterfaceChanged\n");
}, 120_000);

async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<Json, void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const found = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = found.pop() ?? "";
    for (const line of found) yield JSON.parse(line) as Json;
  }
}
