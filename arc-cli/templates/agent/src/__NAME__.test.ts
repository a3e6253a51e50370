import { expect, test } from "bun:test";
import { Librarian } from "./__NAME__.ts";

test("books are found by topic, whatever its case", () => {
  const { books } = new Librarian().find({ about: " Bread " });
  expect(books.map(({ title }) => title)).toEqual(["Flour, Water, Salt", "Rivers and Mills"]);
});

test("nothing about it is an empty answer", () => {
  expect(new Librarian().find({ about: "chess" })).toEqual({ books: [] });
});
