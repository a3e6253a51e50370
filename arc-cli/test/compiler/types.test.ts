//! Types become schemas: the whole corpus as goldens, and a foreign validator that accepts and refuses values by them.

import { describe, expect, test, setDefaultTimeout } from "bun:test";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { join } from "node:path";

import { compile } from "../../src/compiler/compile.ts";
import { describe as describeDiagnostic } from "../../src/compiler/frame.ts";

// A type check takes half a second alone, and tests run beside other work.
setDefaultTimeout(120_000);

const compiled = compile(join(import.meta.dir, "../fixtures/types"));
const tools = new Map(compiled.tools.map((tool) => [tool.name, tool]));
const ajv = new Ajv2020({ strict: true, strictTypes: false, strictTuples: false, allowUnionTypes: true });
addFormats(ajv);

test("the corpus has no findings", () => {
  expect(compiled.diagnostics.map((diagnostic) => describeDiagnostic(diagnostic, compiled.read))).toEqual([]);
});

for (const tool of compiled.tools) {
  test(`${tool.name} is as it was`, () => {
    const { name, title, description, input, output, inputCodec, outputCodec, settings, access } = tool;
    expect({ name, title, description, input, output, inputCodec, outputCodec, settings, access }).toMatchSnapshot();
  });
  test(`${tool.name} has schemas that a validator takes in its strict mode`, () => {
    expect(() => ajv.compile(tool.input)).not.toThrow();
    expect(() => ajv.compile(tool.output)).not.toThrow();
  });
}

type Cases = { readonly accepted: readonly unknown[]; readonly refused: readonly unknown[] };

const point = { latitude: 59.9, longitude: 10.7 };
const inputs: Readonly<Record<string, Cases>> = {
  primitives: {
    accepted: [{ s: "", n: 0.5, b: false, z: null }],
    refused: [{}, { s: 1, n: 0, b: true, z: null }, { s: "", n: "0", b: true, z: null }, { s: "", n: 0, b: 1, z: null }, { s: "", n: 0, b: true, z: 0 }, { s: "", n: 0, b: true, z: null, more: 1 }, [], null, "x"],
  },
  literals: {
    accepted: [{ one: "a", few: "c", n: 3, mixed: true, flag: "auto" }, { one: "a", few: "b", n: 1, mixed: "x", flag: false }],
    refused: [{ one: "b", few: "c", n: 3, mixed: true, flag: true }, { one: "a", few: "c", n: 2, mixed: true, flag: true }, { one: "a", few: "c", n: 3, mixed: false, flag: true }],
  },
  enums: { accepted: [{ color: "red", level: 10, only: "red" }], refused: [{ color: "Red", level: 10, only: "red" }, { color: "red", level: 1, only: "red" }, { color: "red", level: 0, only: "green" }] },
  optionals: {
    accepted: [{ c: null, g: [] }, { a: "", b: "", c: "", d: null, e: "high", g: ["x"] }],
    refused: [{ g: [] }, { c: null, g: [], a: null }, { c: null, g: [], e: "none" }, { c: null, g: [], f: null }, { c: null, g: [1] }],
  },
  arrays: { accepted: [{ a: ["x"], b: [1], c: [1, "a"], d: [["x"], []] }], refused: [{ a: [1], b: [], c: [], d: [] }, { a: [], b: [], c: [true], d: [] }, { a: [], b: [], c: [], d: ["x"] }] },
  tuples: {
    accepted: [{ pair: ["a", 1], opt: ["a"], rest: ["a", 1, 2, 3], named: [1, 2], fixed: [1, 2] }],
    refused: [{ pair: ["a"], opt: ["a"], rest: ["a"], named: [1, 2], fixed: [1, 2] }, { pair: ["a", 1, 2], opt: ["a"], rest: ["a"], named: [1, 2], fixed: [1, 2] }, { pair: ["a", 1], opt: ["a"], rest: ["a", "b"], named: [1, 2], fixed: [1, 2] }, { pair: ["a", 1], opt: [], rest: ["a"], named: [1, 2], fixed: [1, 2] }, { pair: ["a", 1], opt: ["a"], rest: ["a"], named: [1, 2], fixed: [2, 1] }],
  },
  records: {
    accepted: [{ any: { x: 1 }, keyed: { a: 1, b: 2 }, partial: {}, index: { k: "v" }, numeric: { 12: "x" }, header: { "x-a": "1" } }],
    refused: [{ any: { x: "1" }, keyed: { a: 1, b: 2 }, partial: {}, index: {}, numeric: {}, header: {} }, { any: {}, keyed: { a: 1 }, partial: {}, index: {}, numeric: {}, header: {} }, { any: {}, keyed: { a: 1, b: 2 }, partial: {}, index: {}, numeric: { a: "x" }, header: {} }, { any: {}, keyed: { a: 1, b: 2 }, partial: {}, index: {}, numeric: {}, header: { y: "1" } }],
  },
  recursive: {
    accepted: [{ name: "a", children: [{ name: "b", children: [{ name: "c", children: [] }] }] }],
    refused: [{ name: "a" }, { name: "a", children: [{ name: "b", children: [{ name: 1, children: [] }] }] }, { name: "a", children: [{ name: "b", children: [], more: 1 }] }],
  },
  json: { accepted: [{ value: { any: [1, null] }, object: {}, own: [[{ a: [1] }]] }, { value: null, object: { a: 1 }, maybe: 1, own: null }], refused: [{ value: 1, object: [], own: 1 }, { object: {}, own: 1 }] },
  unions: {
    accepted: [{ shape: { kind: "circle", radius: 1 }, id: "a", at: null }, { shape: { kind: "path", points: [point] }, id: 1, at: point }],
    refused: [{ shape: { kind: "circle", side: 1 }, id: "a", at: null }, { shape: { kind: "oval" }, id: 1, at: null }, { shape: { kind: "square", side: 1 }, id: true, at: null }, { shape: { kind: "square", side: 1 }, id: 1, at: { latitude: 91, longitude: 0 } }],
  },
  "root-union": { accepted: [{ kind: "square", side: 1 }], refused: [{ kind: "square" }, {}, { kind: "square", side: 1, radius: 1 }] },
  intersection: { accepted: [{ a: "x", b: 1, latitude: 0 }], refused: [{ a: "x" }, { a: "x", b: 1, latitude: 0, longitude: 0 }] },
  templates: { accepted: [{ size: "12.5px", id: "user-7", pick: "a.d" }], refused: [{ size: "px", id: "user-7", pick: "a.d" }, { size: "1px", id: "admin", pick: "a.d" }, { size: "1px", id: "user-", pick: "ab" }, { size: "1pxx", id: "user-", pick: "a.c" }] },
  dates: {
    accepted: [{ at: "2026-11-20T10:00:00Z", list: ["2026-11-20T10:00:00+01:00"], by: { a: "2026-11-20T10:00:00Z" }, pair: ["2026-11-20T10:00:00Z", "x"], either: null, bytes: "AAEC" }],
    refused: [{ at: "yesterday", list: [], by: {}, pair: ["2026-11-20T10:00:00Z", "x"], either: 1, bytes: "" }, { at: 0, list: [], by: {}, pair: ["2026-11-20T10:00:00Z", "x"], either: 1, bytes: "" }],
  },
  documented: {
    accepted: [{ city: "Oslo" }, { city: "Oslo", days: 7, tags: ["a"], mail: "a@example.com", ratio: 0.25 }],
    refused: [{ city: "" }, { city: "oslo" }, { city: "O".repeat(81) }, { city: "Oslo", days: 1.5 }, { city: "Oslo", days: 8 }, { city: "Oslo", tags: [] }, { city: "Oslo", tags: ["a", "a"] }, { city: "Oslo", mail: "x" }, { city: "Oslo", ratio: 0 }, { city: "Oslo", ratio: 0.3 }],
  },
  nothing: { accepted: [{}], refused: [{ a: 1 }, [], null] },
};

describe("a validator", () => {
  for (const [name, { accepted, refused }] of Object.entries(inputs)) {
    const validate = ajv.compile(tools.get(name)?.input ?? { not: {} });
    for (const value of accepted) test(`${name} accepts ${JSON.stringify(value)}`, () => expect({ valid: validate(value), errors: validate.errors }).toEqual({ valid: true, errors: null }));
    for (const value of refused) test(`${name} refuses ${JSON.stringify(value)}`, () => expect(validate(value)).toBe(false));
  }
});

// Not by the validator: ajv leaves `__proto__` out on purpose.
test("a member called __proto__ is a member", () => {
  expect(JSON.stringify(tools.get("proto")?.input)).toContain('"properties":{"__proto__":{"type":"string"}');
});

test("names come from the source, or from the option", () => {
  expect([...tools.keys()]).toContain("via-namespace");
  expect([...tools.keys()]).toContain("chosen-name");
  expect([...tools.keys()]).not.toContain("parse-html2-text");
});
