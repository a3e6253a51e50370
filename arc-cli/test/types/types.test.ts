//! Each type of the corpus: TypeScript judges values by the type, a validator by the schema, and the verdicts are those of the case.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { readCorpus } from "./corpus.ts";
import { Corpus, faults, mapper, travelled } from "./judge.ts";

// One program over all cases takes seconds, and tests run beside other work.
setDefaultTimeout(120_000);

const cases = readCorpus();
const corpus = new Corpus(cases);
afterAll(() => corpus[Symbol.dispose]());
const { byCase } = corpus.map(mapper);

test("no two cases have one name", () => {
  expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
});

for (const item of cases) {
  describe(item.name, () => {
    test("TypeScript says of its values what the case says", () => {
      const { taken, other } = corpus.typed(item);
      expect({ other, taken: item.values.map(({ source }, i) => `${source}: ${taken[i]}`) }).toEqual({ other: [], taken: item.values.map(({ source, inTypes }) => `${source}: ${inTypes}`) });
    });
    test("the schema says the same, but where the case says why not", async () => {
      const mapped = byCase.get(item) ?? { tool: undefined, refused: [] };
      expect(faults(item, mapped, await corpus.values(item))).toEqual([]);
    });
    const sound = item.values.flatMap(({ inTypes, inSchema }, i) => (inTypes && inSchema ? [i] : []));
    if (sound.length > 0 && item.refused.length === 0) {
      test("what is taken arrives as it was sent", async () => {
        const values = await corpus.values(item);
        const tool = byCase.get(item)?.tool;
        for (const i of sound) expect(tool && travelled(tool, values[i])).toEqual(values[i]);
      });
    }
  });
}
