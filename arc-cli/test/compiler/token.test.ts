//! The token grammar gives the same answers here and on the device: both run one file of vectors.

import { expect, test } from "bun:test";
import { covers, parseToken } from "../../src/compiler/token.ts";
import vectors from "../../../crates/types/vectors/tokens.json" with { type: "json" };

for (const { text, canonical } of vectors.valid) {
  test(`${text} is a token`, () => expect(parseToken(text)).toEqual({ canonical }));
}

for (const { text, reason } of vectors.invalid) {
  test(`${JSON.stringify(text).slice(0, 60)} is refused as ${reason}`, () => expect(parseToken(text)).toMatchObject({ reason: reason as never }));
}

for (const { holder, asked, covers: expected } of vectors.covers) {
  test(`${holder} ${expected ? "covers" : "does not cover"} ${asked}`, () => {
    const canonical = (text: string): string => {
      const parsed = parseToken(text);
      return "canonical" in parsed ? parsed.canonical : "";
    };
    expect(covers(canonical(holder), canonical(asked))).toBe(expected);
  });
}
