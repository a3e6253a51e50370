// What a person at the keyboard waits for: `arc build` beside the type checker alone, `arc --help` beside the runtime alone.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { arcProgram, bun, root } from "../stand/host.ts";
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
  const ours = [arcProgram, "build", "--out", join(work, "many.aria")];
  await must(ours, project);
  const tsc = [bun, join(root, "arc-cli/node_modules/typescript/lib/tsc.js"), "--noEmit", "-p", project];
  const [built = [], checked = []] = await interleaved(rounds, project, [ours, tsc]);
  table.row(undefined, "B1", "arc build, cold, 20 tools", "ms", quantile(built, 0.5), "tsc --noEmit", quantile(checked, 0.5));
}

export async function arcHelp(table: Table, work: string, rounds: number): Promise<void> {
  say(`B2: arc --help beside bun --version (${rounds} interleaved rounds)`);
  const [help = [], version = []] = await interleaved(rounds, work, [[arcProgram, "--help"], [bun, "--version"]]);
  const noise = new Noise({ "bun --version": version });
  table.row(noise, "B2", "arc --help", "ms", quantile(help, 0.5), "bun --version", quantile(version, 0.5));
}
