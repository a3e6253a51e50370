import { expect, test } from "bun:test";
import { Weather } from "./__NAME__.ts";

test("a forecast has as many days as asked for", () => {
  const { city, days } = new Weather().forecast({ city: "Oslo", days: 5 });
  expect(city).toBe("Oslo");
  expect(days.map(({ day }) => day)).toEqual([0, 1, 2, 3, 4]);
});

test("the same question has the same answer", () => {
  const ask = () => new Weather().forecast({ city: "Oslo" });
  expect(ask()).toEqual(ask());
});
