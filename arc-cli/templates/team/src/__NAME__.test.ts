import { expect, test } from "bun:test";
import { desk, measure } from "./__NAME__.ts";

test("a text is measured", () => {
  expect(measure.run({ text: "One line. And another!" })).toEqual({ words: 4, sentences: 2, longestWord: "another!" });
});

test("the lead is a member", () => {
  expect(desk.members).toContain(desk.lead ?? "");
});
