// What a person at the keyboard waits for: `arc build` beside the type checker alone, `arc --help` beside the runtime alone.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { arcProgram, bun, root, startHost } from "../stand/host.ts";
import { must } from "./client.ts";
import { Noise, quantile, say, type Table } from "./table.ts";

/** A project of `count` tools, each with an input and an output interface of its own. */
function manyTools(dir: string, count: number): void {
  mkdirSync(join(dir, "src"), { recursive: true });
  for (let i = 0; i < count; i++)
    writeFileSync(join(dir, `src/tool-${i}.ts`), `import { tool } from "@aria/sdk";
export interface Input${i} { name: string; count?: number; tags: string[]; mode: "fast" | "slow" }
export interface Output${i} { text: string; at: Date; parts: { key: string; value: number }[] }
export class Tools${i} {
  /** Tool number ${i}. */
  @tool({ timeout: "5s" })
  work${i}(input: Input${i}): Output${i} {
    return { text: input.name.repeat(input.count ?? 1), at: new Date(0), parts: input.tags.map((key, value) => ({ key, value })) };
  }
}
`);
}

/** Medians of commands run in turn, milliseconds. */
async function interleaved(rounds: number, cwd: string, commands: readonly (readonly string[])[]): Promise<number[][]> {
  const samples: number[][] = commands.map(() => []);
  for (let round = 0; round < rounds; round++)
    for (const [index, argv] of commands.entries()) {
      const start = performance.now();
      await must([...argv], cwd);
      samples[index]?.push(performance.now() - start);
    }
  return samples;
}

export async function arcBuild(table: Table, work: string, rounds: number): Promise<void> {
  say(`B1: arc build of 20 tools beside tsc --noEmit (${rounds} interleaved rounds)`);
  const project = join(work, "many");
  await must([arcProgram, "new", project, "--template", "tool"]);
  manyTools(project, 20);
  const again = [arcProgram, "build", "--out", join(work, "many.aria")];
  const cold = [...again, "--fresh"];
  await must(cold, project);
  const tsc = [bun, join(root, "arc-cli/node_modules/typescript/lib/tsc.js"), "--noEmit", "-p", project];
  const [built = [], checked = [], unchanged = []] = await interleaved(rounds, project, [cold, tsc, again]);
  const noise = new Noise({ "tsc --noEmit": checked });
  table.row(noise, "B1", "arc build, cold, 20 tools", "ms", quantile(built, 0.5), "tsc --noEmit", quantile(checked, 0.5), { max: 1.3 });
  table.row(noise, "B1", "arc build, nothing changed", "ms", quantile(unchanged, 0.5), "arc build, cold", quantile(built, 0.5), { max: 0.15 });
}

type Event = { type: string; ok?: boolean; version?: string };

/** A save of one of 20 tools to the device answering with it, `arc dev` and both daemons running; beside the cold build of the same. */
export async function arcDev(table: Table, work: string, rounds: number): Promise<void> {
  say(`B3: save to callable with arc dev (${rounds} interleaved rounds)`);
  const project = join(work, "saved");
  await must([arcProgram, "new", project, "--template", "tool"]);
  manyTools(project, 20);
  const host = await startHost();
  const child = Bun.spawn([arcProgram, "dev", project, "--json"], { env: { ...process.env, ARC_CONFIG_DIR: host.configDir }, stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  try {
    const events = eventsOf(child.stdout as ReadableStream<Uint8Array>);
    const good = async (): Promise<void> => {
      for (;;) {
        const { value, done } = await events.next();
        if (done === true) throw new Error("arc dev ended");
        if (value.type === "build" && value.ok === true) return;
      }
    };
    const path = join(project, "src/tool-7.ts");
    const text = readFileSync(path, "utf8");
    const answer = async (): Promise<string> => (JSON.parse((await host.arc(["invoke", "saved.work7", "--input", '{"name":"x","tags":[],"mode":"fast"}'])).stdout) as { text: string }).text;
    await good();
    const saved: number[] = [];
    const cold: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const start = performance.now();
      writeFileSync(path, text.replace("input.name.repeat(input.count ?? 1)", JSON.stringify(`saved ${round}`)));
      await good();
      saved.push(performance.now() - start);
      if ((await answer()) !== `saved ${round}`) throw new Error("the call was answered by an older build");
      const before = performance.now();
      await must([arcProgram, "build", "--fresh", "--out", join(work, "saved.aria")], project);
      cold.push(performance.now() - before);
    }
    table.row(new Noise({ "arc build, cold": cold }), "B3", "save to callable, 20 tools", "ms", quantile(saved, 0.5), "arc build, cold", quantile(cold, 0.5), { max: 0.3 });
  } finally {
    child.kill("SIGTERM");
    await child.exited;
    await host.stop();
  }
}

async function* eventsOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Event, void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const found = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = found.pop() ?? "";
    for (const line of found) yield JSON.parse(line) as Event;
  }
}

export async function arcHelp(table: Table, work: string, rounds: number): Promise<void> {
  say(`B2: arc --help beside bun --version (${rounds} interleaved rounds)`);
  const [help = [], version = []] = await interleaved(rounds, work, [[arcProgram, "--help"], [bun, "--version"]]);
  const noise = new Noise({ "bun --version": version });
  table.row(noise, "B2", "arc --help", "ms", quantile(help, 0.5), "bun --version", quantile(version, 0.5), { max: 3 });
}
