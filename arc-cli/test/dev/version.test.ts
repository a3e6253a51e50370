//! The versions of `arc dev`: above what is installed, below the release they lead to.

import { expect, test } from "bun:test";
import { sampleInput } from "../../src/dev/sample.ts";
import { devTag, devVersion, isDev } from "../../src/dev/version.ts";
import { localContexts } from "../../src/dev/device.ts";
import { SEMVER } from "../../src/bundle/reader.ts";

const tag = devTag("/home/ann/weather");

test.each([
  ["nothing installed", "0.1.0", [], "0.1.0"],
  ["the same version installed", "0.1.0", ["0.1.0"], "0.1.1"],
  ["an older one installed", "0.2.0", ["0.1.0", "0.1.7"], "0.2.0"],
  ["a newer one installed", "0.1.0", ["0.1.0", "0.3.4"], "0.3.5"],
  ["a pre-release installed", "0.2.0", ["0.2.0-rc.1"], "0.2.0"],
  ["a pre-release of the project", "1.0.0-beta.1", ["0.9.0"], "1.0.0"],
  ["dev versions do not push each other up", "0.1.0", [`0.1.0-dev.1.${tag}`, "0.1.0-dev.9.p00000000"], "0.1.0"],
  ["numbers past what a double holds", "1.0.9007199254740993", ["1.0.9007199254740993"], "1.0.9007199254740994"],
])("%s", (_what, project, installed, base) => {
  const version = devVersion(project, installed, 1_700_000_000_000, tag);
  expect(version).toBe(`${base}-dev.1700000000000.${tag}`);
  expect(SEMVER.test(version)).toBe(true);
  if (!installed.some((one) => one === "0.2.0-rc.1")) for (const one of installed.filter((other) => !isDev(other))) expect(Bun.semver.order(version, one)).toBe(1);
});

test("a later save is above an earlier one, and only this project's are ours", () => {
  const [first, second] = [1, 2].map((now) => devVersion("0.1.0", ["0.1.0"], now, tag)) as [string, string];
  expect(Bun.semver.order(second, first)).toBe(1);
  expect([isDev(first), isDev(first, tag), isDev(first, devTag("/elsewhere")), isDev("0.1.0-dev.1"), isDev("0.1.0")]).toEqual([true, true, false, false, false]);
});

test("devices of this machine come first, the current one before `dev`", () => {
  const one = (address: string, socket?: string) => ({ address, node: "n", ca: "", certificate: "", key: "", ...(socket === undefined ? {} : { socket }) });
  const contexts = { board: one("10.0.0.7:7600"), dev: one("127.0.0.1:7600"), vm: one("localhost:9"), sock: one("", "/run/x") };
  expect(localContexts({ current: "vm", contexts })).toEqual(["vm", "dev", "sock"]);
  expect(localContexts({ current: "board", contexts })).toEqual(["dev", "sock", "vm"]);
});

test("an input is made from a schema", () => {
  const schema = { type: "object", required: ["city", "mode", "at", "n", "tags", "place", "pair"], properties: { city: { type: "string", examples: ["Oslo"] }, mode: { enum: ["fast", "slow"] }, at: { type: "string", format: "date-time" }, n: { type: "integer", minimum: 3 }, tags: { type: "array", items: { type: "string" }, minItems: 1 }, place: { $ref: "#/$defs/place" }, pair: { type: "array", prefixItems: [{ type: "boolean" }, { type: "null" }] }, left: { type: "string" } }, $defs: { place: { type: "object", required: ["lat"], properties: { lat: { type: "number" } } } } };
  expect(JSON.parse(sampleInput(schema))).toEqual({ city: "Oslo", mode: "fast", at: "2026-01-01T00:00:00Z", n: 3, tags: ["text"], place: { lat: 1 }, pair: [true, null] });
  const loop = { $ref: "#/$defs/a", $defs: { a: { type: "object", required: ["a"], properties: { a: { $ref: "#/$defs/a" } } } } };
  expect(sampleInput(loop)).toContain("null");
});
