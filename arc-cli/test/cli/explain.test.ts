//! Every code that can be seen is explained, and `explain` needs no device.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";
import { allExplanations, explanations } from "../../src/explanations.ts";
import { FailedReason } from "../../src/gen/aria/v1/common_pb.ts";
import { arc } from "./drive.ts";

const src = join(import.meta.dir, "../../src");
const protos = join(import.meta.dir, "../../../crates/protocol/proto/aria/v1");
const texts = (dir: string, pattern: string): string[] =>
  [...new Glob(pattern).scanSync(dir)].filter((path) => !path.startsWith("explanations/") && path !== "compiler/diagnostics.ts").map((path) => readFileSync(join(dir, path), "utf8"));
const all = await explanations();

test("every code in the source has a page, every page of ours a use", () => {
  const used = new Set(texts(src, "**/*.ts").flatMap((text) => [...text.matchAll(/"(ARC[0-9]{4})"/g)].map((match) => match[1] ?? "")));
  expect([...used].filter((code) => !all.has(code))).toEqual([]);
  expect([...all.keys()].filter((code) => /^ARC[23]/.test(code) && !used.has(code))).toEqual([]);
});

test("no code has two pages", async () => {
  const codes = (await allExplanations()).map((item) => item.code);
  expect(codes.filter((code, at) => codes.indexOf(code) !== at)).toEqual([]);
});

test("every reason the wire contracts name has a page", () => {
  const reasons = texts(protos, "*.proto").flatMap((text) => [...text.matchAll(/Reasons: ([^]*?)(?=\n\s*(?:\/\/ [A-Z][a-z]|rpc ))/g)].flatMap((match) => [...(match[1] ?? "").matchAll(/\b[A-Z][A-Z]+_[A-Z_]+\b/g)].map(([word]) => word)));
  expect(reasons).toContain("TOOL_UNKNOWN");
  expect(reasons.filter((reason) => !all.has(reason))).toEqual([]);
});

test("every reason the device's own code gives has a page", () => {
  const root = join(import.meta.dir, "../../..");
  const status = ["runtime", "quilt"].flatMap((dir) => texts(join(root, dir), "*/src/**/*.rs"));
  const given = status.flatMap((text) => [...(text.split("#[cfg(test)]")[0] ?? "").matchAll(/(?:ErrorKind::\w+,|=>|reason:|reason\()\s*"([A-Z][A-Z_]{3,})"/g)].map((match) => match[1] ?? ""));
  expect(given).toContain("TOOL_UNKNOWN");
  expect([...new Set(given)].filter((reason) => !all.has(reason))).toEqual([]);
});

test("every outcome has a page", () => {
  const names = Object.values(FailedReason).filter((name) => typeof name === "string" && name !== "UNSPECIFIED") as string[];
  expect(names).toHaveLength(12);
  expect(names.filter((name) => !all.has(name))).toEqual([]);
});

test("one page, the list, a slip", async () => {
  const page = await arc(["explain", "tool_unknown"]);
  expect(page.stdout).toStartWith("TOOL_UNKNOWN: no such tool\n");
  expect((await arc(["explain", "--json"])).json().data.length).toBe(all.size);
  const slip = await arc(["explain", "ARC20000"]);
  expect([slip.code, slip.stderr]).toEqual([5, expect.stringContaining("did you mean `ARC2000`?")]);
});
