import { expect, test } from "bun:test";
import { table, words } from "./__NAME__.ts";

test("words are counted, the most frequent first", () => {
  expect(words.run({ text: "One, two. Two!" })).toEqual({ words: [{ word: "two", count: 2 }, { word: "one", count: 1 }], total: 3 });
});

test("the table has as many rows as asked for", () => {
  expect(table.run({ words: [{ word: "two", count: 2 }, { word: "one", count: 1 }], rows: 1 }).markdown.split("\n")).toHaveLength(3);
});
