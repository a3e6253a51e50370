//! Each mistake that could be made in the mapper is made, one at a time, and the cases of one family of the corpus notice.

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { readCorpus, type Case } from "./corpus.ts";
import { Corpus, faults, travelled, type Mapper } from "./judge.ts";
import { mutants, type Mutant } from "./mutants.ts";

// Each mutant is bundled and maps a family, and tests run beside other work.
setDefaultTimeout(120_000);

const source = join(import.meta.dir, "../../src/compiler");
const dir = mkdtempSync(join(tmpdir(), "arc-mutants-"));
const cases = readCorpus();
const corpus = new Corpus(cases);
afterAll(() => {
  corpus[Symbol.dispose]();
  rmSync(dir, { recursive: true });
});

/** The mapper with one mistake in it, rewritten in memory. TypeScript and the places of arc's own files stay those of this process. */
async function mutated({ file, from, to }: Mutant, index: number): Promise<Mapper> {
  const path = join(source, file);
  const text = readFileSync(path, "utf8");
  if (text.split(from).length !== 2) throw new Error(`${JSON.stringify(from)} stands ${text.split(from).length - 1} times in ${file}`);
  const outside = new Map([["typescript", createRequire(import.meta.url).resolve("typescript")], ["assets.ts", join(source, "assets.ts")]]);
  const built = await Bun.build({
    entrypoints: [join(import.meta.dir, "mapper.ts")],
    target: "bun",
    plugins: [
      {
        name: "mutant",
        setup(build) {
          build.onResolve({ filter: /^typescript$|\/assets\.ts$/ }, (asked) => ({ path: outside.get(asked.path.split("/").at(-1) ?? "") ?? "", external: true }));
          build.onLoad({ filter: /\.ts$/ }, (loaded) => ({ contents: loaded.path === path ? text.replace(from, () => to) : readFileSync(loaded.path, "utf8"), loader: "ts" }));
        },
      },
    ],
  });
  const out = join(dir, `mutant${index}.js`);
  writeFileSync(out, (await built.outputs[0]?.text()) ?? "");
  return (await import(out)) as Mapper;
}

/** The first case that notices; nothing when the mutant lives. */
async function noticed(mapper: Mapper, family: readonly Case[]): Promise<string | undefined> {
  let byCase: ReturnType<Corpus["map"]>["byCase"];
  try {
    ({ byCase } = corpus.map(mapper, family));
  } catch {
    return "the mapper fell over";
  }
  for (const item of family) {
    const mapped = byCase.get(item) ?? { tool: undefined, refused: [] };
    const values = await corpus.values(item);
    try {
      if (faults(item, mapped, values).length > 0) return item.name;
      const sound = item.refused.length > 0 ? [] : values.filter((_, i) => item.values[i]?.inTypes && item.values[i]?.inSchema);
      if (sound.some((value) => mapped.tool && !Bun.deepEquals(travelled(mapped.tool, value), value))) return item.name;
    } catch {
      return item.name;
    }
  }
  return undefined;
}

test("the mapper itself is noticed by nobody", async () => {
  const same = await mutated({ file: "schema.ts", from: "//! Shape to JSON Schema 2020-12.", to: "//!", family: "objects" }, mutants.length);
  expect(await noticed(same, cases.filter(({ name }) => name.startsWith("objects: ")))).toBeUndefined();
});

// All take half a minute of processor time; each run takes every third, `ARC_MUTANTS=all` every one.
const sample = process.env["ARC_MUTANTS"] === "all" ? 1 : 3;

for (const [index, mutant] of mutants.entries()) {
  if (index % sample !== 0) continue;
  test(`${mutant.file}: ${mutant.from.trim().split("\n")[0]} ▸ ${mutant.to.trim().split("\n")[0] || "nothing"}`, async () => {
    const family = cases.filter(({ name }) => name.startsWith(`${mutant.family}: `));
    expect(await noticed(await mutated(mutant, index), family)).toBeString();
  });
}
